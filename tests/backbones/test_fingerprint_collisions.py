"""Networks that give other logits have another fingerprint, however the difference is kept."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robustlab.backbones import Backbone


class _Keeps(nn.Module):
    """A network with something of its own that no state dict holds."""

    def __init__(self, **kept: object) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.__dict__.update(kept)

    def forward(self, x: Tensor) -> Tensor:
        kept = vars(self)
        y = x.flatten(1) * kept.get("scale", 1.0) * kept.get("_hidden", 1.0)
        logits: Tensor = self.linear(kept.get("act", torch.relu)(y))
        return logits


def _print_of(module: nn.Module) -> str:
    return Backbone(module.eval(), input_shape=(1, 2, 2), classes=2).fingerprint


def _hooked(factor: float) -> nn.Module:
    module = _Keeps()
    module.register_forward_pre_hook(_times_three if factor == 3 else _times_minus)
    return module


def _times_three(module: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
    return (3 * given[0],)


def _times_minus(module: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
    return (-given[0],)


def _encoder(norm_first: bool) -> nn.Module:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 1, 8, norm_first=norm_first, batch_first=True)
    return nn.Sequential(nn.Flatten(), layer, nn.Linear(4, 2))


PAIRS = {
    "a plain tensor": (_Keeps(scale=torch.tensor(0.1)), _Keeps(scale=torch.tensor(0.9))),
    "a function": (_Keeps(act=torch.relu), _Keeps(act=torch.sin)),
    "a private number": (_Keeps(_hidden=1.0), _Keeps(_hidden=-7.0)),
    "a hook": (_hooked(3), _hooked(-1)),
    "a hook or none": (_hooked(3), _Keeps()),
    "an option of torch's own layer": (_encoder(False), _encoder(True)),
}


@pytest.mark.parametrize("difference", PAIRS)
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_what_decides_logits_decides_the_fingerprint(difference: str) -> None:
    first, second = PAIRS[difference]
    assert _print_of(first) != _print_of(second)
    assert _print_of(first) == _print_of(first)
