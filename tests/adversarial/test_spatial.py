"""Rotation and translation: the grid against brute force, and claims that the lab must refuse."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustlab import Attack
from robustlab.adversarial.rigid import rigid
from robustlab.adversarial.spatial import SpatialThreat
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.registry import resolve

Transform = Callable[..., Tensor]
SMALL = {"angles": 7, "shifts": 3, "eps": ["2px"], "degrees": 15.0}
Spatial: Any = resolve("spatial").obj


def spatial(kind: Any = None, **params: Any) -> Attack:
    made: Attack = (kind or Spatial)(**bind(resolve("spatial"), {**SMALL, **params}))
    return made


def poses(degrees: float, eps: float, angles: int, shifts: int) -> list[tuple[float, ...]]:
    ways = [np.linspace(-b, b, n) for b, n in ((degrees, angles), (eps, shifts), (eps, shifts))]
    return list(itertools.product(*(way.tolist() for way in ways)))


@pytest.fixture(scope="module")
def few(digits: Data) -> Data:
    return digits.subset(np.arange(20))


@pytest.fixture(scope="module")
def brute(lenet: Backbone, few: Data, by_scipy: Transform) -> dict[tuple[float, ...], Any]:
    """Which images each pose of the small grid fools, by scipy's transform: pose -> bool [2, n], as
    floats, and as pixels too.
    """
    x, y = torch.tensor(few.batch(np.arange(len(few)))), torch.tensor(np.asarray(few.labels))
    fools = {}
    for pose in poses(15.0, 2.0, 7, 3):
        moved = by_scipy(x, *pose, "zeros").clamp(0, 1)
        hit, hit_8bit = (
            lenet(m.float()).argmax(1) != y for m in (moved, (moved * 255).round() / 255)
        )
        fools[pose] = torch.stack([hit, hit & hit_8bit]).numpy()
    return fools


Oracle = Callable[..., None]


def finds_what_brute_force_finds(
    kind: Any, lenet: Backbone, few: Data, brute: Any, by_scipy: Transform
) -> None:
    found = spatial(kind)(lenet, few)
    expected = np.logical_or.reduce([hits[0] for hits in brute.values()])
    assert 3 < expected.sum() < len(few)
    assert np.array_equal(found.verified[0], expected)


def returns_a_small_pose(
    kind: Any, lenet: Backbone, few: Data, brute: Any, by_scipy: Transform
) -> None:
    """The smallest of the grid that fools as floats and as pixels, if any does so."""
    found = spatial(kind)(lenet, few)
    assert found.pose is not None
    bounds = np.array([15.0, 2.0, 2.0])
    for row in np.flatnonzero(found.verified[0]):
        both = int(any(hits[1, row] for hits in brute.values()))
        fooling = [pose for pose, hits in brute.items() if hits[both, row]]
        sizes = [np.square(np.array(pose) / bounds).sum() for pose in fooling]
        mine = np.square(found.pose[0, row] / bounds).sum()
        assert mine == pytest.approx(min(sizes)), few.ids[row]
    assert np.isnan(found.pose[0][~found.verified[0]]).all()


def returns_the_pose_of_its_image(
    kind: Any, lenet: Backbone, few: Data, brute: Any, by_scipy: Transform
) -> None:
    """Float images and pixels are what scipy makes of the clean ones in the poses told."""
    found = spatial(kind, eps=["1px", "2px"])(lenet, few)
    assert found.pose is not None
    assert found.pose_8bit is not None
    x = torch.tensor(few.batch(np.arange(len(few))))
    seen = 0
    for row, place in np.argwhere(found.verified):
        pose = found.pose[row, place].tolist()
        theirs = by_scipy(x[place : place + 1], *pose, "zeros")[0].numpy()
        assert np.abs(found.images[row, place] - theirs).max() < 1e-6
        assert found.distance[row, place] == max(abs(pose[1]), abs(pose[2]))
        assert (pose[0], pose[1], pose[2]) == tuple(
            c[row, place] for c in (found.angle, found.dx, found.dy)
        )
        seen += 1
    for row, place in np.argwhere(found.verified_8bit):
        pose = found.pose_8bit[row, place].tolist()
        theirs = by_scipy(x[place : place + 1], *pose, "zeros")[0].numpy() * 255
        assert np.abs(found.images_8bit[row, place] - theirs).max() <= 0.5 + 1e-6
    assert seen > 3


ORACLES = [
    finds_what_brute_force_finds,
    returns_a_small_pose,
    returns_the_pose_of_its_image,
]


@pytest.mark.parametrize("oracle", ORACLES)
def test_a_sound_grid(
    oracle: Oracle, lenet: Backbone, few: Data, brute: Any, by_scipy: Transform
) -> None:
    oracle(None, lenet, few, brute, by_scipy)


class _NoCorners(Spatial):  # type: ignore[misc]
    def _poses(self, x: Any, threat: Any, rng: Any) -> Any:
        found = super()._poses(x, threat, rng)
        return found[:, : found.shape[1] // 3]


class _TurnsOnly(Spatial):  # type: ignore[misc]
    def _poses(self, x: Any, threat: Any, rng: Any) -> Any:
        return super()._poses(x, threat, rng) * x.new_tensor([1.0, 0.0, 0.0])


class _FromOutside(Spatial):  # type: ignore[misc]
    def _poses(self, x: Any, threat: Any, rng: Any) -> Any:
        return super()._poses(x, threat, rng).flip(1)


class _TellsTheOther(Spatial):  # type: ignore[misc]
    """Clockwise for counter-clockwise."""

    def search(self, *args: Any) -> Any:
        moved, claimed, pose = super().search(*args)
        return moved, claimed, pose * pose.new_tensor([-1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("mutant", "oracle"),
    [
        (_NoCorners, finds_what_brute_force_finds),
        (_TurnsOnly, finds_what_brute_force_finds),
        (_FromOutside, returns_a_small_pose),
        (_TellsTheOther, finds_what_brute_force_finds),
    ],
)
def test_a_mutant_is_killed(
    mutant: Any, oracle: Oracle, lenet: Backbone, few: Data, brute: Any, by_scipy: Transform
) -> None:
    with pytest.raises(AssertionError):
        oracle(mutant, lenet, few, brute, by_scipy)


def test_a_lab_that_keeps_the_attacks_pose_unread_is_caught(
    lenet: Backbone, few: Data, brute: Any, by_scipy: Transform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SpatialThreat, "forged", _nothing)
    monkeypatch.setattr(SpatialThreat, "recomputed", lambda self, x_adv, x: x_adv)
    with pytest.raises(AssertionError):
        returns_the_pose_of_its_image(_TellsTheOther, lenet, few, brute, by_scipy)


def _nothing(self: Any, x_adv: Tensor, x: Tensor) -> Tensor:
    return torch.zeros(len(x), dtype=torch.bool)


def test_the_grid_holds_its_corners_and_the_identity() -> None:
    attack: Any = spatial(angles=31, shifts=5, eps=["3px"], degrees=30.0)
    x = torch.zeros(1, 1, 32, 32)
    found = attack._poses(x, attack.threat(3.0), None)[0]
    assert len(found) == len({tuple(p) for p in found.tolist()}) == 31 * 5 * 5
    assert found[0].tolist() == [0.0, 0.0, 0.0]
    expected = {tuple(np.round(p, 9)) for p in poses(30.0, 3.0, 31, 5)}
    assert {tuple(np.round(p, 9)) for p in found.tolist()} == expected
    for corner in itertools.product((-30.0, 30.0), (-3.0, 3.0), (-3.0, 3.0)):
        assert list(corner) in found.tolist()  # to the bit


@pytest.mark.parametrize("method", ["grid", "worst_of"])
def test_nothing_allowed_is_clean_accuracy(lenet: Backbone, few: Data, method: str) -> None:
    found = spatial(eps=["0px"], degrees=0.0, method=method)(lenet, few)
    assert found.robust_accuracy["0px"].value == found.clean_accuracy.value
    assert np.array_equal(found.verified[0], ~found.clean_correct)
    turned = spatial(eps=["0px"], degrees=40.0)(lenet, few)
    assert turned.verified.sum() > found.verified.sum()  # eps 0 alone does not forbid a rotation
    assert (turned.distance[turned.verified] == 0).all()


def test_larger_nested_grids_never_fool_less(lenet: Backbone, few: Data) -> None:
    """Each run afresh, so that nothing is handed from one budget to the next."""
    small = spatial(eps=["1px"], shifts=3, angles=7)(lenet, few).verified[0]
    large = spatial(eps=["2px"], shifts=5, angles=7)(lenet, few).verified[0]
    wide = spatial(eps=["2px"], shifts=5, angles=13, degrees=30.0)(lenet, few).verified[0]
    assert (large | ~small).all()
    assert (wide | ~large).all()
    assert small.sum() < large.sum() < wide.sum()


def test_few_random_poses_fool_less_than_the_grid(lenet: Backbone, digits: Data) -> None:
    wide = {"degrees": 25.0}
    grid = spatial(angles=13, shifts=5, **wide)(lenet, digits).verified.sum()
    some = spatial(method="worst_of", draws=3, **wide)(lenet, digits).verified.sum()
    more = spatial(method="worst_of", draws=3, restarts=4, **wide)(lenet, digits).verified.sum()
    assert 0 < some < more < grid


class _Moments(nn.Module):
    """Class by the sum of all pixels, or by where they lie, against what it is for each image."""

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), bias

    def forward(self, x: Tensor) -> Tensor:
        score = (x * self.weight).sum(dim=(1, 2, 3)) - self.bias
        return torch.stack([-score, score], dim=1)


def _blobs() -> Data:
    """Bright squares in the middle of black images, none as bright as another."""
    images = np.zeros((12, 1, 16, 16), np.uint8)
    levels = np.arange(12, dtype=np.uint8)[:, None, None, None] * 20 + 20
    images[:, :, 5:11, 5:11] = levels
    return Data(images, (np.arange(12) >= 6).astype(np.int64), classes=2, name="blobs")


@pytest.mark.parametrize(("invariant", "fooled"), [(True, 0), (False, 12)])
def test_a_network_that_sums_all_pixels_is_not_moved(invariant: bool, fooled: int) -> None:
    """By whole pixels, and no pixel over the edge; one that weighs them by place is."""
    weight = torch.ones(1, 1, 16, 16)
    if not invariant:
        weight *= (torch.arange(16.0) - 7.5).sign() * 2
    backbone = Backbone(
        _Moments(weight, 36 * 130 / 255 if invariant else 1.0).eval(),
        input_shape=(1, 16, 16),
        classes=2,
        name="sums",
    )
    data = _blobs()
    if not invariant:
        data = Data(data.images, np.zeros(12, np.int64), classes=2, name="blobs")
    found = spatial(degrees=0.0, eps=["4px"], shifts=9)(backbone, data)
    assert found.clean_correct.all()
    assert found.verified.sum() == fooled


# Parity with foolbox ------------------------------------------------------------------------------


def test_foolbox_turns_images_as_the_lab_does(lenet: Backbone, digits: Data) -> None:
    """The same images fall, by rotations alone: foolbox's shift of one pixel is (W - 1) / W of one,
    and it moves before it turns.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import eagerpy
        import foolbox

        x, y = torch.tensor(digits.batch(np.arange(len(digits)))), torch.tensor(digits.labels)
        theirs = foolbox.attacks.SpatialAttack(
            max_translation=0, max_rotation=45, num_translations=1, num_rotations=7
        )
        view = foolbox.PyTorchModel(lenet.network, bounds=(0, 1), device="cpu")
        _, _, fooled = theirs(view, x, foolbox.criteria.Misclassification(y))
        from foolbox.attacks.spatial_attack_transformations import transform_pt

        moved = transform_pt(eagerpy.astensor(x), (2.0, -1.0), np.deg2rad(25.0)).raw
    found = spatial(eps=["0px"], degrees=45.0)(lenet, digits)
    assert np.array_equal(found.verified[0], fooled.numpy())
    assert 3 < fooled.sum() < len(digits)
    turn, size = np.deg2rad(25.0), 31 / 32
    source = np.array([2.0, -1.0]) * size
    back = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    dx, dy = -(back @ source)
    assert (rigid(x, 25.0, dx, dy) - moved).abs().max() < 1e-4
    assert (rigid(x, 25.0, dy, dx) - moved).abs().max() > 0.1


# Targets, parameters, detectors -----------------------------------------------------------------


def test_targets_are_reached(lenet: Backbone, digits: Data) -> None:
    found = spatial(target=1, eps=["3px"])(lenet, digits)
    assert found.target_success["3px"].value > 0
    hit = found.verified[0] & found.attackable
    assert (found.prediction[0][hit] == 1).all()
    assert np.isfinite(found.angle[0][hit]).all()


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"angles": 30}, "angles must be odd and at least 3"),
        ({"shifts": 1}, "shifts must be odd and at least 3"),
        ({"method": "worst"}, "unknown method 'worst'; did you mean 'worst_of'"),
        ({"degrees": 181.0}, "degrees must be from 0 to 180"),
        ({"degrees": -1.0}, "degrees must be from 0 to 180"),
        ({"padding": "black"}, "unknown padding 'black'"),
        ({"norm": "linf", "eps": ["0.1"]}, "norm 'linf' is not one of its norms: spatial"),
        ({"restarts": 2}, "restarts repeat the same search"),
        ({"draws": 0}, "draws must be at least 1"),
        ({"eps": ["8/255px", "x"]}, "eps 'x' is not a number; write pixels"),
    ],
)
def test_refused(params: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRequest) as error:
        spatial(**params)
    assert told in str(error.value)


def test_a_move_out_of_sight_is_refused(lenet: Backbone, few: Data) -> None:
    with pytest.raises(BadRequest, match="moves an image of 32 pixels out of sight"):
        spatial(eps=["32px"])(lenet, few)
    with pytest.raises(BadRequest, match="norm 'spatial' is not one of its norms"):
        resolve("pgd").obj(eps=["1px"], norm="spatial")
    with pytest.raises(BadRequest, match="no ball of pixels"):
        spatial().threat(1.0).random_start(torch.zeros(1, 1, 8, 8), None)  # type: ignore[arg-type]


def test_successes_lost_to_rounding_are_named(
    lenet: Backbone, few: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where rounding undoes all of them: here the pixels are the clean ones."""
    monkeypatch.setattr(SpatialThreat, "pixels", lambda self, clean: clean)
    found = spatial()(lenet, few)
    told = [f for f in found.findings if f.detector == "rounding"]
    assert [f.level for f in told] == ["red"]
    assert told[0].count == int((found.verified & ~found.verified_8bit).any(axis=0).sum()) > 3
    assert "rounded to 8 bits" in told[0].sentence


def test_images_leave_when_they_are_verified(lenet: Backbone, few: Data) -> None:
    leaving = spatial()(lenet, few)
    staying = spatial(early_exit=False)(lenet, few)
    assert np.array_equal(leaving.verified, staying.verified)
    both = leaving.verified_8bit & staying.verified_8bit  # else the search went on
    assert np.array_equal(leaving.angle[both], staying.angle[both])
    assert both.sum() > 3
    fooled = leaving.verified[0] & leaving.clean_correct
    assert (leaving.forward[0][fooled] < 63).any()
    stood = ~leaving.verified[0]
    assert (leaving.forward[0][stood] == staying.forward[0][stood]).all()
    assert (staying.forward[0][stood] == 63).all()
