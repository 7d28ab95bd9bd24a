"""The views of units, attribution and depth on every shipped backbone."""

from __future__ import annotations

import pytest

from robustlab import load_backbone, load_data
from robustlab.backbones.cards import list_backbones
from robustlab.errors import BadRequest
from robustlab.filters.attribution import attribution
from robustlab.filters.deconvnet import deconvnet
from robustlab.filters.depth_trace import depth_trace
from robustlab.filters.maximisation import maximisation
from robustlab.hooks import find_layers

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]

NAMES = [str(card["name"]) for card in list_backbones()]
# What the graph of a network holds that no deconvnet is defined for.
REFUSED = {"lenet5-1998@digits": "Tanh"}


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_backbone(name):
    one, data = load_backbone(name), load_data("digits:test", take=10)
    before = one.fingerprint, [len(m._forward_hooks) for m in one.network.modules()]
    flat = not [
        layer for layer in find_layers(one.network, _two(one, data))[0] if layer.kind == "map"
    ]
    asked = {"layers": (find_layers(one.network, _two(one, data))[0][-1].name,)} if flat else {}
    if name in REFUSED:
        with pytest.raises(BadRequest, match=REFUSED[name]):
            deconvnet(one, data, units=1)
        assert deconvnet(one, data, units=1, rule="gradient", **asked).checked(10).pictures
    else:
        assert deconvnet(one, data, units=1, **asked).checked(10).pictures
    found = attribution(one, data, images=1, samples=2, steps=4, attack="fgsm").checked(10)
    assert ("gradcam" in found.arrays["methods"]) != flat
    trace = depth_trace(one, data, attack="fgsm", eps="0.3", layers=6, draws=1, readout=0)
    assert trace.checked(10).arrays["layers"].size <= 6
    made = maximisation(one, data, kinds=("class",), classes=1, steps=4, diversity=0)
    assert made.checked(10).pictures
    after = one.fingerprint, [len(m._forward_hooks) for m in one.network.modules()]
    assert after == before


def _two(one, data):
    import torch

    return torch.tensor(data.batch([0, 1])).to(one.dtype)
