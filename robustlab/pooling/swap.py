"""`swap_pooling`: the same network, its weights kept, with another pooling at every site."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from robustlab.backbones.backbone import Backbone
from robustlab.errors import BadRequest, RobustlabError, choices
from robustlab.pooling.exchange import Exchange, edges_of
from robustlab.pooling.exchanging import Exchanging, Site
from robustlab.pooling.geometry import check_padding
from robustlab.pooling.heads import HEADS
from robustlab.pooling.kinds import parse_kind

__all__ = ["Site", "Swapped", "swap_pooling", "swapped_name"]


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
    network that does not make maps smaller stays, but for its padding. Where maps get thinner at a
    place that is no known site (a mean over blocks, every second row), the network is refused
    (`robustlab.pooling.density`). The weights were learned
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
        module, sites = Exchanging(_private(backbone), _grey(backbone), exchange, head).done()
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


def _private(backbone: Backbone) -> nn.Module:
    return copy.deepcopy(backbone.module).eval()


def _grey(backbone: Backbone) -> Tensor:
    shape = (1, *backbone.input_shape)
    return torch.full(shape, 0.5, dtype=backbone.dtype, device=backbone.device)
