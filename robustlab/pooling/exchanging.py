"""The whole exchange in one network: every site found, exchanged and checked."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, fx, nn

from robustlab.errors import BadRequest
from robustlab.pooling.checking import check_complete, check_shapes
from robustlab.pooling.density import check_density
from robustlab.pooling.exchange import Exchange, calls_exchanged, layer_exchanged, told
from robustlab.pooling.geometry import Pair
from robustlab.pooling.grids import groups, spreads
from robustlab.pooling.guard import Guarded, watched
from robustlab.pooling.heads import Everywhere, GlobalPool
from robustlab.pooling.polyphase import shared
from robustlab.pooling.rewriting import (
    Edit,
    called,
    precede_call,
    put,
    replace_call,
    rewritten,
    surround_convolution,
)
from robustlab.pooling.tracing import Step, Untraceable, Walk, owner_of, steps_of_graph, traced

__all__ = ["Exchanging", "Site"]


@dataclass(frozen=True)
class Site:
    """One down-sampling site of a network.

    Attributes:
        name: where it stands: of a layer its path, of a function call the module that makes it, a
            dot and the name of the call.
        before, after: the operation; equal where nothing was to change.
    """

    name: str
    before: str
    after: str

    @property
    def changed(self) -> bool:
        return self.before != self.after


class Exchanging:
    """The exchange in one network, which it takes over: sites are found, exchanged, checked.

    Args:
        module: the network.
        images: one image that it takes.
        head: as of `swap_pooling`.
    """

    def __init__(
        self, module: nn.Module, images: Tensor, exchange: Exchange, head: str | None
    ) -> None:
        self.exchange = exchange
        self.head = head
        self.root = module
        self.images = images
        self.sites: list[Site] = []
        self.layers: dict[str, nn.Module] = {}
        self.shapes: dict[str, list[tuple[int, ...]]] = {}  # one a run of the layer
        self.edits: dict[fx.Node, Edit] = {}
        self.samplers: dict[fx.Node, nn.Module] = {}
        self.walk: Walk | None = None
        self.spread: dict[fx.Node, Pair] = {}

    def done(self) -> tuple[nn.Module, list[Site]]:
        """The network and its sites."""
        steps = self._steps()
        check_density(self.root, self.images)
        heads = self._heads(steps)
        for step in steps:
            if step.read is not None:
                self._exchange(step, heads)
        self._share()
        self._apply()
        kept = {site.name for site in self.sites if not site.changed}
        check_shapes(self.root, self.images, self.shapes)
        check_complete(self.root, self.images, kept, self.exchange.kind, self.walk is not None)
        module = self.root if self.walk is not None else Guarded(self.root).eval()
        return module, self.sites

    def _steps(self) -> list[Step]:
        kind = self.exchange.kind
        try:
            graph = traced(self.root)
        except Untraceable as error:
            if kind.chooses or kind.dense:
                raise BadRequest(
                    f"its forward cannot be traced ({error}), and {kind.text!r} needs to know "
                    "which branches meet; take a kind without a choice, as blur3"
                ) from None
            return watched(self.root, self.images)
        self.walk = steps_of_graph(self.root, graph, self.images)
        if kind.dense:
            self.spread = spreads(self.root, self.walk)
        return list(self.walk.steps.values())

    def _heads(self, steps: list[Step]) -> list[Step]:
        """The sites that the head is made of: behind them no map has places any more."""
        found: list[Step] = []
        for step in reversed(steps):
            if step.read is not None and step.read.what in ("global", "flatten"):
                found.append(step)
            elif len(step.made) == 4 and step.made[2] * step.made[3] > 1:
                break
        if self.head in (None, "flatten"):
            flat = any(one.read and one.read.what == "flatten" for one in found)
            if self.head == "flatten" and not flat:
                raise BadRequest(
                    "its classifier was trained on one number a map, so a flatten head does not "
                    "fit it; leave head out"
                )
            if flat and self.exchange.kind.dense:
                raise BadRequest(
                    "behind a flatten head 'dense' would give the classifier more values than it "
                    "has weights for; give head='gap'"
                )
            return []
        if not found:
            raise BadRequest(f"no head was found that {self.head!r} could take the place of")
        return found

    # One site ---------------------------------------------------------------------------------

    def _exchange(self, step: Step, heads: list[Step]) -> None:
        read = step.read
        assert read is not None
        if read.what == "swapped":
            if read.down:
                raise BadRequest(f"{step.owner} is a pooling of the lab; swap the original network")
            return
        if read.what in ("global", "flatten"):
            self._exchange_head(step, step in heads)
            return
        spread = self.spread.get(step.node, (1, 1)) if step.node is not None else (1, 1)
        name = step.name
        if not self.exchange.touches(read, spread):
            if read.down:
                self.sites.append(Site(name, read.text, read.text))
            return
        number, channels = len(self.sites), step.made[1]
        scale = _times(spread, read) if self.exchange.kind.dense else (1, 1)
        shape = (*step.made[:2], step.made[2] * scale[0], step.made[3] * scale[1])
        self.shapes.setdefault(name, []).append(shape)
        if step.module:
            if self._again(step):
                return
            layer = self.root.get_submodule(step.owner)
            new = layer_exchanged(layer, read, self.exchange, spread, channels, number)
            self._place(step, new)
        elif read.what == "pool" and step.node is not None:
            sampler = self.exchange.sampler(read, channels, number)
            new = self.exchange.pool(read, sampler, spread)
            self._edit(step, replace_call(new, step.node.name), new)
        elif step.node is not None:
            before, new = calls_exchanged(read, self.exchange, spread, channels, number)
            assert read.geometry is not None
            steps = (read.geometry.dilation[0] * spread[0], read.geometry.dilation[1] * spread[1])
            self._edit(step, surround_convolution(before, new, step.node.name, steps), new)
        if read.down:
            self.sites.append(Site(name, read.text, told(new)))

    def _exchange_head(self, step: Step, is_head: bool) -> None:
        read = step.read
        assert read is not None
        if not is_head or self.head is None:
            if read.what == "global":
                self.sites.append(Site(step.name, read.text, read.text))
            return
        new: nn.Module = GlobalPool(self.head, keep=read.keep)
        if read.what == "flatten":
            new = Everywhere(self.head, (step.given[2], step.given[3]))
        if step.node is not None and not step.module:
            put_call = precede_call if read.what == "flatten" else replace_call
            self._edit(step, put_call(new, step.node.name), new)
        elif not self._again(step):
            old = self.root.get_submodule(step.owner)
            self._place(step, nn.Sequential(new, old) if read.what == "flatten" else new)
        self.sites.append(Site(step.name, read.text, told(new)))

    def _again(self, step: Step) -> bool:
        """Whether the same layer ran before and was exchanged then."""
        if step.owner not in self.layers:
            return False
        kind = self.exchange.kind
        stateful = any(True for _ in self.layers[step.owner].parameters())
        if kind.chooses or kind.dense or stateful:
            raise BadRequest(
                f"the layer {step.owner!r} runs several times; give each run a layer of its own"
            )
        return True

    def _place(self, step: Step, new: nn.Module) -> None:
        self.layers[step.owner] = new
        if step.node is not None:
            self.samplers[step.node] = new

    def _edit(self, step: Step, edit: Edit, new: nn.Module) -> None:
        assert step.node is not None
        self.edits[step.node] = edit
        self.samplers[step.node] = new

    # The whole network ------------------------------------------------------------------------

    def _share(self) -> None:
        """One choice for branches that meet."""
        if self.walk is None or not self.exchange.kind.chooses:
            return
        chosen = [n for n, new in self.samplers.items() if hasattr(new, "sampler")]
        chosen = [n for n in chosen if hasattr(self.samplers[n].sampler, "follows")]
        for group in groups(self.walk, chosen):
            shared([self.samplers[node] for node in group])

    def _apply(self) -> None:
        if self.walk is not None:
            owners = {owner_of(node): None for node in self.edits}
            for owner in owners:
                calls = called(self.walk.graph, owner, owner_of)
                old = self.root.get_submodule(owner)
                self.root = put(self.root, owner, rewritten(old, owner, calls, self.edits))
        for path, layer in self.layers.items():
            self.root = put(self.root, path, layer)
        self.root.eval().requires_grad_(False)


def _times(spread: Pair, read: object) -> Pair:
    geometry = getattr(read, "geometry", None)
    assert geometry is not None
    return spread[0] * geometry.stride[0], spread[1] * geometry.stride[1]
