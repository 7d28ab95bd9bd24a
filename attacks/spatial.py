"""Rotation and translation: the image turned and moved, and not one pixel painted."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from robustlab import Attack, Threat, probe


@probe("spatial")
class Spatial(Attack):
    """Tries rotations and shifts on a grid, or at random, and returns the one that fools.

    Engstrom et al. 2019, section 3: "grid" goes through all of a grid, "worst_of" draws some poses
    from the same bounds. Poses of the grid come from the smallest outwards (each part as a share of
    its bound, the sum of squares), and the first that the lab verifies, as floats and as pixels, is
    the image's losing transform: a small one, found with few passes. What nothing fools keeps the
    pose of the largest margin. The first-order search of the paper is left out: its authors find
    the grid stronger.
    """

    norms: ClassVar[tuple[str, ...]] = ("spatial",)
    knowledge: ClassVar[str] = "score"
    loss: ClassVar[str] = "margin"
    paper: ClassVar[str] = "Engstrom, Tran, Tsipras, Schmidt, Madry 2019, arXiv:1712.02779"

    norm: str = "spatial"
    """norm of the budget: eps is the largest shift each way, in pixels, as "3px" """
    method: str = "grid"
    """"grid" tries every pose of the grid, "worst_of" the ``draws`` poses that it draws"""
    degrees: float = 30.0
    """largest rotation about the centre either way, 0 to 180"""
    padding: str = "zeros"
    """outside the image: "zeros" (black), "border" (repeated) or "reflect" (mirrored)"""
    angles: int = 31
    """rotations of the grid, odd, so that it holds 0 and both ends"""
    shifts: int = 5
    """shifts of the grid along each side, odd"""
    draws: int = 10
    """poses drawn by "worst_of", an image and restart"""

    def check(self) -> None:
        self.one_of("method", ("grid", "worst_of"))
        self.at_least("draws", 1)
        for name in ("angles", "shifts"):
            if getattr(self, name) < 3 or getattr(self, name) % 2 == 0:
                self.refuse(f"{name} must be odd and at least 3, so that the grid holds 0 and ends")

    def is_random(self) -> bool:
        return self.method == "worst_of"

    def passes(self) -> int:
        return self.draws if self.method == "worst_of" else self.angles * self.shifts**2

    def notes(self) -> tuple[str, ...]:
        lies = {"zeros": "black", "border": "its border repeated", "reflect": "its mirror image"}
        return (
            f"Rotation up to {self.degrees:g} degrees about the centre, then translation; "
            f"bilinear; outside the image: {lies[self.padding]}.",
        )

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        poses = self._poses(x, threat, rng)  # [1, m, 3] where all images share them, or [n, m, 3]
        rows, left = torch.arange(len(x), device=x.device), x
        best = x.new_zeros(len(x), 3, dtype=torch.float64)
        value = torch.full_like(y, -torch.inf, dtype=x.dtype)
        claimed = torch.zeros_like(y, dtype=torch.bool)
        for turn in range(poses.shape[1]):
            tried = poses[:, turn] if len(poses) == 1 else poses[rows, turn]
            moved, pose = threat.move(left, tried), tried.expand(len(rows), 3)
            seen, hit = self.query(model, moved, y[rows], threat)
            gone = torch.zeros_like(hit)
            if self.early_exit:
                gone = model.settled(moved, hit, pose)
            new = gone | (~claimed[rows] & (hit | (seen > value[rows])))
            best[rows[new]], value[rows[new]] = pose[new], seen[new]
            claimed[rows] |= hit
            if bool(gone.any()):
                kept = (~gone).nonzero().squeeze(1)
                model, threat = model.narrow(kept), threat.narrow(kept)
                rows, left = rows[kept], left[kept]
            if len(rows) == 0:
                break
        return threat.move(x, best), claimed, best

    def _poses(self, x: Any, threat: Threat, rng: Any) -> Any:
        bounds = x.new_tensor([self.degrees, threat.eps, threat.eps], dtype=torch.float64)
        if self.method == "worst_of":
            drawn = rng.uniform((self.draws, 3), -1.0, 1.0)
            return torch.as_tensor(drawn, device=x.device) * bounds
        counts = (self.angles, self.shifts, self.shifts)
        # Where nothing is allowed, 0 stands once.
        ways = [self._ends(n if b else 1, x) for n, b in zip(counts, bounds.tolist(), strict=True)]
        shares = torch.cartesian_prod(*ways)
        order = shares.square().sum(dim=1).argsort(stable=True)
        return (shares[order] * bounds)[None]

    @staticmethod
    def _ends(count: int, x: Any) -> Any:
        """``count`` shares from -1 to 1, with -1, 0 and 1 to the bit."""
        half = count // 2
        steps = torch.arange(-half, half + 1, dtype=torch.float64, device=x.device)
        return steps / max(half, 1)
