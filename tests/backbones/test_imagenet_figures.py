"""Published ImageNet weights on photographs: the figures known for them, to the image.

SqueezeNet 1.1's weights (half precision on disk) and 102 photographs of the NIPS 2017 competition
are read where they lie beside the checkout; without them the tests are skipped. foolbox brings 20
more pictures with it.
"""

from __future__ import annotations

import csv
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from robustlab.backbones import Backbone, load_backbone

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "imagenet"
WEIGHTS = FOLDER / "squeezenet1_1.safetensors"
REFERENCE = f"file:{WEIGHTS}#torchvision:squeezenet1_1"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not WEIGHTS.is_file(), reason="the ImageNet weights are not beside here"),
]


@pytest.fixture(scope="module")
def photographs() -> tuple[torch.Tensor, torch.Tensor]:
    """Images float [102, 3, 224, 224], the whole picture resized, and labels."""
    with (FOLDER / "nips17" / "images.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    images = []
    for row in rows:
        with Image.open(FOLDER / "nips17" / f"{row['ImageId']}.png") as picture:
            pixels = functional.pil_to_tensor(picture.convert("RGB"))
        images.append(functional.resize(pixels, [224, 224], antialias=True).float() / 255)
    return torch.stack(images), torch.tensor([int(row["TrueLabel"]) - 1 for row in rows])


def hits(backbone: Backbone, images: torch.Tensor, labels: torch.Tensor, k: int) -> int:
    best = torch.cat([backbone(part).topk(k).indices for part in images.split(17)])
    return int((best == labels[:, None]).any(1).sum())


def test_the_photographs(photographs: tuple[torch.Tensor, torch.Tensor]) -> None:
    backbone = load_backbone(REFERENCE)
    assert backbone.dtype == torch.float32
    assert backbone.classes[388] == "giant panda"
    assert hits(backbone, *photographs, k=1) == 69
    assert hits(backbone, *photographs, k=5) == 93


def test_without_statistics_the_figures_fall(
    photographs: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """Mutant: images that are not normalised."""
    assert hits(load_backbone(f"{REFERENCE}?mean=none"), *photographs, k=1) < 40


def test_foolbox_pictures() -> None:
    backbone = load_backbone(REFERENCE)
    folder, right = Path(find_spec("foolbox").origin).parent / "data", 0
    files = sorted(folder.glob("imagenet_*"))
    crop = backbone.card["preprocessing"]
    for file in files:
        with Image.open(file) as picture:
            pixels = functional.resize(picture.convert("RGB"), crop["resize"])
        pixels = functional.center_crop(pixels, crop["crop"])
        image = torch.tensor(np.asarray(pixels)).permute(2, 0, 1)[None] / 255
        right += int(backbone(image).argmax()) == int(file.stem.split("_")[2])
    assert (len(files), right) == (20, 14)
