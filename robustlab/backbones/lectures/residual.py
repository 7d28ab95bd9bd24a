"""Residual blocks (He et al. 2015) and their shortcuts: the blocks of both kinds of ResNet."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional

from robustlab.backbones.lectures.parts import Parts
from robustlab.backbones.lectures.pooling import pooling

__all__ = [
    "SHORTCUTS",
    "BasicBlock",
    "Bottleneck",
    "ZeroShortcut",
    "convolution",
    "down",
    "normalised",
]

SHORTCUTS = ("A", "B", "none")


class ZeroShortcut(nn.Module):
    """Option A: the input pooled by ``stride``, channels of zeros around it up to ``out``.

    [n, wide, H, W] to [n, out, ceil(H / stride), ceil(W / stride)], without parameters.
    """

    def __init__(self, parts: Parts, wide: int, out: int, stride: int) -> None:
        super().__init__()
        self.wide = wide
        self.out = out
        self.pool: nn.Module = nn.Identity()
        if stride > 1:
            strided = parts.pool == "strided"
            kernel = 1 if strided else stride
            self.pool = pooling(parts.pool, kernel, stride, ceil=not strided)

    def forward(self, x: Tensor) -> Tensor:
        extra = self.out - self.wide
        return functional.pad(self.pool(x), (0, 0, 0, 0, extra // 2, extra - extra // 2))

    def extra_repr(self) -> str:
        return f"{self.wide}, {self.out}"


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; with shortcut "none" the plain block of the same weights."""

    expansion = 1

    def __init__(self, parts: Parts, wide: int, out: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.plain = shortcut == "none"
        step, self.pool1 = down(parts, stride)
        self.conv1 = convolution(parts, wide, out, 3, step)
        self.bn1 = normalised(parts, out)
        self.relu1 = parts.act()
        self.conv2 = convolution(parts, out, out, 3)
        self.bn2 = normalised(parts, out)
        self.downsample = _shortcut(parts, wide, out, stride, shortcut)
        self.relu2 = parts.act()

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.pool1(self.conv1(x))))
        out = self.bn2(self.conv2(out))
        if not self.plain:
            out = out + self.downsample(x)
        return self.relu2(out)  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, the last with four times the maps.

    The 3x3 convolution has the stride, as torchvision's ResNets have it; He et al. (2015) gave it
    to the first 1x1 convolution.
    """

    expansion = 4

    def __init__(self, parts: Parts, wide: int, maps: int, stride: int, shortcut: str) -> None:
        super().__init__()
        out = maps * self.expansion
        self.plain = shortcut == "none"
        step, self.pool2 = down(parts, stride)
        self.conv1 = convolution(parts, wide, maps, 1)
        self.bn1 = normalised(parts, maps)
        self.relu1 = parts.act()
        self.conv2 = convolution(parts, maps, maps, 3, step)
        self.bn2 = normalised(parts, maps)
        self.relu2 = parts.act()
        self.conv3 = convolution(parts, maps, out, 1)
        self.bn3 = normalised(parts, out)
        self.downsample = _shortcut(parts, wide, out, stride, shortcut)
        self.relu3 = parts.act()

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.pool2(self.conv2(out))))
        out = self.bn3(self.conv3(out))
        if not self.plain:
            out = out + self.downsample(x)
        return self.relu3(out)  # type: ignore[no-any-return]


def convolution(parts: Parts, wide: int, out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size; its bias is left to the batch normalisation behind it."""
    bias = parts.norm == "off"
    return parts.conv(wide, out, kernel, stride=stride, padding=kernel // 2, bias=bias)


def normalised(parts: Parts, maps: int) -> nn.Module:
    """Batch normalisation, or nothing."""
    return nn.BatchNorm2d(maps) if parts.norm == "batch" else nn.Identity()


def down(parts: Parts, stride: int) -> tuple[int, nn.Module]:
    """A down-sampling site: the convolution's stride, and the pooling behind it.

    As published the convolution has the stride ("strided"); its twins go on at stride 1 and pool.
    """
    if stride == 1 or parts.pool == "strided":
        return stride, nn.Identity()
    return 1, parts.pooled(stride, stride, ceil=True)


def _shortcut(parts: Parts, wide: int, out: int, stride: int, shortcut: str) -> nn.Module:
    if shortcut == "none" or (stride == 1 and wide == out):
        return nn.Identity()
    if shortcut == "A":
        return ZeroShortcut(parts, wide, out, stride)
    step, pool = down(parts, stride)
    # Named as in a plain pair of layers, so that weights fit whether or not a pooling is between.
    layers = {
        "0": convolution(parts, wide, out, 1, step),
        "pool": pool,
        "1": normalised(parts, out),
    }
    return nn.Sequential(OrderedDict(layers))
