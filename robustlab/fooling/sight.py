"""How a network looks at a picture: resize, crop, scale; by Pillow, and again so that it can be
differentiated.

Two ways that share no code. `Sight.read` is what anyone does with a picture file: Pillow resizes
and crops its 8-bit pixels. `Sight.seen_by` puts the same in front of the network as a layer, so
that every attack and every probe of the lab works on the whole picture. The layer is for looking
for a picture; what is said of a file is said by `Sight.read`.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustlab.backbones import Backbone
from robustlab.errors import BadRequest
from robustlab.fooled import Pixels

__all__ = ["Seen", "Sight", "in_full", "sight_of"]

WHOLE = "whole"
_PILLOW = {"bilinear": "BILINEAR", "bicubic": "BICUBIC"}
# Halves go up, as Pillow's do; float32 may have them a little lower.
_HALF = 0.5 + 2e-5


class _Rounded(torch.autograd.Function):
    """To the nearest of 256 levels, in the box; backwards as if nothing had happened.

    Straight-through estimator: Bengio, Leonard, Courville 2013, arXiv:1308.3432, section 3.1.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x * 255.0 + _HALF).floor().clamp(0.0, 255.0) / 255.0

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> Any:
        return slopes[0]


def _rounded(x: Tensor) -> Tensor:
    found: Tensor = cast(Any, _Rounded).apply(x)
    return found


class Seen(nn.Module):
    """``network`` of pictures [n, C, H, W]: rounding to 8 bits, antialiased resize, crop, then it.

    Pillow resizes along one side, rounds to 8 bits, and then along the other; so does this. Their
    pixels differ, by a level, where a value falls between two levels; a test counts how often.

    Args:
        network: from images [n, C, h, w] in [0, 1] to logits.
        resized: (height, width) after the resize, before the crop.
        window: (top, left, height, width) of the crop in it.
        across_first: resize along the width first; which side Pillow begins with hangs on its
            version and on the sizes.
    """

    def __init__(
        self,
        network: nn.Module,
        resized: tuple[int, int],
        window: tuple[int, int, int, int],
        interpolation: str,
        across_first: bool = True,
    ) -> None:
        super().__init__()
        self.network, self.across_first = network, across_first
        self.resized, self.window, self.interpolation = resized, window, interpolation
        self.eval()

    def image(self, x: Tensor) -> Tensor:
        """What the network is shown of pictures ``x``: [n, C, h, w] in [0, 1]."""
        height, width = self.resized
        between = (x.shape[2], width) if self.across_first else (height, x.shape[3])
        x = self._resize(self._resize(_rounded(x), between), (height, width))
        top, left, height, width = self.window
        return x[:, :, top : top + height, left : left + width]

    def _resize(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        if tuple(x.shape[2:]) == size:
            return x
        scaled = nn.functional.interpolate(
            x, size, mode=self.interpolation, align_corners=False, antialias=True
        )
        return _rounded(scaled)

    def looked_at(self, height: int, width: int) -> Tensor:
        """Pixels of a picture that anything the network is shown depends on, bool [height, width].

        Cubic weights may be negative: drawn at random, what is asked of them does not cancel.
        """
        x = torch.zeros(1, 1, height, width, dtype=torch.float64, requires_grad=True)
        with torch.enable_grad():
            shown = self.image(x)
        asked = torch.rand(shown.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
        (slope,) = torch.autograd.grad(shown, x, asked)
        return slope[0, 0] != 0

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, classes] of pictures [n, C, H, W] in [0, 1]."""
        logits: Tensor = self.network(self.image(x))
        return logits


@dataclass(frozen=True)
class Sight:
    """How one network looks at pictures of any size.

    Attributes:
        channels, height, width: of the image that the network takes.
        resize: what the shorter side of the picture is brought to before the middle is cropped;
            None: the whole picture is squeezed to height x width.
        interpolation: ``"bilinear"`` or ``"bicubic"``, both with antialiasing.
    """

    channels: int
    height: int
    width: int
    resize: int | None
    interpolation: str = "bilinear"

    @property
    def told(self) -> str:
        """A sentence without its dot: what happens to a picture."""
        size = f"{self.height}x{self.width}"
        if self.resize is None:
            return f"the whole picture resized to {size} ({self.interpolation}, antialiased)"
        return (
            f"shorter side to {self.resize} ({self.interpolation}, antialiased), "
            f"middle {size} cropped"
        )

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of a picture after the resize, before the crop."""
        if self.resize is None:
            return self.height, self.width
        short, long = sorted((height, width))
        longer = int(self.resize * long / short)
        if self.resize * longer > _largest():
            raise BadRequest(
                f"a picture of {width}x{height} pixels with its shorter side at {self.resize} has "
                f"more than {_largest()} pixels; crop it first, or give --resize whole"
            )
        return (self.resize, longer) if height <= width else (longer, self.resize)

    def window(self, height: int, width: int) -> tuple[int, int, int, int]:
        """(top, left, height, width) of the crop in the resized picture.

        Halves are rounded as torchvision's `center_crop` rounds them, to the even number.
        """
        high, wide = self.resized(height, width)
        top, left = round((high - self.height) / 2.0), round((wide - self.width) / 2.0)
        return top, left, self.height, self.width

    def levels(self, pixels: Pixels) -> Pixels:
        """The 8-bit image that the network is shown, uint8 [C, h, w], of ``pixels`` [C, H, W].

        By Pillow's resize and crop, and nothing of `Seen`.
        """
        from PIL import Image

        high, wide = self.resized(*pixels.shape[1:])
        top, left, height, width = self.window(*pixels.shape[1:])
        plain = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
        image = Image.fromarray(np.ascontiguousarray(plain))
        if image.size != (wide, high):
            how = getattr(Image.Resampling, _PILLOW[self.interpolation])
            image = image.resize((wide, high), how)
        cropped = np.asarray(image.crop((left, top, left + width, top + height)), np.uint8)
        return cropped[None] if cropped.ndim == 2 else cropped.transpose(2, 0, 1).copy()

    def read(self, pixels: Pixels) -> NDArray[np.float32]:
        """Float32 [C, h, w] in [0, 1], as the network takes it, of uint8 ``pixels`` [C, H, W]."""
        return np.divide(self.levels(pixels), np.float32(255), dtype=np.float32)

    def by_torchvision(self, pixels: Pixels) -> NDArray[np.float32]:
        """The same by torchvision's transforms on a uint8 tensor: a third way, for a check.

        Its fixed-point weights are rounded otherwise than Pillow's: some pixels differ by a level.
        """
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as drawn

        x = torch.from_numpy(pixels.copy())
        size = [self.height, self.width] if self.resize is None else [self.resize]
        x = drawn.resize(x, size, InterpolationMode(self.interpolation), antialias=True)
        x = drawn.convert_image_dtype(drawn.center_crop(x, [self.height, self.width]))
        return np.asarray(x.numpy(), np.float32)

    def layer(
        self, height: int, width: int
    ) -> tuple[tuple[int, int], tuple[int, int, int, int], str, bool]:
        """What `Seen` is made with, behind the network, for pictures of height x width.

        Pillow itself is asked which side it begins with: on noise only one of the two ways agrees.
        """
        resized, window = self.resized(height, width), self.window(height, width)
        noise = np.random.default_rng(0).integers(0, 256, (1, height, width), np.uint8)
        theirs = replace(self, channels=1).levels(noise)
        x = torch.from_numpy(noise[None] / np.float32(255))
        off = []
        for across_first in (True, False):
            seen = Seen(nn.Identity(), resized, window, self.interpolation, across_first)
            ours = (seen(x)[0] * 255).round().numpy()
            off.append(int((ours != theirs).sum()))
        return resized, window, self.interpolation, off[0] <= off[1]

    def seen_by(self, backbone: Backbone, height: int, width: int) -> Backbone:
        """``backbone`` as a network of whole pictures [C, height, width], under its own name."""
        network = backbone.network
        if backbone.dtype in (torch.float16, torch.bfloat16):
            network = copy.deepcopy(network).float()  # half precision would lose levels before it
        return Backbone(
            Seen(network, *self.layer(height, width)),
            input_shape=(self.channels, height, width),
            classes=backbone.classes,
            name=backbone.name,
            card=backbone.card,
        )


def _largest() -> float:
    from PIL import Image

    return Image.MAX_IMAGE_PIXELS or math.inf


def sight_of(backbone: Backbone, resize: str | int | None = None) -> Sight:
    """How ``backbone`` looks at pictures.

    As the metadata of its weights say; a network without such metadata sees the middle of a picture
    whose shorter side was brought to the input's.

    Args:
        resize: instead of what is known: pixels of the shorter side, or ``"whole"``.

    Raises:
        BadRequest: a resize that is neither, or smaller than the input; channels that no picture
            has; an interpolation that Pillow and torch do not share.
    """
    channels, height, width = backbone.input_shape
    if channels not in (1, 3):
        raise BadRequest(
            f"{backbone.name} takes images of {channels} channels, no picture has them"
        )
    known = backbone.card.get("preprocessing") or {}
    interpolation = str(known.get("interpolation", "bilinear"))
    if interpolation not in _PILLOW:
        raise BadRequest(
            f"{backbone.name} resizes by {interpolation!r}; there is {', '.join(_PILLOW)}"
        )
    made = partial(Sight, channels, height, width, interpolation=interpolation)
    if resize is None:
        return made(max(int(known.get("resize", 0)), height, width))
    if str(resize) == WHOLE:
        return made(None)
    if not str(resize).isdecimal() or not max(height, width) <= int(resize) <= 4096:
        raise BadRequest(
            f"--resize {resize}: give the pixels of the shorter side, {max(height, width)} to 4096 "
            f"for {backbone.name}, or 'whole'"
        )
    return made(int(resize))


def in_full(sight: Sight) -> Sight:
    """The sight of pictures that are the network's image already: nothing is resized."""
    return replace(sight, resize=None)
