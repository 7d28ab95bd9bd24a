"""An attack on one batch of images: budgets, restarts, verification, counting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustlab.adversarial.access import Access
from robustlab.adversarial.found import Found
from robustlab.adversarial.losses import correct, fooled
from robustlab.adversarial.threats import Threat
from robustlab.adversarial.verification import Judge, Verdict
from robustlab.randomness import SampleRandom
from robustlab.units import Budget

__all__ = ["Attacker", "Batch", "Images"]

Array = NDArray[Any]


class Attacker(Protocol):
    """What an attack is to the machinery around it; `Attack` is its base class."""

    @property
    def norm(self) -> str: ...
    @property
    def target(self) -> str | int | None: ...
    @property
    def restarts(self) -> int: ...
    @property
    def early_exit(self) -> bool: ...
    @property
    def minimum_norm(self) -> bool: ...
    def budgets(self, shape: Sequence[int]) -> tuple[Budget, ...]: ...
    def notes(self) -> Sequence[str]: ...
    def start(self, x: Tensor, threat: Threat, rng: SampleRandom) -> Tensor: ...
    def search(
        self, model: Access, x: Tensor, y: Tensor, start: Tensor, threat: Threat, rng: SampleRandom
    ) -> Tensor | tuple[Tensor, Tensor]: ...


@dataclass
class Images:
    """One batch on the device: clean floats, clean 8-bit pixels, labels, targets, ids."""

    ids: tuple[str, ...]
    x: Tensor
    pixels: Tensor
    y: Tensor
    logits: Tensor
    target: Tensor | None


@dataclass
class Best:
    """The best candidate an image so far, and the lab's verdict on it."""

    x_adv: Tensor
    claimed: Tensor
    verdict: Verdict

    def update(self, rows: Tensor, x_adv: Tensor, claimed: Tensor, found: Verdict) -> None:
        """Take over the rows where a new candidate is better; an invalid one never is.

        Better is: verified, verified at 8 bits; among equals the smaller perturbation, among
        failures the larger margin.
        """
        old, new = self.verdict.rank()[rows], found.rank()
        smaller = (new > 0) & (found.distance < self.verdict.distance[rows])
        nearer = (new == 0) & (found.margin > self.verdict.margin[rows])
        take = (new > old) | ((new == old) & found.valid & (smaller | nearer))
        kept = rows[take]
        self.x_adv[kept] = x_adv[take]
        self.claimed[rows] |= claimed
        for name in vars(found):
            getattr(self.verdict, name)[kept] = getattr(found, name)[take]


@dataclass
class Batch:
    """The attack on one batch of images."""

    attack: Attacker
    budgets: Sequence[Budget]
    network: nn.Module
    dtype: torch.dtype | None
    judge: Judge
    images: Images
    seed: int
    found: Found
    rows: Array

    def run(self) -> None:
        images = self.images
        clean = self.judge.verify(images.x, images.pixels, images.y, images.x, self.threat(0.0))
        self.best = Best(images.x.clone(), torch.zeros_like(clean.fooled), clean)
        # What the network gets wrong unattacked, as floats and as pixels, needs no attack; what is
        # labelled as the target cannot be driven to a mistake there.
        self.wanted = clean.rank() < 2
        if images.target is not None:
            self.wanted &= images.y != images.target
        self._write_clean()
        order = sorted(range(len(self.budgets)), key=lambda index: self.budgets[index].value)
        if self.attack.minimum_norm:
            self._minimise(order)
        else:
            self._fill(order)

    def threat(self, eps: float) -> Threat:
        return Threat(self.attack.norm, eps, self.images.target)

    def _fill(self, order: Sequence[int]) -> None:
        """Attacks of a fixed budget: one search an eps and restart, on what is not yet settled."""
        for index in order:
            threat = self.threat(self.budgets[index].value)
            for restart in range(self.attack.restarts):
                rows = (self.wanted & (self.best.verdict.rank() < 2)).nonzero().squeeze(1)
                if len(rows) == 0:
                    break
                x_adv, claimed = self._search(rows, threat, restart, index)
                self._judge(rows, x_adv, claimed, threat)
            self._write(index, threat)

    def _minimise(self, order: Sequence[int]) -> None:
        """Attacks that look for the smallest perturbation: one search, held against every eps."""
        rows = self.wanted.nonzero().squeeze(1)
        widest = order[-1]
        candidates = [
            self._search(rows, self.threat(self.budgets[widest].value), restart, widest)
            for restart in range(self.attack.restarts if len(rows) else 0)
        ]
        for index in order:
            threat = self.threat(self.budgets[index].value)
            for x_adv, claimed in candidates:
                inside, _ = self.judge.within(x_adv, self.images.x[rows], threat)
                self._judge(rows, x_adv, claimed & inside, threat)
            self._write(index, threat)

    def _search(
        self, rows: Tensor, threat: Threat, restart: int, index: int
    ) -> tuple[Tensor, Tensor]:
        """One search from one start; counts its passes."""
        images, part = self.images, threat.narrow(rows)
        x, y = images.x[rows], images.y[rows]

        def referee(chosen: Tensor, x_adv: Tensor) -> Tensor:
            verdict = self.judge.verify(
                x[chosen], images.pixels[rows][chosen], y[chosen], x_adv, part.narrow(chosen)
            )
            return verdict.rank() == 2

        access = Access(
            self.network,
            len(rows),
            referee if self.attack.early_exit else None,
            self.dtype,
        )
        ids = [images.ids[row] for row in rows.tolist()]
        # A search for the smallest perturbation must not depend on which budgets are asked for.
        scale = "smallest" if self.attack.minimum_norm else repr(threat.eps)
        random = SampleRandom(self.seed, ids, self.attack.norm, scale, restart)
        start = self.attack.start(x, part, random)
        with torch.no_grad():
            answer = self.attack.search(access, x, y, start, part, random)
            images_found, claim = answer if isinstance(answer, tuple) else (answer, None)
            x_adv = images_found.detach().to(x.dtype)
            # What an attack that returns images alone claims: what its own network says of them.
            claimed = fooled(access.logits(x_adv), y, part.target) if claim is None else claim
        x_adv = x_adv.clamp(0.0, 1.0)  # NaN stays NaN, and fails verification
        places = self.rows[rows.cpu().numpy()]
        self.found.forward[index, places] += access.forward_passes
        self.found.backward[index, places] += access.backward_passes
        return x_adv, claimed

    def _judge(self, rows: Tensor, x_adv: Tensor, claimed: Tensor, threat: Threat) -> None:
        images, part = self.images, threat.narrow(rows)
        verdict = self.judge.verify(
            images.x[rows], images.pixels[rows], images.y[rows], x_adv, part
        )
        self.best.update(rows, x_adv, claimed, verdict)

    def _write_clean(self) -> None:
        images, found, rows = self.images, self.found, self.rows
        prediction = images.logits.argmax(dim=1)
        found.clean[rows] = images.pixels.cpu().numpy()
        found.clean_prediction[rows] = prediction.cpu().numpy()
        confidence = images.logits.double().softmax(dim=1).amax(dim=1)
        found.clean_confidence[rows] = confidence.cpu().numpy()
        found.clean_correct[rows] = correct(images.logits, images.y).cpu().numpy()
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
        found.images[at] = best.x_adv.cpu().numpy()
        found.images_8bit[at] = verdict.images_8bit.cpu().numpy()
