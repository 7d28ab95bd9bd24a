"""Function calls exchanged for layers, in the forward of the module that makes them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import fx, nn

from robustlab.errors import BadRequest
from robustlab.pooling.geometry import Pair

__all__ = [
    "Edit",
    "Rewritten",
    "called",
    "precede_call",
    "put",
    "replace_call",
    "rewritten",
    "surround_convolution",
]

Edit = Callable[[fx.GraphModule, fx.Node], None]


class Rewritten(fx.GraphModule):
    """A module with another forward, the same layers and weights.

    Attributes:
        program: the forward as text, so that a fingerprint knows it.
    """

    program: str

    def __deepcopy__(self, memo: Any) -> Any:
        copied: Any = super().__deepcopy__(memo)
        copied.program = self.program
        return copied


class _OwnTracer(fx.Tracer):
    """Enters no layer: what it sees is one forward alone."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def called(graph: fx.Graph, owner: str, owner_of: Callable[[fx.Node], str]) -> list[fx.Node]:
    """The calls of functions and methods that the forward of ``owner`` makes, in order."""
    calls = (one for one in graph.nodes if one.op in ("call_function", "call_method"))
    return [one for one in calls if owner_of(one) == owner]


def rewritten(
    owner: nn.Module, name: str, calls: Sequence[fx.Node], edits: Mapping[fx.Node, Edit]
) -> nn.Module:
    """The module with some of its calls exchanged.

    Args:
        name: of the module, for errors.
        calls: those that it makes in the graph of the whole network, in order.
        edits: what becomes of some of them.

    Raises:
        BadRequest: its forward alone does not make the same calls, or makes them several times and
            differently.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = _OwnTracer().trace(owner)
    own = [one for one in graph.nodes if one.op in ("call_function", "call_method")]
    runs = len(calls) // len(own) if own else 0
    alike = [(one.op, str(one.target)) for one in own] * runs
    if not runs or alike != [(one.op, str(one.target)) for one in calls]:
        raise BadRequest(f"the calls in {name or 'the network'!r} cannot be told apart")
    module = Rewritten(owner, graph, type(owner).__name__)
    for place, node in enumerate(own):
        if calls[place] in edits:
            if runs > 1:
                raise BadRequest(
                    f"{name!r} runs {runs} times with a pooling function in it; give each run a "
                    "module of its own"
                )
            edits[calls[place]](module, node)
    module.graph.lint()
    module.recompile()
    module.program = module.code
    return module


def put(root: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """The network with a module at ``path``, "" being the network itself."""
    if not path:
        return module
    above, _, name = path.rpartition(".")
    setattr(root.get_submodule(above), name, module)
    return root


def replace_call(layer: nn.Module, name: str) -> Edit:
    """A layer of that name in place of the call."""

    def edit(module: fx.GraphModule, node: fx.Node) -> None:
        module.add_submodule(name, layer)
        with module.graph.inserting_before(node):
            new = module.graph.call_module(name, (_map_of(node),))
        node.replace_all_uses_with(new)
        module.graph.erase_node(node)

    return edit


def precede_call(layer: nn.Module, name: str) -> Edit:
    """A layer of that name between the map and the call."""

    def edit(module: fx.GraphModule, node: fx.Node) -> None:
        module.add_submodule(name, layer)
        given = _map_of(node)
        with module.graph.inserting_before(node):
            new = module.graph.call_module(name, (given,))
        node.replace_input_with(given, new)

    return edit


def surround_convolution(before: nn.Module, after: nn.Module, name: str, dilation: Pair) -> Edit:
    """A convolution at every place, between what extends the map and what thins it out; the last
    bears the name.
    """

    def edit(module: fx.GraphModule, node: fx.Node) -> None:
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        module.add_submodule(f"before_{name}", before)
        module.add_submodule(name, after)
        with module.graph.inserting_before(node):
            wide = module.graph.call_module(f"before_{name}", (given.pop("input"),))
        node.args = (wide,)
        node.kwargs = {**given, "stride": 1, "padding": 0, "dilation": dilation}
        with module.graph.inserting_after(node):
            thin = module.graph.call_module(name, (node,))
        node.replace_all_uses_with(thin, delete_user_cb=lambda user: user is not thin)

    return edit


def _map_of(node: fx.Node) -> fx.Node:
    found = node.args[0] if node.args else node.kwargs["input"]
    assert isinstance(found, fx.Node)
    return found
