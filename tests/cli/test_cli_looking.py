"""list, show, doctor and train."""

import json
import shlex
import sys

import pytest

from robustlab import catalogue, shelf
from robustlab.backbones import builders, list_backbones, load_backbone
from robustlab.backbones.options import OPTIONS
from robustlab.backbones.published import PUBLISHED
from robustlab.backbones.timm_source import build_timm
from robustlab.data.sources import SOURCES
from robustlab.environment import PACKAGES

pytestmark = pytest.mark.usefixtures("forget", "one_thread")

SUITES = [
    *("anatomy", "autoattack", "blackbox", "features", "filters", "l0", "l1", "l2", "linf"),
    *("panda", "pooling", "quick"),
    *("spatial", "standard", "transfer", "twins"),
]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            "attacks",
            [
                "apgd",
                "apgdt",
                "autoattack",
                "bim",
                "bisection",
                "ensemble",
                "fab",
                "fabt",
                "fgsm",
                "rfgsm",
                "fmn",
                "mifgsm",
                "nifgsm",
                "noise",
                "patch",
                "pgd",
                "sigma_zero",
                "sparse_rs",
                "spatial",
                "square",
                "transfer",
                "universal",
            ],
        ),
        (
            "probes",
            [
                *("clean", "anatomy", "attribution", "deconvnet", "depth_trace", "feature_maps"),
                *("filter_bank", "first_layer", "kernels", "maximisation", "retrieval"),
                "reach",
                *("corruptions", "demonstration", "equivariance", "seeing", "severity", "shift"),
            ],
        ),
        ("backbones", [*(card["name"] for card in list_backbones()), *PUBLISHED]),
        ("suites", SUITES),
        ("data", [form for form, _ in SOURCES]),
        ("recipes", sorted(path.stem for path in shelf.recipes().glob("*.toml"))),
    ],
)
def test_list(lab, kind, names):
    done = lab("list", kind, "--json")
    assert (done.code, done.err) == (0, "")
    first = next(iter(done.json[0]))
    assert [row[first] for row in done.json] == names
    text = [line for line in lab("list", kind).out.splitlines() if line[:4] != " " * 4]
    assert [line.split()[0] for line in text[2 : 2 + len(names)]] == names
    assert not any(line != line.rstrip() for line in text)


def test_list_attacks_says_what_next(lab):
    out = lab("list", "attacks").out
    assert "any attack of foolbox by its name, as foolbox:L2CarliniWagnerAttack" in out
    assert out.splitlines()[-1] == "next: robustlab show apgd"


def test_list_attacks_says_what_each_needs_and_costs(lab):
    rows = {row["name"]: row for row in lab("list", "attacks", "--json").json}
    assert list(rows["pgd"]) == [
        *("name", "norms", "knowledge", "passes", "cost", "paper", "what it does")
    ]
    assert (rows["pgd"]["passes"], rows["pgd"]["cost"]) == ("81", "2 * steps + 1")
    assert rows["square"]["knowledge"] == "score"
    lines = lab("list", "attacks").out.splitlines()
    assert max(map(len, lines)) <= 80
    at = next(place for place, line in enumerate(lines) if line.startswith("pgd "))
    assert lines[at].split() == ["pgd", *rows["pgd"]["norms"].split(), "gradient", "81"]
    assert lines[at + 2].endswith("Madry et al. 2018, arXiv:1706.06083")


def test_list_attacks_of_foolbox(lab):
    rows = {row["name"]: row for row in lab("list", "attacks", "foolbox", "--json").json}
    assert len(rows) > 45
    assert not {"foolbox:FGSM", "foolbox:DatasetAttack", "foolbox:SpatialAttack"} & set(rows)
    assert rows["foolbox:DDNAttack"]["passes"] == "201"
    assert rows["foolbox:HopSkipJumpAttack"]["norms"] == "l2 linf"
    assert rows["foolbox:HopSkipJumpAttack"]["knowledge"] == "decision"
    out = lab("list", "attacks", "foolbox").out
    assert "\n    Carlini and Wagner 2017, arXiv:1608.04644\n" in out
    assert out.splitlines()[-1].startswith("next: robustlab show foolbox:")


def test_show_says_what_an_attack_costs(lab):
    assert "passes an image at most: 2 * steps + 1 = 81\n" in lab("show", "pgd").out
    assert "passes an image at most: 3\n" in lab("show", "fgsm").out
    assert "passes an image at most: their sum\n" in lab("show", "ensemble").out
    assert lab("show", "autoattack", "--json").json["passes"] == 9720
    assert "passes an image at most: 201\n" in lab("show", "foolbox:DDNAttack").out
    assert "(a guess, " in lab("show", "foolbox:PointwiseAttack").out


@pytest.mark.parametrize("name", sorted(catalogue.entries()))
def test_show_entry(lab, name):
    done = lab("show", name, "--json")
    entry = catalogue.entries()[name]
    assert (done.code, done.json["name"], done.json["kind"]) == (0, name, entry.kind)
    assert [p["name"] for p in done.json["parameters"]] == [p.name for p in entry.parameters]
    text = lab("show", name).out
    assert text.startswith(f"{name}: {entry.kind}\n")
    for parameter in entry.parameters:
        assert f"\n{parameter.name} " in text
        assert parameter.doc in text


def test_show_foolbox(lab):
    done = lab("show", "foolbox:L2CarliniWagnerAttack", "--json")
    assert done.json["name"] == "foolbox:L2CarliniWagnerAttack"
    parameters = {p["name"]: p for p in done.json["parameters"]}
    assert parameters["binary_search_steps"]["default"] == 9
    assert parameters["eps"]["required"]
    assert parameters["eps"]["doc"]  # the base's words
    assert lab("show", "foolbox:L2CarliniWagnerAttack").code == 0


def test_show_own_file(lab, own_probes):
    done = lab("show", f"{own_probes / 'mine.py'}:brighter", "--json")
    parameters = {p["name"]: p for p in done.json["parameters"]}
    assert (done.json["kind"], parameters["share"]["default"]) == ("attack", 1.0)
    assert parameters["share"]["doc"] == "how much of eps is used"
    assert "eps" in parameters
    done = lab("show", f"{own_probes / 'contrast.py'}:contrast", "--json")
    assert done.json["kind"] == "probe"
    (factor,) = done.json["parameters"]
    assert (factor["default"], factor["doc"]) == (0.5, "what is left of the contrast")
    done = lab("show", f"{own_probes / 'contrast.py'}:contrst")
    assert done.code == 2
    assert "registers no probe 'contrst'; did you mean 'contrast'?" in done.err


@pytest.mark.parametrize("card", list_backbones(), ids=lambda card: card["name"])
def test_show_backbone(lab, card):
    assert lab("show", card["name"], "--json").json == card
    text = lab("show", card["name"]).out
    assert f"fingerprint: {card['fingerprint']}" in text
    assert text.splitlines()[-1] == f"next: robustlab run quick -b {card['name']}"


def test_list_backbones_tells_what_each_is_and_reaches(lab):
    rows = {row["name"]: row for row in lab("list", "backbones", "--json").json}
    for card in list_backbones():
        row, test = rows[card["name"]], card["test"]
        assert row["parameters"] == f"{card['parameters']:,}"
        assert row["input"] == "x".join(map(str, card["input_shape"]))
        assert row["source"] == PUBLISHED[card["builder"]].source
        assert row["test accuracy"].startswith(f"{100 * test['value']:.1f} % [")
        assert f"of {test['n']}" in row["test accuracy"]
        robust = card.get("adversarial")
        assert ("; robust " in row["test accuracy"]) == bool(robust)
    for name, published in PUBLISHED.items():
        assert rows[name]["parameters"] == f"{published.parameters:,}"
        assert rows[name]["test accuracy"] == "untrained"


@pytest.mark.parametrize("name", PUBLISHED)
def test_show_network(lab, name):
    """Read as text, yet the same options and defaults as the function has."""
    done = lab("show", name, "--json")
    options = {p["name"]: p["default"] for p in done.json["parameters"]}
    assert options == builders[name].defaults
    assert all(p["doc"] for p in done.json["parameters"])
    assert done.json["facts"]["source"] == PUBLISHED[name].source
    assert lab("show", name).out.startswith(f"{name}: backbone\n")


def test_show_torchvision(lab):
    out = lab("show", "torchvision:resnet18").out
    assert "parameters: 11,689,512\n" in out
    assert "weights: IMAGENET1K_V1 (top-1 69.758 %)\n" in out
    done = lab("show", "torchvision:resnet17")
    assert done.code == 2
    assert "did you mean 'torchvision:resnet18'?" in done.err


def test_show_timm(lab):
    pytest.importorskip("timm")
    out = lab("show", "timm:resnet18").out
    assert "input: 3x224x224, of pictures resized to 235 (bicubic)\n" in out
    assert "timm:resnet18.a1_in1k, " in out
    assert "\noptions follow a question mark: 'timm:resnet18?weights=default'\n" in out
    last = "next: robustlab run quick -b timm:resnet18 --data imagenet:PATH"
    assert out.splitlines()[-1] == last
    done = lab("show", "timm:resnet18.tv_in1k", "--json")
    known = build_timm("resnet18.tv_in1k", {"weights": "none"})
    options = {one["name"]: one["default"] for one in done.json["parameters"]}
    assert options == known.options | {"weights": "default"}
    assert all(one["doc"] for one in done.json["parameters"])
    done = lab("show", "timm:resnet17")
    assert done.code == 2
    assert "unknown network 'timm:resnet17'; did you mean 'timm:resnet" in done.err


def test_show_timm_without_timm(lab, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    done = lab("show", "timm:resnet18")
    assert done.code == 2
    assert "pip install 'robustlab[timm]'" in done.err


@pytest.mark.parametrize("name", ["python:./my nets.py:build", "file:w.pth#lenet5?pool=avg"])
def test_show_of_what_is_loaded_says_how(lab, name):
    done = lab("show", name)
    assert (done.code, done.out) == (2, "")
    assert (
        f"is loaded, not looked up, and what it is shows in a run: robustlab run quick -b '{name}'"
        in (done.err)
    )


def test_options_are_quoted_for_a_shell(lab):
    """Unquoted, a shell takes ``?`` for a pattern and ``&`` for the end of the command."""
    assert "as 'resnet20?width=8&norm=off'\n" in lab("list", "backbones").out
    example = lab("show", "lenet5").out.splitlines()[-1].rpartition(": ")[2]
    assert shlex.split(example) == ["lenet5?pool=max"]
    assert example == "'lenet5?pool=max'"


def test_show_a_recipe_that_comes_without_weights(lab):
    lines = lab("show", "lenet5@mnist").out.splitlines()
    assert lines[-2].startswith("comes without weights; the figures are of a trial: ")
    assert lines[-1] == "next: robustlab train lenet5@mnist"


def test_options_are_those_of_some_network():
    used = {option for builder in builders.values() for option in builder.defaults}
    assert set(OPTIONS) <= used


def test_show_suite(lab):
    done = lab("show", "quick", "--json")
    assert [p["use"] for p in done.json["probe"]] == ["fgsm", "pgd", "noise"]
    text = lab("show", "quick").out
    assert text.startswith((shelf.suites() / "quick.toml").read_text(encoding="utf-8"))


def test_doctor(lab, monkeypatch):
    done = lab("doctor", "--json")
    assert done.code == 0
    assert {"python", "system", "cores", "device", "threads", *PACKAGES} <= set(done.json)
    assert "ready; next: robustlab run quick" in lab("doctor").out
    monkeypatch.setattr("robustlab.environment.PACKAGES", (*PACKAGES, "no-such-package"))
    done = lab("doctor")
    assert done.code == 2
    assert "missing: no-such-package; run pip install no-such-package" in done.out
    assert lab("doctor", "--json").json["no-such-package"] == "missing"


def test_train(lab, tmp_path):
    done = lab("train", "mlp@digits", "-o", tmp_path, "--epochs", "1", "--json")
    assert done.code == 0
    weights = tmp_path / "mlp@digits.safetensors"
    assert done.json["weights"] == str(weights)
    assert done.json["card"] == json.loads(weights.with_suffix(".json").read_text())
    assert "epoch 1/1  loss " in done.err
    assert load_backbone(f"file:{weights}").fingerprint == done.json["card"]["fingerprint"]


@pytest.mark.slow
def test_train_says_what_next(lab, tmp_path, tiny):
    """The command of the last line works as it is printed."""
    done = lab("train", "lenet5-avg@digits", "-o", tmp_path / "out", "--epochs", "1")
    assert done.code == 0
    assert done.out.startswith("lenet5-avg@digits: test accuracy ")
    head, _, following = done.out.splitlines()[-1].partition("   next: robustlab ")
    assert head == f"weights: {tmp_path / 'out' / 'lenet5-avg@digits.safetensors'}"
    verb, suite, *rest = shlex.split(following)
    assert (verb, suite) == ("run", "quick")
    assert lab("run", tiny, *rest, "-o", tmp_path / "run").code == 0


def test_train_refuses_no_epochs(lab):
    done = lab("train", "mlp@digits", "--epochs", "0")
    assert (done.code, done.out) == (2, "")
    assert "Invalid value for '--epochs'" in done.err


def test_an_attack_and_a_suite_of_one_name_are_both_found(lab):
    shown = lab("show", "autoattack")
    assert "5000" in shown.out
    assert "robustlab show autoattack.toml" in shown.out
    assert 'use = "square"' in lab("show", "autoattack.toml").out
