"""What happens to the maps of a network, step by step: from its graph, or from one pass through it.

`torch.fx` gives the graph where the forward can be traced. Where it cannot, a pass is watched: what
modules do is known from hooks, and what happens between them from a torch function mode; that holds
for the one image that was sent, so nothing that needs the graph can be built on it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from robustlab.pooling.calls import read_call
from robustlab.pooling.picking import plain
from robustlab.pooling.reading import Read, Unreadable, read_module

__all__ = [
    "LabTracer",
    "Step",
    "Untraceable",
    "Walk",
    "known_layer",
    "owner_of",
    "steps_of_graph",
    "traced",
]

Shape = tuple[int, ...]


class Untraceable(Exception):
    """`torch.fx` cannot trace the network; the text says why."""


@dataclass(frozen=True)
class Step:
    """One operation on a map.

    Attributes:
        owner: the module that it is, or whose forward calls the function.
        module: whether it is a module.
        given, made: shapes of its input and output.
        read: as a site, or None.
        node: in the graph, where there is one.
    """

    owner: str
    module: bool
    given: Shape
    made: Shape
    read: Read | None
    node: fx.Node | None = None

    @property
    def name(self) -> str:
        """Of a layer its path; of a call the path of its owner and the name of the call."""
        if self.module or self.node is None:
            return self.owner
        return f"{self.owner}.{self.node.name}".lstrip(".")


@dataclass
class Walk:
    """All steps of a network in the order in which they happen.

    Attributes:
        shapes: of what each node gives, where it is a tensor.
        steps: of each node that makes a map of a map.
    """

    graph: fx.Graph
    shapes: dict[fx.Node, Shape] = field(default_factory=dict)
    steps: dict[fx.Node, Step] = field(default_factory=dict)

    def sites(self) -> Iterator[Step]:
        return (step for step in self.steps.values() if step.read is not None)


class LabTracer(fx.Tracer):
    """Stops at torch's layers, and at those of the lab whose type says what they do."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return known_layer(m) or super().is_leaf_module(m, module_qualified_name)


def known_layer(module: nn.Module) -> bool:
    """Whether it is a pooling of the lab, or a layer of torch or the lab that holds no others."""
    home = type(module).__module__
    single = home.split(".")[0] in ("torch", "robustlab") and not list(module.children())
    return home.startswith("robustlab.pooling.") or single


def traced(module: nn.Module) -> fx.Graph:
    """The graph of a network; `Untraceable` where its forward depends on values or shapes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return LabTracer().trace(module)
    except Exception as error:  # tracing runs the user's own forward
        raise Untraceable(str(error).splitlines()[0] if str(error) else repr(error)) from error


def steps_of_graph(module: nn.Module, graph: fx.Graph, images: Tensor) -> Walk:
    """Send images through the graph and read each step.

    Raises:
        Unreadable: a step makes maps smaller in an unknown way.
    """
    walk = Walk(graph)
    watch = _Watch(fx.GraphModule(module, graph), walk, module)
    with torch.no_grad():
        watch.run(images)
    if watch.refused is not None:
        raise watch.refused
    return walk


class _Watch(fx.Interpreter):
    def __init__(self, network: fx.GraphModule, walk: Walk, module: nn.Module) -> None:
        super().__init__(network)
        self.walk = walk
        # The interpreter runs a copy of the graph.
        self.originals = dict(zip(network.graph.nodes, walk.graph.nodes, strict=True))
        self.root = module
        self.refused: Unreadable | None = None  # the interpreter would add its own words to it

    def run_node(self, n: fx.Node) -> Any:
        made = super().run_node(n)
        node = self.originals[n]
        parts = made if isinstance(made, tuple | list) else ()
        if parts and all(isinstance(one, Tensor) for one in parts):  # of chunk and split
            self.walk.shapes[node] = tuple(parts[0].shape)
        if isinstance(made, Tensor):
            self.walk.shapes[node] = tuple(made.shape)
            if n.op in ("call_module", "call_function", "call_method"):
                args, kwargs = self.fetch_args_kwargs_from_env(n)
                try:
                    self._read(node, args, kwargs, tuple(made.shape))
                except Unreadable as error:
                    self.refused = self.refused or error
        return made

    def _read(self, node: fx.Node, args: Any, kwargs: Any, made: Shape) -> None:
        first = args[0] if args else kwargs.get("input")
        if not isinstance(first, Tensor):
            return
        given = tuple(first.shape)
        if node.op == "call_module":
            target = str(node.target)
            read = read_module(self.root.get_submodule(target), given, made)
            self.walk.steps[node] = Step(target, True, given, made, read, node)
            return
        rest = [plain(one) for one in args[1:]]
        named = {key: plain(value) for key, value in kwargs.items() if key != "input"}
        read = read_call(node.target, rest, named, given, made)
        self.walk.steps[node] = Step(owner_of(node), False, given, made, read, node)


def owner_of(node: fx.Node) -> str:
    """The module whose forward calls a function."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""
