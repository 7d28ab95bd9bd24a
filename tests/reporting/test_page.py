"""What the page holds: exact pixels, escaped names, the run's numbers, nothing from the network."""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
from collections import Counter
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from robustlab.reporting import write_report
from robustlab.reporting.pixels import as_picture, magnified, png
from robustlab.reporting.svg import canvas, inline

EVIL = "<script>alert(1)</script>"
EVILS = {EVIL: 0.1, '"><img src=x onerror=alert(1)>': 0.05, "`{{7*7}}` $x^2$ &amp; \u202e": 0.06}


def decode(uri):
    """A data address to pixels; anything but PNG is an error."""
    kind, _, body = uri.partition(",")
    assert kind == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(body)))
    assert image.format == "PNG"
    return np.asarray(image)


# --- pixels -----------------------------------------------------------------------------------


def check_pixels(results, tree):
    """Every picture of the gallery is, byte for byte, one that a cell holds; returns how many."""
    held = {(g.backbone, g.label): g.outcome for g in results.groups() if g.outcome is not None}
    items = tree.all("figure", class_="item")
    for item in items:
        outcome = held[item.attributes["data-backbone"], item.attributes["data-attack"]]
        name = item.all("span", class_="id")[0].words
        rows = outcome.samples["id"][outcome.arrays["picture_row"]]
        place = int(np.flatnonzero(rows == name)[0])
        for kind, array in (("original", "clean"), ("adversarial", "adversarial")):
            for image in item.all("img", class_=kind):
                stored = outcome.arrays[array][place]
                stored = stored[0] if stored.shape[0] == 1 else stored.transpose(1, 2, 0)
                assert np.array_equal(decode(image.attributes["src"]), stored), name
    return len(items)


def test_pictures_are_exactly_the_stored_pixels(whole):
    assert 27 <= check_pixels(whole.results, whole.tree) <= 36


def test_colour_pictures_are_exactly_the_stored_pixels(build, runs):
    recipe = runs.Recipe(n=40, shape=(3, 24, 40), classes=[f"k{i}" for i in range(1000)], data="x")
    built = build(recipe)
    assert 27 <= check_pixels(built.results, built.tree) <= 36


@pytest.mark.parametrize("kind", ["original", "adversarial"])
def test_the_check_of_pixels_kills_one_changed_pixel(whole, parse, kind):
    uri = whole.tree.all("img", class_=kind)[7].attributes["src"]
    pixels = decode(uri).copy()
    pixels[3, 4] ^= 1
    changed = "data:image/png;base64," + base64.b64encode(png(pixels)).decode()
    with pytest.raises(AssertionError):
        check_pixels(whole.results, parse(whole.page.replace(uri, changed)))


def test_perturbation_is_centred_and_the_factor_is_the_largest_that_clips_nothing():
    clean = np.full((1, 2, 2), 100, np.uint8)
    moved = clean.copy()
    moved[0, 0] = (90, 105)
    pixels, factor = magnified(clean, moved)
    assert factor == 12
    assert pixels[1, 1].tolist() == [255, 255, 255]  # nothing changed: the middle of the scale
    assert pixels[0, 0, 2] > pixels[0, 0, 0]  # darker is blue
    assert pixels[0, 1, 0] > pixels[0, 1, 2]  # brighter is red
    colour, factor = magnified(np.repeat(clean, 3, 0), np.repeat(moved, 3, 0))
    assert colour[..., 0].tolist() == [[128 - 120, 128 + 60], [128, 128]]
    assert factor == 12


def test_large_images_keep_the_page_light(build, runs):
    recipe = runs.Recipe(n=10, shape=(3, 160, 160), classes=["a"] * 1000, data="x", pictures=6)
    built = build(recipe)
    assert 3 <= len(built.tree.all("figure", class_="item")) < 36
    assert built.path.stat().st_size < 3_000_000


# --- numbers ----------------------------------------------------------------------------------


def table_rates(tree):
    """(backbone, attack, eps) -> text, of the robust accuracies the tables show."""
    found = {}
    for table in tree.all("section", id="table")[0].all("table", class_="rates"):
        head, body = table.all("thead")[0].all("tr"), table.all("tbody")[0]
        if not head[0].words.startswith("robust accuracy"):
            continue
        names = [cell.words for cell in head[1].all("th")]
        for row in body.all("tr"):
            cells = [n for n in row.children if getattr(n, "tag", "") in ("th", "td")]
            who = cells[0].attributes["data-key"], cells[1].words.removesuffix(" (control)")
            for name, cell in zip(names[2:], cells[2:], strict=True):
                if name.startswith("eps"):
                    text = cell.words.removesuffix(" best").removesuffix(" worst")
                    found[(*who, name.removeprefix("eps "))] = text
    return found


def check_table(results, tree):
    """Every attack's robust accuracy stands in the table as the summary has it."""
    shown, count = table_rates(tree), 0
    for group in results.groups():
        if group.outcome is None or group.plan["targeted"]:
            continue
        for metric in group.outcome.metrics:
            if metric.startswith("robust_accuracy[eps="):
                eps = metric.removeprefix("robust_accuracy[eps=").removesuffix("]")
                assert shown[group.backbone, group.label, eps] == str(group.rate(metric))
                count += 1
    return count


def test_table_states_the_numbers_of_the_summary(whole):
    summary = whole.results.summary()
    expected = int((summary.metric == "robust_accuracy").sum())
    assert check_table(whole.results, whole.tree) == expected == 57


def test_the_check_of_the_table_kills_a_changed_digit(whole, parse):
    text = next(t for t in table_rates(whole.tree).values() if t.startswith("9"))
    value = text.split(" %")[0]
    changed = whole.page.replace(f">{value}\u00a0%", f">{value[:-1]}{9 - int(value[-1])}\u00a0%")
    with pytest.raises(AssertionError):
        check_table(whole.results, parse(changed))


def test_failed_cells_numbers_are_in_no_table(build, runs):
    key = ("lenet5-avg@digits", "pgd")
    built = build(runs.Recipe(n=60, failed={key: "out of memory <b>"}))
    shown = table_rates(built.tree)
    assert {shown[(*key, e)] for e in runs.LINF} == {"failed"}
    assert "pgd on lenet5-avg@digits failed" in built.tree.all("section", id="belief")[0].words
    assert "out of memory <b>" in built.tree.all("section", id="belief")[0].words
    pictured = [i.attributes for i in built.tree.all("figure", class_="item")]
    assert not [a for a in pictured if (a["data-backbone"], a["data-attack"]) == key]
    assert built.tree.all("h1")[0].words.startswith("Provisional")
    for rows in (csv_rows(link) for link in built.tree.all("a") if "download" in link.attributes):
        assert not [row for row in rows if set(key) <= set(row)]


def test_the_failed_cell_check_would_see_the_numbers(build, runs):
    landed = build(runs.Recipe(n=60))  # the mutant: the same run, with the cell landed
    shown = table_rates(landed.tree)
    assert "failed" not in {shown["lenet5-avg@digits", "pgd", e] for e in runs.LINF}


def test_incomplete_run_says_what_is_missing(build, runs):
    lost = [("lenet5-avg@digits", "pgd"), ("lenet5-blur@digits", "clean")]
    built = build(runs.Recipe(n=60, missing=lost))
    belief = built.tree.all("section", id="belief")[0].words
    assert "pgd on lenet5-avg@digits was not measured" in belief
    assert "clean on lenet5-blur@digits was not measured" in belief
    shown = table_rates(built.tree)
    assert shown["lenet5-avg@digits", "pgd", "0.1"] == "not measured"
    assert "cells of the plan landed" not in belief
    assert built.tree.all("title")[0].words.startswith("Provisional")


def test_a_run_without_anything_still_has_a_page(build, runs):
    every = [(b, p.label) for b in runs.BACKBONES for p in runs.PROBES]
    built = build(runs.Recipe(n=20, missing=every))
    assert built.tree.all("h1")[0].words == "No attack has landed"
    assert not built.tree.all("section", id="table")
    belief = built.tree.all("section", id="belief")[0].words
    assert "none: no attack landed." in belief
    opening = built.tree.all("section", id="verdict")[0].words
    assert "No attack of this run landed, so it says nothing about robustness." in opening


def test_a_suite_of_probes_measured_no_robust_accuracy(build, runs):
    """Its probes may have attacked, so neither "no attack" nor "nothing is known" is true."""
    clean, translation = runs.PROBES[0], runs.PROBES[-1]
    targeted = next(p for p in runs.PROBES if p.targeted)
    noise = next(p for p in runs.PROBES if p.knowledge == "none")
    for probes in ((clean, translation), (clean, targeted, noise)):
        tree = build(runs.Recipe(n=20, probes=probes)).tree
        assert tree.all("h1")[0].words == "No robust accuracy was measured"
        opening = tree.all("section", id="verdict")[0].words
        belief = tree.all("section", id="belief")[0].words
        told = "This run measured no robust accuracy, because its suite asks other questions"
        assert opening.count(told) == 1  # once, not once a network
        assert f"none: {told[0].lower()}{told[1:]}." in belief
        for wrong in ("no attack landed", "No attack", "nothing is known"):
            assert wrong not in f"{opening} {belief}"


def csv_rows(link):
    kind, _, body = link.attributes["href"].partition(",")
    assert kind == "data:text/csv;charset=utf-8"
    import csv

    return list(csv.reader(io.StringIO(unquote(body))))


def test_the_data_of_the_figure_are_the_rates_of_the_table(whole):
    link = next(
        a for a in whole.tree.all("a") if a.attributes.get("download") == "robust-accuracy-linf.csv"
    )
    rows = csv_rows(link)[1:]
    shown = table_rates(whole.tree)
    worst = [row for row in rows if row[1] == "worst case"]
    assert len(worst) == 12
    for backbone, _, eps, *numbers in worst:
        value, low, high = (100 * float(x) for x in numbers[:3])
        assert shown[backbone, "worst case of 3", eps] == f"{value:.1f} % [{low:.1f}, {high:.1f}]"


# --- strangers' text --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile(build, runs):
    classes = [EVIL, "</style>", "$\\frac{1}$", "=cmd()", *"efghij"]
    staged = runs.Probe("aa", params=EVIL, losses=20, radius=True, stages=(EVIL, "b]["))
    probes = [*runs.PROBES, runs.Probe("pgd", params=EVIL), staged]
    recipe = runs.Recipe(n=60, backbones=EVILS, classes=classes, note=EVIL, probes=probes)
    return build(recipe.but(failed={(EVIL, "fgsm"): EVIL}))


def check_harmless(tree):
    """One script, the lab's own; no handler; nothing that is fetched."""
    scripts = tree.all("script")
    assert len(scripts) == 1
    assert "alert(1)" not in scripts[0].text
    for node in tree.walk():
        assert not [a for a in node.attributes if a.startswith("on")], node.tag
        for name in ("src", "href", "xlink:href"):
            address = node.attributes.get(name, "#")
            assert address.startswith(("data:image/png;base64,", "data:text/csv", "#")), address
    assert not [n for n in tree.walk() if n.tag in ("iframe", "object", "embed", "foreignobject")]


def test_hostile_names_stay_text(hostile):
    check_harmless(hostile.tree)
    assert EVIL in hostile.tree.all("section", id="verdict")[0].text
    assert EVIL in hostile.tree.all("section", id="attacks")[0].all("svg", class_="plot")[0].text
    assert "{{7*7}}" in hostile.tree.text
    assert "49" not in hostile.tree.all("h1")[0].text


@pytest.mark.parametrize(
    "planted", [EVIL, '<img src="x">', '<p onclick="x">', '<a href="https://example.org">']
)
def test_the_check_of_harmlessness_kills(hostile, parse, planted):
    with pytest.raises(AssertionError):
        check_harmless(parse(hostile.page.replace("</main>", f"{planted}</main>")))


def test_drawings_escape_their_texts():
    with canvas(200, 100) as figure:
        figure.add_subplot().set_title(f"{EVIL} $x^2$ --> url(#a)")
        drawn = str(inline(figure, "p", f'{EVIL}" onload="alert(1)'))
    assert EVIL not in drawn
    assert "$x^2$" in drawn
    assert 'onload="' not in drawn


def test_spreadsheets_get_no_formula(hostile):
    links = [a for a in hostile.tree.all("a") if "download" in a.attributes]
    cells = [cell for link in links for row in csv_rows(link) for cell in row]
    assert any("cmd()" in cell for cell in cells)
    # A number below 0 is no formula, and stays a number.
    assert not [c for c in cells if re.match(r"[=+@-]", c) and not re.fullmatch(r"-[\d.e-]+", c)]


# --- the file ---------------------------------------------------------------------------------


def check_ids(tree):
    """Ids are unique, and whatever is pointed at inside the page is there."""
    counts = Counter(n.attributes["id"] for n in tree.walk() if "id" in n.attributes)
    assert max(counts.values()) == 1, counts.most_common(1)
    text = " ".join(value for n in tree.walk() for value in n.attributes.values())
    pointed = set(re.findall(r"url\(#([^)]+)\)", text))
    for node in tree.walk():
        for name in ("href", "xlink:href", "aria-labelledby"):
            value = node.attributes.get(name, "")
            if value.startswith("#") or name == "aria-labelledby":
                pointed.add(value.removeprefix("#"))
    assert pointed - {""} <= set(counts)


def test_drawings_do_not_collide(whole, attacked):
    assert len(whole.tree.all("svg", class_="plot")) == 6
    check_ids(whole.tree)
    assert len(attacked.tree.all("svg", class_="plot")) == 8
    check_ids(attacked.tree)


def test_the_check_of_ids_kills_two_drawings_of_one_prefix(whole, parse):
    with pytest.raises(AssertionError):
        check_ids(parse(whole.page.replace("curve-1-w-", "curve-0-w-")))


def test_drawings_follow_the_theme(whole):
    for drawing in whole.tree.all("svg", class_="plot"):
        styles = " ".join(n.attributes.get("style", "") for n in drawing.walk())
        assert "currentColor" in styles or "var(--muted)" in styles
        assert "font-family" not in styles
        assert "DejaVu" not in styles
        assert drawing.attributes["aria-label"]
        assert not drawing.all("style") + drawing.all("metadata")


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(whole, attacked, tmp_path):
    for built in (whole, attacked):
        again = write_report(built.results, tmp_path / "again.html")
        assert again.read_bytes() == built.path.read_bytes()
    code = (
        "import sys, pathlib; from robustlab.results import Results;"
        "from robustlab.reporting import write_report;"
        "write_report(Results(sys.argv[1]), pathlib.Path(sys.argv[2]));"
        "print('torch' in sys.modules)"
    )
    other = tmp_path / "other.html"
    told = subprocess.run(
        [sys.executable, "-c", code, whole.results.folder, other],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.read_bytes() == whole.path.read_bytes()
    assert told.stdout.strip() == "False"  # no torch, not even through another library


def test_another_run_gives_other_bytes(whole, build, runs):
    assert build(runs.Recipe(n=199)).page != whole.page


def test_importing_the_room_is_cheap():
    code = (
        "import sys, robustlab.reporting;"
        "print({'torch', 'seaborn', 'matplotlib', 'pandas', 'jinja2'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


def test_shards_make_the_same_page_body(build, runs):
    one, three = (build(runs.Recipe(n=60, shards=k)) for k in (1, 3))
    assert table_rates(one.tree) == table_rates(three.tree)
    assert check_pixels(three.results, three.tree)


def test_the_page_argues_in_order(whole):
    anchors = [s.attributes.get("id", "") for s in whole.tree.all("main")[0].all("section")]
    order = "verdict belief figure attacks table pictures breaks probes making"
    assert " ".join(a for a in anchors if a) == order
    assert whole.page.count("upper bound: found by these attacks") >= 6
    assert "none was computed" in whole.tree.all("section", id="belief")[0].words
    assert whole.path.stat().st_size < 3_000_000


def test_pictures_have_one_channel_or_three():
    assert as_picture(np.zeros((1, 4, 5))).shape == (4, 5)
    assert as_picture(np.zeros((3, 4, 5))).shape == (4, 5, 3)
    assert as_picture(np.zeros((2, 4, 5))).shape == (4, 5)
