"""A published network on photographs, read as a user reads them: what FGSM and PGD take.

The pictures and the weights lie beside the checkout; without them the tests are skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustlab import Data, attack, load_backbone, load_data
from robustlab.adversarial import Found
from robustlab.backbones import Backbone
from robustlab.fooling.reach import reach

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "imagenet"
TABLE = f"csv:{FOLDER}/nips17/images.csv?file=ImageId&label=TrueLabel&classes=imagenet"
PANDA, VULTURE = "nips17/000b7d55b6184b08", 23
EPS = ["0.5/255", "1/255", "2/255"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the real data are not beside here"),
]


@pytest.fixture(scope="module")
def squeezenet() -> Backbone:
    return load_backbone(f"file:{FOLDER}/squeezenet1_1.safetensors#torchvision:squeezenet1_1")


@pytest.fixture(scope="module")
def photographs() -> Data:
    """102 square photographs, whole, at 224."""
    return load_data(f"{TABLE}&first=1&resize=224&size=224")


def counts(network: Backbone, data: Data) -> tuple[int, int]:
    """How many have their label first, and among the first five."""
    parts = range(0, len(data), 17)
    order = [network(data.batch(slice(i, i + 17))).argsort(descending=True) for i in parts]
    five = np.concatenate([one[:, :5].numpy() for one in order]) == data.labels[:, None]
    return int(five[:, 0].sum()), int(five.any(axis=1).sum())


def test_clean_figures(squeezenet: Backbone, photographs: Data) -> None:
    assert counts(squeezenet, photographs) == (69, 93)
    few = photographs.subset(range(34))
    shifted = Data(few.images, few.labels + 1, few.classes)  # mutant: counted from 1
    assert counts(squeezenet, shifted)[0] < 3


def test_samples(squeezenet: Backbone) -> None:
    assert counts(squeezenet, load_data("samples:imagenet"))[0] == 14


def check_falling(fgsm: Found, pgd: Found) -> None:
    """Nothing is lost with more budget; a search is not behind one step; pixels not before floats;
    half a level is none.
    """
    for found in (fgsm, pgd):
        assert (np.diff(found.verified.astype(int), axis=0) >= 0).all()
        assert (np.diff(found.verified_8bit.astype(int), axis=0) >= 0).all()
        assert (found.verified >= found.verified_8bit)[1:].all()
        assert not (found.verified_8bit[0] & found.clean_correct).any()
        assert found.top5 is not None
        assert (found.top5 >= ~found.verified).all()
    assert (pgd.verified.sum(axis=1) >= fgsm.verified.sum(axis=1)).all()
    assert pgd.verified[2].all()


def test_what_falls(squeezenet: Backbone, photographs: Data) -> None:
    few = photographs.subset(range(0, 102, 9))
    fgsm = attack("fgsm", squeezenet, few, eps=EPS)
    pgd = attack("pgd", squeezenet, few, eps=EPS, steps=10)
    check_falling(fgsm, pgd)
    with pytest.raises(AssertionError):  # mutant: one step is behind a search somewhere
        check_falling(pgd, fgsm)


def test_the_panda_becomes_a_vulture(squeezenet: Backbone, photographs: Data) -> None:
    """And, among a few classes more, at one level: the probe finds what the attack does."""
    panda = photographs.subset([photographs.ids.index(PANDA)])
    assert (panda.labels[0], photographs.classes[388]) == (388, "giant panda")
    settings: dict[str, Any] = {"eps": ["1/255"], "steps": 20}
    found = attack("pgd", squeezenet, panda, target="vulture", **settings)
    assert found.verified_8bit[0, 0]
    assert (found.prediction_8bit[0, 0], found.clean_correct[0]) == (VULTURE, True)
    outcome = reach(squeezenet, photographs, only=(PANDA,), targets=4, **settings)
    assert outcome.samples["prediction"][outcome.arrays["rows"][0]] == 388
    assert (outcome.arrays["smallest"] >= 0).sum() >= 2
