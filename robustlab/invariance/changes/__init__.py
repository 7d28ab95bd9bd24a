"""Changes of an image that leave its content as it is, each with a severity; 0 is the image itself.

One file a family, one line of `CHANGES` a change. Lengths are in per cent of the shorter side, so
that a severity means the same for digits of 32 pixels and photographs of 224. Changed images are
floats in [0, 1]; they are not rounded to 8 bits.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from robustlab.adversarial.rigid import check_padding
from robustlab.errors import BadRequest, choices
from robustlab.invariance.changes.change import Change
from robustlab.invariance.changes.cover import PIECES, clutter, occlusion
from robustlab.invariance.changes.geometry import deformation, rotation, scale
from robustlab.invariance.changes.light import brightness, contrast, lighting
from robustlab.invariance.changes.sharpness import blur, noise
from robustlab.invariance.severity_units import UNITS
from robustlab.randomness import SampleRandom

__all__ = ["CHANGES", "Change", "change_images", "find_change"]

CHANGES: dict[str, Change] = {
    "rotation": Change(
        rotation,
        UNITS["rotation"],
        (-90, -75, -60, -45, -30, -15, 0, 15, 30, 45, 60, 75, 90),
        (-180, 180),
        "turned about its centre, counter-clockwise where positive",
        fills=True,
    ),
    "scale": Change(
        scale,
        UNITS["scale"],
        (-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1),
        (-1, 1),
        "magnified about its centre by 2 to the power of the severity, not smoothed before it is "
        "made smaller",
        fills=True,
    ),
    "contrast": Change(
        contrast,
        UNITS["contrast"],
        (0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95),
        (0, 1),
        "drawn towards the mean of its grey levels; 1 is a flat picture",
    ),
    "brightness": Change(
        brightness,
        UNITS["brightness"],
        (-0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6),
        (-1, 1),
        "made brighter or darker by a constant, cut to [0, 1]",
    ),
    "lighting": Change(
        lighting,
        UNITS["lighting"],
        (0, 0.25, 0.5, 0.75, 1),
        (0, 1),
        "lit from one side: multiplied by 1 - s in one corner to 1 + s in the opposite one, in a "
        "seeded direction, cut to [0, 1]",
    ),
    "deformation": Change(
        deformation,
        UNITS["deformation"],
        (0, 1, 2, 3, 4, 6, 8),
        (0, 20),
        "bent by a smooth seeded field; the severity is the root mean square displacement",
        fills=True,
    ),
    "occlusion": Change(
        occlusion,
        UNITS["occlusion"],
        (0, 10, 20, 30, 40, 50, 60),
        (0, 100),
        "covered by a square of grey (0.5) of that side at a seeded place",
    ),
    "clutter": Change(
        clutter,
        UNITS["clutter"],
        (0, 1, 2, 4, 8, 16),
        (0, PIECES),
        "strewn with seeded bars, discs and squares: behind the object where the background can be "
        "told (a border of one colour), outside the middle half of the area elsewhere",
        whole=True,
    ),
    "blur": Change(
        blur,
        UNITS["blur"],
        (0, 1, 2, 3, 4, 6, 8),
        (0, 10),
        "smoothed by a Gaussian of that standard deviation, mirrored at the border",
    ),
    "noise": Change(
        noise,
        UNITS["noise"],
        (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5),
        (0, 1),
        "given Gaussian noise, independent in every pixel and channel, cut to [0, 1]",
    ),
}


def find_change(name: str) -> Change:
    """A change by its name.

    Raises:
        BadRequest: no such change; the nearest one is given.
    """
    if name not in CHANGES:
        raise BadRequest(f"unknown change {name!r}{choices(name, CHANGES)}")
    return CHANGES[name]


def change_images(
    x: Tensor,
    name: str,
    severity: float,
    ids: Sequence[str],
    seed: int = 0,
    padding: str = "zeros",
) -> Tensor:
    """Images changed, each by its own seeded draw, which is the same at every severity.

    Args:
        x: images [n, C, H, W] in [0, 1].
        name: one of `CHANGES`.
        severity: in the unit of the change; 0 gives ``x`` itself, bit for bit.
        ids: stable ids of the images; with the seed they decide all that is drawn.
        seed: seed of the draws.
        padding: what lies outside the image, where the change looks there; see `rigid`.

    Returns:
        Images of the same shape, type and box.

    Raises:
        BadRequest: no such change or padding, or a severity outside its range.
    """
    found = find_change(name)
    check_padding(padding)
    found.check(name, severity)
    if severity == 0:
        return x
    rng = SampleRandom(seed, ids, "change", name)
    if found.fills:
        return found.apply(x, severity, rng, padding=padding)
    return found.apply(x, severity, rng)
