"""An attack on one batch of images: budgets, restarts, verification, counting."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustlab.adversarial.access import Access
from robustlab.adversarial.attacker import Attacker
from robustlab.adversarial.best import Best
from robustlab.adversarial.fastpath import Way
from robustlab.adversarial.found import (
    FORGED,
    NOT_A_NUMBER,
    NOT_FOOLED,
    OUTSIDE_BOX,
    OUTSIDE_BUDGET,
    Found,
)
from robustlab.adversarial.learning import Learned
from robustlab.adversarial.losses import correct, fooled, in_top5
from robustlab.adversarial.smallest import Smallest, beyond, stretched
from robustlab.adversarial.threats import Threat
from robustlab.adversarial.verification import Judge, Verdict
from robustlab.randomness import SampleRandom
from robustlab.units import Budget

__all__ = ["Batch", "Images"]

Array = NDArray[Any]

# What float32 may add to a pixel at the border of the box; a 400th of an 8-bit level.
_BOX_SLACK = 1e-5


@dataclass
class Images:
    """One batch on the device: clean floats, clean 8-bit pixels, labels, targets, ids."""

    ids: tuple[str, ...]
    x: Tensor
    pixels: Tensor
    y: Tensor
    logits: Tensor
    target: Tensor | None


@dataclass(frozen=True)
class Turn:
    """Whose turn it is: the attack, its place in the ensemble, the restart and the budget's."""

    stage: Attacker
    number: int
    restart: int
    index: int


@dataclass
class Batch:
    """The attack on one batch of images."""

    attack: Attacker
    budgets: Sequence[Budget]
    ways: Sequence[Sequence[Way]]
    judge: Judge
    images: Images
    seed: int
    found: Found
    rows: Array
    learned: Sequence[Learned] = ()

    def run(self) -> None:
        images = self.images
        clean = self.judge.verify(
            images.x, images.pixels, images.y, images.x, self.threat(0.0), images.logits
        )
        self._begin(clean)
        # What the network gets wrong unattacked, as floats and as pixels, needs no attack; what is
        # labelled as the target cannot be driven to a mistake there.
        self.wanted = clean.rank() < 2
        if images.target is not None:
            self.wanted &= images.y != images.target
        self._write_clean()
        self.quick = torch.zeros_like(clean.fooled)
        self.kept: dict[tuple[int, int], Smallest] = {}
        for index in sorted(range(len(self.budgets)), key=lambda i: self.budgets[i].value):
            threat = self.threat(self.budgets[index].value)
            if self.attack.apart:
                self._begin(clean)
            for number, (_, stage) in enumerate(self.attack.stages()):
                begun = time.perf_counter()
                for restart in range(stage.restarts):
                    self._try(Turn(stage, number, restart, index), threat)
                self.found.stage_seconds[number] += time.perf_counter() - begun
            self._write(index, threat)

    def _begin(self, clean: Verdict) -> None:
        """Nothing found yet but the clean images; what is found is written into copies."""
        same = replace(clean, **{k: v.clone() for k, v in vars(clean).items() if v is not None})
        self.best = Best(self.images.x.clone(), torch.zeros_like(clean.fooled), same)
        self.broken_by = torch.full_like(self.images.y, -1)

    def threat(self, eps: float) -> Threat:
        return self.attack.threat(eps, self.images.target)

    def _try(self, turn: Turn, threat: Threat) -> None:
        """One stage from one start at one budget, on the images that are not yet settled.

        An attack for the smallest perturbation is run on all images: each has a radius to find.
        """
        alone = self.attack.minimum_norm
        for way in self.ways[turn.number]:
            standing = self.wanted if alone else self.wanted & (self.best.verdict.rank() < 2)
            rows = standing.nonzero().squeeze(1)
            if len(rows) == 0:
                return
            stood = ~self.best.verdict.verified[rows]
            if turn.stage.minimum_norm:
                self._hold(rows, self._smallest(rows, turn, way), threat, turn.number)
            else:
                x_adv, claimed, pose = self._search(rows, threat, turn, way)
                self._judge(rows, x_adv, claimed, threat, turn.number, pose=pose)
            if way.first:
                self.quick[rows] |= stood & self.best.verdict.verified[rows]

    def _smallest(self, rows: Tensor, turn: Turn, way: Way) -> Smallest:
        """Smallest perturbations, searched once an image whatever the budgets."""
        images = self.images
        nothing = Smallest.of(images.x, images.logits)
        kept = self.kept.setdefault((turn.number, turn.restart), nothing)
        new = rows[~kept.searched[rows]]
        if len(new):
            widest = self.threat(max(budget.value for budget in self.budgets))
            answer, kept.claimed[new], _ = self._search(new, widest, turn, way)
            x, part = images.x[new], widest.narrow(new)
            first, clear, size = beyond(self.judge, x, images.y[new], answer, part)
            kept.first[new], kept.first_logits[new] = first
            kept.clear[new], kept.clear_logits[new] = clear
            kept.searched[new] = True
            self._measure(new, size)
        return kept

    def _hold(self, rows: Tensor, kept: Smallest, threat: Threat, number: int) -> None:
        """Smallest perturbations against one budget; what is not fooled by them, also as pixels,
        is looked at where they are stretched until they spend it: rounding undoes less there.
        """
        x = self.images.x[rows]
        x_adv, logits = kept.candidates(rows, self.judge.within(kept.clear[rows], x, threat)[0])
        fits = self.judge.within(x_adv, x, threat)[0]
        claimed = kept.claimed[rows] & fits
        self._judge(rows, x_adv, claimed, threat, number, logits)
        length = threat.distance(x_adv, x).view(-1, 1, 1, 1)
        open_ = (self.best.verdict.rank()[rows] < 2) & fits & (length.flatten() > 0)
        if bool(open_.any()):
            # In L0 a pixel may go as far as it likes.
            least = 2.0 if threat.norm == "l0" else 1.0
            longer = stretched(x_adv, x, (float(threat.eps) / length).clamp_min(least).to(x.dtype))
            there, nothing = threat.constrain(longer, x)[open_], torch.zeros_like(claimed)[open_]
            self._judge(rows[open_], there, nothing, threat, number)

    def _measure(self, rows: Tensor, size: Tensor) -> None:
        """The smallest verified perturbation of each image, whatever the budgets."""
        if self.found.radius is not None:
            places = self.rows[rows.cpu().numpy()]
            smaller = np.minimum(self.found.radius[places], size.cpu().numpy())
            self.found.radius[places] = smaller

    def _search(
        self, rows: Tensor, threat: Threat, turn: Turn, way: Way
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """One search from one start; counts its passes. Images, claims, and poses if any."""
        images, part, stage = self.images, threat.narrow(rows), turn.stage
        x, y = images.x[rows], images.y[rows]

        def referee(chosen: Tensor, x_adv: Tensor, pose: Tensor | None = None) -> Tensor:
            said = part.narrow(chosen).claiming(pose)
            verdict = self.judge.verify(
                x[chosen], images.pixels[rows][chosen], y[chosen], x_adv, said
            )
            return verdict.rank() == 2

        elsewhere = bool(stage.searches_on())  # and nobody tells it what the judge thinks
        early = stage.early_exit and not stage.minimum_norm and not elsewhere
        watched = referee if early else None
        access = Access(way.network, len(rows), watched, way.dtype, stage.eot)
        access.traced = not (way.first or elsewhere)  # whose losses are others'
        ids = [images.ids[row] for row in rows.tolist()]
        # A search for the smallest perturbation must not depend on which budgets are asked for.
        scale = "smallest" if stage.minimum_norm else repr(threat.eps)
        # Members of an ensemble do not share their random numbers.
        member = (turn.number,) if turn.number else ()
        random = SampleRandom(self.seed, ids, self.attack.norm, scale, turn.restart, *member)
        start = stage.start(x, part, random)
        taught = (
            self.learned[turn.index].of(self.rows[rows.cpu().numpy()]) if self.learned else None
        )
        told = {} if taught is None else {"learned": taught}
        with torch.no_grad():
            answer = stage.search(access, x, y, start, part, random, **told)
            images_found, claim, pose = _in_three(answer)
            x_adv = images_found.detach().to(x.dtype)
            # What an attack that returns images alone claims: what its own network says of them.
            claimed = fooled(access.logits(x_adv), y, part.target) if claim is None else claim
            if way.first:
                claimed = torch.zeros_like(claimed)
        places = self.rows[rows.cpu().numpy()]
        self._notice(places, x, x_adv, claimed, turn)
        if way.first:  # what only bfloat16 loses is nothing to hold against the attack
            access.trace.zero[:], access.trace.broken[:] = 0, 0
        self.found.count(turn.index, turn.number, places, access)
        x_adv = part.claiming(pose).recomputed(x_adv, x)
        return x_adv.clamp(0.0, 1.0), claimed, pose  # NaN stays NaN, and fails verification

    def _notice(self, places: Array, x: Tensor, x_adv: Tensor, claimed: Tensor, turn: Turn) -> None:
        """What can be seen of an attack's answer only before it is clipped to the box."""
        found, flat = self.found, x_adv.flatten(1)
        outside = ((flat < -_BOX_SLACK) | (flat > 1 + _BOX_SLACK)).any(dim=1)
        found.refuse(OUTSIDE_BOX, places, claimed & outside)
        found.refuse(NOT_A_NUMBER, places, claimed & flat.isnan().any(dim=1))
        found.invalid[places] |= outside.cpu().numpy()
        if not turn.stage.minimum_norm:  # those give the clean image where they find nothing
            found.searched[turn.index, places] = True
            found.moved[turn.index, places] |= (flat != x.flatten(1)).any(dim=1).cpu().numpy()

    def _judge(
        self,
        rows: Tensor,
        x_adv: Tensor,
        claimed: Tensor,
        threat: Threat,
        number: int,
        logits: Tensor | None = None,
        pose: Tensor | None = None,
    ) -> None:
        images, part = self.images, threat.narrow(rows).claiming(pose)
        verdict = self.judge.verify(
            images.x[rows], images.pixels[rows], images.y[rows], x_adv, part, logits
        )
        places, finite = self.rows[rows.cpu().numpy()], x_adv.isfinite().flatten(1).all(dim=1)
        self.found.invalid[places] |= ~verdict.valid.cpu().numpy()
        forged = finite & part.forged(x_adv, images.x[rows])
        if bool(forged.any()):
            self.found.refuse(FORGED, places, claimed & forged)
        self.found.refuse(OUTSIDE_BUDGET, places, claimed & finite & ~verdict.valid & ~forged)
        if self.attack.stages()[number][1].knowledge != "transfer":  # which claims what others say
            self.found.refuse(NOT_FOOLED, places, claimed & verdict.valid & ~verdict.fooled)
        stood = ~self.best.verdict.verified[rows]
        self.best.update(rows, x_adv, claimed, verdict)
        self.broken_by[rows[stood & self.best.verdict.verified[rows]]] = number
        self._measure(rows, verdict.distance.masked_fill(~verdict.verified, torch.inf))

    def _write_clean(self) -> None:
        images, found, rows = self.images, self.found, self.rows
        prediction = images.logits.argmax(dim=1)
        found.clean[rows] = images.pixels.cpu().numpy()
        found.clean_prediction[rows] = prediction.cpu().numpy()
        confidence = images.logits.double().softmax(dim=1).amax(dim=1)
        found.clean_confidence[rows] = confidence.cpu().numpy()
        found.clean_correct[rows] = correct(images.logits, images.y).cpu().numpy()
        top5 = in_top5(images.logits, images.y)
        if found.clean_top5 is not None and top5 is not None:
            found.clean_top5[rows] = top5.cpu().numpy()
        if found.radius is not None:
            there = fooled(images.logits, images.y, images.target)
            if images.target is not None:
                there &= images.y != images.target  # never sent at the class it belongs to
            found.radius[rows] = np.where(there.cpu().numpy(), 0.0, np.inf)
        if found.target is not None and images.target is not None:
            found.target[rows] = images.target.cpu().numpy()

    def _write(self, index: int, threat: Threat) -> None:
        best, found = self.best, self.found
        verdict, at = best.verdict, (index, self.rows)
        verified, pixels = verdict.verified.cpu().numpy(), verdict.verified_8bit.cpu().numpy()
        found.claimed[at] = best.claimed.cpu().numpy()
        found.verified[at] = verified
        found.verified_8bit[at] = pixels
        found.distance[at] = np.where(verified, verdict.distance.cpu().numpy(), np.inf)
        found.prediction[at] = np.where(verified, verdict.prediction.cpu().numpy(), -1)
        found.confidence[at] = np.where(verified, verdict.confidence.cpu().numpy(), np.nan)
        found.prediction_8bit[at] = np.where(pixels, verdict.prediction_8bit.cpu().numpy(), -1)
        found.confidence_8bit[at] = np.where(pixels, verdict.confidence_8bit.cpu().numpy(), np.nan)
        found.fragile[at] = self.judge.fragile(best.x_adv, self.images.y, threat).cpu().numpy()
        found.broken_by[at] = self.broken_by.cpu().numpy()
        if found.quick is not None:
            found.quick[at] = self.quick.cpu().numpy()
        found.images[at] = best.x_adv.cpu().numpy()
        found.images_8bit[at] = verdict.images_8bit.cpu().numpy()
        for column, top5 in ((found.top5, verdict.top5), (found.top5_8bit, verdict.top5_8bit)):
            if column is not None and top5 is not None:
                column[at] = top5.cpu().numpy()
        for kept, pose, stands in (
            (found.pose, verdict.pose, ~verified),
            (found.pose_8bit, verdict.pose_8bit, ~pixels),
        ):
            if kept is not None and pose is not None:
                kept[at] = np.where(stands[:, None], np.nan, pose.cpu().numpy())


def _in_three(answer: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Images, claims and poses of a search's answer, None for what it leaves out."""
    given = answer if isinstance(answer, tuple) else (answer,)
    images, claimed, pose = (*given, None, None)[:3]
    assert images is not None
    return images, claimed, pose
