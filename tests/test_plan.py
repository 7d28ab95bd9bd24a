"""A suite becomes cells: how many, what they are called, and what decides their identity."""

from dataclasses import replace

import numpy as np
import pytest

import robustlab
from robustlab import plan as planning
from robustlab import record
from robustlab.bound import bind_all, source_of
from robustlab.doors import plan_of
from robustlab.errors import BadRequest
from robustlab.plan import make_plan
from robustlab.registry import _REGISTERED, resolve
from robustlab.suite import BackboneSpec, ProbeSpec, Suite

pytestmark = pytest.mark.usefixtures("forget")

PGD = ProbeSpec("pgd", {"eps": ["0.1"], "steps": 2})
TEN = Suite(take=10, shard=4, backbones=(BackboneSpec("mlp@digits"),), probes=(PGD,))


def ids(suite, **options):
    return [cell.id for cell in make_plan(suite, **options).cells]


def labels(*probes):
    plan = make_plan(replace(TEN, shard=99, probes=probes))
    return [cell.bound.label for cell in plan.cells][1:]


# Cells ----------------------------------------------------------------------------------------


def test_counts():
    plan = make_plan(TEN)
    assert [(c.bound.label, c.start, c.stop) for c in plan.cells] == [
        ("clean", 0, 4),
        ("clean", 4, 8),
        ("clean", 8, 10),
        ("pgd", 0, 4),
        ("pgd", 4, 8),
        ("pgd", 8, 10),
    ]
    assert len({cell.id for cell in plan.cells}) == 6
    for cell in plan.cells:
        assert cell.data.ids == plan.data.ids[cell.start : cell.stop]


@pytest.mark.parametrize(("shard", "cells"), [(1, 20), (3, 8), (5, 4), (10, 2), (256, 2)])
def test_shards(shard, cells):
    assert len(ids(replace(TEN, shard=shard))) == cells


def test_sweeps_and_backbones_multiply():
    probe = replace(PGD, params={"eps": "0.1"}, sweep={"steps": [1, 2], "loss": ["ce", "margin"]})
    backbones = (BackboneSpec("mlp@digits"), BackboneSpec("lenet5-max@digits"))
    suite = replace(TEN, shard=10, probes=(probe,), backbones=backbones)
    assert len(ids(suite)) == 2 * (1 + 4)


def test_clean_is_added_once():
    suite = replace(TEN, shard=10, probes=(PGD, ProbeSpec("clean", {"batch": 3})))
    assert [c.bound.label for c in make_plan(suite).cells] == ["pgd", "clean"]


def test_a_probe_that_learns_from_the_set_is_not_sharded(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("import robustlab\n@robustlab.probe('s', scope='set')\ndef s(b, d): ...")
    plan = make_plan(replace(TEN, probes=(ProbeSpec(f"{path}:s"),)))
    assert [(c.start, c.stop) for c in plan.cells if c.bound.label == "s"] == [(0, 10)]


# Labels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("probes", "expected"),
    [
        ([{}], ["pgd"]),
        ([{"sweep": {"loss": ["ce", "margin"]}}], ["pgd (loss=ce)", "pgd (loss=margin)"]),
        (
            [{"sweep": {"loss": ["ce", "margin"], "steps": [1, 2]}}],
            [
                "pgd (steps=1, loss=ce)",
                "pgd (steps=2, loss=ce)",
                "pgd (steps=1, loss=margin)",
                "pgd (steps=2, loss=margin)",
            ],
        ),
        ([{}, {"norm": "l2", "eps": ["1"]}], ["pgd (norm=linf)", "pgd (norm=l2)"]),
        ([{}, {"eps": ["0.2", "0.3"]}], ["pgd (eps=0.1)", "pgd (eps=0.2/0.3)"]),
    ],
)
def test_labels_tell_apart_what_differs(probes, expected):
    specs = []
    for probe in probes:
        params = {"eps": ["0.1"], **{k: v for k, v in probe.items() if k != "sweep"}}
        specs.append(ProbeSpec("pgd", params, probe.get("sweep", {})))
    assert labels(*specs) == expected


def test_equal_probes_are_refused():
    """Written differently, meaning the same."""
    same = ProbeSpec("pgd", {"eps": "0.1", "steps": 2, "norm": "Linf"})
    with pytest.raises(BadRequest, match=r"suite suite.toml: 'pgd' stands twice with equal values"):
        labels(PGD, same)


# Identity -------------------------------------------------------------------------------------


def images(seed=0, n=6, ids=None, labels=None):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, 1, 32, 32)).astype(np.uint8)
    return robustlab.Data(pixels, labels or [0, 1, 2, 3, 4, 9][:n], 10, ids=ids)


def network(seed=0, name="net", **options):
    module = planning.load_backbone(f"mlp?hidden=8&seed={seed}").module
    return robustlab.Backbone(module, input_shape=(1, 32, 32), classes=10, name=name, **options)


ASKED = {
    "suite": replace(TEN, shard=6, take=None),
    "backbones": network(),
    "data": images(),
}


def first_id(**changes):
    asked = {**ASKED, **changes}
    plan = make_plan(asked["suite"], [asked["backbones"]], asked["data"])
    return plan.cells[-1].id


def with_probe(**params):
    return replace(ASKED["suite"], probes=(ProbeSpec("pgd", {"eps": "0.1", "steps": 2, **params}),))


DECIDES = {
    "weights": {"backbones": network(seed=1)},
    "preprocessing": {"backbones": network(mean=(0.5,), std=(0.5,))},
    "pixels": {"data": images(seed=1)},
    "labels": {"data": images(labels=[5, 4, 3, 2, 1, 0])},
    "ids": {"data": images(ids=list("abcdef"))},
    "fewer images": {"data": images().subset([0, 1, 2])},
    "order of images": {"data": images().subset([1, 0, 2, 3, 4, 5])},
    "seed": {"suite": replace(ASKED["suite"], seed=1)},
    "a parameter": {"suite": with_probe(steps=3)},
    "a default": {"suite": with_probe(keep_best=False)},
    "eps": {"suite": with_probe(eps=["0.2"])},
    "the text of eps": {"suite": with_probe(eps=["1/10"])},
    "the probe": {"suite": replace(ASKED["suite"], probes=(ProbeSpec("bim", {"eps": "0.1"}),))},
}
DOES_NOT = {
    "name of the backbone": {"backbones": network(name="another")},
    "card of the backbone": {"backbones": network(card={"x": 1})},
    "name of the data": {
        "data": robustlab.Data(images().images, images().labels, 10, "x", images().ids)
    },
    "title and name": {"suite": replace(ASKED["suite"], title="t", name="n")},
    "a larger shard": {"suite": replace(ASKED["suite"], shard=1000)},
    "a default spelt out": {"suite": with_probe(keep_best=True, restarts=1)},
    "one eps or a list of one": {"suite": with_probe(eps=["0.1"])},
    "another probe beside it": {
        "suite": replace(
            ASKED["suite"], probes=(ProbeSpec("fgsm", {"eps": "0.1"}), *ASKED["suite"].probes)
        )
    },
}


@pytest.mark.parametrize("what", DECIDES)
def test_what_decides_numbers_decides_the_id(what):
    assert first_id(**DECIDES[what]) != first_id()


@pytest.mark.parametrize("what", DOES_NOT)
def test_what_does_not_does_not(what):
    assert first_id(**DOES_NOT[what]) == first_id()


def decisive():
    return {what: first_id(**change) != first_id() for what, change in DECIDES.items()}


@pytest.mark.parametrize("field", ["backbone", "data", "params", "seed"])
def test_those_checks_kill(monkeypatch, field):
    """An identity that forgets a field is caught by at least one of them."""
    whole = record.asdict
    monkeypatch.setattr(
        record, "asdict", lambda asked: {k: v for k, v in whole(asked).items() if k != field}
    )
    assert not all(decisive().values())


@pytest.mark.parametrize("field", ["probe", "version", "source"])
def test_the_probe_decides(field):
    asked = make_plan(ASKED["suite"], [ASKED["backbones"]], ASKED["data"]).cells[-1].asked
    other = {"probe": "pgd2", "version": 2, "source": "x"}[field]
    assert replace(asked, **{field: other}).id != asked.id
    assert replace(asked).id == asked.id


def test_the_source_of_a_users_probe_decides(tmp_path):
    path = tmp_path / "mine.py"
    suite = replace(ASKED["suite"], probes=(ProbeSpec(f"{path}:p"),))
    text = "import robustlab\n@robustlab.probe('p'{})\ndef p(b, d): ...\n"
    found = []
    for source in (text.format(""), text.format("") + "x = 1\n", text.format(", version=2")):
        path.write_text(source)
        found.append(first_id(suite=suite))
    assert len(set(found)) == 3
    path.write_text(text.format(""))
    assert first_id(suite=suite) == found[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "params",
    [
        {"use": "bisection", "attack": "{mine}"},
        {"use": "ensemble", "attacks": ["{mine}"]},
        {"use": "ensemble", "attacks": [{"use": "bisection", "attack": "{mine}"}]},
    ],
    ids=["bisection", "member", "bisection of a member"],
)
def test_the_source_of_every_attack_inside_decides(tmp_path, params):
    """However deep: a resumed run must not serve what another file's code gave."""
    path = tmp_path / "mine.py"
    text = (
        "from robustlab import Attack, probe\n\n\n@probe('mine')\nclass Mine(Attack):\n"
        "    def search(self, model, x, y, start, threat, rng):\n        return x{}\n"
    )

    def filled(value):
        if isinstance(value, dict):
            return {key: filled(one) for key, one in value.items()}
        return [filled(one) for one in value] if isinstance(value, list) else value.format(mine=own)

    own = f"{path}:mine"
    told = filled(params)
    probe = ProbeSpec(told.pop("use"), {"eps": "0.1", **told})
    found = []
    for change in ("", " * 1.0", ""):
        path.write_text(text.format(change))
        found.append(first_id(suite=replace(ASKED["suite"], probes=(probe,))))
    assert found[0] == found[2] != found[1]


@pytest.mark.slow
@pytest.mark.parametrize("use", ["retrieval", "attribution", "depth_trace"])
@pytest.mark.parametrize("inside", [False, True], ids=["itself", "in an ensemble"])
def test_the_source_of_the_attack_that_a_probe_runs_decides(tmp_path, use, inside):
    path = tmp_path / "mine.py"
    text = (
        "from robustlab import Attack, probe\n\n\n@probe('mine')\nclass Mine(Attack):\n"
        "    def search(self, model, x, y, start, threat, rng):\n        return x{}\n"
        "\n\n@probe('both')\nclass Both(Mine):\n"
        "    def members(self):\n        return [('fgsm', {{}}), ('pgd', {{}})]\n"
    )
    spec = ProbeSpec(use, {"attack": f"{path}:{'both' if inside else 'mine'}"})
    found = []
    for change in ("", " * 1.0", ""):
        path.write_text(text.format(change))
        found.append(sources(spec))
    assert found[0] == found[2] != found[1]


def sources(spec):
    """What decides the identity of the cells of one probe."""
    bound = bind_all(replace(TEN, probes=(spec,)))
    return [source_of(one) for one in bound if one.registered.name == spec.use]


@pytest.mark.parametrize(
    ("use", "runs"),
    [
        ("reach", ["pgd", "ensemble"]),
        ("clean", ["pgd", "fgsm", "square", "noise"]),
        ("retrieval", ["pgd"]),
        ("attribution", ["pgd"]),
        ("depth_trace", ["pgd"]),
    ],
)
def test_the_source_of_shipped_attacks_inside_decides(monkeypatch, use, runs):
    """Each file that the probe runs, and no other: an edited one gives other cells."""
    spec = ProbeSpec(use)
    before = sources(spec)
    for edited in (*runs, "fab"):
        told = resolve(edited)
        monkeypatch.setitem(_REGISTERED, edited, replace(told, library="edited"))
        assert (sources(spec) != before) == (edited in runs), edited
        monkeypatch.setitem(_REGISTERED, edited, told)


def test_a_probe_that_names_no_attack_runs_none():
    spec = ProbeSpec("retrieval", {"attack": "none"})
    assert sources(spec)[-1] == resolve("retrieval").source
    assert sources(ProbeSpec("retrieval"))[-1] != resolve("retrieval").source


def test_moving_to_a_device_keeps_ids():
    plan = make_plan(TEN)
    assert [c.id for c in plan.on("cpu").cells] == [c.id for c in plan.cells]


def test_a_part_of_a_probe_keeps_its_cells():
    """Growing the suite, or shuffling it, adds cells and changes none."""
    before = set(ids(TEN))
    more = replace(TEN, probes=(ProbeSpec("fgsm", {"eps": "0.1"}), PGD))
    assert before < set(ids(more))


# What takes the suite's place -------------------------------------------------------------------


@pytest.mark.parametrize(("given", "expected"), [({}, 7), ({"seed": 3}, 3)])
def test_a_probe_that_draws_takes_the_suites_seed(given, expected):
    probe = ProbeSpec("severity", {"change": "noise", **given})
    suite = Suite(seed=7, take=4, backbones=(BackboneSpec("mlp@digits"),), probes=(probe,))
    (cell,) = (c for c in make_plan(suite).cells if c.bound.registered.name == "severity")
    assert cell.bound.params["seed"] == expected
    assert cell.asked.params["seed"] == expected


def test_replacements_are_written_down(tmp_path):
    """The suite of a plan says what was run, not what the file said before ``--data``."""
    path = tmp_path / "own.npz"
    np.savez(path, images=images().images, labels=images().labels)
    plan = plan_of(TEN, data=f"npz:{path}", take=5, seed=9, backbones=["mlp@digits"])
    assert (plan.suite.source, plan.suite.take, plan.suite.seed) == (f"npz:{path}", 5, 9)
    assert len(plan.data) == 5
    assert plan_of(TEN, data=images()).suite.take is None
    assert len(plan_of(TEN, take=3).data) == 3
    assert plan_of(TEN, take=3).suite.take == 3


# Paths beside the suite -------------------------------------------------------------------------


def test_paths_are_looked_for_beside_the_suite_first(tmp_path, own_probes, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    np.savez(tmp_path / "own.npz", images=images().images, labels=images().labels)
    (tmp_path / "net.py").write_text(
        "import robustlab\ndef build():\n    return robustlab.load_backbone('mlp@digits')\n"
    )
    suite = Suite(
        source="npz:own.npz",
        backbones=(BackboneSpec("python:net.py:build"),),
        probes=(ProbeSpec("./contrast.py:contrast"), ProbeSpec("mine.py:brighter", {"eps": "0.1"})),
        folder=tmp_path,
    )
    plan = make_plan(suite)
    assert [c.bound.label for c in plan.cells] == ["clean", "contrast", "brighter"]
    assert plan.backbones[0].name == "python:net.py:build"
    with pytest.raises(BadRequest, match=r"contrast.py is not a file"):
        make_plan(replace(suite, source="digits:test", backbones=TEN.backbones, folder=Path0))


Path0 = type(TEN.folder)("nowhere")


@pytest.mark.parametrize("name", ["digits", "digits:test", "pgd", "mlp@digits", "clean"])
def test_a_file_called_like_a_name_is_not_taken_for_it(tmp_path, name):
    """A folder ``digits`` beside the suite does not turn ``digits:test`` into a path."""
    (tmp_path / name).mkdir()
    assert len(ids(replace(TEN, folder=tmp_path))) == 6


# Refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"probes": (PGD, ProbeSpec("pgd", {"eps": "0.1", "step": 1}))},
            "suite suite.toml, probe 2: unknown parameter 'step' of 'pgd'; did you mean 'steps'?",
        ),
        ({"probes": (ProbeSpec("pdg", {}),)}, "suite suite.toml, probe 1: unknown attack"),
        (
            {"probes": (ProbeSpec("pgd", {"eps": "8"}),)},
            "suite suite.toml, probe 1: 'pgd': eps 8 (Linf) is larger",
        ),
        (
            {"probes": (ProbeSpec("pgd", {"eps": "33", "norm": "l2"}),)},
            "suite suite.toml, pgd: eps 33 (L2) is larger than the whole box",
        ),
        (
            {"probes": (replace(PGD, sweep={"stps": [1]}),)},
            "probe 1: unknown parameter 'stps' of 'pgd'; did you mean 'steps'?",
        ),
        (
            {"backbones": (BackboneSpec("mpl@digits"),)},
            "toml, backbone 1: unknown network 'mpl@digits'; did you mean 'mlp@digits'?",
        ),
        ({"backbones": ()}, "names no [[backbone]]; add one or pass -b lenet5-max@digits"),
        (
            {"backbones": (BackboneSpec("mlp@digits"),) * 2},
            "two backbones are called 'mlp@digits'; give one of them another name",
        ),
        (
            {"source": "digit:test"},
            "suite suite.toml, data: unknown data source 'digit:test'; did you mean 'digits:test'?",
        ),
        (
            {"probes": (ProbeSpec("pgd", {"eps": "0.1", "step_size": None}),)},
            "probe 1: parameter 'step_size' is None, which TOML cannot write; leave out",
        ),
        (
            {"probes": (ProbeSpec("pgd", {"eps": np.array([0.1])}),)},
            "probe 1: parameter 'eps' is array([0.1]), which TOML cannot write",
        ),
        ({"take": 361}, "suite suite.toml, data: take 361 of 'digits:test': it has only 360"),
    ],
)
def test_refused_before_anything_runs(change, told):
    with pytest.raises(BadRequest) as error:
        make_plan(replace(TEN, **change))
    assert told in str(error.value)


def test_images_that_do_not_fit_the_network():
    wrong = robustlab.Data(np.zeros((2, 3, 32, 32), np.uint8), [0, 1], 10)
    with pytest.raises(BadRequest, match="takes images of 1 channel, those of own have 3"):
        make_plan(TEN, data=wrong)


@pytest.mark.parametrize(
    ("use", "params", "told"),
    [
        ("shift", {"mode": "canvas", "radius": 14}, "larger than the canvas leaves"),
        ("shift", {"mode": "circular"}, "makes no circle"),
        ("shift", {"mode": "circl"}, "did you mean 'circular'"),
        ("shift", {"radius": 40}, "radius = 31 or less"),
        ("severity", {"change": "rotation", "levels": [0.0, 400.0]}, "400"),
        ("corruptions", {"kinds": ["fogg"]}, "did you mean 'fog'"),
        ("seeing", {"grids": [0]}, "0"),
        ("seeing", {"silhouettes": ["flatt"]}, "flat"),
        ("equivariance", {"shifts": [[0, 32]]}, "leaves nothing"),
    ],
)
def test_what_a_probe_cannot_do_is_refused_before_anything_runs(use, params, told):
    suite = Suite(
        take=4, backbones=(BackboneSpec("lenet5-max@digits"),), probes=(ProbeSpec(use, params),)
    )
    with pytest.raises(BadRequest, match=told) as caught:
        make_plan(suite)
    assert "suite.toml" in str(caught.value)


def test_a_users_probe_may_refuse_too(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import robustlab\n"
        "from robustlab.errors import BadRequest\n"
        "def refuse(backbone, data, *, share):\n"
        "    if share > 1:\n"
        "        raise BadRequest('share is above 1')\n"
        "@robustlab.probe('mine', check=refuse)\n"
        "def mine(backbone, data, *, share: float = 0.5):\n"
        "    return robustlab.Outcome({'a': data.labels == 0})\n"
    )
    for share, refused in ((0.5, False), (1.5, True)):
        probe = ProbeSpec(f"{path}:mine", {"share": share})
        suite = Suite(take=4, backbones=(BackboneSpec("mlp@digits"),), probes=(probe,))
        if refused:
            with pytest.raises(BadRequest, match="share is above 1"):
                make_plan(suite)
        else:
            assert make_plan(suite).cells


LARGE = np.random.default_rng(0).integers(0, 256, (3, 1, 41, 40), np.uint8)


def cropping(**more):
    large = robustlab.Data(LARGE, [1, 2, 3], classes=10)
    crop = replace(TEN, take=None, probes=(ProbeSpec("shift", {"radius": 4, "mode": "crop"}),))
    return replace(crop, **more), large


def check_middle(plan, large):
    """The probe that crops has the larger pictures, all others the middle of each."""
    shapes = {cell.bound.registered.name: cell.data.shape for cell in plan.cells}
    assert shapes == {"clean": (1, 32, 32), "shift": (1, 41, 40)}
    assert plan.data.shape == (1, 32, 32)
    assert plan.data.ids == large.ids
    assert np.array_equal(plan.data.images, LARGE[:, :, 4:36, 4:36])


def test_crop_of_larger_pictures():
    suite, large = cropping()
    check_middle(make_plan(suite, data=large), large)


def test_that_check_kills_another_window(monkeypatch):
    monkeypatch.setattr(
        robustlab.Data,
        "middle",
        lambda self, h, w: robustlab.Data(LARGE[:, :, :h, :w], [1, 2, 3], 10),
    )
    suite, large = cropping()
    with pytest.raises(AssertionError):
        check_middle(make_plan(suite, data=large), large)


def test_the_unshifted_crop_is_what_the_other_probes_see(tmp_path):
    suite, large = cropping()
    run = robustlab.run(suite, data=large, out=tmp_path / "run")
    found = {g.plan["probe"]: g.outcome for g in run.groups()}
    right = found["clean"].samples["prediction"] == large.labels
    assert (found["shift"].samples["clean_correct"] == right).all()
    said = found["shift"].samples["clean_prediction"].tolist()
    assert said == found["clean"].samples["prediction"].tolist()
    assert "41x40" in " ".join(found["shift"].notes) or "40x40" in " ".join(found["shift"].notes)


def test_larger_pictures_without_a_crop_or_too_small_for_it():
    suite, large = cropping(probes=(ProbeSpec("shift", {"radius": 4}),))
    with pytest.raises(BadRequest, match=r"resize them$"):
        make_plan(suite, data=large)
    suite, large = cropping(probes=(ProbeSpec("shift", {"radius": 5, "mode": "crop"}),))
    with pytest.raises(BadRequest, match="a shift of 5 pixels is larger than the picture leaves"):
        make_plan(suite, data=large)
    tall = robustlab.Data(np.zeros((2, 1, 40, 20), np.uint8), [0, 1], classes=10)
    with pytest.raises(BadRequest, match="resize them"):
        make_plan(cropping()[0], data=tall)
