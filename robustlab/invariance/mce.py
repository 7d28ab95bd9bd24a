"""The mean corruption error of Hendrycks and Dietterich (2019), for those who hold ImageNet-C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.errors import BadRequest

__all__ = ["ALEXNET", "mean_corruption_error", "weighed"]

# AlexNet's error on ImageNet-C, the mean over the five severities: what the paper divides by.
ALEXNET = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}


def mean_corruption_error(errors: Mapping[str, Sequence[float]]) -> float:
    """mCE (section 4.1): the mean over fifteen corruptions of error / AlexNet's error.

    It means something only for errors on ImageNet-C itself: 1000 classes, 224 pixels, the authors'
    pictures. Elsewhere give the plain mean of the errors. The probe `corruptions` makes pictures
    anew, and says so beside its mCE; whoever holds ImageNet-C measures each of its folders and puts
    the error rates together here:

    >>> from robustlab.invariance import ALEXNET, mean_corruption_error
    >>> errors = {name: [0.3, 0.4, 0.5, 0.6, 0.7] for name in ALEXNET}
    >>> errors["frost"] = [0.2, 0.3, 0.4, 0.5, 0.6]
    >>> round(mean_corruption_error(errors), 3)
    0.639

    Args:
        errors: each of the fifteen corruptions -> its errors in [0, 1] at the five severities.

    Returns:
        1.0 for AlexNet; smaller is better.

    Raises:
        BadRequest: a corruption is missing or unknown, not five severities, or no error in [0, 1].
    """
    missing, unknown = set(ALEXNET) - set(errors), set(errors) - set(ALEXNET)
    if missing or unknown:
        raise BadRequest(
            "mCE is defined for the fifteen corruptions of ImageNet-C together; "
            f"missing: {', '.join(sorted(missing)) or 'none'}; "
            f"unknown: {', '.join(sorted(unknown)) or 'none'}"
        )
    for name, found in errors.items():
        if len(found) != 5 or not all(0 <= error <= 1 for error in found):
            raise BadRequest(f"{name}: give five errors in [0, 1], not {list(found)!r}")
    return float(np.mean([np.mean(errors[name]) / base for name, base in ALEXNET.items()]))


def weighed(errors: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """What each image adds to the mCE, [n]: its mean over the images is the mCE.

    Args:
        errors: of each of the fifteen the share of the severities at which an image is wrong, [n].
    """
    parts = [errors[kind] / base for kind, base in ALEXNET.items()]
    share: NDArray[np.float64] = np.mean(parts, axis=0)
    return share
