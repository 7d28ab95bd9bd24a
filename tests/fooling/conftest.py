"""A shipped network that a digit fools, and the real one that lies beside the checkout."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "imagenet"


@pytest.fixture(scope="session")
def case():
    """A digit that a shipped network is driven from, by targeted PGD at 20 grey levels."""
    from robustlab import attack
    from robustlab.backbones import load_backbone
    from robustlab.data import Data, load_data
    from robustlab.fooling.readings import as_it_is

    backbone, digits = load_backbone("mlp@digits"), load_data("digits:test")
    pixels = digits.batch_8bit([0])[0]
    label = int(backbone(digits.batch([0])).argmax())
    target = (label + 3) % 10
    one = Data(pixels[None], [label], classes=backbone.classes, ids=["picture"])
    found = attack(
        "pgd", backbone, one, eps="20/255", target=target, early_exit=False, fast=False, seed=5
    )
    assert found.verified_8bit[0, 0]
    return SimpleNamespace(
        backbone=backbone,
        read=as_it_is,
        original=pixels,
        changed=found.images_8bit[0, 0],
        label=label,
        target=target,
        data=one,
        found=found,
    )


@pytest.fixture(scope="session")
def panda():
    """The giant panda at 224 pixels and SqueezeNet, targeted PGD at 1/255 to vulture (class 23)."""
    if not FOLDER.is_dir():
        pytest.skip("the real data are not beside here")
    from robustlab import attack
    from robustlab.backbones import load_backbone
    from robustlab.data import Data
    from robustlab.fooling.readings import as_it_is

    weights = FOLDER / "squeezenet1_1.safetensors"
    backbone = load_backbone(f"file:{weights}#torchvision:squeezenet1_1")
    with Image.open(FOLDER / "nips17" / "000b7d55b6184b08.png") as picture:
        small = picture.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
    pixels = np.asarray(small).transpose(2, 0, 1).copy()
    one = Data(pixels[None], [388], classes=backbone.classes, ids=["picture"])
    found = attack("pgd", backbone, one, eps="1/255", target=23, early_exit=False, steps=40)
    return SimpleNamespace(
        backbone=backbone,
        read=as_it_is,
        original=pixels,
        changed=found.images_8bit[0, 0],
        label=388,
        target=23,
        data=one,
        found=found,
    )
