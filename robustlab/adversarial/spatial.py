"""A threat that is no Lp ball: the image turned and moved, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NoReturn

import torch
from torch import Tensor

from robustlab.adversarial.rigid import check_padding, rigid
from robustlab.adversarial.threats import Threat
from robustlab.errors import BadRequest

__all__ = ["SpatialThreat"]

# What another float32 implementation of the same transform may give: one that keeps places on a
# scale of -1 to 1 misses them by 1e-5 pixels on images of 224.
_ROUNDING = 1e-5
_HALF_A_LEVEL = 0.5 / 255
_SLACK = 1e-6  # of the rotation bound; that of the shift is the judge's


@dataclass(frozen=True)
class SpatialThreat(Threat):
    """Rotations up to ``degrees`` about the centre, then shifts up to ``eps`` pixels each way.

    An attack claims the pose of each of its images: how the clean image is turned and moved to make
    it. The lab makes the image itself from the pose, and what is judged and kept is that image. A
    claim whose pose is out of bounds, or whose image is not its pose's, is refused.

    Attributes:
        eps: largest shift to the right or left, and up or down, in pixels; whole or not.
        degrees: largest rotation either way, 0 to 180.
        padding: what lies outside the image; see `rigid`.
        pose: claimed of each candidate, [n, 3]: angle in degrees, dx and dy in pixels, as `rigid`
            takes them. None: the image as it was.
        tolerance: how far a candidate's pixels may be from those of its pose.
    """

    degrees: float = 30.0
    padding: str = "zeros"
    pose: Tensor | None = None
    tolerance: float = _ROUNDING

    def __post_init__(self) -> None:
        check_padding(self.padding)
        if not 0 <= self.degrees <= 180:
            raise BadRequest(f"degrees must be from 0 to 180, not {self.degrees}")

    @property
    def name(self) -> str:
        """``spatial-30``: what is allowed beside eps; attacks under it can be compared."""
        outside = "" if self.padding == "zeros" else f"-{self.padding}"
        degrees = f"{self.degrees:.6f}".rstrip("0").rstrip(".")
        return f"{self.norm}-{degrees}{outside}"

    @property
    def geometry(self) -> NoReturn:
        """There is none: no step, no projection."""
        raise BadRequest("a spatial threat is no ball of pixels; use threat.move(x, pose)")

    def narrow(self, rows: Tensor) -> SpatialThreat:
        part = super().narrow(rows)
        assert isinstance(part, SpatialThreat)
        return part if self.pose is None else replace(part, pose=self.pose[rows])

    def move(self, x: Tensor, pose: Tensor) -> Tensor:
        """The images that poses make of ``x`` [n, C, H, W]: [n, 3], or [1, 3] for all of them."""
        angle, dx, dy = pose.nan_to_num(0.0).unbind(dim=1)
        return rigid(x, angle, dx, dy, self.padding)

    def claiming(self, pose: Tensor | None) -> SpatialThreat:
        return self if pose is None else replace(self, pose=pose.detach())

    def poses(self, x: Tensor) -> Tensor:
        if self.pose is None:
            return torch.zeros(len(x), 3, dtype=torch.float64, device=x.device)
        return self.pose.to(x.device, torch.float64)

    def forged(self, x_adv: Tensor, x: Tensor) -> Tensor:
        pose = self.poses(x)
        apart = (x_adv.double() - self.move(x, pose).double()).abs().flatten(1).amax(dim=1)
        return ~(apart <= self.tolerance) | ~pose.isfinite().all(dim=1)

    def recomputed(self, x_adv: Tensor, x: Tensor) -> Tensor:
        own = self.move(x, self.poses(x))
        return torch.where(self.forged(x_adv, x).view(-1, 1, 1, 1), x_adv, own)

    def as_pixels(self) -> SpatialThreat:
        return replace(self, tolerance=_HALF_A_LEVEL + _ROUNDING)

    def pixels(self, clean_8bit: Tensor) -> Tensor:
        """The 8-bit image, uint8: the clean 8-bit image in its pose, each level to the nearest.

        There is no clean pixel to round towards: the pose is the budget, and rounding leaves it as
        it is.
        """
        clean = clean_8bit.double() / 255.0
        return (self.move(clean, self.poses(clean)) * 255.0).round().to(torch.uint8)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The larger of |dx| and |dy| in pixels, [n]; inf where the image is not its pose's, or the
        rotation is out of bounds.
        """
        pose = self.poses(x)
        turned = pose[:, 0].abs() > self.degrees * (1 + _SLACK)
        return pose[:, 1:].abs().amax(dim=1).masked_fill(turned | self.forged(x_adv, x), torch.inf)
