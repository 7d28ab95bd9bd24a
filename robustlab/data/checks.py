"""What images, labels, names and ids must look like before they become a `Data`.

Every function takes what a user may hand over and returns the one form that the lab keeps, or
raises `BadRequest` with what was found and what would be right. Nothing is guessed: floats in
0..255 are refused with the line that mends them, never divided in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.data.spill import chunks, release, room
from robustlab.errors import BadRequest

__all__ = ["as_class_names", "as_ids", "as_images", "as_labels", "unique_names"]

Array = NDArray[Any]
_CHANNELS = (1, 3)
_TOLERANCE = 1e-6  # a float32 image that went through x / 255 * 255 may leave [0, 1] by an ulp


def _numpy(value: Any, what: str) -> Array:
    """A numpy array of an array, a list or a torch tensor (known by its methods: no torch here)."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        # numpy has no bfloat16; float32 holds every value of it.
        value = value.float().numpy() if str(value.dtype) == "torch.bfloat16" else value.numpy()
    try:
        return np.asarray(value)
    except ValueError:
        raise BadRequest(
            f"{what} do not form one array: all need the same shape; resize or crop them first"
        ) from None


def as_images(images: Any) -> Array:
    """C-contiguous [n, C, H, W], uint8 or float32 in [0, 1], in a `room` of its own.

    Args:
        images: [n, C, H, W], [n, H, W, C] or [n, H, W], C being 1 or 3; where both the second and
            the last axis could be channels, the second is.
    """
    array = _channels_first(_numpy(images, "images"))
    if array.dtype != np.uint8:
        if array.dtype.kind != "f":
            raise BadRequest(
                f"images have dtype {array.dtype}; give uint8 in 0..255 (images.astype(np.uint8)) "
                "or floats in [0, 1]"
            )
        _check_unit_floats(array)
    kept = room(array.shape, np.uint8 if array.dtype == np.uint8 else np.float32)
    for part in chunks(kept):
        if array.dtype == np.uint8:
            kept[part] = array[part]
        else:
            np.clip(array[part], 0, 1, out=kept[part], casting="same_kind")
        release(kept)
        release(array)
    return kept


def _channels_first(array: Array) -> Array:
    if array.ndim not in (3, 4):
        raise BadRequest(
            f"images have shape {list(array.shape)}; give [n, channels, height, width], "
            "[n, height, width, channels] or [n, height, width]"
        )
    if array.shape[0] == 0:
        raise BadRequest("there are no images (n = 0); give at least one")
    if array.ndim == 3:
        array = array[:, None]
    elif array.shape[1] not in _CHANNELS and array.shape[3] in _CHANNELS:
        array = array.transpose(0, 3, 1, 2)
    if array.shape[1] not in _CHANNELS:
        raise BadRequest(
            f"images of shape {list(array.shape)} have neither 1 nor 3 channels "
            "on the second or the last axis; convert them to grey or RGB"
        )
    if 0 in array.shape:
        raise BadRequest(f"images of shape {list(array.shape)} hold no pixels")
    return array


def _check_unit_floats(array: Array) -> None:
    strange, first, low, high = 0, 0, np.inf, -np.inf
    for part in chunks(array):
        finite = np.isfinite(array[part])
        if not strange and not finite.all():
            first = part.start + int(np.argmin(finite.all(axis=(1, 2, 3))))
        strange += int((~finite).sum())
        low, high = min(low, float(array[part].min())), max(high, float(array[part].max()))
        release(array)
    if strange:
        raise BadRequest(
            f"image {first} holds NaN or infinity ({strange} such values in all); "
            "pixels must be finite"
        )
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        hint = "bring them to [0, 1]; normalisation (mean, std) belongs to the Backbone"
        if low >= 0 and 1 + _TOLERANCE < high <= 255:
            hint = "they look like 0..255: divide by 255, or convert to uint8"
        raise BadRequest(f"float images range from {low:g} to {high:g}, outside [0, 1]; {hint}")


def as_labels(labels: Any, n: int) -> Array:
    """int64 [n] in memory of its own; whether each names a class is `as_class_names`' concern."""
    array = _numpy(labels, "labels")
    if array.ndim != 1:
        hint = "; labels.argmax(1) undoes a one-hot coding" if array.ndim == 2 else ""
        raise BadRequest(
            f"labels have shape {list(array.shape)}; give one integer an image, [{n}]{hint}"
        )
    if array.size != n:
        raise BadRequest(f"there are {n} images but {array.size} labels; give one label an image")
    if array.dtype.kind not in "iu":
        raise BadRequest(
            f"labels have dtype {array.dtype}; give integers 0, 1, ... (labels.astype(int))"
        )
    return np.array(array, dtype=np.int64)


def as_class_names(
    classes: int | Sequence[str] | None, labels: Array | None = None
) -> tuple[str, ...]:
    """Names of the classes; a number, or nothing, names them by their index.

    Raises:
        BadRequest: no classes, a name given twice, or a label that names no class.
    """
    if classes is None:
        classes = int(labels.max(initial=0)) + 1 if labels is not None else 0
    if isinstance(classes, bool | str):
        raise BadRequest(f"classes {classes!r} is neither a number nor a list of names")
    if isinstance(classes, int | np.integer):
        classes = [str(index) for index in range(classes)]
    names = tuple(str(name) for name in classes)
    if not names:
        raise BadRequest("there are no classes; give their number or their names")
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise BadRequest(f"the class name {twice!r} is given twice; name each class once")
    if labels is not None:
        outside = (labels < 0) | (labels >= len(names))
        if outside.any():
            bad = int(outside.argmax())
            raise BadRequest(
                f"label {int(labels[bad])} of image {bad} names no class; there are {len(names)} "
                f"classes, so labels run from 0 to {len(names) - 1}"
            )
    return names


def as_ids(ids: Sequence[str] | None, n: int, name: str) -> tuple[str, ...]:
    """One stable id an image; the default is ``own/000123``, the number being the position."""
    if ids is None:
        return tuple(f"{name}/{index:06d}" for index in range(n))
    given = tuple(str(one) for one in ids)
    if len(given) != n:
        raise BadRequest(f"there are {n} images but {len(given)} ids; give one id an image")
    if len(set(given)) < n:
        twice, times = Counter(given).most_common(1)[0]
        raise BadRequest(f"the id {twice!r} is given {times} times; ids must be unique")
    return given


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """``names``, each one that occurs more than once followed by its index: ``"crane (134)"``.

    Some lists of ImageNet's 1,000 categories need it, where two synsets share their first word;
    `Data` and `Backbone` want each class named once.
    """
    times = Counter(names)
    return tuple(
        f"{name} ({index})" if times[name] > 1 else str(name) for index, name in enumerate(names)
    )
