"""The closest point of a hyperplane inside the box [0, 1], in Linf, L2, L1 and L0.

For images ``x`` [n, d] and hyperplanes ``w . z = b`` the perturbation of smallest norm with
``w . (x + delta) = b`` and ``x + delta`` in the box. Every coordinate moves towards the plane, with
the sign of ``w_i (b - w . x)``, and at most by the room that the box leaves it. What a coordinate
may move is then a function of one number t that grows until the plane is reached:

    Linf  min(t, room_i)          L2  min(t |w_i|, room_i)          L1  the largest |w_i| first
    L0    whole pixels, the largest sum of |w_i| room_i over the channels first

(convex duality; the problem is Croce and Hein 2020b, section 3.1). Where the whole box lies on one
side of the plane, the perturbation goes to the corner that comes nearest.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["project_on_hyperplane"]


def project_on_hyperplane(
    x: Tensor, w: Tensor, b: Tensor, norm: str, *, channels: int = 1
) -> Tensor:
    """Perturbations [n, d] of smallest norm from ``x`` [n, d] to ``w . z = b`` in the box.

    Args:
        w: normals [n, d]; b: offsets [n].
        channels: of a pixel, which L0 counts once; the coordinates stand channel by channel.
    """
    short = b - (w * x).sum(dim=1)
    signs = (w * short.sign()[:, None]).sign()
    weight = w.abs()
    room = torch.where(signs > 0, 1.0 - x, x).masked_fill(signs == 0, 0.0)
    need = short.abs()[:, None]
    if norm == "l1":
        return signs * _knapsack(weight, room, need)
    if norm == "l0":
        return signs * _fewest(weight, room, need, channels)
    rate = torch.ones_like(weight) if norm == "linf" else weight
    return signs * _raise(weight, rate, room, need)


def _raise(weight: Tensor, rate: Tensor, room: Tensor, need: Tensor) -> Tensor:
    """``min(t rate, room)`` for the t at which the weighted sum reaches what is needed.

    The sum rises with t in straight pieces; a coordinate's piece ends where its room does.
    """
    ends = torch.where(rate > 0, room / rate.clamp_min(1e-30), torch.zeros_like(room))
    ends, order = ends.sort(dim=1)
    slope = (weight * rate).gather(1, order)
    left = slope.flip(1).cumsum(dim=1).flip(1)  # slope before each end
    gaps = torch.diff(ends, dim=1, prepend=torch.zeros_like(ends[:, :1]))
    reached = (left * gaps).cumsum(dim=1)
    short = (reached < need).sum(dim=1, keepdim=True)  # pieces that do not suffice
    last = (short - 1).clamp_min(0)
    none = short == 0
    begin = torch.where(none, torch.zeros_like(need), ends.gather(1, last))
    got = torch.where(none, torch.zeros_like(need), reached.gather(1, last))
    following = left.gather(1, short.clamp_max(ends.shape[1] - 1))
    t = begin + (need - got) / following.clamp_min(1e-30)
    t = torch.where(short == ends.shape[1], ends[:, -1:], t)  # the box ends before the plane
    return torch.minimum(t * rate, room)


def _knapsack(weight: Tensor, room: Tensor, need: Tensor) -> Tensor:
    """The coordinates of largest weight, each to the end of its room, until it suffices."""
    heavy, order = weight.sort(dim=1, descending=True)
    gains = heavy * room.gather(1, order)
    before = gains.cumsum(dim=1) - gains
    wanted = ((need - before).clamp_min(0.0) / heavy.clamp_min(1e-30)).nan_to_num(0.0)
    moved = torch.minimum(wanted, room.gather(1, order))
    return torch.zeros_like(room).scatter(1, order, moved)


def _fewest(weight: Tensor, room: Tensor, need: Tensor, channels: int) -> Tensor:
    """The pixels that gain most, each to the end of its room, the last as far as it suffices."""
    worth = (weight * room).view(len(room), channels, -1).sum(dim=1)
    gains, order = worth.sort(dim=1, descending=True)
    before = gains.cumsum(dim=1) - gains
    wanted = ((need - before).clamp_min(0.0) / gains.clamp_min(1e-30)).clamp_max(1.0)
    share = torch.zeros_like(worth).scatter(1, order, wanted)
    return room * share.repeat(1, channels)
