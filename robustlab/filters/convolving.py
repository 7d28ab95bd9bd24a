"""Convolution three ways, and the kernels that lectures show. Double precision, images [C, H, W].

Correlation slides the kernel as it is; convolution turns it by half a turn first (flip and filter),
or, which is the same, lays a copy of it at every pixel, scaled by the pixel (translate and scale).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from robustlab.errors import BadRequest

__all__ = [
    "FILLS",
    "KERNELS",
    "as_kernel",
    "correlate",
    "flip",
    "flip_and_filter",
    "translate_and_scale",
]

# Their usual values. `difference` is the [-1, 1] of the lecture on images; the others answer the
# lectures' question "what does this convolution kernel do?": blur, sharpen, edges.
KERNELS: dict[str, tuple[tuple[float, ...], ...]] = {
    "difference": ((-1, 1),),
    "blur": ((0, 1 / 8, 0), (1 / 8, 4 / 8, 1 / 8), (0, 1 / 8, 0)),
    "sharpen": ((0, -1 / 4, 0), (-1 / 4, 2, -1 / 4), (0, -1 / 4, 0)),
    "edges": ((0, -1, 0), (-1, 4, -1), (0, -1, 0)),
    "upright edges": ((1, 0, -1), (2, 0, -2), (1, 0, -1)),
    "level edges": ((1, 2, 1), (0, 0, 0), (-1, -2, -1)),
}
FILLS = {"zero": "constant", "replicate": "replicate", "reflect": "reflect", "circular": "circular"}


def flip(kernel: Tensor) -> Tensor:
    """Turned by half a turn: rows and columns in the opposite order."""
    return kernel.flip((-2, -1))


def correlate(
    image: Tensor, kernel: Tensor, stride: int = 1, padding: int = 0, fill: str = "zero"
) -> Tensor:
    """sum over c, m, n of image[c, i + m, j + n] kernel[c, m, n], at every ``stride``-th i and j.

    Args:
        image: [C, H, W]; kernel: [C, kh, kw] or [kh, kw], the same for every channel.
        padding: pixels put around the image, filled as `FILLS` names them.

    Returns:
        [h, w], (H + 2 padding - kh) // stride + 1 rows; of a kernel without channels [C, h, w].

    Raises:
        BadRequest: a kernel larger than the padded image, or padding that the fill cannot give.
    """
    _check(image, kernel, stride, padding, fill)
    sides = (padding,) * 4
    wide = functional.pad(image[None], sides, mode=FILLS[fill]) if padding else image[None]
    if kernel.ndim == 2:
        each = kernel.expand(len(image), 1, *kernel.shape)
        return functional.conv2d(wide, each, stride=stride, groups=len(image))[0]
    return functional.conv2d(wide, kernel[None], stride=stride)[0, 0]


def flip_and_filter(
    image: Tensor, kernel: Tensor, stride: int = 1, padding: int = 0, fill: str = "zero"
) -> Tensor:
    """Convolution: `correlate` with the flipped kernel."""
    return correlate(image, flip(kernel), stride, padding, fill)


def translate_and_scale(image: Tensor, kernel: Tensor) -> Tensor:
    """Convolution of [C, H, W] with [kh, kw], whole: [C, H + kh - 1, W + kw - 1].

    Every pixel lays down a copy of the kernel, scaled by its value: the sum over kernel entries of
    the whole image, moved by the entry's place and scaled by it. Nothing is flipped.
    """
    _, height, width = image.shape
    rows, columns = kernel.shape
    whole = image.new_zeros(len(image), height + rows - 1, width + columns - 1)
    for i in range(rows):
        for j in range(columns):
            whole[:, i : i + height, j : j + width] += kernel[i, j] * image
    return whole


def _check(image: Tensor, kernel: Tensor, stride: int, padding: int, fill: str) -> None:
    if stride < 1 or padding < 0:
        raise BadRequest(f"stride={stride}, padding={padding}: a stride is at least 1, padding 0")
    for side, size in zip(image.shape[1:], kernel.shape[-2:], strict=True):
        if size > side + 2 * padding:
            raise BadRequest(
                f"a kernel of {size} does not fit on {side} pixels with padding {padding}"
            )
        most = {"reflect": side - 1, "circular": side}.get(fill, padding)
        if padding > most:
            raise BadRequest(f"{fill} padding of {side} pixels gives at most {most}, not {padding}")


def as_kernel(rows: tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    """One of `KERNELS` as a tensor of the same kind as the image."""
    return torch.tensor(rows, dtype=like.dtype, device=like.device)
