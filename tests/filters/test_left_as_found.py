"""Views of units, attribution and depth leave a network as they found it, wherever they break."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.filters.attribution import attribution
from robustlab.filters.deconvnet import deconvnet
from robustlab.filters.depth_trace import depth_trace
from robustlab.filters.maximisation import maximisation

pytestmark = pytest.mark.usefixtures("one_thread")

VIEWS = {
    "deconvnet": (deconvnet, {"units": 1}),
    "guided": (deconvnet, {"units": 1, "rule": "guided"}),
    "attribution": (
        attribution,
        {"images": 2, "samples": 2, "steps": 2, "attack": "fgsm", "eps": ("0.3",)},
    ),
    "maximisation": (maximisation, {"steps": 3, "channels": 1, "classes": 1, "diversity": 2}),
    "depth_trace": (depth_trace, {"attack": "fgsm", "eps": "0.5", "draws": 1, "readout": 0}),
}


class Breaking(nn.Module):
    """Hands on what it gets; its pass number ``at`` breaks."""

    passes, at = 0, -1

    def forward(self, x):
        Breaking.passes += 1
        if Breaking.passes == Breaking.at:
            raise KeyboardInterrupt
        return x * 1.0


def broken(channels):
    torch.manual_seed(0)
    layers = (nn.Conv2d(channels, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten())
    module = nn.Sequential(*layers, Breaking(), nn.Linear(100, 3)).eval()
    with torch.no_grad():
        module[-1].bias -= module(torch.rand(64, channels, 12, 12)).mean(0)
    return Backbone(module, input_shape=(channels, 12, 12), classes=3)


def check(view, channels, some, standing):
    Breaking.at = -1
    one, data = broken(channels), some(6, channels)
    says = one(data.batch(range(6))).argmax(1).numpy()
    data = Data(data.images, says, classes=3)
    function, asked = VIEWS[view]
    before = standing(one)
    with torch.inference_mode():
        inside = function(one, data, **asked).checked(6)
    Breaking.passes = 0
    found = function(one, data, **asked).checked(6)
    spent = Breaking.passes
    assert standing(one) == before
    assert set(inside.arrays) == set(found.arrays)
    for name, value in found.arrays.items():
        if np.asarray(value).dtype.kind == "f":
            assert np.allclose(inside.arrays[name], value, equal_nan=True, atol=1e-5), name
    for share in (0.0, 0.3, 0.6, 0.9, 1.0):
        Breaking.passes, Breaking.at = 0, 1 + round(share * (spent - 1))
        with pytest.raises(KeyboardInterrupt):
            function(one, data, **asked)
        assert standing(one) == before, share
        # Nothing is left that would change the next gradient.
        x = torch.ones(1, requires_grad=True)
        torch.relu(-x).backward()
        assert float(x.grad) == 0.0
    Breaking.at = -1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("view", VIEWS)
def test_left_as_found(view, channels, some, standing):
    check(view, channels, some, standing)


@pytest.mark.parametrize("view", VIEWS)
def test_that_check_kills_hooks_that_stay(view, some, standing, monkeypatch):
    monkeypatch.setattr(torch.utils.hooks.RemovableHandle, "remove", lambda self: None)
    with pytest.raises((AssertionError, RuntimeError, BadRequest, UserWarning)):
        check(view, 1, some, standing)
