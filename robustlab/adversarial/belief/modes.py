"""Is the verdict on an image its own? Train mode, dependence on the batch, changing buffers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from robustlab.adversarial.belief.suspect import Suspect
from robustlab.outcome import Finding

__all__ = ["modes"]


def modes(suspect: Suspect) -> Iterator[Finding]:
    """Submodules in train mode, outputs that depend on the batch, buffers that a pass changes."""
    network, judge, x = suspect.backbone.network, suspect.judge, suspect.x
    training = tuple(name or "the network" for name, m in network.named_modules() if m.training)
    before = _buffers(network)
    together = judge.logits(x)
    changed = tuple(k for k, b in _buffers(network).items() if not torch.equal(b, before[k]))
    again = judge.logits(x)
    alone = torch.cat([judge.logits(x[i : i + 1]) for i in range(len(x))])
    differ = _differ(together, alone, suspect)
    companions = int(differ.sum()) and not bool(_differ(together, again, suspect).any())
    if training:
        yield Finding(
            "modes",
            "red",
            "layers are in training mode, so that dropout and batch norm answer otherwise than in "
            "use. Call .eval() on the network before it is attacked.",
            training,
        )
    if changed:
        yield Finding("modes", "red", "looking at images changes its buffers.", changed)
    if companions:
        yield Finding(
            "modes",
            "red",
            "{count} of {of} images give other outputs alone than in a batch: what the others are "
            "decides a verdict, as with batch norm that uses the batch. No figure holds for one "
            "image.",
            suspect.named(differ),
            int(differ.sum()),
            len(x),
        )
    if not (training or changed or companions):
        yield Finding("modes", "green", "An image's outputs are the same alone and in a batch.")


def _differ(one: Tensor, other: Tensor, suspect: Suspect) -> Tensor:
    apart: Tensor = (one.double() - other.double()).abs().amax(dim=1) > suspect.tolerance
    return apart


def _buffers(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: buffer.detach().clone() for name, buffer in network.named_buffers()}
