"""What a network says of pictures: probabilities, the five likeliest classes.

Pictures are looked at in batches of bounded size, and given one at a time by an iterable, so that
memory does not grow with their number. Logits of the same picture in batches of another size agree
to the rounding of the network's own precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robustlab.adversarial.images import exact_kernels
from robustlab.backbones import Backbone
from robustlab.errors import BadRequest
from robustlab.fooled import Pixels, Reading

__all__ = ["BATCH", "Read", "as_it_is", "check_class", "look", "probabilities", "reading", "tell"]

# From the 8-bit pixels of a picture [C, H, W] to what the network takes, float32 [C, h, w] in
# [0, 1].
Read = Callable[[Pixels], NDArray[Any]]

BATCH = 8
_TOP = 5

Logits = NDArray[np.float64]


def as_it_is(pixels: Pixels) -> NDArray[np.float32]:
    """The `Read` of a network that takes the picture itself: a level v becomes v / 255."""
    return np.asarray(np.divide(pixels, np.float32(255), dtype=np.float32))


def look(backbone: Backbone, images: Iterable[NDArray[Any]], *, batch: int = BATCH) -> Logits:
    """Logits, float64 [n, K], of ``images``, each float [C, h, w] in [0, 1].

    Args:
        images: taken from the iterable ``batch`` at a time; all of one shape.

    Raises:
        BadRequest: images of another shape than the network takes, or logits that are no numbers.
    """
    found = [np.zeros((0, len(backbone.classes)))]
    with exact_kernels():
        for part in _batches(images, batch):
            logits = backbone(torch.from_numpy(np.stack(part))).double().cpu().numpy()
            if not np.isfinite(logits).all():
                raise BadRequest(
                    f"{backbone.name} answers a picture with {logits[~np.isfinite(logits)][0]}: "
                    "nothing can be said of it; look at its weights, or load it in float32"
                )
            found.append(logits)
    return np.concatenate(found)


def probabilities(logits: Logits) -> Logits:
    """Softmax of each row, float64 [n, K]."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def tell(
    network: str, classes: Sequence[str], logits: Logits, label: int, target: int | None
) -> Reading:
    """One row of logits [K] as a `Reading`; of equal logits the smaller index comes first."""
    chances = probabilities(logits[None])[0]
    order = np.argsort(-logits, kind="stable")[:_TOP]
    return Reading(
        network=network,
        top=tuple((int(k), classes[k], float(chances[k])) for k in order),
        label=float(chances[label]),
        target=float("nan") if target is None else float(chances[target]),
    )


def reading(backbone: Backbone, x: NDArray[Any], label: int, target: int | None = None) -> Reading:
    """What ``backbone`` says of one image.

    Args:
        x: float [C, h, w] in [0, 1], as the network takes it.
        label, target: indices of the class seen in the clean picture and of the one asked for.

    Raises:
        BadRequest: an image that the network does not take, or no such class.
    """
    check_class(backbone, label, target)
    (logits,) = look(backbone, [np.asarray(x)])
    return tell(backbone.name, backbone.classes, logits, label, target)


def check_class(backbone: Backbone, *indices: int | None) -> None:
    """Refuse an index that is no class of the network, before anything runs."""
    most = len(backbone.classes)
    for index in indices:
        if index is not None and not 0 <= index < most:
            raise BadRequest(
                f"there is no class {index}; {backbone.name} knows {most}, from 0 to {most - 1}"
            )


def _batches(images: Iterable[Any], batch: int) -> Iterator[list[Any]]:
    """Lists of at most ``batch`` (itertools.batched came with Python 3.12)."""
    if batch < 1:
        raise BadRequest(f"batch must be at least 1, not {batch}")
    waiting = iter(images)
    while part := list(islice(waiting, batch)):
        yield part
