"""Inception modules (Szegedy et al. 2014) and the auxiliary heads of GoogLeNet."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robustlab.backbones.lectures.parts import Parts

__all__ = ["Auxiliary", "Inception", "NaiveInception", "Unit", "WithAuxiliary"]

Branches = tuple[int, int, int, int, int, int]
_TAPS = {"inception4a": "aux1", "inception4d": "aux2"}


class Unit(nn.Module):
    """Convolution, batch normalisation (or a bias instead), activation."""

    def __init__(self, parts: Parts, wide: int, out: int, kernel: int, **geometry: Any) -> None:
        super().__init__()
        batch = parts.norm == "batch"
        self.conv = parts.conv(wide, out, kernel, bias=not batch, **geometry)
        self.bn = nn.BatchNorm2d(out, eps=0.001) if batch else nn.Identity()
        self.relu = parts.act()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))  # type: ignore[no-any-return]


class Inception(nn.Module):
    """Four branches side by side, the wide ones behind a 1x1 convolution that narrows.

    [n, wide, H, W] to [n, out, H, W].

    Args:
        maps: of the 1x1 branch, before and of the 3x3, before and of the 5x5, of the pooling
            branch.
        kernel: 5, or torchvision's 3, of the third branch.
    """

    def __init__(self, parts: Parts, wide: int, maps: Branches, kernel: int) -> None:
        super().__init__()
        one, narrow3, three, narrow5, five, pooled = maps
        self.out = one + three + five + pooled
        self.branch1 = Unit(parts, wide, one, 1)
        self.branch2 = nn.Sequential(
            Unit(parts, wide, narrow3, 1), Unit(parts, narrow3, three, 3, padding=1)
        )
        self.branch3 = nn.Sequential(
            Unit(parts, wide, narrow5, 1),
            Unit(parts, narrow5, five, kernel, padding=kernel // 2),
        )
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), Unit(parts, wide, pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches], 1)


class NaiveInception(nn.Module):
    """The module without its bottlenecks: convolutions see all maps, pooling passes all on.

    [n, wide, H, W] to [n, out, H, W] with out > wide: each module has more maps than the last.
    """

    def __init__(self, parts: Parts, wide: int, maps: Branches, kernel: int) -> None:
        super().__init__()
        one, _, three, _, five, _ = maps
        self.out = one + three + five + wide
        self.branch1 = Unit(parts, wide, one, 1)
        self.branch2 = Unit(parts, wide, three, 3, padding=1)
        self.branch3 = Unit(parts, wide, five, kernel, padding=kernel // 2)
        self.branch4 = nn.MaxPool2d(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches], 1)


class Auxiliary(nn.Module):
    """An auxiliary head: logits [n, classes] from maps [n, wide, H, W] halfway up.

    It pools to 4x4 adaptively, as torchvision's does, and so at any size. The paper pools 5x5 with
    stride 3: from 14x14 maps also 4x4 values, but of wider windows.
    """

    def __init__(self, parts: Parts, wide: int) -> None:
        super().__init__()
        maps, hidden = parts.many(128), parts.many(1024)
        self.avgpool = nn.AdaptiveAvgPool2d(4)
        self.conv = Unit(parts, wide, maps, 1)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(maps * 16, hidden)
        self.relu = parts.act()
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(hidden, parts.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.flatten(self.conv(self.avgpool(x)))
        return self.fc2(self.dropout(self.relu(self.fc1(x))))  # type: ignore[no-any-return]


class WithAuxiliary(nn.Sequential):
    """GoogLeNet with heads ``aux1`` behind inception4a and ``aux2`` behind inception4d.

    In train mode (logits, logits of aux1, logits of aux2), each [n, classes]; else logits alone.
    """

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        found = []
        for name, layer in self.named_children():
            if name in _TAPS.values():
                continue
            x = layer(x)
            if self.training and name in _TAPS:
                found.append(self.get_submodule(_TAPS[name])(x))
        return (x, *found) if self.training else x
