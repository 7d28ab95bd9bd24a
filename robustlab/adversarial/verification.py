"""A success is what survives verification: the lab's own check, away from the attack's code.

Checked on the original network (never the search's copy): finite, inside the box [0, 1], inside the
budget, and misclassified (or at the target); first as floats, then as the 8-bit pixels that a PNG
would hold. All norms are measured in float64. A spatial threat has no norm: an image is within it
where the lab, from the pose that was claimed, makes the same image itself.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from robustlab.adversarial.losses import fooled, in_top5, margin
from robustlab.adversarial.spatial import SpatialThreat
from robustlab.adversarial.threats import Threat

__all__ = ["Judge", "Verdict", "to_8bit"]

# What rounding alone may add to a perturbation that an attack kept inside its ball: one part in a
# million of eps (8/255 is no float32), and a float32 ulp of a pixel, in the norm of all pixels.
_RELATIVE_SLACK, _PIXEL_SLACK = 1e-6, 6e-8
# A float32 pixel times 255 misses an integer by at most 1.6e-5; further away it is a fraction.
_SNAP = 5e-5
# Margins (in units of the largest logit) within which rounding can turn a verdict: on the shipped
# networks float32 logits differ between batch sizes by less than 1e-6 of the largest.
FRAGILE_MARGIN = 1e-4


@dataclass
class Verdict:
    """What the lab found of candidate images; every field is [n] but the images.

    Attributes:
        valid: finite, inside the box and inside the budget.
        fooled: misclassified, or at the target, valid or not.
        verified: valid and fooled, as floats.
        verified_8bit: verified, and valid and fooled as 8-bit pixels too, the budget measured from
            the clean 8-bit image.
        distance: norm of the perturbation; prediction, confidence: of the float image, and with
            ``_8bit`` of the pixels.
        images_8bit: uint8 [n, C, H, W].
        top5, top5_8bit: whether the label is among the five likeliest classes of the float image
            and of the pixels, fooled or not; None where there are too few classes to ask.
        pose, pose_8bit: float64 [n, 3], of a spatial threat's images: as claimed; None of others.
    """

    valid: Tensor
    fooled: Tensor
    verified: Tensor
    verified_8bit: Tensor
    distance: Tensor
    prediction: Tensor
    confidence: Tensor
    prediction_8bit: Tensor
    confidence_8bit: Tensor
    margin: Tensor
    images_8bit: Tensor
    pose: Tensor | None = None
    pose_8bit: Tensor | None = None
    top5: Tensor | None = None
    top5_8bit: Tensor | None = None

    def rank(self) -> Tensor:
        """2: fooled as floats and as 8-bit pixels; 1: as floats only; 0: not. Shape [n]."""
        return self.verified.long() + self.verified_8bit.long()


def to_8bit(x_adv: Tensor, clean_8bit: Tensor, threat: Threat) -> Tensor:
    """The pixels a PNG would hold, uint8, every level rounded towards the clean pixel.

    Rounding towards the clean pixel never enlarges a perturbation: in L0 no pixel is added, since
    one that did not change is less than a level away from the clean one. A level within 5e-5 of an
    integer is that integer in float32 dress. Where the clean image was not on the 8-bit grid, an
    Linf perturbation is cut to the budget around the clean 8-bit pixel. A spatial threat's pixels
    are the clean 8-bit image in its pose, each level rounded to the nearest.
    """
    if isinstance(threat, SpatialThreat):
        return threat.pixels(clean_8bit)
    clean = clean_8bit.double()
    levels = x_adv.double().clamp(0.0, 1.0) * 255.0
    nearest = levels.round()
    levels = torch.where((levels - nearest).abs() < _SNAP, nearest, levels)
    steps = (levels - clean).trunc()
    if threat.norm == "linf":
        most = float(int(float(threat.eps) * 255.0 * (1 + _RELATIVE_SLACK) + 1e-9))
        steps = steps.clamp(-most, most)
    return (clean + steps).clamp(0, 255).to(torch.uint8)


def budget_slack(x: Tensor, threat: Threat) -> float:
    """How far beyond eps a perturbation may measure for float32 rounding alone; 0 in L0, where a
    pixel is changed or it is not.
    """
    if threat.norm == "l0":
        return 0.0
    power = {"linf": 0.0, "l2": 0.5, "l1": 1.0, "spatial": 0.0}[threat.norm]
    return float(threat.eps) * _RELATIVE_SLACK + _PIXEL_SLACK * math.pow(x[0].numel(), power)


class Judge:
    """Verifies candidates on the original network.

    Args:
        network: the original network, from [0, 1] images to logits, in its own dtype.
        dtype: that dtype; images and logits stay in their own, float32 or float64.
        draws: passes whose mean logits decide, for a network that answers at random.
    """

    def __init__(
        self, network: nn.Module, dtype: torch.dtype = torch.float32, draws: int = 1
    ) -> None:
        self.network = network
        self.dtype = dtype
        self.draws = draws

    def logits(self, x: Tensor) -> Tensor:
        """Logits without gradients."""
        with torch.no_grad():
            logits: Tensor = self.network(x.to(self.dtype))
            for _ in range(self.draws - 1):
                logits = logits + self.network(x.to(self.dtype))
        return (logits / self.draws if self.draws > 1 else logits).to(x.dtype)

    def within(self, x_adv: Tensor, x: Tensor, threat: Threat) -> tuple[Tensor, Tensor]:
        """Whether candidates are finite, in the box and in the budget, [n]; and their distance."""
        finite = x_adv.isfinite().flatten(1).all(dim=1)
        boxed = ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(dim=1)
        size = threat.distance(x_adv, x)
        return finite & boxed & (size <= threat.eps + budget_slack(x, threat)), size

    def verify(
        self,
        x: Tensor,
        clean_8bit: Tensor,
        y: Tensor,
        x_adv: Tensor,
        threat: Threat,
        logits: Tensor | None = None,
    ) -> Verdict:
        """Check candidates ``x_adv`` [n, C, H, W] for clean images ``x`` and labels ``y``.

        ``logits`` are the judge's own of ``x_adv``, where it has looked already: a network that
        answers at random would answer otherwise a second time.
        """
        valid, size = self.within(x_adv, x, threat)
        logits = self.logits(x_adv.nan_to_num(0.0)) if logits is None else logits
        pixels = to_8bit(x_adv.nan_to_num(0.0), clean_8bit, threat)
        x_8bit = pixels.to(x.dtype) / 255.0
        clean = clean_8bit.to(x.dtype) / 255.0
        valid_8bit, _ = self.within(x_8bit, clean, threat.as_pixels())
        logits_8bit = self.logits(x_8bit)
        hit = fooled(logits, y, threat.target)
        verified = valid & hit
        return Verdict(
            valid=valid,
            fooled=hit,
            verified=verified,
            verified_8bit=verified & valid_8bit & fooled(logits_8bit, y, threat.target),
            distance=size,
            prediction=logits.argmax(dim=1),
            confidence=logits.double().softmax(dim=1).amax(dim=1),
            prediction_8bit=logits_8bit.argmax(dim=1),
            confidence_8bit=logits_8bit.double().softmax(dim=1).amax(dim=1),
            margin=margin(logits, y, threat.target),
            images_8bit=pixels,
            pose=threat.poses(x),
            pose_8bit=threat.poses(x),
            top5=in_top5(logits, y),
            top5_8bit=in_top5(logits_8bit, y),
        )

    @cached_property
    def _double(self) -> nn.Module:
        return copy.deepcopy(self.network).double()

    def fragile(self, x_adv: Tensor, y: Tensor, threat: Threat) -> Tensor:
        """Images whose verdict turns with batch size or precision, bool [n].

        Only margins close to zero can turn; those images are judged again alone and in float64.
        """
        result = torch.zeros_like(y, dtype=torch.bool)
        logits = self.logits(x_adv)
        hit = fooled(logits, y, threat.target)
        margins = margin(logits, y, threat.target)
        scale = logits.abs().amax(dim=1).clamp_min(1e-12)
        close = (margins.abs() / scale < FRAGILE_MARGIN).nonzero().squeeze(1)
        for row in close.tolist():
            one, label = x_adv[row : row + 1], y[row : row + 1]
            part = threat.narrow(torch.tensor([row], device=y.device))
            batched = bool(hit[row])
            alone = bool(fooled(self.logits(one), label, part.target))
            exact = self._in_float64(one, label, part)
            result[row] = not (batched == alone == exact)
        return result

    def _in_float64(self, one: Tensor, label: Tensor, threat: Threat) -> bool | None:
        """The verdict of the network in float64; None, no verdict, where it cannot be run so."""
        try:
            with torch.no_grad():
                return bool(fooled(self._double(one.double()), label, threat.target))
        except Exception:  # a network with a fixed dtype inside; its verdict near zero is fragile
            return None
