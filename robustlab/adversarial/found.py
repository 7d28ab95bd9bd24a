"""What an attack found, with arrays of shape [eps, n, ...], and how it enters a run."""

from __future__ import annotations

import math
import numbers
import tempfile
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from robustlab import statistics
from robustlab.adversarial.access import TRACED, Access
from robustlab.outcome import Finding, Metric, Outcome
from robustlab.statistics import Rate
from robustlab.units import eps_value

__all__ = ["VIOLATIONS", "ByEps", "Found", "allocate"]

Array = NDArray[Any]

# Why a claim may be refused.
NOT_A_NUMBER, OUTSIDE_BOX, OUTSIDE_BUDGET, FORGED, NOT_FOOLED = VIOLATIONS = (
    "not a number",
    "outside the box",
    "outside the budget",
    "not the image that its pose makes",
    "not misclassified when looked at again",
)

_MAPPED_FROM = 1 << 30  # bytes; larger arrays live in a file that vanishes with the process
_TRACED_IMAGES = 64  # whose losses are kept step by step
_PICTURE_BYTES = 16 << 20  # what a cell spends on pixels, clean and adversarial each


def allocate(shape: tuple[int, ...], dtype: Any) -> Array:
    """Zeros in memory, or memory-mapped from a temporary file beyond 1 GB."""
    if math.prod(shape) * np.dtype(dtype).itemsize <= _MAPPED_FROM:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile() as file:  # the mapping keeps the nameless file alive
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)


class ByEps(dict[str, Rate]):
    """Rates by eps as it was given: ``rates["8/255"]``; a number finds the eps of its value."""

    def __missing__(self, eps: object) -> Rate:
        for text, found in self.items():
            if isinstance(eps, numbers.Real) and eps_value(text) == float(eps):
                return found
        raise KeyError(f"{eps!r}; there is {', '.join(self)}")


@dataclass
class Found:
    """Result of an attack on n images at every eps.

    Rows of the [eps, n] arrays follow ``eps`` as it was given. An image that the network gets wrong
    unattacked counts as fooled at distance 0 (untargeted attacks).

    Attributes:
        claimed: the attack's own opinion; verified: the lab's, as floats; verified_8bit: as the
            pixels of a PNG.
        distance: norm of the perturbation on the [0, 1] scale, in L0 how many pixels, of a spatial
            attack the larger of |dx| and |dy| in pixels; inf where unfooled.
        prediction, confidence: of the verified image, and with ``_8bit`` of its pixels; -1 and NaN
            where unfooled.
        fragile: verdict turns with batch size or precision.
        images: float [eps, n, C, H, W], the attack's best candidate; images_8bit: uint8.
        forward, backward: passes spent at that eps.
        stages: names of the attacks of an ensemble, in their order; one without a name else.
        broken_by: which stage broke the image, [eps, n]; -1 where none did.
        stage_forward, stage_backward: passes by stage, [stages, n]; stage_seconds: [stages].
        gradients, zero_gradients, broken_gradients: gradient steps, [eps, n], and how many of them
            were zero or vanishing, or held a NaN or an infinity.
        searched, moved: whether a search within the eps looked at the image, [eps, n], and whether
            what it gave back was ever another image; without those for the smallest perturbation.
        invalid: [n], whether any of its candidates was outside box or budget, claimed or not.
        stray: reason -> bool [n], claims that the lab refused; see `VIOLATIONS`.
        quick: [eps, n], whether the search in bfloat16 broke the image; None where there was none.
        radius: [n], the smallest verified perturbation whatever the budgets, inf where none was
            found; of attacks that look for the smallest perturbation, None of others.
        losses: (stage, eps) -> [m, steps], the loss that was ascended at each step, of the first
            images; NaN once an image has left.
        attackable: targeted attacks leave out images whose label is the target.
        pose, pose_8bit: [eps, n, 3], the losing transforms of a spatial attack, as floats and of
            the pixels: angle in degrees, dx and dy in pixels, as `rigid` takes them. NaN where the
            image stands; None of other attacks. `angle`, `dx`, `dy` are the columns of ``pose``.
        clean_top5: [n], whether the label is among the five likeliest classes of the clean image;
            top5, top5_8bit: [eps, n], of the row of ``images`` and of ``images_8bit``; all None
            where there are fewer than 20 classes. See `top5_accuracy`.
    """

    norm: str
    eps: tuple[str, ...]
    ids: tuple[str, ...]
    labels: Array
    clean: Array
    clean_prediction: Array
    clean_confidence: Array
    clean_correct: Array
    target: Array | None
    claimed: Array
    verified: Array
    verified_8bit: Array
    distance: Array
    prediction: Array
    confidence: Array
    prediction_8bit: Array
    confidence_8bit: Array
    fragile: Array
    images: Array
    images_8bit: Array
    forward: Array
    backward: Array
    stages: tuple[str, ...]
    broken_by: Array
    stage_forward: Array
    stage_backward: Array
    stage_seconds: Array
    gradients: Array
    zero_gradients: Array
    broken_gradients: Array
    searched: Array
    moved: Array
    invalid: Array
    quick: Array | None
    radius: Array | None
    stray: dict[str, Array] = field(default_factory=dict)
    losses: dict[tuple[int, int], Array] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    pose: Array | None = None
    pose_8bit: Array | None = None
    clean_top5: Array | None = None
    top5: Array | None = None
    top5_8bit: Array | None = None

    def count(self, index: int, stage: int, rows: Array, access: Access) -> None:
        """Add what one search of the images ``rows`` at one eps took and saw."""
        self.forward[index, rows] += access.forward_passes
        self.backward[index, rows] += access.backward_passes
        self.stage_forward[stage, rows] += access.forward_passes
        self.stage_backward[stage, rows] += access.backward_passes
        trace = access.trace
        self.gradients[index, rows] += trace.steps
        self.zero_gradients[index, rows] += trace.zero
        self.broken_gradients[index, rows] += trace.broken
        kept = rows < _TRACED_IMAGES
        if trace.loss.shape[1] and kept.any():
            size = (min(_TRACED_IMAGES, len(self.ids)), TRACED)
            curves = self.losses.setdefault((stage, index), np.full(size, np.nan, np.float32))
            new = kept & np.isnan(curves[np.where(kept, rows, 0), 0])  # the first search only
            curves[rows[new], : trace.loss.shape[1]] = trace.loss[new]

    def spread(self, index: int, access: Access) -> None:
        """Add passes that other images took, in equal shares: what learning from them costs."""
        n = len(self.ids)
        for passes, stages, spent in (
            (self.forward, self.stage_forward, access.forward_passes),
            (self.backward, self.stage_backward, access.backward_passes),
        ):
            passes[index] += spent.sum() / n
            stages[0] += spent.sum() / n

    def refuse(self, reason: str, rows: Array, refused: Tensor) -> None:
        """Note claims that were refused: ``refused`` is a bool for each of the images ``rows``."""
        self.stray.setdefault(reason, np.zeros(len(self.ids), bool))
        self.stray[reason][rows] |= refused.cpu().numpy()

    @property
    def passes(self) -> Array:
        """Forward and backward passes together, [eps, n]."""
        return self.forward + self.backward

    @property
    def angle(self) -> Array:
        """Degrees counter-clockwise of each losing transform, [eps, n]; NaN where it stands."""
        return self._pose(0)

    @property
    def dx(self) -> Array:
        """Pixels to the right of each losing transform, [eps, n]; NaN where it stands."""
        return self._pose(1)

    @property
    def dy(self) -> Array:
        """Pixels down of each losing transform, [eps, n]; NaN where it stands."""
        return self._pose(2)

    def _pose(self, place: int) -> Array:
        if self.pose is None:
            raise AttributeError(f"an attack in {self.norm} turns and moves nothing; see `images`")
        column: Array = self.pose[..., place]
        return column

    @property
    def targeted(self) -> bool:
        """Whether the goal was a class, not any mistake."""
        return self.target is not None

    @property
    def clean_accuracy(self) -> Rate:
        """Share of all images classified correctly, unattacked."""
        return statistics.rate(self.clean_correct)

    @property
    def robust_accuracy(self) -> ByEps:
        """Share of all images still classified correctly, by eps: an upper bound, found by this
        attack. Targeted attacks report `target_success` instead.
        """
        self._refuse_if(self.targeted, "robust_accuracy", "target_success")
        return self._rates(~self.verified)

    @property
    def robust_accuracy_8bit(self) -> ByEps:
        """As `robust_accuracy`, counting only what still fools as 8-bit pixels."""
        self._refuse_if(self.targeted, "robust_accuracy_8bit", "target_success")
        return self._rates(~self.verified_8bit)

    @property
    def attack_success(self) -> ByEps:
        """Share of the correctly classified images that were fooled, by eps."""
        self._refuse_if(self.targeted, "attack_success", "target_success")
        return self._rates(self.verified[:, self.clean_correct])

    @property
    def top5_accuracy(self) -> ByEps:
        """Share of all images whose label is among the five likeliest classes of the image that the
        attack ended with, by eps.

        That image is the row of ``images``: of a fooled one the smallest perturbation verified, of
        any other the valid candidate nearest to being fooled (whose label is the likeliest class),
        of one that is wrong unattacked the clean image, which no attack touches. The attack looked
        for another top class and stopped there, so this is an upper bound of what is left of top-5
        accuracy, and often a loose one: with ``early_exit=False`` images are driven further.
        """
        self._refuse_if(self.targeted, "top5_accuracy", "target_success")
        if self.top5 is None:
            raise AttributeError("top-5 accuracy is kept where there are at least 20 classes")
        return self._rates(self.top5)

    @property
    def target_success(self) -> ByEps:
        """Share of the attackable images (correct, label not the target) that reach the target."""
        self._refuse_if(not self.targeted, "target_success", "robust_accuracy")
        return self._rates(self.verified[:, self.attackable])

    def _rates(self, hits: Array) -> ByEps:
        return ByEps(zip(self.eps, map(statistics.rate, hits), strict=True))

    @property
    def attackable(self) -> Array:
        """Images that a targeted attack is measured on; all correct ones for an untargeted one."""
        if self.target is None:
            return self.clean_correct
        attackable: Array = self.clean_correct & (self.target != self.labels)
        return attackable

    @staticmethod
    def _refuse_if(wrong: bool, asked: str, instead: str) -> None:
        if wrong:
            raise AttributeError(f"this attack has no {asked}; ask for {instead}")

    def outcome(self) -> Outcome:
        """Columns, pictures and metrics as a run keeps them."""
        samples: dict[str, Array] = {
            "id": np.array(self.ids),
            "label": self.labels,
            "prediction": self.clean_prediction,
            "confidence": self.clean_confidence,
            "clean_correct": self.clean_correct,
            "forward": self.forward.sum(axis=0),
            "backward": self.backward.sum(axis=0),
            "gradients": self.gradients.sum(axis=0),
            "zero_gradients": self.zero_gradients.sum(axis=0),
            "broken_gradients": self.broken_gradients.sum(axis=0),
        }
        if self.radius is not None:
            samples["radius"] = self.radius
        if self.target is not None:
            samples |= {"target": self.target, "attackable": self.attackable}
        metrics = {"clean_accuracy": Metric("clean_correct")}
        if self.clean_top5 is not None:
            samples["clean_top5"] = self.clean_top5
            metrics["clean_top5_accuracy"] = Metric("clean_top5")
        for row, eps in enumerate(self.eps):
            samples |= self._columns(row, eps)
            metrics |= self._metrics(eps)
        return Outcome(
            samples,
            {**self._pictures(), **self._curves()},
            (),
            metrics,
            tuple(self.notes),
            self._cost(),
            tuple(self.findings),
        )

    def _cost(self) -> dict[str, float]:
        cost = {"forward": float(self.forward.sum()), "backward": float(self.backward.sum())}
        for number, name in enumerate(self.stages if len(self.stages) > 1 else ()):
            cost |= {
                f"forward[{name}]": float(self.stage_forward[number].sum()),
                f"backward[{name}]": float(self.stage_backward[number].sum()),
                f"seconds[{name}]": float(self.stage_seconds[number]),
                f"images[{name}]": float((self.stage_forward[number] > 0).sum()),
            }
        return cost

    def _curves(self) -> dict[str, Array]:
        """``loss[stage][eps=...]``: the losses step by step, cut where none goes on."""
        found = {}
        for (stage, index), curve in self.losses.items():
            name = f"[{self.stages[stage]}]" if len(self.stages) > 1 else ""
            wide = int((~np.isnan(curve)).any(axis=0).sum())
            found[f"loss{name}[eps={self.eps[index]}]"] = curve[:, :wide]
        return found

    def _columns(self, row: int, eps: str) -> dict[str, Array]:
        columns = {
            "claimed": self.claimed,
            "verified": self.verified,
            "verified_8bit": self.verified_8bit,
            "distance": self.distance,
            "adversarial_prediction": self.prediction,
            "adversarial_confidence": self.confidence,
            "fragile": self.fragile,
        }
        if len(self.stages) > 1:
            names = np.array(["", *self.stages])
            columns["broken_by"] = names[self.broken_by + 1]
        if self.pose is not None:
            columns |= {"angle": self.angle, "dx": self.dx, "dy": self.dy}
        if self.top5 is not None and self.top5_8bit is not None:
            columns |= {"top5": self.top5, "top5_8bit": self.top5_8bit}
        return {f"{name}[eps={eps}]": column[row] for name, column in columns.items()}

    def _metrics(self, eps: str) -> dict[str, Metric]:
        float_, pixels = f"verified[eps={eps}]", f"verified_8bit[eps={eps}]"
        if self.targeted:
            return {
                f"target_success[eps={eps}]": Metric(float_, among="attackable"),
                f"target_success_8bit[eps={eps}]": Metric(pixels, among="attackable"),
            }
        metrics = {
            f"robust_accuracy[eps={eps}]": Metric(float_, negate=True),
            f"robust_accuracy_8bit[eps={eps}]": Metric(pixels, negate=True),
            f"attack_success[eps={eps}]": Metric(float_, among="clean_correct"),
        }
        if self.top5 is not None:
            metrics |= {
                f"{name}[eps={eps}]": Metric(f"{column}[eps={eps}]")
                for name, column in (("top5_accuracy", "top5"), ("top5_accuracy_8bit", "top5_8bit"))
            }
        return metrics

    def _pictures(self) -> dict[str, Array]:
        """Clean and adversarial pixels at the smallest eps that fooled at 8 bits.

        As many images as fit the pixel allowance, in order; row and eps index say which they are.
        """
        count = min(len(self.ids), max(16, _PICTURE_BYTES // max(1, self.clean[0].nbytes)))
        rows = np.arange(count)
        order = np.argsort([eps_value(e) for e in self.eps])
        ranked = self.verified_8bit[order][:, rows]
        first = np.where(ranked.any(axis=0), order[ranked.argmax(axis=0)], -1)
        adversarial = self.images_8bit[first, rows]
        adversarial[first < 0] = self.clean[rows][first < 0]
        posed = {} if self.pose_8bit is None else {"picture_pose": self.pose_8bit[first, rows]}
        return {
            **posed,
            "clean": self.clean[rows],
            "adversarial": adversarial,
            "picture_row": rows,
            "picture_eps": first,
            "picture_prediction": self.prediction_8bit[first, rows],
            "picture_confidence": self.confidence_8bit[first, rows],
        }
