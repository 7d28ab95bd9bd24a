"""The probe `anatomy` in a run: its columns, arrays and findings against what they are made of."""

import numpy as np
import pytest
import torch
from torch import nn

import robustlab
from robustlab import Backbone, anatomy, load_data
from robustlab.arithmetic import COLUMNS
from robustlab.arithmetic.effective import effective_width
from robustlab.arithmetic.passes import counted_passes
from robustlab.backbones.lectures import builders
from robustlab.registry import resolve
from robustlab.suite import ProbeSpec, Suite

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def backbone():
    return robustlab.load_backbone("lenet5-max@digits")


@pytest.fixture(scope="module")
def data():
    return load_data("digits:test", take=20)


@pytest.fixture(scope="module")
def outcome(backbone, data):
    return resolve("anatomy").obj(backbone, data, effective=6, check=8, repeats=1).checked(20)


def test_the_table_is_that_of_the_function(outcome, backbone):
    layers = anatomy(backbone).layers
    assert [*outcome.arrays["layers.layer"]] == [*layers.layer]
    for name, kind in COLUMNS.items():
        kept = outcome.arrays[f"layers.{name}"]
        if kind != "object":
            wanted = layers[name].astype("Float64").to_numpy(np.float64, na_value=np.nan)
            np.testing.assert_array_equal(kept, wanted, err_msg=name)
    assert outcome.arrays["layers.output_shape"][0] == "6x28x28"
    assert outcome.arrays["layers.kernel"][1] == ""
    assert outcome.arrays["parameters"] == 61_706
    assert outcome.arrays["multiply_adds"] == 416_520


def test_ranks_are_those_of_the_logits(outcome, backbone, data):
    logits = backbone(torch.tensor(data.batch(np.arange(20)))).numpy()
    order = np.argsort(-logits, axis=1)
    hits = order == np.asarray(data.labels)[:, None]
    assert (outcome.samples["top1"] == hits[:, 0]).all()
    assert (outcome.samples["top5"] == hits[:, :5].any(1)).all()
    assert set(outcome.metrics) == {"top1", "top5"}


def test_what_was_measured(outcome, backbone):
    counted = counted_passes(backbone.network, (1, 32, 32))
    assert [*outcome.arrays["passes"]] == ["forward", "inputs", "weights", "both"]
    assert outcome.arrays["passes.counted"][1] == counted.inputs
    assert (outcome.arrays["passes.seconds"] > 0).all()
    assert outcome.arrays["effective"].shape == (4, 32, 32)
    widths = [effective_width(one) for one in outcome.arrays["effective"]]
    np.testing.assert_allclose(outcome.arrays["effective_width"], widths, atol=0.5)
    (finding,) = outcome.findings
    assert (finding.level, finding.count) == ("green", 0)
    assert finding.of == 6


def test_the_batch_changes_nothing(backbone, data, outcome):
    again = resolve("anatomy").obj(backbone, data, batch=3, effective=6, check=8, repeats=0)
    assert (again.samples["top5"] == outcome.samples["top5"]).all()
    assert "passes.seconds" not in again.arrays
    np.testing.assert_allclose(again.arrays["effective"], outcome.arrays["effective"], atol=2e-3)


def test_a_wrong_field_is_red(backbone, data, monkeypatch):
    from robustlab.arithmetic import fields

    true = fields.window
    monkeypatch.setattr(fields, "window", lambda kernel, *rest: true(kernel + 2, *rest))
    found = resolve("anatomy").obj(backbone, data, effective=0, check=8, repeats=0)
    assert [one.level for one in found.findings] == ["red"]
    assert found.findings[0].count > 0


@pytest.fixture(scope="module")
def polyphase():
    return robustlab.load_backbone("twin-polyphase@digits")


def test_a_field_that_moves_with_the_image_is_amber(polyphase, data):
    found = resolve("anatomy").obj(polyphase, data, effective=0, check=8, repeats=0)
    (finding,) = found.findings
    assert finding.level == "amber"
    assert "polyphase" in finding.text
    assert "conv1" not in finding.names
    assert "pool1" in finding.names


def test_a_wrong_field_before_the_picking_layer_is_red(polyphase, data, monkeypatch):
    from robustlab.arithmetic import fields

    true = fields.window
    monkeypatch.setattr(fields, "window", lambda kernel, *rest: true(kernel + 2, *rest))
    found = resolve("anatomy").obj(polyphase, data, effective=0, check=8, repeats=0)
    assert [one.level for one in found.findings] == ["red"]


def check_levels(mean, levels):
    """A residual network of polyphase samplers: sums and shortcuts behind the first move too."""
    torch.manual_seed(0)
    network = builders["resnet20"](width=2, pool="polyphase").eval()
    given = {"mean": mean, "std": [0.2] * 3} if mean else {}
    own = Backbone(network, input_shape=(3, 32, 32), classes=10, **given)
    images = robustlab.Data(np.zeros((2, 3, 32, 32), np.uint8), [0, 1], classes=10)
    found = resolve("anatomy").obj(own, images, effective=0, check=40, repeats=0)
    assert [one.level for one in found.findings] == levels
    assert not any(name.startswith("module.") for name in found.findings[0].names)
    assert "layer2.0.downsample" in found.findings[0].names


@pytest.mark.parametrize("mean", [None, [0.5] * 3])
def test_parts_that_hold_a_picking_layer_are_amber(mean):
    """Whole shortcuts too, and behind the lab's own normalisation."""
    check_levels(mean, ["amber"])


def test_that_check_kills_names_of_layers_alone(monkeypatch):
    from robustlab.arithmetic import looking

    right = looking._moving
    monkeypatch.setattr(looking, "_moving", lambda found: right(found) & set(found.layers["layer"]))
    with pytest.raises(AssertionError):
        check_levels(None, ["amber"])


def test_it_is_said_where_no_gradient_was_taken(backbone, data, monkeypatch):
    from robustlab.arithmetic import looking

    monkeypatch.setattr(looking, "LARGEST", 1000)
    found = resolve("anatomy").obj(backbone, data, effective=0, check=8, repeats=0)
    assert not found.findings
    assert any("not measured by gradient" in one for one in found.notes)


class Few(nn.Module):
    """Three classes, double precision, no convolution."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1024, 3)

    def forward(self, x):
        return self.linear(x.flatten(1))


def test_networks_without_maps_and_with_few_classes(data):
    few = Backbone(Few().double().eval(), input_shape=(1, 32, 32), classes=3)
    rows = np.flatnonzero(np.asarray(data.labels) < 3)
    small = robustlab.Data(data.batch(rows), np.asarray(data.labels)[rows], classes=["a", "b", "c"])
    found = resolve("anatomy").obj(few, small, repeats=1).checked(len(rows))
    assert set(found.samples) == {"top1"}
    assert "effective" not in found.arrays
    assert not found.findings  # of no layer a field was measured: that is no agreement
    assert any("not measured by gradient: no module" in one for one in found.notes)
    assert found.arrays["multiply_adds"] == 3 * 1024
    assert found.arrays["activation_bytes"] == 8 * 3


@pytest.mark.slow
def test_a_run_is_not_split(backbone, tmp_path):
    suite = Suite(take=20, shard=8, backbones=(), probes=(ProbeSpec("anatomy", {"repeats": 0}),))
    run = robustlab.run(suite, backbones=[backbone], out=tmp_path / "run")
    (group,) = [g for g in run.groups() if g.plan["probe"] == "anatomy"]
    assert len(group.cells) == 1
    summary = run.summary().set_index("metric")
    assert summary.loc["top1"].value == summary.loc["clean_accuracy"].value
