"""Common corruptions after Hendrycks and Dietterich (2019), for images of any size.

Written from the descriptions of the paper (section 3 and appendix B) with numpy, SciPy and Pillow;
the settings of the five severities are those the authors published with their generator, which is
made for 224 pixels. The pictures are not ImageNet-C's: their generator uses other libraries (and
other blurs, snow and glass).

Frost lays photographs of frost over an image; the lab has none and takes a user's own, and without
them there are fourteen of the fifteen.

Lengths (radii, displacements, the size of flakes) are multiplied by the shorter side / 224; shares,
amplitudes and qualities are not. What cannot be smaller than a pixel is one pixel: a flake of snow
and the displacement of glass, which are therefore relatively larger in small images. A disc
of defocus that lies inside a pixel leaves the image as it is: of 32 pixels at severity 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.errors import BadRequest, choices
from robustlab.invariance.corrupted.blurs import defocus_blur, glass_blur, motion_blur, zoom_blur
from robustlab.invariance.corrupted.digital import (
    brightness,
    contrast,
    elastic_transform,
    jpeg_compression,
    pixelate,
)
from robustlab.invariance.corrupted.frost import Pictures, frost, read_frost
from robustlab.invariance.corrupted.noises import gaussian_noise, impulse_noise, shot_noise
from robustlab.invariance.corrupted.weather import fog, snow
from robustlab.randomness import SampleRandom

__all__ = ["CORRUPTIONS", "FIFTEEN", "SEVERITIES", "Pictures", "corrupt", "read_frost"]

SEVERITIES = (1, 2, 3, 4, 5)
Image = NDArray[np.float64]

CORRUPTIONS: dict[str, Callable[[Image, int, SampleRandom], Image]] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
}
# In the order of the paper; frost stands behind snow.
_SNOW = list(CORRUPTIONS).index("snow") + 1
FIFTEEN = (*list(CORRUPTIONS)[:_SNOW], "frost", *list(CORRUPTIONS)[_SNOW:])


def corrupt(
    image: NDArray[Any],
    name: str,
    severity: int,
    id: str,
    seed: int = 0,
    frosts: Pictures = (),
) -> Any:
    """One image corrupted, as the 8-bit pixels that a PNG would hold.

    Args:
        image: [C, H, W], floats in [0, 1], C 1 or 3.
        name: one of `CORRUPTIONS`, or ``"frost"`` where ``frosts`` are given.
        severity: 1 to 5.
        id: stable id of the image; with the seed it decides all that is drawn, at all severities.
        seed: seed of the draws.
        frosts: photographs of frost, of `read_frost`.

    Returns:
        uint8 [C, H, W].

    Raises:
        BadRequest: no such corruption or severity.
    """
    if name == "frost" and not frosts:
        raise BadRequest(
            "frost needs photographs of frost, which the lab does not have; give a folder of them"
        )
    if name not in FIFTEEN:
        raise BadRequest(f"unknown corruption {name!r}{choices(name, CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise BadRequest(f"severities of {name} are 1 to 5, not {severity!r}")
    rng = SampleRandom(seed, [id], "corruption", name)
    pixels = np.asarray(image, dtype=np.float64).transpose(1, 2, 0)
    if name == "frost":
        changed = frost(pixels, severity, rng, frosts)
    else:
        changed = CORRUPTIONS[name](pixels, severity, rng)
    return np.rint(np.clip(changed, 0, 1) * 255).astype(np.uint8).transpose(2, 0, 1)
