"""Images on the device in the precision that attacks and verification work in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from robustlab.backbones import Backbone
from robustlab.data import Data

__all__ = ["exact_kernels", "load_pixels", "working_dtype"]


def working_dtype(backbone: Backbone) -> torch.dtype:
    """float64 for a float64 network, float32 for any other: a half-precision network is fed rounded
    pixels, but its images, budgets and verdicts are kept in float32.
    """
    return torch.float64 if backbone.dtype == torch.float64 else torch.float32


def load_pixels(data: Data, rows: Sequence[int] | Any, backbone: Backbone) -> tuple[Tensor, Tensor]:
    """Clean images of some rows: floats in [0, 1] and 8-bit pixels, both [k, C, H, W]."""
    dtype = working_dtype(backbone)
    pixels = torch.tensor(data.batch_8bit(rows)).to(backbone.device)
    if data.is_8bit:
        return pixels.to(dtype) / 255.0, pixels
    return torch.tensor(data.batch(rows)).to(backbone.device, dtype), pixels


@contextlib.contextmanager
def exact_kernels() -> Iterator[None]:
    """Deterministic kernels and true float32 products (no TF32) on a GPU; put back afterwards."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32)
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = True, False, False
    matmul.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
