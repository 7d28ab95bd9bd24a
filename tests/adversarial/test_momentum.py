"""Momentum and Nesterov: torchattacks' steps, the linear truth, images that leave on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from robustlab import Attack, testing
from robustlab.adversarial import momentum
from robustlab.adversarial.momentum import Momentum, gaussian
from robustlab.adversarial.varied import Varied, placed
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.randomness import SampleRandom
from robustlab.registry import resolve

NAMES = {"mifgsm": "MIFGSM", "nifgsm": "NIFGSM"}
WHOLE = {"keep_best": False, "early_exit": False}


def made(name: str, **params: Any) -> Attack:
    found: Attack = resolve(name).obj(**bind(resolve(name), {"eps": ["0.1"], **params}))
    return found


def gap(name: str, lenet: Backbone, digits: Data, **params: Any) -> float:
    """Largest difference of a pixel from torchattacks' images, over images that are attacked."""
    library = pytest.importorskip("torchattacks")
    found = made(name, **{**WHOLE, **params})(lenet, digits, fast=False)
    x, y = torch.tensor(digits.batch(np.arange(len(digits)))), torch.tensor(digits.labels)
    theirs = getattr(library, NAMES[name])(lenet.network, eps=0.1, alpha=0.01, steps=10)(x, y)
    rows = found.verified[0] & found.clean_correct  # of others the lab keeps the better image
    assert rows.sum() >= 10
    return float(np.abs(found.images[0] - theirs.numpy())[rows].max())


@pytest.mark.parametrize("name", NAMES)
def test_the_steps_are_those_of_torchattacks(name: str, lenet: Backbone, digits: Data) -> None:
    assert gap(name, lenet, digits) < 1e-6


@pytest.mark.parametrize("params", [{"decay": 0.5}, {"steps": 9, "step_size": 0.1}])
@pytest.mark.parametrize("name", NAMES)
def test_parity_kills_other_steps(
    name: str, params: dict[str, Any], lenet: Backbone, digits: Data
) -> None:
    assert gap(name, lenet, digits, **params) > 1e-3


def test_parity_kills_a_look_in_the_wrong_place(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Back(Momentum):
        """Mutant: looks where the sum comes from."""

        def __init__(self, x: Tensor, *, stride: Any, **settings: Any) -> None:
            super().__init__(x, stride=-1.0 * stride, **settings)

    monkeypatch.setattr(momentum, "Momentum", Back)
    assert gap("nifgsm", lenet, digits) > 1e-3


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", NAMES)
def test_the_linear_truth(name: str, norm: str, near_grey: Data) -> None:
    backbone = testing.linear_backbone(classes=4)
    x = torch.tensor(near_grey.batch(np.arange(20))).double()
    attack = made(name, norm=norm, loss="margin", step_size=0.25)
    assert testing.linear_success(attack, backbone, x, 1.05).float().mean() >= 0.9
    assert not testing.linear_success(attack, backbone, x, 0.99).any()


@pytest.mark.parametrize("name", NAMES)
def test_leaving_changes_nothing_for_those_who_stay(
    name: str, lenet: Backbone, digits: Data
) -> None:
    stays = made(name)(lenet, digits)
    never = made(name, early_exit=False)(lenet, digits)
    assert 0 < stays.verified.sum() < len(digits)
    assert np.array_equal(stays.verified, never.verified)
    left = ~stays.verified[0]
    assert np.allclose(stays.images[0][left], never.images[0][left], atol=1e-6)
    assert stays.passes.sum() < never.passes.sum()


def test_leaving_catches_sums_of_other_images(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: when images leave, those that stay go on with the sums of the first ones."""
    monkeypatch.setattr(
        Momentum, "keep", lambda self, index: setattr(self, "total", self.total[: len(index)])
    )
    with pytest.raises(AssertionError):
        test_leaving_changes_nothing_for_those_who_stay("mifgsm", lenet, digits)


# What makes perturbations carry over --------------------------------------------------------


@pytest.mark.parametrize(("share", "place"), [(0.9, 0.0), (0.7, 0.5), (0.85, 0.99), (0.05, 0.3)])
def test_placed_is_a_bilinear_shrink_and_a_pad(share: float, place: float) -> None:
    image = torch.rand(1, 2, 20, 20, generator=torch.Generator().manual_seed(0)).double()
    matrix = placed(20, share, place)
    ours = matrix @ image @ matrix.T
    length = round(share * 20)
    small = functional.interpolate(image, size=(length, length), mode="bilinear")
    first = int(place * (20 - length + 1))
    after = 20 - length - first
    assert torch.allclose(ours, functional.pad(small, (first, after, first, after)), atol=1e-12)


def test_each_image_is_varied_by_itself() -> None:
    x = torch.rand(5, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    ids = [str(row) for row in range(5)]
    whole = Varied(SampleRandom(0, ids), 0.5, 0.8)
    first, second = whole(x), whole(x)
    part = Varied(SampleRandom(0, ids), 0.5, 0.8)
    part.keep(torch.tensor([1, 3]))
    assert torch.allclose(part(x[[1, 3]]), first[[1, 3]])
    assert torch.allclose(part(x[[1, 3]]), second[[1, 3]])
    same = [(seen == x).flatten(1).all(dim=1).sum() for seen in (first, second)]
    assert 0 < sum(int(one) for one in same) < 10  # some are left as they are, some are not
    assert torch.equal(Varied(SampleRandom(0, ids), 0.0, 0.8)(x), x)


def test_the_kernel_is_that_of_torchattacks() -> None:
    library = pytest.importorskip("torchattacks")
    theirs = library.TIFGSM.gkern(None, 15, 3)
    assert np.allclose(gaussian(15).numpy(), theirs, atol=1e-12)
    assert not np.allclose(gaussian(13).numpy(), theirs[1:-1, 1:-1], atol=1e-4)
    assert gaussian(1).tolist() == [[1.0]]


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_gradients_are_smoothed_channel_by_channel(channels: int) -> None:
    gradient = torch.randn(2, channels, 9, 9, generator=torch.Generator().manual_seed(0)).double()
    walk = Momentum(gradient, decay=1.0, kernel=gaussian(5))
    smooth = walk._smooth(gradient)
    for channel in range(channels):
        alone = functional.conv2d(
            gradient[:, channel : channel + 1], gaussian(5)[None, None], padding=2
        )
        assert torch.allclose(smooth[:, channel : channel + 1], alone)
