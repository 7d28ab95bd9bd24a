"""Every shipped suite can be planned, holds its control, and its cheapest attack runs."""

from dataclasses import replace

import pytest
import torchvision

import robustlab
from robustlab import catalogue, shelf
from robustlab.errors import BadRequest
from robustlab.plan import make_plan
from robustlab.suite import load_suite, shipped_suites

pytestmark = pytest.mark.usefixtures("forget", "one_thread")
NAMES = sorted(shipped_suites())
LOOKING = ("anatomy",)  # suites that attack nothing
LADDERS = ("linf", "l2", "l1", "l0", "blackbox")  # each asks its question in one norm


ONLINE = ("panda",)  # suites whose weights are downloaded


def offline(name):
    """The shipped suite; where its weights would be downloaded, with a small network of its input
    and classes in their place, of random weights.
    """
    suite = load_suite(name)
    if name not in ONLINE:
        return suite
    known = torchvision.models.list_models(module=torchvision.models)
    assert {spec.ref.removeprefix("torchvision:") for spec in suite.backbones} <= set(known)
    refs = [f"torchvision:squeezenet1_1?weights=none&seed={i}" for i, _ in enumerate("ab")]
    return replace(suite, backbones=tuple(replace(suite.backbones[0], ref=ref) for ref in refs))


def check_suite(suite):
    """It binds, and noise of the same norm and budgets stands beside every attack; where images
    are turned and moved, poses drawn at random do.
    """
    plan = make_plan(suite)
    assert {cell.backbone.name for cell in plan.cells} == {spec.ref for spec in suite.backbones}
    entries = [cell.entry() for cell in plan.cells if cell.bound.registered.kind == "attack"]
    noise = {e["norm"]: set(e["eps_values"]) for e in entries if _is_control(e)}
    for entry in entries:
        assert entry["norm"] in noise, f"{entry['label']}: no noise in {entry['norm']}"
        lacking = set(entry["eps_values"]) - noise[entry["norm"]]
        assert not lacking, f"{entry['label']}: no noise at {lacking}"
    return entries


def _is_control(entry):
    return entry["knowledge"] == "none" or entry["params"].get("method") == "worst_of"


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_can_be_made(name):
    entries = check_suite(offline(name))
    if name in LADDERS:
        (norm,) = {entry["norm"] for entry in entries}
        assert norm == {"blackbox": "l2"}.get(name, name)
        knowledge = {entry["knowledge"] for entry in entries}
        assert knowledge >= {"gradient", "score", "none"}
        assert ("decision" in knowledge) == (name == "blackbox")


@pytest.mark.parametrize("name", NAMES)
def test_the_top_says_what_it_answers_and_how_long_it_takes(name):
    text = (shelf.suites() / f"{name}.toml").read_text(encoding="utf-8")
    head = text.partition("schema")[0]
    assert head.startswith("# ")
    assert "minute" in head or name == "autoattack"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda probes: [p for p in probes if p.use != "noise"], "no noise in linf"),
        (
            lambda probes: [
                replace(p, params={**p.params, "eps": ["0.02"]}) if p.use == "noise" else p
                for p in probes
            ],
            "no noise at",
        ),
    ],
    ids=["no control", "control at one budget"],
)
def test_a_suite_without_its_control_is_seen(change, message):
    suite = load_suite("linf")
    with pytest.raises(AssertionError, match=message):
        check_suite(replace(suite, probes=tuple(change(suite.probes))))


def test_a_wrong_parameter_is_seen():
    suite = load_suite("l2")
    wrong = [replace(p, params={**p.params, "stpes": 3}) for p in suite.probes]
    with pytest.raises(BadRequest, match=r"suite l2\.toml, probe 1"):
        check_suite(replace(suite, probes=tuple(wrong)))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_its_cheapest_attack_runs(name, tmp_path):
    suite = offline(name)
    if name in LOOKING:
        pytest.skip("nothing is attacked in it")
    known = {p.use: catalogue.entries()[p.use] for p in suite.probes if ":" not in p.use}
    known.pop("noise", None)
    attacks = {use: entry for use, entry in known.items() if entry.kind == "attack"}
    cheapest = min(attacks or known, key=lambda use: known[use].passes or 0)
    probes = tuple(p for p in suite.probes if p.use in (cheapest, "noise"))
    small = replace(suite, take=3, backbones=suite.backbones[:1], probes=probes)
    run = robustlab.run(small, out=tmp_path / "run")
    landed = [group.plan for group in run.groups() if group.outcome is not None]
    assert {plan["probe"] for plan in landed} == {"clean", *(p.use for p in probes)}
    if name in ("features", "filters"):  # these attack inside their probes alone
        assert "attack" not in {plan["kind"] for plan in landed}
        return
    summary = run.summary()
    found = summary[summary.metric == "robust_accuracy"]
    assert len(found)
    assert ((found.value >= 0) & (found.value <= 1)).all()
    assert (found.n == 3).all()
