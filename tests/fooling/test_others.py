"""Other networks at hand: nothing is downloaded, and none is the one attacked."""

from __future__ import annotations

import copy
import shutil

import numpy as np
import pytest
import torch

from robustlab.backbones import Backbone, load_backbone
from robustlab.fooling.others import downloaded, networks_at_hand
from robustlab.fooling.pictures import from_data
from robustlab.fooling.tale import Request, stage

pytestmark = pytest.mark.usefixtures("one_thread")


def test_shipped_networks_of_other_builders():
    backbone = load_backbone("lenet5-max@digits")
    found = networks_at_hand(backbone)
    builders = [one.card["builder"] for one in found]
    assert len(found) == 3
    assert len(set(builders)) == 3
    assert "lenet5" not in builders
    assert {one.classes for one in found} == {backbone.classes}
    assert {one.input_shape for one in found} == {backbone.input_shape}


def test_a_network_of_its_own_classes_is_alone():
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 3)).eval()
    assert networks_at_hand(Backbone(module, input_shape=(1, 32, 32), classes=3)) == ()


def test_what_was_downloaded_before(tmp_path, monkeypatch):
    """By the names of files alone; a file that is no checkpoint is passed over."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert downloaded() == []
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "googlenet-1378be20.pth").write_bytes(b"longer, and no weights")
    (tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"cut off")
    (tmp_path / "checkpoints" / "other.pth").write_bytes(b"")
    assert downloaded() == ["torchvision:squeezenet1_1", "torchvision:googlenet"]
    backbone = load_backbone("torchvision:squeezenet1_1?weights=none")
    assert networks_at_hand(backbone) == ()


def test_the_same_network_from_a_file_is_not_another(tmp_path):
    from robustlab import shelf

    for suffix in (".safetensors", ".json"):
        shutil.copy(shelf.weights() / f"mlp@digits{suffix}", tmp_path / f"mine{suffix}")
    copied = load_backbone(f"file:{tmp_path}/mine.safetensors")
    assert "mlp@digits" not in [one.name for one in networks_at_hand(copied)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_networks_of_other_precisions(dtype):
    lenet = load_backbone("lenet5-max@digits")
    module = copy.deepcopy(lenet.module).to(dtype)
    backbone = Backbone(
        module, input_shape=(1, 32, 32), classes=lenet.classes, mean=lenet.mean, std=lenet.std
    )
    scene, _, asked = stage(from_data("digits:test#3"), backbone, Request("8", 0.3))
    found = scene.search(asked, "0.3")
    assert found.hit
    assert int(scene.chances(found.pixels).argmax()) == 8
    assert not np.array_equal(found.pixels, scene.pixels)
