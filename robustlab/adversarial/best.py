"""The best that was found of each image so far."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robustlab.adversarial.verification import Verdict

__all__ = ["Best"]


@dataclass
class Best:
    """The best candidates an image so far, as floats and as pixels, and the verdict on them."""

    x_adv: Tensor
    claimed: Tensor
    verdict: Verdict

    def update(self, rows: Tensor, x_adv: Tensor, claimed: Tensor, found: Verdict) -> None:
        """Take over the rows where a new candidate is better; an invalid one never is.

        As floats, better is: verified; among verified ones the smaller perturbation, among failures
        the larger margin. The pixels are those of the best candidate as floats, or of the first
        that is verified at 8 bits, if that one is not.
        """
        old, new = self.verdict.verified[rows], found.verified
        smaller = new & (found.distance < self.verdict.distance[rows])
        nearer = ~new & found.valid & (found.margin > self.verdict.margin[rows])
        floats = (new & ~old) | ((new == old) & (smaller | nearer))
        kept, gained = self.verdict.verified_8bit[rows], found.verified_8bit
        pixels = (gained & ~kept) | (floats & (gained == kept))
        self.x_adv[rows[floats]] = x_adv[floats]
        self.claimed[rows] |= claimed
        for name, column in vars(found).items():
            take = pixels if name.endswith("_8bit") else floats
            if column is not None:
                getattr(self.verdict, name)[rows[take]] = column[take]
