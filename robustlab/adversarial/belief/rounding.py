"""Successes that exist as floats alone, and why they are lost as 8-bit pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from robustlab.adversarial.belief.case import Case, Rows
from robustlab.adversarial.losses import fooled
from robustlab.adversarial.threats import Threat
from robustlab.adversarial.verification import to_8bit
from robustlab.outcome import Finding, Level

__all__ = ["rounding"]

_IMAGES, _FEW = 64, 2
_TEXTS = {
    "rounding": "another 8-bit image near it, within eps, still fools: the success is real, and "
    "rounding towards the clean image lost it. Let the attack stop further in.",
    "attack": "no 8-bit image that was tried near it fools (nearest level, level further away, "
    "stretched to eps): the success is one of floats alone.",
}


def rounding(case: Case) -> Iterator[Finding]:
    """Verified as floats and not as the pixels of a PNG, with the reason.

    The judge rounds towards the clean image. Tried here within eps, on the original network: the
    nearest level, the level further away, and the perturbation stretched to eps. Where one of them
    fools the reason is "rounding", where none does "attack". Of at most 64 images, each at its
    largest eps. Red where one reason takes more than half of the images fooled, and more than two.

    Budgets below one level of 1/255 are left out and told in amber: the clean image is the only
    one of 8 bits there, whatever the attack does: the question loses them, not the attack.
    """
    found = case.found
    held = found.verified & found.attackable
    lost = held & ~found.verified_8bit
    below = _below_a_level(case)
    if below.any():
        yield from _too_small(case, below, lost)
        held, lost = held & ~below[:, None], lost & ~below[:, None]
    if not held.any():
        return
    if not lost.any():
        where = "At eps of one level of 1/255 or more e" if below.any() else "E"
        text = f"{where}very success as floats is one as 8-bit pixels too."
        yield Finding("rounding", "green", text)
        return
    n, of = int(lost.any(axis=0).sum()), int(held.any(axis=0).sum())
    if case.spatial:
        yield _turned(case, lost, n, of)
        return
    asked = np.flatnonzero(lost.any(axis=0))[:_IMAGES]
    reasons = _reasons(case, lost, asked)
    for reason, text in _TEXTS.items():
        rows = np.zeros(len(found.ids), bool)
        rows[asked[reasons == reason]] = True
        if rows.any():
            most = rows.sum() > max(_FEW, 0.5 * of)
            level: Level = "red" if most else "amber"
            part = "" if n == len(asked) else f" (of the first {len(asked)} that are lost)"
            yield Finding(
                "rounding",
                level,
                "{count} of {of} images fooled as floats are not, at some eps, as 8-bit pixels"
                f"{part}: {text}",
                case.named(rows),
                int(rows.sum()),
                of,
            )


def _below_a_level(case: Case) -> Rows:
    """Budgets, bool [eps], that no change of a single level of a single pixel fits in.

    One pixel in L0 fits; poses are no budgets of pixels.
    """
    sizes = np.array(case.budgets)
    return (sizes > 0) & (sizes * 255 < 1 - 1e-6) & (not case.spatial)


def _too_small(case: Case, below: Rows, lost: Rows) -> Iterator[Finding]:
    rows = (lost & below[:, None]).any(axis=0)
    if rows.any():
        asked = ", ".join(text for text, small in zip(case.found.eps, below, strict=True) if small)
        yield Finding(
            "rounding",
            "amber",
            f"{{count}} of {{of}} images are fooled at eps {asked} as floats alone: below one "
            "level of 1/255 no 8-bit image but the clean one lies within eps, whatever the attack "
            "does. What 8 bits lose is counted at the other budgets.",
            case.named(rows),
            int(rows.sum()),
            int(case.found.attackable.sum()),
        )


def _turned(case: Case, lost: Rows, n: int, of: int) -> Finding:
    """A pose leaves no choice of pixels: nearest rounding is all there is to try."""
    return Finding(
        "rounding",
        "red" if n > max(_FEW, 0.5 * of) else "amber",
        "{count} of {of} images fooled as floats are not, at some eps, once the turned and moved "
        "image is rounded to 8 bits: they lie on the boundary. Count these as floats only.",
        case.named(lost.any(axis=0)),
        n,
        of,
    )


def _reasons(case: Case, lost: Rows, asked: Rows) -> Rows:
    """Why each of the images ``asked`` is lost at the largest eps where it is."""
    reasons = np.full(len(asked), "attack", dtype="<U8")
    order = np.argsort(case.budgets)
    last = order[len(order) - 1 - lost[order][:, asked][::-1].argmax(axis=0)]
    for index in np.unique(last):
        places = np.flatnonzero(last == index)
        rows = asked[places]
        x, clean, y = case.images(rows)
        threat = case.threat(int(index), rows)
        saved = torch.zeros_like(y, dtype=torch.bool)
        for pixels in _neighbours(case.candidates(int(index), rows), clean, threat):
            x_8bit = pixels.to(x.dtype) / 255.0
            inside, _ = case.judge.within(x_8bit, clean.to(x.dtype) / 255.0, threat)
            saved |= inside & fooled(case.judge.logits(x_8bit), y, threat.target)
        reasons[places[saved.cpu().numpy()]] = "rounding"
    return reasons


def _neighbours(x_adv: Tensor, clean_8bit: Tensor, threat: Threat) -> Iterator[Tensor]:
    """8-bit images near a candidate: nearest, away from the clean image, stretched to eps."""
    clean = clean_8bit.double()
    change = x_adv.double() * 255.0 - clean
    if threat.norm == "l0":  # what lies between two levels already is no change
        change = change.masked_fill(change.abs() <= 0.5, 0.0)
    most = float(threat.eps) * 255.0 + 1e-6 if threat.norm == "linf" else 255.0
    for steps in (change.round(), change.sign() * change.abs().sub(1e-4).ceil()):
        yield (clean + steps.clamp(-int(most), int(most))).clamp(0, 255)
    size = threat.distance(x_adv, clean / 255.0).clamp_min(1e-12).view(-1, 1, 1, 1)
    stretched = clean / 255.0 + change / 255.0 * (float(threat.eps) / size).clamp_min(1.0)
    yield to_8bit(stretched, clean_8bit, threat)
