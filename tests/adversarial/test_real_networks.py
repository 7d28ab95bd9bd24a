"""Published, undefended networks on real images: small budgets take nearly everything.

SqueezeNet 1.1 on photographs at 2/255 and ResNet-20 on CIFAR-10 at 8/255. A network that nobody
defended and that still stands shows a weak attack. Weights and images are read where they lie
beside the checkout; without them the tests are skipped.
"""

from __future__ import annotations

import csv
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional

from robustlab import attack, catalogue
from robustlab.adversarial import Found
from robustlab.backbones import load_backbone
from robustlab.data import Data

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data"
SQUEEZENET = FOLDER / "imagenet" / "squeezenet1_1.safetensors"
RESNET = FOLDER / "cifar10" / "resnet20.safetensors"
CIFAR_STATISTICS = "mean=0.485,0.456,0.406&std=0.229,0.224,0.225"
ATTACKS: list[tuple[str, dict[str, Any]]] = [
    ("pgd", {"steps": 20, "loss": "margin"}),
    ("apgd", {"steps": 20, "loss": "ce"}),
    ("apgd", {"steps": 20, "loss": "dlr"}),
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the real data are not beside here"),
]


@pytest.fixture(scope="module")
def photographs() -> Data:
    """102 photographs, the whole picture resized to 224."""
    with (FOLDER / "imagenet" / "nips17" / "images.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    images = []
    for row in rows:
        with Image.open(FOLDER / "imagenet" / "nips17" / f"{row['ImageId']}.png") as picture:
            pixels = functional.pil_to_tensor(picture.convert("RGB"))
        images.append(functional.resize(pixels, [224, 224], antialias=True).numpy())
    labels = np.array([int(row["TrueLabel"]) - 1 for row in rows])
    return Data(np.stack(images), labels, classes=1000, name="nips17")


@pytest.fixture(scope="module")
def cifar() -> Data:
    """The first 500 test images of CIFAR-10."""
    with lzma.open(FOLDER / "cifar10" / "cifar10_test_images_u8.npy.xz") as file:
        images = np.load(file, allow_pickle=False)[:500].transpose(0, 3, 1, 2).copy()
    labels = np.load(FOLDER / "cifar10" / "cifar10_test_labels_u8.npy", allow_pickle=False)
    return Data(images, labels[:500].astype(np.int64), classes=10, name="cifar10")


def _attacked(reference: str, data: Data, name: str, eps: str, **params: Any) -> Found:
    if name not in catalogue.entries():
        pytest.skip(f"no attack {name} in the catalogue")
    return attack(name, load_backbone(reference), data, eps=eps, **params)


def _standing(found: Found) -> int:
    return int((~found.verified[0]).sum())


@pytest.mark.parametrize(("name", "params"), ATTACKS)
def test_squeezenet_falls_at_two_levels(
    photographs: Data, name: str, params: dict[str, Any]
) -> None:
    # All for one attack; of the first forty none may stand for the others.
    many, right, most = (102, 69, 1) if name == "pgd" else (40, 28, 0)
    data = photographs.subset(np.arange(many))
    found = _attacked(f"file:{SQUEEZENET}#torchvision:squeezenet1_1", data, name, "2/255", **params)
    assert int(found.clean_correct.sum()) == right
    assert _standing(found) <= most
    assert int((~found.verified_8bit[0]).sum()) <= most


@pytest.mark.parametrize(("name", "params"), ATTACKS)
def test_resnet_falls_at_eight_levels(cifar: Data, name: str, params: dict[str, Any]) -> None:
    found = _attacked(f"file:{RESNET}#resnet20?{CIFAR_STATISTICS}", cifar, name, "8/255", **params)
    assert abs(500 - int(found.clean_correct.sum()) - 0.0827 * 500) <= 12  # two standard errors
    assert _standing(found) <= 5


def test_noise_of_the_same_size_takes_little(photographs: Data, cifar: Data) -> None:
    """Mutant: an attack that does not look at the network."""
    squeezenet = f"file:{SQUEEZENET}#torchvision:squeezenet1_1"
    few = photographs.subset(np.arange(30))
    found = _attacked(squeezenet, few, "noise", "2/255")
    assert _standing(found) > 0.8 * found.clean_correct.sum()
    resnet = f"file:{RESNET}#resnet20?{CIFAR_STATISTICS}"
    found = _attacked(resnet, cifar, "noise", "8/255")
    assert _standing(found) > 0.7 * found.clean_correct.sum()
