"""The published weights of the CIFAR ResNets reach their published error, to the image.

Weights and images are read where they lie beside the checkout; without them this is skipped.
"""

import lzma
from pathlib import Path

import numpy as np
import pytest

from robustlab.backbones import load_backbone
from robustlab.data import Data
from robustlab.errors import BadRequest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "cifar10"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="CIFAR-10 is not beside here"),
    pytest.mark.usefixtures("one_thread"),
]
STATISTICS = "mean=0.485,0.456,0.406&std=0.229,0.224,0.225"


@pytest.fixture(scope="module")
def cifar():
    with lzma.open(FOLDER / "cifar10_test_images_u8.npy.xz") as file:
        images = np.load(file, allow_pickle=False)
    labels = np.load(FOLDER / "cifar10_test_labels_u8.npy", allow_pickle=False)
    return Data(images, labels.astype(np.int64), classes=10, name="cifar10:test")


def errors(name, data, options=""):
    """How many of the images the published weights get wrong, loaded as a user loads them."""
    reference = f"file:{FOLDER / name}.safetensors#{name}?{STATISTICS}{options}"
    backbone = load_backbone(reference)
    rows = np.array_split(np.arange(len(data)), max(1, len(data) // 250))
    found = [backbone(data.batch(part)).argmax(1).numpy() for part in rows]
    return int((np.concatenate(found) != data.labels).sum())


@pytest.mark.parametrize(("name", "wrong"), [("resnet20", 827), ("resnet56", 661)])
def test_published_weights_err_on_as_many_images(cifar, name, wrong):
    assert errors(name, cifar) == wrong


@pytest.mark.parametrize(
    "mutant", ["shortcut=none", "padding=reflect", "pool=avg", "activation=elu"]
)
def test_another_network_errs_on_other_images(cifar, mutant):
    some = cifar.subset(slice(0, 500))
    assert errors("resnet20", some, f"&{mutant}") != errors("resnet20", some)


def test_option_b_does_not_take_these_weights(cifar):
    with pytest.raises(BadRequest, match="downsample"):
        errors("resnet20", cifar.subset(slice(0, 2)), "&shortcut=B")
