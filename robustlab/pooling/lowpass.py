"""Ideal low-pass sampling in the frequency domain (Grabinski et al. 2022, "FrequencyLowCut")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustlab.pooling.geometry import Pair
from robustlab.pooling.strided import Sampler

__all__ = ["LowPass"]


@dataclass(frozen=True)
class LowPass(Sampler):
    """Drops all frequencies that the thinner grid cannot hold, then keeps every stride-th value.

    The Fourier transform takes the map for one turn of a circle, whatever the padding. The one
    frequency on the border keeps half, which is what it means on both sides of it; the published
    crop keeps it on one side and drops the imaginary part. Half precision is computed in float32.
    """

    name: ClassVar[str] = "lowpass"

    def __call__(self, x: Tensor, stride: Pair, padding: str) -> Tensor:
        height, width = x.shape[-2:]
        values = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        kept_rows = _kept(torch.fft.fftfreq(height, device=x.device), stride[0], height)
        kept_columns = _kept(torch.fft.rfftfreq(width, device=x.device), stride[1], width)
        spectrum = torch.fft.rfft2(values) * (kept_rows[:, None] * kept_columns).to(values.dtype)
        low: Tensor = torch.fft.irfft2(spectrum, s=(height, width))
        return low[..., :: stride[0], :: stride[1]].to(x.dtype)


def _kept(frequencies: Tensor, stride: int, size: int) -> Tensor:
    """1 below the border, 1/2 on it, 0 above; of frequencies in turns a value."""
    if stride == 1:
        return torch.ones_like(frequencies)
    # In whole numbers, so that no rounding moves the border: k against size / (2 stride).
    twice = 2 * stride * (frequencies.abs() * size).round()
    return (twice < size).to(frequencies.dtype) + 0.5 * (twice == size).to(frequencies.dtype)
