"""The training page holds the card's figures, says what is missing, and does not trust it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from robustlab import shelf
from robustlab.backbones.cards import read_card
from robustlab.errors import BadRequest
from robustlab.reporting.training import write_training_page
from robustlab.reporting.training.curves import MOST
from robustlab.reporting.training.outcome import figure_sentences, kept_sentence, stopped_sentence
from robustlab.reporting.training.record import number, rate_of, read_training, text
from robustlab.reporting.training.verdict import judge

spec = importlib.util.spec_from_file_location(
    "reporting_tests_make_training", Path(__file__).with_name("make_training.py")
)
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>`{{7*7}}` $x^2$ \u202e"
SECTIONS = ["verdict", "belief", "curves", "filters", "layers", "making"]


@pytest.fixture(scope="module")
def page(tmp_path_factory, parse):
    """A card and its arrays to the page's tree."""

    def page(card, arrays=None):
        path = write_training_page(make.write(tmp_path_factory.mktemp("page"), card, arrays))
        return parse(path.read_text(encoding="utf-8"))

    return page


@pytest.fixture(scope="module")
def whole(page):
    return page(make.adversarial(make.make_card()), make.make_arrays())


# --- numbers ----------------------------------------------------------------------------------


def check_numbers(card, tree):
    """Every number of the curve stands in a table, every rate in the verdict; returns how many."""
    columns = {}
    for table in tree.all("table", class_="numbers"):
        head, *body = [[c.words for c in row.all("th") + row.all("td")] for row in table.all("tr")]
        columns |= dict(zip(head[1:], np.array(body, dtype=float).T[1:], strict=True))
    named = {
        "train_loss": "training loss",
        "val_loss": "validation loss",
        "train_accuracy": "training accuracy",
        "val_accuracy": "validation accuracy",
        "val_robust_accuracy": "robust validation accuracy",
        "lr": "learning rate",
    }
    assert len(columns) == len(card["curve"])
    for key, values in card["curve"].items():
        assert columns[named[key]] == pytest.approx(values, rel=1e-5), key
    verdict = make.section(tree, "verdict").words
    for rate in (card["test"], card["validation"], card["adversarial"]["test"]):
        assert "{:.1f} % [{:.1f}, {:.1f}]".format(*(100 * rate[k] for k in rate if k != "n")) in (
            verdict
        )
        assert f"of {rate['n']} test images" in verdict
    facts = {d.words for d in tree.all("dd")}
    assert {"68 786", "resnet20", "1.5", "123.4 s", "2.15.0", card["fingerprint"]} <= facts
    return sum(map(len, card["curve"].values()))


def test_the_figures_are_those_of_the_card(whole):
    assert check_numbers(make.adversarial(make.make_card()), whole) == 240


@pytest.mark.parametrize("key", ["curve", "test", "adversarial", "fingerprint"])
def test_the_check_of_figures_kills(whole, key):
    card = make.adversarial(make.make_card())
    changed = {
        "curve": card["curve"] | {"lr": [*card["curve"]["lr"][:-1], 0.5]},
        "test": make.rate(346),
        "adversarial": {"test": make.rate(262)},
        "fingerprint": "other",
    }
    with pytest.raises(AssertionError):
        check_numbers(card | {key: changed[key]}, whole)


def test_the_sections_stand_in_order(whole):
    assert [s.attributes["id"] for s in whole.all("section")] == SECTIONS
    for link in whole.all("nav")[0].all("a"):
        make.section(whole, link.attributes["href"][1:])
    for s in whole.all("section"):
        (title,) = s.all("h1") + s.all("h2")
        assert title.attributes["id"] == s.attributes["aria-labelledby"]


def test_every_figure_is_told_in_words_and_marks_the_kept_epoch(whole):
    plots = whole.all("svg", class_="plot")
    assert len(plots) == 6
    for plot in plots:
        assert "Kept is epoch 40" in plot.attributes["aria-label"]
        assert "epoch" in plot.text
    loss = plots[0].attributes["aria-label"]
    card = make.make_card()
    assert f"training loss: first {card['curve']['train_loss'][0]:.3g} in epoch 1" in loss
    assert "logarithmic" in loss
    assert "logarithmic" not in plots[2].attributes["aria-label"]


def test_ids_do_not_collide(whole):
    ids = [n.attributes["id"] for n in whole.walk() if "id" in n.attributes]
    assert len(ids) == len(set(ids))


def test_the_same_files_give_the_same_bytes_and_leave_nothing_beside(tmp_path):
    card = make.write(tmp_path, make.make_card(), make.make_arrays())
    path = write_training_page(card)
    first = path.read_bytes()
    assert write_training_page(card).read_bytes() == first
    assert path == tmp_path / "resnet20-narrow@digits.html"
    assert len(list(tmp_path.iterdir())) == 3


def test_the_largest_page_stays_light(tmp_path):
    layers = tuple(f"layer{i}.conv" for i in range(161))
    arrays = make.make_arrays(1000, layers, (64, 3, 11, 11))
    card = make.adversarial(make.make_card(1000))
    page = write_training_page(make.write(tmp_path, card, arrays))
    assert 300_000 < page.stat().st_size < 1_000_000
    assert f"Of 1000 epochs {MOST} are drawn" in page.read_text(encoding="utf-8")


def test_it_needs_no_torch(tmp_path):
    card = make.write(tmp_path, make.make_card(), make.make_arrays())
    code = (
        "import sys; from pathlib import Path;"
        "from robustlab.reporting.training import write_training_page as write;"
        f"write(Path({str(card)!r}));"
        "assert 'matplotlib' in sys.modules; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


# --- cards that cannot be trusted ---------------------------------------------------------------


def poisoned(value, poison):
    """Every text of a card, keys of tables among them, replaced."""
    if isinstance(value, dict):
        keep = value.keys() & (set(make.make_card()) | {"adversarial"})
        return {k if k in keep else k + poison: poisoned(v, poison) for k, v in value.items()}
    if isinstance(value, list):
        return [poisoned(v, poison) for v in value]
    return value + poison if isinstance(value, str) else value


def hostile(poison):
    card = make.adversarial(make.make_card())
    held = {k: v for k, v in card.items() if k in ("curve", "validation", "test")}
    arrays = make.make_arrays(layers=tuple(f"{i}{poison}" for i in range(5)))
    return {**poisoned(card, poison), **held}, arrays


@pytest.mark.parametrize("poison", [EVIL, "\ud800", "</style></title>", "x" * 100_000])
def test_a_hostile_card_injects_nothing(page, whole, poison):
    tree = page(*hostile(poison))
    assert abs(make.check_safe(tree) - make.check_safe(whole)) < 100
    if poison == EVIL:
        assert EVIL.replace("`", "'") in make.section(tree, "verdict").text
        assert sum(EVIL in c.text for c in make.section(tree, "layers").all("code")) >= 10
        assert not [s for s in tree.all("svg") if "alert" in s.text]  # none enters a drawing


def test_the_check_of_safety_kills_a_page_that_does_not_escape(tmp_path, parse, monkeypatch):
    from robustlab.reporting import section as module

    card = make.write(tmp_path, hostile(EVIL)[0])
    monkeypatch.setattr(module.environment(), "autoescape", False)
    module.environment().cache.clear()
    try:
        tree = parse(write_training_page(card).read_text(encoding="utf-8"))
    finally:
        module.environment().cache.clear()
    with pytest.raises(AssertionError):
        make.check_safe(tree)


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([10**300, -1, 0, 1, 1e308, "1e999", EVIL]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.fixed_dictionaries({"value": inner, "low": inner, "high": inner, "n": inner})
        | st.fixed_dictionaries({"val_loss": st.lists(inner), "val_accuracy": st.lists(inner)})
        | st.fixed_dictionaries({"train": st.dictionaries(st.just("epochs"), inner)})
    ),
    max_leaves=20,
)
NEEDED = {"name", "builder", "options", "input_shape", "classes", "fingerprint"}


@settings(max_examples=150, deadline=None)
@given(junk=st.dictionaries(st.sampled_from(sorted(make.make_card())), JUNK, max_size=4))
def test_any_card_is_read_and_told(tmp_path_factory, junk):
    from robustlab.reporting.training import making

    card = make.adversarial(make.make_card(8)) | junk
    path = make.write(tmp_path_factory.mktemp("junk"), card)
    try:
        training = read_training(path)
    except BadRequest:
        assert junk.keys() & NEEDED  # no card without these
        return
    told = [judge(training).title, *judge(training).sentences, *figure_sentences(training)]
    told += [stopped_sentence(training), kept_sentence(training), *making.caveats(training)]
    told += [v for pair in making.facts(training) + making.machine(training) for v in pair]
    told += [v for pair in making.recipe_lines(training)[0] for v in pair]
    assert all(isinstance(one, str) and len(one) < 2500 for one in told)


NASTY = {
    "nothing but what is needed": {k: None for k in make.make_card() if k not in NEEDED},
    "nulls": {"curve": {"val_loss": [None] * 9, "val_accuracy": [0.5, None, 0.7]}},
    "not finite": {"curve": {"val_loss": [1.0, float("nan"), float("inf")], "lr": [float("nan")]}},
    "huge": {"curve": {"val_loss": [1e308, 1e29, 10**300, 1.0], "val_accuracy": [0.1, 7e18]}},
    "tiny": {"curve": {"train_loss": [1e-300, 1e-320, 1.0], "val_loss": [0.0, 0.0]}},
    "below nothing": {"curve": {"val_loss": [-1.0, -2.0, -3.0, -4.0, -5.0], "lr": [-1]}},
    "one epoch": {"curve": {"val_loss": [1.0], "train_loss": [1.0], "lr": [0]}, "best_epoch": 1},
    "odd lengths": {"curve": {"val_loss": [1.0] * 9, "train_loss": [1.0] * 4, "lr": "fast"}},
    "texts": {"curve": {"val_loss": ["a", {}, []], "val_accuracy": [True, False]}},
    "constant": {"curve": {"val_loss": [0.5] * 30, "train_loss": [0.5] * 30}},
    "rates": {"test": {"value": 2, "low": 0, "high": 1, "n": 3}, "validation": [1]},
}


@pytest.mark.parametrize("kind", NASTY)
def test_a_nasty_card_still_gives_a_page(page, kind):
    tree = page(make.make_card() | NASTY[kind])
    make.check_safe(tree)
    words = " ".join(s.words for s in tree.all("section"))
    assert "nan" not in words.lower().replace("nance", "").split()
    if kind == "nothing but what is needed":
        assert "How well resnet20-narrow@digits does on test images is not recorded." in words
        assert "The card holds no curve." in words
        assert "The recipe is not recorded." in words
        assert [s.attributes["id"] for s in tree.all("section")] == ["verdict", "belief", "making"]
    if kind == "odd lengths":
        assert "The training loss of 5 epochs of 9 is no number." in words


def test_no_card_is_told(tmp_path):
    path = tmp_path / "x.json"
    contents = {"{": "is not JSON", "[]": "lacks", "[" * 200_000: "x.json"}
    contents |= {json.dumps(make.make_card() | {k: 7}): f"{k} 7 is not" for k in NEEDED}
    for content, told in contents.items():
        path.write_text(content)
        with pytest.raises(BadRequest, match=told):
            write_training_page(path)
    with pytest.raises(BadRequest, match="cannot be read"):
        write_training_page(tmp_path / "absent.json")
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(p.stem for p in shelf.weights().glob("*.json")))
def test_the_shipped_cards_give_pages(page, name):
    card = read_card(name)
    tree = page(card)
    found = [s.attributes["id"] for s in tree.all("section")]
    assert found == ["verdict", "belief", "curves", "making"]
    test = rate_of(card["test"])
    assert (
        f"{name} is right on {test} of {test.n} test images." in make.section(tree, "verdict").words
    )
    assert "there is no resnet20-narrow@digits.training.npz" in make.section(tree, "belief").words
    assert f"robustlab train {name}" in make.section(tree, "making").words


def test_the_commands_quote_what_a_shell_would_run(page, tmp_path):
    path = make.write(tmp_path, make.make_card(), stem="a b;$(touch x)")
    write_training_page(path)
    words = path.with_suffix(".html").read_text(encoding="utf-8")
    assert "-b &#39;file:a b;$(touch x).safetensors&#39;" in words


@given(st.integers() | st.floats() | st.booleans() | st.none() | st.text())
@example(2**53 + 1)
def test_a_number_is_one_that_can_be_drawn(value):
    found = number(value)
    if found is not None:  # a float: of an integer beyond 2^53 the nearest
        assert abs(found) <= 1e30
        assert found == float(value)
        assert not isinstance(value, bool)
    assert 0 <= len(text(value)) <= 160
