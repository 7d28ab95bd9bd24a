"""Images as frequencies: what activation maximisation moves instead of pixels.

Olah et al. (2017): steps in a spectrum whose low frequencies weigh more, with colours that the data
mixes taken apart, give pictures where steps in pixels give noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustlab.data import Data
from robustlab.randomness import SampleRandom

__all__ = ["Painter", "colour_mixing"]

START = 0.01  # spread of the first spectrum


def colour_mixing(data: Data, most: int = 500) -> NDArray[np.float64] | None:
    """The matrix [3, 3] that gives independent colours the covariance of the data's pixels.

    A square root of the covariance of the first ``most`` images' pixels, its longest column of
    length 1. None where there are not three channels, or the data has one colour.
    """
    if data.shape[0] != 3:
        return None
    pixels = data.batch(range(min(most, len(data)))).transpose(1, 0, 2, 3).reshape(3, -1)
    values, vectors = np.linalg.eigh(np.cov(pixels.astype(np.float64)))
    if values[-1] <= 0:
        return None
    root = vectors * np.sqrt(values.clip(0))
    mixing: NDArray[np.float64] = root / np.linalg.norm(root, axis=0).max()
    return mixing


class Painter:
    """Images [n, C, H, W] in (0, 1) from spectra of real numbers [n, C, H, W // 2 + 1, 2].

    Args:
        shape: (C, H, W).
        mixing: the colours' matrix; None: channels are as they are.
    """

    def __init__(
        self, shape: Sequence[int], mixing: NDArray[np.float64] | None, like: Tensor
    ) -> None:
        self.shape = tuple(shape)
        _, height, width = self.shape
        frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
        weights = 1 / np.maximum(frequencies, 1 / max(height, width))
        with torch.inference_mode(False):  # gradients pass through both
            self.weights = torch.tensor(weights * np.sqrt(height * width)).to(like)
            self.mixing = None if mixing is None else torch.tensor(mixing).to(like)

    def start(self, seed: int, names: Sequence[str]) -> Tensor:
        """The first spectra, one by each name."""
        channels, height, width = self.shape
        drawn = SampleRandom(seed, names, "spectrum").normal((channels, height, width // 2 + 1, 2))
        return torch.tensor(START * drawn).to(self.weights)

    def __call__(self, spectra: Tensor) -> Tensor:
        """The images of some spectra."""
        complex_: Any = torch.view_as_complex(spectra.contiguous()) * self.weights
        waves = torch.fft.irfft2(complex_, s=self.shape[1:], norm="backward")
        if self.mixing is not None:
            waves = torch.einsum("ij,njhw->nihw", self.mixing, waves)
        return torch.sigmoid(waves)
