"""Which layers a trace stops at: those that all of the image has to pass, where there are enough.

Setting back a layer that a branch goes round cannot bring the clean logits back, however much of it
is set. Whether there is a branch is read from the graph that autograd keeps of one pass.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from torch import Tensor, nn
from torch.autograd.graph import Node

from robustlab.filters.projection import gradients_on
from robustlab.filters.steps import path
from robustlab.hooks import Layer, find_layers, listening

__all__ = ["cuts", "traced_layers"]

Edge = tuple[Node, int]


def traced_layers(
    network: nn.Module, two: Tensor, limit: int
) -> tuple[list[Layer], list[str], list[str]]:
    """At most ``limit`` layers, evenly spread, the last among them; 0: all.

    Args:
        two: two images [2, C, H, W].

    Returns:
        The layers in order of execution; names of what is neither map nor vector; names of layers
        that were passed over because a branch goes round them, where half of ``limit`` or more are
        left without these.
    """
    found, other = find_layers(network, two)
    if not limit or len(found) <= limit:
        return found, other, []
    whole = cuts(network, two[:1])
    held = [layer for layer in found if layer.name in whole]
    enough = len(held) >= max(2, limit / 2) and held[-1] == found[-1]
    round_ = [x.name for x in found if x.name not in whole] if enough else []
    among = held if enough else found
    places = np.linspace(0, len(among) - 1, min(limit, len(among))).round().astype(int)
    if limit == 1:
        places = np.array([len(among) - 1])
    return [among[i] for i in places.tolist()], other, round_


def cuts(network: nn.Module, x: Tensor) -> set[str]:
    """Names of the layers that every way from one image [1, C, H, W] to the logits leads through.

    Ways are counted: a layer is a cut if as many lead through it as there are. None of a network
    that keeps no graph.
    """
    edges: dict[str, Edge] = {}

    def see(name: str, module: nn.Module, output: Tensor) -> None:
        if output.grad_fn is not None:
            edges[name] = (output.grad_fn, output.output_nr)

    with gradients_on():
        leaf = x.detach().clone().requires_grad_()
        with listening(network, see):
            logits = network(leaf * 1)  # a first step in place must not meet a leaf
        graph = path(logits, leaf)
        behind = _ways_to_image(graph, leaf)
        before: dict[Edge, int] = defaultdict(int)
        if logits.grad_fn is not None:
            before[(logits.grad_fn, logits.output_nr)] = 1
        outputs: dict[Node, set[int]] = defaultdict(set)
        for node in graph:
            for ahead, place in node.next_functions:
                if ahead is not None:
                    outputs[ahead].add(place)
        for node in reversed(graph):
            here = sum(before[(node, i)] for i in outputs[node] | {logits.output_nr})
            for ahead, place in node.next_functions:
                if ahead is not None:
                    before[(ahead, place)] += here
        total = behind.get(logits.grad_fn, 0) if logits.grad_fn is not None else 0
        return {
            name
            for name, edge in edges.items()
            if total and before[edge] * behind.get(edge[0], 0) == total
        }


def _ways_to_image(graph: list[Node], leaf: Tensor) -> dict[Node, int]:
    """Of each step the number of ways to the image; exact, for they are many."""
    ways: dict[Node, int] = {}
    for node in graph:
        ways[node] = sum(
            1 if getattr(ahead, "variable", None) is leaf else ways.get(ahead, 0)
            for ahead, _ in node.next_functions
            if ahead is not None
        )
    return ways
