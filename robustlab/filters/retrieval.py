"""What lies beside an image in a layer's feature space, before and after an attack.

Neighbours are Euclidean or by angle, found by scikit-learn's `NearestNeighbors`, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustlab.adversarial.images import exact_kernels, load_pixels
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.filters.convolutions import pick
from robustlab.filters.retrieval_told import Told
from robustlab.hooks import Layer, counted, find_layers, observe
from robustlab.outcome import Outcome, Picture
from robustlab.randomness import SampleRandom
from robustlab.registry import probe, resolve

__all__ = ["Neighbours", "features", "retrieval"]


@probe("retrieval", scope="set", version=2, uses=("{attack}",))
def retrieval(
    backbone: Backbone,
    data: Data,
    *,
    layer: str = "",
    nearest: int = 5,
    queries: int = 32,
    distance: Literal["euclidean", "cosine"] = "euclidean",
    positions: bool = False,
    attack: str = "pgd",
    norm: str = "linf",
    eps: str | float = "0.1",
    steps: int = 20,
    seed: int = 0,
    batch: int = 64,
) -> Outcome:
    """The nearest images of the data in a layer's feature space, before and after an attack.

    Columns, meant where ``measured``: ``fooled`` (verified at 8 bits), ``same_class_before`` and
    ``same_class_after``, shares of neighbours that bear the image's label, ``wrong_class_after``,
    those that bear the class now predicted, ``kept``, the share of neighbours that stayed.
    Arrays [n, nearest]: ``before`` and ``after``, rows of the data, nearest first, -1 where not
    measured; ``distance_before`` and ``distance_after``. An image is no neighbour of its own.

    layer: whose feature space; left out, the last before the logits
    nearest: how many neighbours
    queries: how many images are looked up: the first, others drawn by seed and id; 0: all
    distance: euclidean, or cosine, which looks at directions alone
    positions: of a map, keep every position instead of the mean over them
    attack: the attack, by name; none: no attack
    norm: of the attack
    eps: of the attack, on the [0, 1] scale or as "8/255"
    steps: of the attack, where it takes steps
    seed: of the attack and of the choice of images
    batch: images at a time
    """
    _check(data, nearest, queries, batch)
    chosen = _chosen(data, queries, seed)
    with exact_kernels(), counted(backbone.network) as passes:
        one = _layer(backbone, data, layer)
        space = features(backbone, data, one, batch, positions)
        known = Neighbours(space, distance)
        before = known.beside(space[chosen], chosen, nearest)
        found = _attacked(backbone, data.subset(chosen), attack, norm, eps, steps, seed, batch)
        after, prediction = before, data.labels[chosen]
        if found is not None:
            moved = Data(found["pixels"], data.labels[chosen], data.classes, ids=_ids(data, chosen))
            after = known.beside(features(backbone, moved, one, batch, positions), chosen, nearest)
            prediction = found["prediction"]
    told = Told(data, chosen, before, after, prediction, found)
    backward = 0.0 if found is None else found["backward"]
    return Outcome(
        told.samples(),
        arrays={
            **told.arrays(),
            "layer": np.array(one.name),
            "dimensions": np.array(space.shape[1]),
        },
        pictures=[
            Picture("neighbours", told.picture(), told.caption(one.name, attack, str(eps), norm))
        ],
        metrics=told.metrics(),
        cost={"forward": float(sum(passes)), "backward": float(backward)},
    )


def _check(data: Data, nearest: int, queries: int, batch: int) -> None:
    if nearest < 1 or queries < 0 or batch < 1:
        raise BadRequest(f"nearest={nearest}, queries={queries}, batch={batch}: at least 1, 0, 1")
    if len(data) <= nearest:
        raise BadRequest(
            f"{data.name} has {len(data)} images; {nearest} neighbours of each need {nearest + 1}"
        )


def _chosen(data: Data, queries: int, seed: int) -> NDArray[np.intp]:
    drawn = SampleRandom(seed, data.ids, "retrieval").uniform(())
    drawn[0] = -1.0  # the first image is always asked for
    most = queries or len(data)
    return np.sort(np.lexsort((np.array(data.ids), drawn))[:most])


def _ids(data: Data, rows: Sequence[int] | NDArray[Any]) -> list[str]:
    return [data.ids[row] for row in rows]


def _layer(backbone: Backbone, data: Data, name: str) -> Layer:
    image = load_pixels(data, [0], backbone)[0].to(backbone.dtype)
    found, _ = find_layers(backbone.network, image.repeat(2, 1, 1, 1))
    if name:
        chosen: Layer = pick(backbone, found, name)
        return chosen
    if not found:
        raise BadRequest(f"{backbone.name} has no layer that hooks can see")
    return found[-2] if len(found) > 1 else found[-1]


def features(
    backbone: Backbone, data: Data, layer: Layer, batch: int, positions: bool = False
) -> NDArray[np.float32]:
    """[n, d] float32: a vector as it is, of a map the mean of each channel, or all its values."""
    parts: list[NDArray[np.float32]] = []

    def see(name: str, module: nn.Module, output: Tensor) -> None:
        if name == layer.name:
            held = layer.standard(output)
            flat = held if held.ndim == 2 else held.flatten(1) if positions else held.mean((2, 3))
            parts.append(flat.float().cpu().numpy().copy())

    for first in range(0, len(data), batch):
        rows = np.arange(first, min(first + batch, len(data)))
        observe(backbone.network, load_pixels(data, rows, backbone)[0].to(backbone.dtype), see)
    return np.concatenate(parts)


class Neighbours:
    """The images of a data set by their features."""

    def __init__(self, space: NDArray[np.float32], distance: str) -> None:
        from sklearn.neighbors import NearestNeighbors

        if not np.isfinite(space).all():
            raise BadRequest("features are not finite; choose another layer")
        self.index = NearestNeighbors(metric=distance, algorithm="brute").fit(space)
        self.known = len(space)

    def beside(
        self, asked: NDArray[np.float32], own: NDArray[np.intp], nearest: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Rows and distances [k, nearest] of what lies nearest, the image itself left out.

        Args:
            asked: features [k, d]; own: [k], which row each is of.
        """
        distances, rows = self.index.kneighbors(asked, min(nearest + 1, self.known))
        other = rows != own[:, None]
        # Where the image is not among them (it moved away), the farthest goes.
        other[other.all(axis=1), -1] = False
        shape = (len(asked), nearest)
        return (
            rows[other].reshape(shape).astype(np.int32),
            distances[other].reshape(shape).astype(np.float32),
        )


def _attacked(
    backbone: Backbone,
    part: Data,
    attack: str,
    norm: str,
    eps: str | float,
    steps: int,
    seed: int,
    batch: int,
) -> Mapping[str, Any] | None:
    """Adversarial images as 8-bit pixels, those of images that were not fooled included."""
    if attack == "none":
        return None
    registered = resolve(attack)
    if registered.kind != "attack":
        raise BadRequest(f"{attack!r} is no attack; `robustlab list attacks` names them")
    asked: dict[str, Any] = {"eps": [str(eps)], "norm": norm}
    if "steps" in getattr(registered.obj, "__dataclass_fields__", {}):
        asked["steps"] = steps
    found = registered.obj(**bind(registered, asked))(backbone, part, seed=seed, batch=batch)
    pixels = np.array(found.images_8bit[0])
    x = torch.tensor(pixels, device=backbone.device).double() / 255
    firsts = range(0, len(pixels), batch)
    logits = torch.cat([backbone(x[i : i + batch]) for i in firsts])
    return {
        "pixels": pixels,
        "fooled": np.array(found.verified_8bit[0], bool),
        "prediction": logits.argmax(dim=1).cpu().numpy(),
        "backward": found.outcome().cost.get("backward", 0.0),
    }
