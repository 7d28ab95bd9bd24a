"""The published weights of the CIFAR ResNets reach their published error, to the image.

Weights and images are read where they lie beside the checkout; without them this is skipped.
"""

import lzma
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from robustlab.backbones import builders

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "cifar10"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="CIFAR-10 is not beside here"),
    pytest.mark.usefixtures("one_thread"),
]
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def errors(name, images, **options):
    """How many of the first so many test images the published weights get wrong."""
    module = builders[name](**options).eval()
    module.load_state_dict(load_file(FOLDER / f"{name}.safetensors"))
    with lzma.open(FOLDER / "cifar10_test_images_u8.npy.xz") as file:
        pixels = np.load(file, allow_pickle=False)[:images].transpose(0, 3, 1, 2)
    labels = np.load(FOLDER / "cifar10_test_labels_u8.npy", allow_pickle=False)[:images]
    wrong = 0
    with torch.inference_mode():
        for start in range(0, images, 250):
            batch = torch.from_numpy(pixels[start : start + 250]).float() / 255
            found = module((batch - MEAN) / STD).argmax(1).numpy()
            wrong += int((found != labels[start : start + 250]).sum())
    return wrong


def test_resnet20_errs_on_827_of_10000():
    assert errors("resnet20", 10_000) == 827


def test_resnet56_errs_on_141_of_the_first_2000():
    assert errors("resnet56", 2_000) == 141  # of all 10,000 on 661


@pytest.mark.parametrize(
    "mutant", [{"shortcut": "none"}, {"padding": "reflect"}, {"pool": "avg"}, {"activation": "elu"}]
)
def test_another_network_errs_on_other_images(mutant):
    assert errors("resnet20", 500, **mutant) != errors("resnet20", 500)


def test_option_b_does_not_take_these_weights():
    with pytest.raises(RuntimeError, match="downsample"):
        errors("resnet20", 250, shortcut="B")
