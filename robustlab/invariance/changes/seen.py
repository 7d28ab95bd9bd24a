"""Images without what people go by, or without what networks may go by instead.

Shuffled patches keep texture without shape, silhouettes shape without texture; low-pass and
high-pass images hold coarse or fine detail alone.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from robustlab.errors import BadRequest, choices
from robustlab.invariance.changes.background import background
from robustlab.randomness import SampleRandom

__all__ = ["SILHOUETTES", "high_pass", "low_pass", "patch_shuffle", "silhouette", "split"]

SILHOUETTES = ("flat", "reversed", "filled", "outline")


def patch_shuffle(x: Tensor, k: int, rng: SampleRandom) -> Tensor:
    """Cut into k x k equal patches, put together again in a seeded order other than the first.

    Where k does not divide the size, the rim that is left over stays where it is. ``k = 1`` is the
    image itself.

    Raises:
        BadRequest: k below 1, or patches of less than a pixel.
    """
    n, channels, height, width = x.shape
    if not 1 <= k <= min(height, width):
        raise BadRequest(
            f"images of {height}x{width} pixels can be cut into 1 to {min(height, width)} patches "
            f"a side, not {k!r}"
        )
    if k == 1:
        return x
    order = np.argsort(rng.uniform((k * k,)), axis=1)
    untouched = (order == np.arange(k * k)).all(axis=1)
    order[untouched] = np.roll(order[untouched], 1, axis=1)
    tall, wide = height // k, width // k
    top, left = (height - k * tall) // 2, (width - k * wide) // 2
    inner = x[:, :, top : top + k * tall, left : left + k * wide]
    patches = inner.reshape(n, channels, k, tall, k, wide).permute(0, 2, 4, 1, 3, 5)
    patches = patches.reshape(n, k * k, channels, tall, wide)
    index = torch.tensor(order, device=x.device).view(n, k * k, 1, 1, 1).expand_as(patches)
    mixed = patches.gather(1, index).view(n, k, k, channels, tall, wide)
    changed = x.clone()
    changed[:, :, top : top + k * tall, left : left + k * wide] = mixed.permute(
        0, 3, 1, 4, 2, 5
    ).reshape(inner.shape)
    return changed


def split(x: Tensor, cutoff: float) -> tuple[Tensor, Tensor]:
    """The part of an image with spatial frequencies up to ``cutoff``, and the rest; they add up to
    the image.

    ``cutoff`` is a share of the Nyquist frequency (half a cycle a pixel) and sharp; the image is
    taken as periodic. The mean belongs to the first part.

    Raises:
        BadRequest: a cut-off that is not above 0 and at most 1.
    """
    if not 0 < cutoff <= 1:
        raise BadRequest(
            f"a cut-off is a share of the Nyquist frequency, above 0 and at most 1, not {cutoff!r}"
        )
    height, width = x.shape[2:]
    down = 2 * torch.fft.fftfreq(height, dtype=torch.float64, device=x.device)[:, None]
    across = 2 * torch.fft.rfftfreq(width, dtype=torch.float64, device=x.device)[None, :]
    kept = (down**2 + across**2).sqrt() <= cutoff
    low = torch.fft.irfft2(torch.fft.rfft2(x) * kept, s=(height, width))
    return low, x - low


def low_pass(x: Tensor, cutoff: float) -> Tensor:
    """Frequencies up to the cut-off, cut to [0, 1]; see `split`."""
    return split(x, cutoff)[0].clamp(0.0, 1.0)


def high_pass(x: Tensor, cutoff: float) -> Tensor:
    """Frequencies above the cut-off on the mean of each channel, cut to [0, 1]; see `split`."""
    mean = x.mean(dim=(2, 3), keepdim=True)
    return (split(x, cutoff)[1] + mean).clamp(0.0, 1.0)


def silhouette(x: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """The object in one colour on one colour, where the background can be told (see `background`).

    Args:
        x: images [n, C, H, W] in [0, 1].
        kind: ``"flat"``: the object in the colour farthest from the background's, channel by
            channel; ``"reversed"``: as flat, negative; ``"filled"``: as flat, its holes closed;
            ``"outline"``: the rim of flat, one pixel wide. A pixel belongs to the object where its
            distance from the background is above half of the image's largest.

    Returns:
        The silhouettes, and where they could be made, bool [n]; other images are as they were.

    Raises:
        BadRequest: no such kind.
    """
    if kind not in SILHOUETTES:
        raise BadRequest(f"unknown silhouette {kind!r}{choices(kind, SILHOUETTES)}")
    ground = background(x)
    mask = ground.distance > ground.distance.amax(dim=(1, 2), keepdim=True) / 2
    if kind in ("filled", "outline"):
        mask = _reshaped(mask, kind)
    ground_colour = ground.colour[:, :, None, None]
    farthest = (ground_colour < 0.5).to(x.dtype)
    drawn = torch.where(mask[:, None], farthest, ground_colour)
    drawn = 1 - drawn if kind == "reversed" else drawn
    return torch.where(ground.told.view(-1, 1, 1, 1), drawn, x), ground.told


def _reshaped(mask: Tensor, kind: str) -> Tensor:
    from scipy.ndimage import binary_erosion, binary_fill_holes

    masks = mask.cpu().numpy()
    made = [
        binary_fill_holes(one) if kind == "filled" else one & ~binary_erosion(one) for one in masks
    ]
    return torch.tensor(np.stack(made), device=mask.device) if made else mask
