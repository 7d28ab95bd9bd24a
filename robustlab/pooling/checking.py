"""What a swapped network must stand before it is handed out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from robustlab.errors import BadRequest
from robustlab.pooling.guard import watched
from robustlab.pooling.kinds import Kind
from robustlab.pooling.tracing import steps_of_graph, traced

__all__ = ["check_complete", "check_shapes"]

Shape = tuple[int, ...]


def check_shapes(network: nn.Module, images: Tensor, shapes: Mapping[str, list[Shape]]) -> None:
    """Every new layer gives maps of the shapes that stood there before, one a run.

    Raises:
        BadRequest: one does not, or refuses its map; with its name.
    """
    made: dict[str, list[Shape]] = {name: [] for name in shapes}
    running: list[str] = []

    def watch(name: str, layer: nn.Module) -> list[Any]:
        def enter(*_: Any) -> None:
            running.append(name)

        def leave(one: nn.Module, given: Any, found: Tensor) -> None:
            made[name].append(tuple(found.shape))
            running.pop()

        return [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]

    handles = [h for name in shapes for h in watch(name, network.get_submodule(name))]
    try:
        with torch.no_grad():
            network(images)
    except BadRequest as error:
        raise error.inside(running[-1] if running else "its forward") from None
    except Exception as error:  # the user's own forward, or an edge wider than a map
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise BadRequest(
            f"with that padding or head the network fails on its own images ({reason}); take "
            "another padding, or larger images"
        ) from None
    finally:
        for handle in handles:
            handle.remove()
    for name, before in shapes.items():
        if made[name] != before:
            raise BadRequest(f"{name} gives maps of {made[name]}, and {before} before")


def check_complete(
    network: nn.Module, images: Tensor, kept: Collection[str], kind: Kind, graph: bool
) -> None:
    """No down-sampling is left that is not the lab's own, or was to stay.

    Args:
        kept: names of the sites that stay.
        graph: whether the network can be traced.

    Raises:
        BadRequest: a site slipped by; with its name.
    """
    if graph:
        steps = list(steps_of_graph(network, traced(network), images).steps.values())
    else:
        steps = watched(network, images)
    for step in steps:
        read = step.read
        if read is None or not read.down or read.what == "swapped" or step.name in kept:
            continue
        if not (kind.naive and read.what == "conv"):
            raise BadRequest(f"{step.name} could not be exchanged: {read.text}")
