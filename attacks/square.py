"""The Square attack: random search with square-shaped changes, on logits alone."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from robustlab import Attack, Threat, probe

_BLOCK = 100  # queries whose random numbers are drawn at once
# Queries (of 10,000) after which the share of the image that a square covers is halved again.
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@probe("square")
class Square(Attack):
    """Random squares, kept where they raise the margin; no gradient is asked for.

    Linf: squares of colour at the corners of the ball, from vertical stripes (Andriushchenko et al.
    2020, algorithm 2). L2: mass is moved from one square into another (algorithm 3). L1: the same
    with the L1 budget, projected on ball and box (Croce and Hein 2021, section 4). What gradients
    cannot find because they are masked, this may.

    Squares are three pixels wide at least in L2 and L1. Where single pixels matter, as on a linear
    network of random weights, that leaves 1.5 and 2 times the smallest perturbation; ``polish``
    moves single pixels in the end. On networks that see shapes it helps in L1, not in L2.
    """

    knowledge: ClassVar[str] = "score"
    loss: ClassVar[str] = "margin"
    paper: ClassVar[str] = "Andriushchenko et al. 2020, arXiv:1912.00049; L1: arXiv:2103.01208"

    queries: int = 5000
    """queries of the network an image and restart"""
    p_init: float = 0.8
    """share of the image that the first squares cover"""
    polish: float | None = None
    """share of the queries, the last, that move single pixels (L2 and L1); none: 0.3 in L1, 0 in
    L2; 0: as published"""

    def check(self) -> None:
        self.at_least("queries", 1)
        if self.polish is not None and not 0 <= self.polish < 1:
            self.refuse(f"polish is a share of the queries, from 0 to below 1, not {self.polish}")
        if not 0 < self.p_init <= 1:
            self.refuse(f"p_init is a share of the image, above 0 and at most 1, not {self.p_init}")

    def is_random(self) -> bool:
        return True

    def passes(self) -> int:
        return self.queries

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Threat, rng: Any) -> Any:
        moves = _Squares() if threat.norm == "linf" else _Transfers(threat.norm)
        best = moves.begin(x, threat, rng)
        value, won = self.query(model, best, y, threat)
        found, claimed = best.clone(), won.clone()
        rows = torch.arange(len(x), device=x.device)
        drawn, better = None, torch.ones_like(won)
        for query in range(1, self.queries + 1):
            found[rows], claimed[rows] = best, won
            gone = torch.zeros_like(won)
            if self.early_exit:  # an image is asked about once, when it is new
                gone = model.settled(best, won & better)
            if bool(gone.any()):
                kept = (~gone).nonzero().squeeze(1)
                model, threat = model.narrow(kept), threat.narrow(kept)
                rng = rng.narrow(kept.tolist())
                rows, x, y, best, value, won = (t[kept] for t in (rows, x, y, best, value, won))
                drawn = None if drawn is None else drawn[kept]
            if len(rows) == 0 or query == self.queries:
                break
            turn = (query - 1) % _BLOCK
            if turn == 0:
                drawn = x.new_tensor(rng.uniform((_BLOCK, moves.numbers(x))))
            side = self._side(query - 1, x, threat)
            tried = moves.propose(x, best, threat, side, drawn[:, turn])
            seen, hit = self.query(model, tried, y, threat)
            # A loss of one's own may fall where the goal is reached; the goal goes first.
            better = (hit & ~won) | ((seen > value) & (hit | ~won))
            best[better], value[better], won[better] = tried[better], seen[better], hit[better]
        return found, claimed

    def _side(self, tries: int, x: Any, threat: Threat) -> int:
        """How wide a square is after ``tries``; 0 when it is the single pixels' turn."""
        usual = 0.3 if threat.norm == "l1" else 0.0
        polish = usual if self.polish is None or threat.norm == "linf" else self.polish
        squares = self.queries * (1 - polish)
        if tries >= squares:
            return 0
        height, width = x.shape[2:]
        share = self._share(tries / squares)
        return int(min(max(round((share * height * width) ** 0.5), 1), height, width))

    def _share(self, spent: float) -> float:
        """Share of the image that a square covers when that share of the schedule is spent."""
        return float(self.p_init / 2 ** sum(int(spent * 10000) > step for step in _HALVINGS))


def _corners(x: Any, side: int, u: Any, v: Any) -> tuple[Any, Any]:
    """Upper left corners of squares of ``side``, from uniform numbers in [0, 1)."""
    down, along = x.shape[2] - side, x.shape[3] - side
    # In float32 a number just below 1 may have become 1.
    return (u * (down + 1)).long().clamp_max(down), (v * (along + 1)).long().clamp_max(along)


def _inside(x: Any, side: int, top: Any, left: Any) -> Any:
    """Which pixels the squares cover, bool [n, 1, H, W]."""
    down = torch.arange(x.shape[2], device=x.device)[None] - top[:, None]
    along = torch.arange(x.shape[3], device=x.device)[None] - left[:, None]
    rows, columns = (down >= 0) & (down < side), (along >= 0) & (along < side)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


class _Squares:
    """Linf: a square takes one corner of the ball, a colour a channel."""

    def numbers(self, x: Any) -> int:
        return 2 + int(x.shape[1])

    def begin(self, x: Any, threat: Threat, rng: Any) -> Any:
        signs = x.new_tensor(rng.uniform((x.shape[1], 1, x.shape[3]), -1.0, 1.0)).sign()
        return (x + signs * threat.eps).clamp(0.0, 1.0)

    def propose(self, x: Any, best: Any, threat: Threat, side: int, drawn: Any) -> Any:
        top, left = _corners(x, side, drawn[:, 0], drawn[:, 1])
        signs = (drawn[:, 2:] - 0.5).sign()[:, :, None, None]
        corner = (x + signs * threat.eps).clamp(0.0, 1.0)
        return torch.where(_inside(x, side, top, left), corner, best)


class _Transfers:
    """L2 and L1: a bump is put into one square, paid for by emptying another."""

    def __init__(self, norm: str) -> None:
        self.power = 2.0 if norm == "l2" else 1.0

    def numbers(self, x: Any) -> int:
        return 5 + int(x.shape[1])

    def begin(self, x: Any, threat: Threat, rng: Any) -> Any:
        """A grid of about five by five bumps of random signs."""
        height, width = x.shape[2:]
        side = max(1, min(height, width) // 5)
        down, along = height // side, width // side
        signs = x.new_tensor(rng.uniform((x.shape[1], down, along), -1.0, 1.0)).sign()
        turned = x.new_tensor(rng.uniform(())) > 0.5
        bump = _bump(side, x, self.power)
        bumps = torch.where(turned[:, None, None], bump.T[None], bump[None])
        grid = signs.repeat_interleave(side, 2).repeat_interleave(side, 3)
        grid = grid * bumps.repeat(1, down, along)[:, None]
        delta = torch.zeros_like(x)
        top, left = (height - down * side) // 2, (width - along * side) // 2
        delta[:, :, top : top + down * side, left : left + along * side] = grid
        return self._fill(delta, x, threat)

    def propose(self, x: Any, best: Any, threat: Threat, side: int, drawn: Any) -> Any:
        if side == 0:
            return self._pixel(x, best, threat, drawn)
        side = max(side, 3)
        side = min(side + 1 - side % 2, x.shape[2], x.shape[3])
        delta = best - x
        here = _corners(x, side, drawn[:, 0], drawn[:, 1])
        there = _corners(x, side, drawn[:, 2], drawn[:, 3])
        target, emptied = _inside(x, side, *here), _inside(x, side, *there)
        channels = x.shape[1]
        spare = (self._eps(threat) ** self.power - self._mass(delta)).clamp_min(0.0)
        budget = spare / channels + self._mass(delta * (target | emptied))
        if self.power == 1.0:
            budget = budget * channels  # as published: the projection takes back what is too much
        old = self._window(delta, here, side)
        bump = _bump(side, x, self.power)
        bumps = torch.where((drawn[:, 4] > 0.5)[:, None, None], bump.T[None], bump[None])
        signs = (drawn[:, 5:] - 0.5).sign()[:, :, None, None]
        new = self._unit(old) + bumps[:, None] * signs
        new = self._unit(new) * budget[:, None, None, None] ** (1.0 / self.power)
        delta = delta.masked_fill(emptied, 0.0)
        rows, down, along = self._places(here, side)
        delta = delta.permute(0, 2, 3, 1).contiguous()
        delta[rows, down, along] = new.permute(0, 2, 3, 1)
        return self._fill(delta.permute(0, 3, 1, 2), x, threat)

    def _pixel(self, x: Any, best: Any, threat: Threat, drawn: Any) -> Any:
        """One value changed by eps to eps / 256, all others paying for it."""
        size = x[0].numel()
        place = (drawn[:, 0] * size).long().clamp_max(size - 1)
        change = (drawn[:, 1] - 0.5).sign() * 2.0 ** (-8.0 * drawn[:, 2]) * self._eps(threat)
        delta = (best - x).flatten(1).scatter_add(1, place[:, None], change[:, None])
        return self._fill(delta.view_as(x), x, threat)

    def _fill(self, delta: Any, x: Any, threat: Threat) -> Any:
        """The whole budget spent, then the box."""
        if self.power == 1.0:
            short = (self._eps(threat) / self._mass(delta).clamp_min(1e-12)).clamp_min(1.0)
            return threat.constrain(x + delta * short.view(-1, 1, 1, 1), x)
        length = delta.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
        return threat.constrain(x + delta / length * threat.eps, x)

    def _eps(self, threat: Threat) -> Any:
        return threat.eps.flatten() if isinstance(threat.eps, torch.Tensor) else threat.eps

    def _mass(self, delta: Any) -> Any:
        """The norm to its power, an image [n]."""
        return delta.abs().pow(self.power).flatten(1).sum(dim=1)

    def _unit(self, window: Any) -> Any:
        """Every channel of a window at norm one, zeros left."""
        size = window.abs().pow(self.power).sum(dim=(2, 3), keepdim=True) ** (1.0 / self.power)
        return window / (size + 1e-12)

    @staticmethod
    def _places(corner: tuple[Any, Any], side: int) -> tuple[Any, Any, Any]:
        reach = torch.arange(side, device=corner[0].device)
        rows = torch.arange(len(corner[0]), device=reach.device)[:, None, None]
        down = (corner[0][:, None] + reach)[:, :, None]
        return rows, down, (corner[1][:, None] + reach)[:, None, :]

    def _window(self, delta: Any, corner: tuple[Any, Any], side: int) -> Any:
        return delta.permute(0, 2, 3, 1)[self._places(corner, side)].permute(0, 3, 1, 2)


def _bump(side: int, like: Any, power: float) -> Any:
    """Two hills of opposite signs, one above the other, of norm 1 in L1 or L2 [side, side].

    Each hill is the sum of growing squares around its centre, the k-th of height 1 / k^2.
    """
    half = side // 2
    layers = torch.arange(1, half + 2, dtype=like.dtype, device=like.device)
    height = (1.0 / layers**2).flip(0).cumsum(0).flip(0)  # by the distance from the centre
    along = (torch.arange(side, device=like.device) - half).abs()
    hills = []
    for tall, sign in ((half, 1.0), (side - half, -1.0)):
        down = (torch.arange(tall, device=like.device) - tall // 2).abs()
        hill = height[torch.maximum(down[:, None], along[None, :])]
        hills.append(sign * hill / hill.norm(p=power).clamp_min(1e-12))
    bump = torch.cat(hills)
    return bump / bump.norm(p=power)
