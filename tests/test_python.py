"""The README's Python: objects in, tables and a page out; own networks, data and probes."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import robustlab
from robustlab.errors import BadRequest
from robustlab.suite import BackboneSpec, ProbeSpec, Suite

pytestmark = pytest.mark.usefixtures("forget", "one_thread")


@pytest.mark.slow
def test_the_example(tmp_path):
    backbone = robustlab.load_backbone("lenet5-max@digits")
    data = robustlab.load_data("digits:test", take=20, seed=0)
    found = robustlab.attack(
        "pgd", backbone, data, norm="linf", eps=["0.05", "0.1"], steps=5, restarts=2, seed=0
    )
    told = found.robust_accuracy["0.1"]
    assert 0 <= told.low <= told.value <= told.high <= 1
    assert told.n == 20
    run = robustlab.run("quick", backbones=[backbone], data=data, out=tmp_path / "first")
    assert run.complete
    assert set(run.summary().probe) == {"clean", "fgsm", "pgd", "noise"}
    assert len(run.samples()) == 20 + 3 * 4 * 20
    assert run.report() == tmp_path / "first" / "report.html"
    assert run.report(tmp_path / "page.html").read_bytes() == run.report().read_bytes()
    again = robustlab.open_run(tmp_path / "first")
    assert again.summary().equals(run.summary())


@pytest.mark.slow
def test_the_pair_of_pictures_as_it_is_written():
    """Every name that the block uses is made in it."""
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    blocks = [
        one for one in re.findall(r"```python\n(.*?)```", text, re.S) if "explain_pair" in one
    ]
    assert len(blocks) == 1
    names = {}
    exec(blocks[0], names)
    assert names["maps"].clean["gradcam"].shape == names["maps"].changed["gradcam"].shape
    assert len(names["trace"].layers) == len(names["trace"].amplification)


def own():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()
    mean, std = (0.5,) * 3, (0.25,) * 3
    backbone = robustlab.Backbone(
        module, input_shape=(3, 8, 8), classes=3, mean=mean, std=std, name="mine"
    )
    images = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3)).astype(np.uint8)
    labels = [0, 1, 2, 0, 1, 2, 0]
    return backbone, robustlab.Data(images, labels, classes=["cat", "dog", "owl"], name="own")


SHELL = """
@robustlab.probe("contrast")
def contrast(backbone, data, *, factor: float = 0.5):
    images = 0.5 + factor * (data.batch(slice(None)) - 0.5)
    right = backbone(images).argmax(1).numpy() == data.labels
    return robustlab.Outcome({"right": right, "factor": np.full(len(data), factor)})

@robustlab.probe("darker")
class Darker(robustlab.Attack):
    share: float = 1.0
    def search(self, model, x, y, start, threat, rng):
        return threat.constrain(x - self.share * threat.eps, x)
"""


def test_own_network_data_and_probes_typed_into_a_shell(tmp_path):
    """No file anywhere: names, cells, tables and the page all the same."""
    scope = {"robustlab": robustlab, "np": np, "__name__": "shell"}
    exec(compile(SHELL, "<shell>", "exec", dont_inherit=True), scope)
    backbone, data = own()
    suite = Suite(
        name="own",
        shard=4,
        probes=(
            ProbeSpec("contrast", sweep={"factor": [1, 0.25]}),
            ProbeSpec("darker", {"eps": ["0.1"]}),
        ),
    )
    run = robustlab.run(suite, backbones=[backbone], data=data, out=tmp_path / "run")
    assert run.complete, [f.error for g in run.groups() for f in g.failures]
    summary = run.summary()
    assert set(summary.backbone) == {"mine"}
    assert list(summary[summary.metric == "factor"].value) == [1.0, 0.25]
    assert set(summary[summary.probe == "darker"].metric) >= {"robust_accuracy", "attack_success"}
    found = robustlab.attack("darker", backbone, data, eps="0.1")
    told = summary[(summary.probe == "darker") & (summary.metric == "robust_accuracy")]
    assert told.value.item() == found.robust_accuracy["0.1"].value
    about = run.about
    assert about["suite"]["backbone"] == [{"ref": "mine"}]
    assert about["suite"]["data"] == {"source": "own"}
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "mine" in page
    assert "contrast" in page


def test_a_suite_in_python_is_the_suite_of_its_toml(tmp_path, tiny, finished):
    read = robustlab.load_suite(tiny)
    made = Suite(
        name="tiny",
        seed=3,
        shard=4,
        take=10,
        backbones=(BackboneSpec("mlp@digits"),),
        probes=(
            ProbeSpec("fgsm", {"eps": ["0.1", "0.2"]}),
            ProbeSpec("noise", {"eps": ["0.2"]}),
        ),
        folder=tmp_path,
    )
    assert made == read
    run = robustlab.run(made, out=tmp_path / "run")
    assert run.summary().equals(robustlab.open_run(finished).summary())


def test_networks_stay_as_they_were(tmp_path, tiny):
    """Mode, gradients, threads and the global generators are left alone."""
    backbone, data = own()
    before = [p.clone() for p in backbone.module.parameters()]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    robustlab.run(tiny, backbones=[backbone], data=data, out=tmp_path / "run")
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    after = list(backbone.module.parameters())
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, after, strict=True))
    assert not any(part.training for part in backbone.network.modules())


def test_a_bare_module_is_refused(tmp_path):
    with pytest.raises(BadRequest, match="a bare Linear does not tell its input; wrap it"):
        robustlab.run("quick", backbones=[nn.Linear(2, 2)], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_device_asked_for_by_name_moves_objects_too():
    """The meta device is always there: what is moved to it says so."""
    from robustlab.doors import plan_of

    backbone = robustlab.load_backbone("lenet5-max@digits")
    for device, found in (("auto", "cpu"), ("cpu", "cpu"), ("meta", "meta")):
        plan = plan_of("quick", backbones=[backbone], device=device)
        assert str(plan.backbones[0].device) == found
    assert str(backbone.device) == "cpu"
