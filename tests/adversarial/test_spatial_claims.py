"""Claims of rotations and translations that the lab must refuse, and those that it must believe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustlab import Attack, testing
from robustlab.adversarial import Found
from robustlab.adversarial.rigid import rigid
from robustlab.adversarial.spatial import SpatialThreat
from robustlab.adversarial.threats import Threat
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.registry import resolve

Transform = Callable[..., Tensor]


@pytest.fixture(scope="module")
def few(digits: Data) -> Data:
    return digits.subset(np.arange(20))


def _nothing(self: Any, x_adv: Tensor, x: Tensor) -> Tensor:
    return torch.zeros(len(x), dtype=torch.bool)


class _Claims(Attack):
    """Moves every image 3 pixels down and turns it 20 degrees, and says so; then cheats."""

    norms = ("spatial",)
    norm: str = "spatial"
    """norm"""
    degrees: float = 30.0
    """largest rotation"""

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        pose = torch.tensor([[20.0, 0.0, 3.0]], dtype=torch.float64).repeat(len(x), 1)
        return self.cheat(threat, x, torch.ones_like(y, dtype=torch.bool), pose)

    def cheat(self, threat: Any, x: Any, claimed: Any, pose: Any) -> Any:
        return threat.move(x, pose), claimed, pose


class _TooFar(_Claims):
    def cheat(self, threat: Any, x: Any, claimed: Any, pose: Any) -> Any:
        pose = pose * pose.new_tensor([1.0, 1.0, 1.001])
        return threat.move(x, pose), claimed, pose


class _TurnsTooMuch(_Claims):
    def cheat(self, threat: Any, x: Any, claimed: Any, pose: Any) -> Any:
        pose = pose + pose.new_tensor([10.001, 0.0, 0.0])
        return threat.move(x, pose), claimed, pose


class _AnotherImage(_Claims):
    def cheat(self, threat: Any, x: Any, claimed: Any, pose: Any) -> Any:
        return threat.move(x, pose + pose.new_tensor([5.0, 0.0, 0.0])), claimed, pose


class _PaintsAsWell(_Claims):
    def cheat(self, threat: Any, x: Any, claimed: Any, pose: Any) -> Any:
        return (threat.move(x, pose) + 0.001).clamp(0, 1), claimed, pose


class _SaysNothing(_Claims):
    def cheat(self, threat: Any, x: Any, claimed: Any, pose: Any) -> Any:
        return threat.move(x, pose), claimed


class _PoseIsNoNumber(_Claims):
    def cheat(self, threat: Any, x: Any, claimed: Any, pose: Any) -> Any:
        return x, claimed, pose * torch.nan


class _Mirrors(_Claims):
    def cheat(self, threat: Any, x: Any, claimed: Any, pose: Any) -> Any:
        return rigid(x, 20.0, 0.0, 3.0, "border"), claimed, pose


BUDGET, IMAGE = "outside the budget", "not the image that its pose makes"
CHEATS = [
    (_TooFar, BUDGET),
    (_TurnsTooMuch, BUDGET),
    (_AnotherImage, IMAGE),
    (_PaintsAsWell, IMAGE),
    (_SaysNothing, IMAGE),
    (_PoseIsNoNumber, IMAGE),
    (_Mirrors, IMAGE),
]


def _white_border(lenet: Backbone, digits: Data) -> Data:
    """Images that are right untouched, on grey, so that what lies outside them is seen."""
    right = digits.subset(np.flatnonzero(_clean(lenet, digits)))
    images = np.maximum(right.images[:16], 40)
    grey = Data(images, right.labels[:16], classes=10, name="grey")
    return grey.subset(np.flatnonzero(_clean(lenet, grey)))


def _clean(lenet: Backbone, data: Data) -> Any:
    x = torch.tensor(data.batch(np.arange(len(data))))
    return (lenet(x).argmax(1) == torch.tensor(np.asarray(data.labels))).numpy()


def _refused(cheat: Any, lenet: Backbone, data: Data, reason: str) -> Found:
    found: Found = cheat(eps=["3px"])(lenet, data)
    assert not found.verified.any()
    assert not found.verified_8bit.any()
    assert np.isinf(found.distance).all()
    assert np.isnan(found.angle).all()
    assert np.all(found.stray.get(reason, False))
    assert [f.level for f in found.findings if f.detector == "violations"] == ["red"]
    assert any(reason in f.sentence for f in found.findings)
    return found


@pytest.mark.parametrize(("cheat", "reason"), CHEATS)
def test_a_claim_is_not_believed(cheat: Any, reason: str, lenet: Backbone, digits: Data) -> None:
    _refused(cheat, lenet, _white_border(lenet, digits), reason)


def test_an_honest_claim_is(lenet: Backbone, digits: Data) -> None:
    data = _white_border(lenet, digits)
    found = _Claims(eps=["3px"])(lenet, data)
    assert len(data) > 6
    assert found.verified.sum() > 2
    assert (found.angle[found.verified] == 20).all()
    assert (found.distance[found.verified] == 3).all()
    testing.check_attack(_Claims(eps=["3px"]), lenet, data)


@pytest.mark.parametrize(("cheat", "reason"), CHEATS[:-1])
def test_a_lax_judge_is_caught(
    cheat: Any, reason: str, lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: a judge that reads neither the pose nor its bounds believes them all."""
    monkeypatch.setattr(SpatialThreat, "forged", _nothing)
    monkeypatch.setattr(
        SpatialThreat, "distance", lambda self, x_adv, x: torch.zeros(len(x), dtype=torch.float64)
    )
    with pytest.raises(AssertionError):
        _refused(cheat, lenet, _white_border(lenet, digits), reason)


def test_what_is_judged_is_the_image_that_the_lab_makes(lenet: Backbone, digits: Data) -> None:
    """An attack whose own rounding differs in the last bits is believed, its bits are not kept."""

    class Rounds(_Claims):
        def cheat(self, threat: Any, x: Any, claimed: Any, pose: Any) -> Any:
            return (threat.move(x, pose) + 5e-6).clamp(0, 1), claimed, pose

    data = _white_border(lenet, digits)
    found, exact = (kind(eps=["3px"])(lenet, data) for kind in (Rounds, _Claims))
    assert np.array_equal(found.images, exact.images)
    assert np.array_equal(found.verified, exact.verified)


def test_pixels_are_rounded_to_the_nearest_level(by_scipy: Transform) -> None:
    clean = torch.tensor(np.random.default_rng(0).integers(0, 256, (4, 1, 9, 9)), dtype=torch.uint8)
    pose = torch.tensor([[0.0, 0, 0], [0, 1, 0], [13, 0.4, 0], [-30, 2, -2]], dtype=torch.float64)
    pixels = SpatialThreat("spatial", 2.0, pose=pose).pixels(clean)
    for row, one in enumerate(pose.tolist()):
        exact = by_scipy(clean[row : row + 1].double(), *one, "zeros")
        assert (pixels[row].double() - exact[0]).abs().max() <= 0.5 + 1e-9
    towards = (by_scipy(clean[2:3].double(), *pose[2].tolist(), "zeros") - clean[2:3]).trunc()
    assert not torch.equal(pixels[2:3].double(), clean[2:3] + towards)  # not towards the clean one


def test_a_pose_in_another_norm_is_refused(lenet: Backbone, few: Data) -> None:
    class Lp(Attack):
        def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
            return x, torch.zeros_like(y, dtype=torch.bool), x.new_zeros(len(x), 3)

    with pytest.raises(BadRequest, match="a pose was returned in linf"):
        Lp(eps=["0.1"])(lenet, few)
    found = resolve("noise").obj(eps=["0.1"])(lenet, few)
    assert found.pose is None
    with pytest.raises(AttributeError, match="turns and moves nothing"):
        _ = found.angle
    assert Threat("linf", 0.1).poses(torch.zeros(1, 1, 2, 2)) is None


class _Follows(_Claims):
    """Says that it follows gradients, in steps that would be too few for a ball."""

    steps: int = 2
    """steps"""
    step_size: float = 0.01
    """share of eps"""

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        self.look(model, x, y, threat.target)
        return super().search(model, x, y, start, threat, rng)


def test_detectors_of_balls_are_silent(lenet: Backbone, few: Data) -> None:
    found = _Follows(eps=["1px", "3px"])(lenet, few)
    assert not found.verified.all()
    said = {f.detector for f in found.findings if f.level != "green"}
    assert said == {"violations"}  # 3 pixels claimed at eps 1px
    assert "schedule" not in {f.detector for f in found.findings}
