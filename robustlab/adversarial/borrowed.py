"""What an attack needs beside the network it attacks: other networks to search on, other images to
learn from. Loaded once, their fingerprints are part of what decides the attack's numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from robustlab.adversarial.fastpath import search_copy
from robustlab.adversarial.images import working_dtype
from robustlab.backbones import Backbone, load_backbone
from robustlab.data import Data, load_data
from robustlab.errors import BadRequest

__all__ = ["Borrowed", "Borrower", "borrow", "check_surrogates", "lent"]


class Borrower(Protocol):
    """What is asked of an attack here."""

    def searches_on(self) -> Sequence[str]: ...
    def learns_from(self) -> tuple[str, int | None] | None: ...
    def stages(self) -> Sequence[tuple[str, Borrower]]: ...


@dataclass(frozen=True)
class Borrowed:
    """Backbones by their references; data by reference and number of images taken."""

    networks: Mapping[str, Backbone] = field(default_factory=dict)
    data: Mapping[tuple[str, int | None], Data] = field(default_factory=dict)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Of all that is borrowed, in the order in which the attack names it."""
        networks = (network.fingerprint for network in self.networks.values())
        return (*networks, *(data.fingerprint for data in self.data.values()))

    def to(self, device: torch.device) -> Borrowed:
        """The same, all networks on ``device``."""
        moved = {name: network.to(device) for name, network in self.networks.items()}
        return Borrowed(moved, self.data)


def borrow(attack: Borrower, seed: int, device: str | torch.device | None = None) -> Borrowed:
    """Load what the stages of an attack name.

    Args:
        seed: which images are taken, where not all are.

    Raises:
        BadRequest: a reference that names nothing.
    """
    networks: dict[str, Backbone] = {}
    data: dict[tuple[str, int | None], Data] = {}
    for _, stage in attack.stages():
        for reference in stage.searches_on():
            if reference not in networks:
                networks[reference] = load_backbone(reference, device=device)
        asked = stage.learns_from()
        if asked is not None and asked not in data:
            data[asked] = load_data(asked[0], take=asked[1], seed=seed)
    return Borrowed(networks, data)


def check_surrogates(attack: Borrower, backbone: Backbone, borrowed: Borrowed) -> None:
    """Refuse to search on networks that do not answer the same question, or on the one attacked.

    Raises:
        BadRequest: another input shape, number or order of classes; or the same fingerprint.
    """
    for _, stage in attack.stages():
        for reference in stage.searches_on():
            _check(borrowed.networks[reference], backbone)


def _check(surrogate: Backbone, backbone: Backbone) -> None:
    theirs, ours = surrogate.input_shape, backbone.input_shape
    here = f"surrogate {surrogate.name}"
    if theirs != ours:
        sizes = ["x".join(map(str, shape)) for shape in (theirs, ours)]
        raise BadRequest(
            f"{here} takes images of {sizes[0]}, {backbone.name} of {sizes[1]}; name a surrogate "
            "of the same input (`robustlab list backbones` tells it)"
        )
    if len(surrogate.classes) != len(backbone.classes):
        raise BadRequest(
            f"{here} knows {len(surrogate.classes)} classes, {backbone.name} "
            f"{len(backbone.classes)}; name a surrogate trained on the same classes "
            "(`robustlab list backbones` tells them)"
        )
    known = {name: index for index, name in enumerate(backbone.classes)}
    moved = [n for i, n in enumerate(surrogate.classes) if known.get(n, i) != i]
    if moved:
        raise BadRequest(
            f"{here} has the classes of {backbone.name} in another order: {moved[0]!r} is number "
            f"{known[moved[0]]} here and {surrogate.classes.index(moved[0])} there; name "
            f"its classes in the order of {list(backbone.classes)}"
        )
    if surrogate.fingerprint == backbone.fingerprint:
        raise BadRequest(
            f"{here} is the network that is attacked ({backbone.name}): nothing would be "
            "transferred; name another surrogate, or run mifgsm on the network itself"
        )


class _Together(nn.Module):
    """Mean logits of several networks (an ensemble in logits: Dong et al. 2018, section 3.4)."""

    def __init__(self, networks: Sequence[nn.Module], dtypes: Sequence[torch.dtype]) -> None:
        super().__init__()
        self.networks, self.dtypes = nn.ModuleList(networks), tuple(dtypes)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        pairs = zip(self.networks, self.dtypes, strict=True)
        seen = [network(x.to(dtype)).to(x.dtype) for network, dtype in pairs]
        return torch.stack(seen).mean(dim=0) if len(seen) > 1 else seen[0]


def lent(references: Sequence[str], borrowed: Borrowed, *, fast: bool = True) -> nn.Module:
    """One module to search on, from [0, 1] images to the surrogates' mean logits: frozen copies,
    each with its own normalisation and in its own precision.
    """
    networks, dtypes = [], []
    for reference in references:
        backbone = borrowed.networks[reference]
        network, half = search_copy(backbone.network, backbone.input_shape, fast=fast)
        networks.append(network)
        dtypes.append(half or working_dtype(backbone))
    return _Together(networks, dtypes)
