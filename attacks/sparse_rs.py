"""Sparse-RS: random search over few pixels, on logits alone."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from robustlab import Attack, Threat, probe

_BLOCK = 100  # queries whose random numbers are drawn at once
# Queries (of 10,000) after which fewer pixels are exchanged at once, and by what p_init is divided.
_SCHEDULE = ((0, 2), (50, 4), (200, 5), (500, 6), (1000, 8), (2000, 10), (4000, 12), (6000, 15))
_LAST = (8000, 20)


@probe("sparse_rs")
class SparseRS(Attack):
    """Random pixels of extreme colours, some exchanged for others where that raises the margin.

    Sparse-RS for L0 (Croce et al. 2022, algorithm 2): eps pixels are changed from the start to the
    end, every channel to 0 or 1. Each query puts some of them back and changes as many others, more
    at first than later. No gradient is asked for. A colour that happens to be the clean one is
    turned to its opposite in all channels, so that no pixel of the budget is wasted; as published
    that is done where one pixel is exchanged.
    """

    paper: ClassVar[str] = "Croce, Andriushchenko, Singh, Flammarion, Hein 2022, arXiv:2006.12834"
    norms: ClassVar[tuple[str, ...]] = ("l0",)
    knowledge: ClassVar[str] = "score"
    loss: ClassVar[str] = "margin"

    norm: str = "l0"
    """norm of the budget"""
    queries: int = 5000
    """queries of the network an image and restart"""
    p_init: float = 0.3
    """share of the changed pixels that the first queries exchange"""

    def check(self) -> None:
        self.at_least("queries", 1)
        if not 0 < self.p_init <= 1:
            self.refuse(
                f"p_init is a share of the pixels, above 0 and at most 1, not {self.p_init}"
            )

    def is_random(self) -> bool:
        return True

    def passes(self) -> int:
        return self.queries

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Threat, rng: Any) -> Any:
        found, claimed = x.clone(), torch.zeros_like(y, dtype=torch.bool)
        pixels = x[0, 0].numel()
        budgets = torch.as_tensor(threat.eps, dtype=x.dtype, device=x.device).flatten()
        counts = budgets.expand(len(x)).clamp_max(pixels).long()
        for count in counts.unique().tolist():  # a bisection gives each image its own
            rows = (counts == count).nonzero().squeeze(1)
            if count:
                part, own = model.narrow(rows), rng.narrow(rows.tolist())
                ball = threat.narrow(rows)
                found[rows], claimed[rows] = self.sparse(part, x[rows], y[rows], count, ball, own)
        return found, claimed

    def sparse(self, model: Any, x: Any, y: Any, count: int, threat: Threat, rng: Any) -> Any:
        """The search with ``count`` pixels, at least one."""
        clean, numbers = x, 2 + x.shape[1]
        # Of each image all pixels in an order of their own: the first ``count`` are changed.
        order = x.new_tensor(rng.uniform((x[0, 0].numel(),))).argsort(dim=1, stable=True)
        colours = x.new_tensor(rng.uniform((count, x.shape[1]))).round()
        best = painted(x, x, order[:, :count], colours)
        value, won = self.query(model, best, y, threat)
        found, claimed = best.clone(), won.clone()
        rows, better, drawn = torch.arange(len(x), device=x.device), torch.ones_like(won), None
        for query in range(1, self.queries + 1):
            found[rows], claimed[rows] = best, won
            gone = torch.zeros_like(won)
            if self.early_exit:  # an image is asked about once, when it is new
                gone = model.settled(best, won & better)
            if bool(gone.any()):
                kept = (~gone).nonzero().squeeze(1)
                model, threat = model.narrow(kept), threat.narrow(kept)
                rng = rng.narrow(kept.tolist())
                rows, clean, y, best, value, won, order = (
                    t[kept] for t in (rows, clean, y, best, value, won, order)
                )
                drawn = None if drawn is None else drawn[kept]
            if len(rows) == 0 or query == self.queries:
                break
            turn = (query - 1) % _BLOCK
            if turn == 0:  # never more pixels at once than in the block's first query
                drawn = clean.new_tensor(rng.uniform((_BLOCK, self._many(query, count), numbers)))
            many = min(self._many(query, count), order.shape[1] - count or count)
            order = shuffled(order, drawn[:, turn, :many], count)
            tried, swapped = exchanged(clean, best, order, drawn[:, turn, :many, 2:], count)
            seen, hit = self.query(model, tried, y, threat)
            # A loss of one's own may fall where the goal is reached; the goal goes first.
            better = (hit & ~won) | ((seen > value) & (hit | ~won))
            best[better], value[better], won[better] = tried[better], seen[better], hit[better]
            order[better] = swapped[better]
        return found, claimed

    def _many(self, query: int, count: int) -> int:
        """How many pixels the query exchanges."""
        spent = int(query / self.queries * 10000)
        divided = [1, *(by for after, by in (*_SCHEDULE, _LAST) if spent > after)][-1]
        return max(int(self.p_init / divided * count), 1)


def painted(x_adv: Any, x: Any, places: Any, colours: Any) -> Any:
    """``x_adv`` with new colours [n, m, C] at the places [n, m], never those of the clean ``x``."""
    index = places[:, None].expand(-1, x.shape[1], -1)
    wanted, before = colours.transpose(1, 2), x.flatten(2).gather(2, index)
    same = (wanted == before).all(dim=1, keepdim=True)
    wanted = torch.where(same, 1.0 - wanted, wanted)
    return x_adv.flatten(2).scatter(2, index, wanted).view_as(x)


def shuffled(order: Any, drawn: Any, count: int) -> Any:
    """The order with pixels drawn without replacement at the head of both its parts.

    The first ``count`` are those changed, the others come after; of each part as many are drawn as
    ``drawn`` [n, m, 2 or more] has numbers (Fisher and Yates, stopped early).
    """
    order, rows = order.clone(), torch.arange(len(order), device=order.device)
    for turn in range(drawn.shape[1]):
        for first, last, number in ((0, count, 0), (count, order.shape[1], 1)):
            left = last - first - turn
            if left < 1:
                continue
            step = (drawn[:, turn, number] * left).long().clamp_max(left - 1)
            there = first + turn + step
            here = order[:, first + turn].clone()
            order[:, first + turn] = order[rows, there]
            order[rows, there] = here
    return order


def exchanged(x: Any, best: Any, order: Any, colours: Any, count: int) -> tuple[Any, Any]:
    """The image with the drawn pixels put back and others changed, and the order that goes with it;
    where every pixel is changed, the drawn ones get other colours.
    """
    many, order = colours.shape[1], order.clone()
    gone = order[:, :many].clone()
    index = gone[:, None].expand(-1, x.shape[1], -1)
    back = best.flatten(2).scatter(2, index, x.flatten(2).gather(2, index)).view_as(x)
    new = gone
    if count < order.shape[1]:
        new = order[:, count : count + many].clone()
        order[:, :many], order[:, count : count + many] = new, gone
    return painted(back, x, new, colours.round()), order
