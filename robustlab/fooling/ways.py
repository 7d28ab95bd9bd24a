"""How the probabilities change on the way from the clean picture to the one that fools.

Two ways: the straight line between what the network is given of the two pictures, and what a
search saw at each of its looks. Both are floats, between the grey levels of the pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustlab.adversarial import Access
from robustlab.adversarial.attacker import Attacker
from robustlab.adversarial.borrowed import Borrowed
from robustlab.adversarial.images import exact_kernels, load_pixels
from robustlab.adversarial.ways import ways_of
from robustlab.backbones import Backbone
from robustlab.errors import BadRequest
from robustlab.fooled import Pixels, Way
from robustlab.fooling.readings import BATCH, Read, check_class, look, probabilities
from robustlab.fooling.steps import PICTURE, as_data
from robustlab.randomness import SampleRandom
from robustlab.seeding import seeded

__all__ = ["LINE", "STEPS", "Walked", "straight_line", "walked"]

LINE, STEPS = "straight line", "steps of the search"
_POINTS = 21
_LOOKS = 240  # of a search, that are kept; of a longer one every second, fourth, ...


@dataclass(frozen=True)
class Walked:
    """A search, look by look.

    Attributes:
        way: probabilities at each look that was kept; ``at`` is the number of the look, from 0.
        pictures: of a few looks what was looked at, uint8, each value rounded to the nearest.
        rows: which row of ``way`` each of the pictures is.
    """

    way: Way
    pictures: tuple[Pixels, ...]
    rows: tuple[int, ...]


def straight_line(
    backbone: Backbone,
    read: Read,
    original: Pixels,
    changed: Pixels,
    label: int,
    target: int | None = None,
    *,
    points: int = _POINTS,
    batch: int = BATCH,
) -> Way:
    """Probabilities at ``points`` places from the clean picture (0) to the changed one (1).

    The line lies in the network's own input: between ``read(original)`` and ``read(changed)``,
    which are its two ends to the bit.

    Raises:
        BadRequest: no such class, or fewer than two points.
    """
    check_class(backbone, label, target)
    if points < 2:
        raise BadRequest(f"a line has two ends: points must be at least 2, not {points}")
    before, after = read(original), read(changed)
    shares = np.linspace(0.0, 1.0, points)

    def place(share: float) -> NDArray[Any]:
        # Exact at both ends, which before + share * (after - before) is not.
        between = (1.0 - share) * before.astype(np.float64) + share * after.astype(np.float64)
        return np.asarray(between.astype(before.dtype))

    logits = look(backbone, map(place, shares.tolist()), batch=batch)
    return _way(LINE, shares, logits, backbone.classes, label, target)


def walked(
    seen: Backbone,
    attack: Attacker,
    original: Pixels,
    label: int,
    target: int | None = None,
    *,
    seed: int = 0,
    picture: str = PICTURE,
    fast: bool = True,
    keep: int = 24,
    small: Callable[[Pixels], Pixels] | None = None,
) -> Walked:
    """Search once more, and write down every look at the network.

    The search is that of ``attack(seen, as_data(...), seed=seed, fast=fast)`` at the attack's first
    budget and first restart: of an ensemble the first stage. What it finds is the best of its
    looks, not always the last; an attack for the smallest perturbation may find it between two.

    Args:
        seen: the network that is searched, from the whole picture to logits.
        attack: its ``early_exit`` must be off, and its target ``target``.
        original: uint8 [C, H, W]; label, target: indices of classes.
        picture: the image's id; with the seed it decides all randomness.
        fast: search on the fast copy of the network.
        keep: how many pictures are kept at most, evenly spread over the looks.
        small: what is kept of a picture, to save memory; None: all of it.

    Raises:
        BadRequest: an attack that learns, or that looks at other networks.
    """
    check_class(seen, label, target)
    name, stage = attack.stages()[0]
    if stage.learns or stage.searches_on():
        raise BadRequest(f"{name or 'the attack'} does not look at {seen.name} step by step")
    if attack.early_exit:
        raise BadRequest("early_exit would end the way before its goal; set it to False")
    data = as_data(seen, original, label, picture)
    x, _ = load_pixels(data, [0], seen)
    y = torch.tensor([label], device=seen.device)
    goal = None if target is None else torch.tensor([target], device=seen.device)
    threat = attack.threat(attack.budgets(seen.input_shape)[0].value, goal)
    way = ways_of(attack.stages(), seen, Borrowed(), fast=fast, precision="float32")[0][-1]
    notebook = _Notebook(way.network, max(2, keep), small)
    model = Access(notebook, 1, dtype=way.dtype, draws=stage.eot)
    scale = "smallest" if stage.minimum_norm else repr(threat.eps)
    random = SampleRandom(seed, data.ids, attack.norm, scale, 0)
    with exact_kernels(), seeded(seed), torch.no_grad():
        start = stage.start(x, threat, random)
        stage.search(model, x, y, start, threat, random)
    if not notebook.logits:
        raise BadRequest(f"{name or 'the attack'} never looked at {seen.name}")
    at, rows = np.array(notebook.looks), {look: row for row, look in enumerate(notebook.looks)}
    kept = [(rows[look], pixels) for look, pixels in notebook.pictures if look in rows]
    told = _way(STEPS, at, np.stack(notebook.logits), seen.classes, label, target)
    return Walked(told, tuple(pixels for _, pixels in kept), tuple(row for row, _ in kept))


class _Notebook(nn.Module):
    """A network that writes down the first image of every batch that it is shown.

    When there is too much of it every second look is forgotten, and from then on every second one
    left out: what is kept is spread evenly, and memory stays bounded.
    """

    def __init__(
        self, network: nn.Module, keep: int, small: Callable[[Pixels], Pixels] | None
    ) -> None:
        super().__init__()
        self.network, self.keep, self.small = network, keep, small
        self.count, self.every, self.every_picture = 0, 1, 1
        self.looks: list[int] = []
        self.logits: list[NDArray[np.float64]] = []
        self.pictures: list[tuple[int, Pixels]] = []
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """The network's logits, untouched."""
        logits: Tensor = self.network(x)
        if self.count % self.every == 0:
            self.looks.append(self.count)
            self.logits.append(logits[0].detach().double().cpu().numpy())
        if self.count % self.every_picture == 0:
            levels = (x[0].detach().double() * 255).round().clamp(0, 255)
            pixels = levels.to(torch.uint8).cpu().numpy()
            self.pictures.append((self.count, self.small(pixels) if self.small else pixels))
        self.count += 1
        if len(self.looks) > _LOOKS:
            self.every *= 2
            self.looks, self.logits = self.looks[::2], self.logits[::2]
        if len(self.pictures) > self.keep:
            self.every_picture *= 2
            self.pictures = self.pictures[::2]
        return logits


def _way(
    name: str,
    at: NDArray[Any],
    logits: NDArray[np.float64],
    classes: Sequence[str],
    label: int,
    target: int | None,
) -> Way:
    chances = probabilities(logits)
    return Way(
        name=name,
        at=at.astype(np.float64),
        label=chances[:, label],
        target=np.full(len(at), np.nan) if target is None else chances[:, target],
        prediction=tuple(classes[k] for k in logits.argmax(axis=1)),
    )
