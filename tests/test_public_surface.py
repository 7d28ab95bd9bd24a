"""The golden list of names and signatures: what users build on. A change here is a change for them,
and wants a reason."""

import importlib.metadata
import inspect

import pytest

import robustlab
from robustlab import results

NAMES = [
    "Attack",
    "Backbone",
    "Data",
    "Outcome",
    "Run",
    "Suite",
    "Threat",
    "anatomy",
    "attack",
    "fool",
    "list_attacks",
    "list_backbones",
    "list_probes",
    "load_backbone",
    "load_data",
    "load_suite",
    "open_run",
    "probe",
    "report",
    "run",
    "swap_pooling",
    "testing",
]

SIGNATURES = {
    "anatomy": "(module_or_backbone, input_shape=(3, 224, 224))",
    "attack": "(name, backbone, data, *, eps, norm=None, seed=0, batch=None, fast=True, **params)",
    "fool": "(picture=None, *, target=None, backbone='torchvision:googlenet', eps='4/255', "
    "attack='pgd', out=None, on='picture', resize=None, seed=0, device='auto', others=None, "
    "evidence=True, command='', tell=None)",
    "list_attacks": "()",
    "list_backbones": "()",
    "list_probes": "()",
    "load_backbone": "(reference, *, device=None, name=None, mean=None, std=None)",
    "load_data": "(source, take=None, seed=0)",
    "load_suite": "(suite)",
    "open_run": "(folder)",
    "probe": "(name, *, scope='sample', version=1, check=None, folders=(), uses=())",
    "report": "(folder, path=None)",
    "run": "(suite, *, backbones=None, data=None, take=None, out=None, seed=None, device='auto', "
    "part=None, command='', tell=None)",
    "swap_pooling": "(backbone, kind, padding=None, head=None)",
    "Backbone": "(module, *, input_shape, classes, mean=None, std=None, name='own', "
    "reference=None, card=None)",
    "Data": "(images, labels, classes=None, name='own', ids=None)",
    "Outcome": "(samples, arrays=<factory>, pictures=(), metrics=<factory>, notes=(), "
    "cost=<factory>, findings=())",
    "Run": "(folder)",
    "Threat": "(norm, eps, target=None)",
    "Suite": "(name='suite', title='', seed=0, shard=256, source='digits:test', take=None, "
    "backbones=(), probes=(), folder=PosixPath('.'))",
}


def signature(obj):
    """Names, kinds and defaults; annotations are mypy's affair."""
    given = inspect.signature(obj)
    plain = [p.replace(annotation=p.empty) for p in given.parameters.values()]
    return str(given.replace(parameters=plain, return_annotation=given.empty))


def test_names():
    assert robustlab.__all__ == NAMES
    assert set(NAMES) <= set(dir(robustlab))
    assert robustlab.__version__ == importlib.metadata.version("robustlab")


@pytest.mark.parametrize("name", NAMES)
def test_resolves(name):
    found = getattr(robustlab, name)
    assert found is getattr(robustlab, name)
    assert inspect.getdoc(found)
    if name != "testing":
        assert found.__name__ == name


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name):
    assert signature(getattr(robustlab, name)) == SIGNATURES[name]


def test_every_callable_is_golden():
    """`Attack` is subclassed; its parameters are the catalogue's."""
    assert set(SIGNATURES) == set(NAMES) - {"Attack", "testing"}


def test_signatures_kill():
    def run(suite, *, backbones=None, device="cuda"): ...

    assert signature(run) != SIGNATURES["run"]
    assert signature(run) == "(suite, *, backbones=None, device='cuda')"


def test_unknown_names():
    with pytest.raises(AttributeError, match="module 'robustlab' has no attribute 'atack'"):
        _ = robustlab.atack


def test_attack_parameters():
    from robustlab.catalogue import entries

    common = ["eps", "norm", "target", "restarts", "early_exit"]
    for entry in entries().values():
        if entry.kind == "attack":
            assert [p.name for p in entry.parameters][:5] == common


def test_columns():
    """The columns of `Run.summary()` and `Run.samples()`, the arrays of `robustlab.attack`."""
    from dataclasses import fields

    from robustlab.adversarial import Found

    summary = ["backbone", "probe", "params", "eps", "metric", "value", "low", "high", "n"]
    assert summary == results.SUMMARY_COLUMNS
    assert results.SAMPLE_COLUMNS == ["id", "label", "backbone", "probe", "params", "eps"]
    arrays = {f.name for f in fields(Found)}
    assert {"verified", "verified_8bit", "distance", "images", "images_8bit"} <= arrays
    assert isinstance(Found.robust_accuracy, property)
    assert isinstance(Found.passes, property)


def test_run_of_the_columns(finished):
    run = robustlab.open_run(finished)
    assert list(run.summary()) == results.SUMMARY_COLUMNS
    samples = run.samples()
    assert list(samples)[:6] == results.SAMPLE_COLUMNS
    # One row per image, probe and eps: clean 10, fgsm 2 x 10, noise 10.
    assert len(samples) == 40
    assert not samples.duplicated(["id", "backbone", "probe", "params", "eps"]).any()
    own = ["prediction", "confidence", "clean_correct", "claimed", "verified", "verified_8bit"]
    assert set(own) <= set(samples)
    by_hand = 1 - samples[(samples.probe == "fgsm") & (samples.eps == "0.2")].verified.mean()
    summary = run.summary()
    wanted = (summary.probe == "fgsm") & (summary.eps == "0.2")
    told = summary[wanted & (summary.metric == "robust_accuracy")].value.item()
    assert told == pytest.approx(by_hand)


# doors.attack -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    return robustlab.load_backbone("mlp@digits"), robustlab.load_data("digits:test", take=8)


def test_attack_by_reference_and_by_object(small):
    backbone, data = small
    one = robustlab.attack("fgsm", backbone, data, eps=0.1)
    other = robustlab.attack("fgsm", "mlp@digits", data, eps=["0.1"], norm="Linf")
    assert (one.verified == other.verified).all()
    assert list(one.robust_accuracy) == ["0.1"]
    assert one.verified.shape == (1, 8)
    assert one.images.shape == (1, 8, 1, 32, 32)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "clean"}, "'clean' is a probe, not an attack; run it with robustlab.run"),
        ({"name": "fgsmm"}, "did you mean 'fgsm'?"),
        ({"los": "ce"}, "unknown parameter 'los' of 'fgsm'; did you mean 'loss'?"),
        ({"eps": 8}, "did you mean '8/255'?"),
        ({"eps": []}, "eps is an empty list"),
        ({"norm": "l7"}, "unknown norm 'l7'"),
        ({"batch": 0}, "batch must be at least 1, not 0"),
        ({"batch": -5}, "batch must be at least 1, not -5"),
        ({"target": "panda"}, "unknown target 'panda'"),
    ],
)
def test_attack_refuses(small, changes, told):
    from robustlab.errors import BadRequest

    backbone, data = small
    arguments = {"name": "fgsm", "backbone": backbone, "data": data, "eps": 0.1, **changes}
    with pytest.raises(BadRequest) as error:
        robustlab.attack(**arguments)
    assert told in str(error.value)
