"""`swap_pooling`: the same network, its weights kept, with another pooling at every site."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from robustlab.backbones.backbone import Backbone
from robustlab.errors import BadRequest, RobustlabError, choices
from robustlab.pooling.exchange import (
    Exchange,
    calls_exchanged,
    edges_of,
    layer_exchanged,
)
from robustlab.pooling.geometry import Pair, check_padding
from robustlab.pooling.grids import groups, spreads
from robustlab.pooling.guard import Guarded, watched
from robustlab.pooling.heads import HEADS, Everywhere, GlobalPool
from robustlab.pooling.kinds import parse_kind
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
from robustlab.pooling.tracing import (
    Step,
    Untraceable,
    Walk,
    owner_of,
    steps_of_graph,
    traced,
)

__all__ = ["Site", "Swapped", "swap_pooling"]


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


class Swapped(Backbone):
    """A `Backbone` whose pooling was exchanged.

    Attributes:
        sites: every down-sampling site in the order in which it runs, those that stayed as they
            were among them.
    """

    sites: tuple[Site, ...] = ()


def swap_pooling(
    backbone: Backbone, kind: str, padding: str | None = None, head: str | None = None
) -> Swapped:
    """The same network with another pooling at every down-sampling site, its weights kept.

    Max and average pools and strided convolutions become dense operations with a sampler behind
    them; maps and logits keep their shapes (a test of them ends the exchange). A pooling inside the
    network that does not make maps smaller stays, but for its padding. The weights were learned
    with the old pooling: accuracy may fall until they are trained on.

    Args:
        backbone: the network; it stays as it is.
        kind: a pooling kind as ``"blur3"``, ``"max+blur3"``, ``"polyphase"`` or ``"dense"``;
            `robustlab.pooling.kinds` lists them. At a convolution a kind of windows alone, as
            ``"max"``, stands behind it with windows of the stride's size.
        padding: ``"zero"``, ``"reflect"``, ``"replicate"`` or ``"circular"`` for every padded
            convolution and pool; None: each keeps its own, and filters see what the network's
            convolutions see, or mirrored values where these see zeros.
        head: ``"gap"``, ``"gmp"`` or ``"gem"`` in place of the last global pool; before a flatten
            head it makes all places of a map equal. ``"flatten"`` and None keep the head.

    Returns:
        A backbone of its own fingerprint, with the list of ``sites``.

    Raises:
        BadRequest: an unknown word; a network that cannot be exchanged, with the reason; sizes
            that do not divide, where the kind needs it.
    """
    if not isinstance(backbone, Backbone):
        raise BadRequest(
            f"swap_pooling takes a Backbone, not a {type(backbone).__name__}; "
            "load_backbone('lenet5-max@digits') gives one, robustlab.Backbone(module, ...) another"
        )
    _check_words(padding, head)
    exchange = Exchange(
        parse_kind(kind),
        edges_of(backbone.module, padding),
        {"dtype": backbone.dtype, "device": backbone.device},
    )
    name = swapped_name(backbone.name, kind, padding, head)
    try:
        module, sites = _Swap(backbone, exchange, head).done()
    except RobustlabError as error:
        raise BadRequest(f"{backbone.name} cannot be swapped to {kind!r}: {error}") from None
    if not sites:
        raise BadRequest(f"{backbone.name} has no down-sampling site, so there is nothing to swap")
    told = [vars(one) for one in sites]
    swap = {"pool": kind, "padding": padding, "head": head, "sites": told}
    found = Swapped(
        module,
        input_shape=backbone.input_shape,
        classes=backbone.classes,
        mean=backbone.mean,
        std=backbone.std,
        name=name,
        card=copy.deepcopy(backbone.card) | {"swap": swap, "swapped_from": backbone.name},
    )
    found.sites = tuple(sites)
    return found


def swapped_name(name: str, kind: str, padding: str | None, head: str | None) -> str:
    """What a swapped network is called: ``lenet5-max@digits pool=blur3 padding=circular``."""
    options = {"pool": kind, "padding": padding, "head": head}
    return " ".join([name, *(f"{k}={v}" for k, v in options.items() if v is not None)])


def _check_words(padding: str | None, head: str | None) -> None:
    if padding is not None:
        check_padding(padding)
    if head is not None and head not in HEADS:
        raise BadRequest(f"unknown head {head!r}{choices(str(head), HEADS)}")


class _Swap:
    """The exchange in one network: found, done, checked."""

    def __init__(self, backbone: Backbone, exchange: Exchange, head: str | None) -> None:
        self.exchange = exchange
        self.head = head
        self.root: nn.Module = copy.deepcopy(backbone.module).eval()
        self.images = torch.full(
            (1, *backbone.input_shape), 0.5, dtype=backbone.dtype, device=backbone.device
        )
        self.sites: list[Site] = []
        self.layers: dict[str, nn.Module] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.edits: dict[fx.Node, Edit] = {}
        self.samplers: dict[fx.Node, nn.Module] = {}
        self.walk: Walk | None = None
        self.spread: dict[fx.Node, Pair] = {}

    def done(self) -> tuple[nn.Module, list[Site]]:
        """The network and its sites."""
        steps = self._steps()
        heads = self._heads(steps)
        for step in steps:
            if step.read is not None:
                self._exchange(step, heads)
        self._share()
        self._apply()
        self._check()
        return self.root, self.sites

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
        name = _name(step)
        if not self.exchange.touches(read, spread):
            if read.down:
                self.sites.append(Site(name, read.text, read.text))
            return
        number, channels = len(self.sites), step.made[1]
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
        scale = spread if not self.exchange.kind.dense else _times(spread, read)
        self.shapes[name] = (*step.made[:2], step.made[2] * scale[0], step.made[3] * scale[1])
        if read.down:
            self.sites.append(Site(name, read.text, str(new)))

    def _exchange_head(self, step: Step, is_head: bool) -> None:
        read = step.read
        assert read is not None
        if not is_head or self.head is None:
            if read.what == "global":
                self.sites.append(Site(_name(step), read.text, read.text))
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
        self.sites.append(Site(_name(step), read.text, str(new)))

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

    def _check(self) -> None:
        """Every site is another, and gives maps of the shape it gave before."""
        made = self._made()
        for name, shape in self.shapes.items():
            if made.get(name) != shape:
                raise BadRequest(f"{name} gives {made.get(name)} and gave {shape}")
        if self.walk is not None:
            steps: Iterable[Step] = steps_of_graph(
                self.root, traced(self.root), self.images
            ).steps.values()
        else:
            steps = watched(self.root, self.images)
            self.root = Guarded(self.root).eval()
        if self.exchange.kind.naive:
            return
        kept = {site.name for site in self.sites if not site.changed}
        for step in steps:
            read = step.read
            down = read is not None and read.down and read.what != "swapped"
            if read is not None and down and _name(step) not in kept:
                raise BadRequest(f"{_name(step)} could not be exchanged: {read.text}")

    def _made(self) -> dict[str, tuple[int, ...]]:
        """What the new layers give for the image, and errors of theirs with their names."""
        found: dict[str, tuple[int, ...]] = {}
        running: list[str] = []

        def enter(name: str) -> object:
            return lambda *_: running.append(name)

        def leave(name: str) -> object:
            def keep(layer: nn.Module, given: object, made: Tensor) -> None:
                found[name] = tuple(made.shape)
                running.pop()

            return keep

        handles = []
        for name in self.shapes:
            layer = self.root.get_submodule(name)
            handles.append(layer.register_forward_pre_hook(enter(name)))  # type: ignore[arg-type]
            handles.append(layer.register_forward_hook(leave(name)))  # type: ignore[arg-type]
        try:
            with torch.no_grad():
                self.root(self.images)
        except BadRequest as error:
            raise error.inside(running[-1] if running else "its forward") from None
        finally:
            for handle in handles:
                handle.remove()
        return found


def _name(step: Step) -> str:
    if step.module or step.node is None:
        return step.owner
    return f"{step.owner}.{step.node.name}".lstrip(".")


def _times(spread: Pair, read: object) -> Pair:
    geometry = getattr(read, "geometry", None)
    assert geometry is not None
    return spread[0] * geometry.stride[0], spread[1] * geometry.stride[1]
