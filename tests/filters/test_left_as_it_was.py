"""Hooks, mode, gradients and weights of a network after each view, and after one that raises."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from robustlab import anatomy
from robustlab.arithmetic import passes, recorder
from robustlab.arithmetic.looking import anatomy as anatomy_probe
from robustlab.backbones import list_backbones
from robustlab.filters.feature_maps import feature_maps
from robustlab.filters.filter_bank import filter_bank
from robustlab.filters.first_layer import first_layer
from robustlab.filters.kernels import kernels
from robustlab.filters.retrieval import retrieval

VIEWS = {
    first_layer: {},
    kernels: {},
    feature_maps: {"images": 2},
    filter_bank: {"names": ("difference",), "filters": 2},
    retrieval: {"nearest": 2, "queries": 2, "steps": 2},
    anatomy_probe: {"repeats": 1, "effective": 2, "check": 3},
}


def check(view, tiny, some, standing, watched=lambda backbone: None):
    backbone = tiny()
    for one in backbone.module.parameters():
        one.grad = torch.ones_like(one)  # of a user's own
    backbone.module[2].train()  # a part in another mode than the rest
    before = standing(backbone)
    grads = [one.grad for one in backbone.module.parameters()]
    needed = [one.requires_grad for one in backbone.module.parameters()]
    watched(backbone)
    view(backbone, some(), **VIEWS[view])
    after = standing(backbone)
    assert (after[:3], after[4:]) == (before[:3], before[4:])
    assert all(one.grad is grad for one, grad in zip(parameters(backbone), grads, strict=True))
    assert all((grad == 1).all() for grad in grads)
    assert [one.requires_grad for one in parameters(backbone)] == needed


def parameters(backbone):
    return [*backbone.module.parameters()]


@pytest.mark.parametrize("view", list(VIEWS), ids=lambda v: v.__name__)
def test_all_is_left_as_it_was(view, tiny, some, standing):
    check(view, tiny, some, standing)


@pytest.mark.parametrize("view", list(VIEWS), ids=lambda v: v.__name__)
def test_that_check_kills_a_hook_that_stays(view, tiny, some, standing, monkeypatch):
    true = RemovableHandle.remove

    def watched(backbone):
        """Hooks of the network alone stay: torch has some of its own, everywhere."""
        parts = [*backbone.network.modules()]
        kept = [d for m in parts for d in (m._forward_hooks, m._forward_pre_hooks)]

        def remove(self):
            if not any(self.hooks_dict_ref() is one for one in kept):
                true(self)

        monkeypatch.setattr(RemovableHandle, "remove", remove)

    with pytest.raises((AssertionError, ValueError)):  # or the hook itself fails, called too often
        check(view, tiny, some, standing, watched)


def test_that_check_kills_a_mode_that_stays(tiny, some, standing, monkeypatch):
    """Of the views the anatomy alone changes modes."""

    @contextmanager
    def never_back(module):
        for one in module.modules():
            one.training = False
        yield

    for home in (recorder, passes):
        monkeypatch.setattr(home, "still", never_back)
    with pytest.raises(AssertionError):
        check(anatomy_probe, tiny, some, standing)


@pytest.mark.parametrize("mutant", ["needed", "gradients"])
def test_that_check_kills_gradients_that_stay(tiny, some, standing, monkeypatch, mutant):
    true = passes._needing

    @contextmanager
    def never_back(module, weights):
        with true(module, weights):
            yield
        for one in module.parameters():
            if mutant == "needed":
                one.requires_grad_(True)  # a network here comes frozen
            else:
                one.grad = None

    monkeypatch.setattr(passes, "_needing", never_back)
    with pytest.raises(AssertionError):
        check(anatomy_probe, tiny, some, standing)


@pytest.mark.parametrize("call", range(1, 14))
def test_the_anatomy_of_a_network_that_fails_at_some_pass(call, tiny, some, standing, monkeypatch):
    """Whichever of its passes it is: counted, timed, for gradients or for the table."""
    backbone = tiny()
    before = standing(backbone)
    calls = []

    def failing(self, x):
        calls.append(1)
        if len(calls) >= call:
            raise MemoryError("no room")
        return nn.functional.adaptive_avg_pool2d(x, 2)

    monkeypatch.setattr(nn.AdaptiveAvgPool2d, "forward", failing)
    with pytest.raises(Exception, match="no room"):
        anatomy_probe(backbone, some(), **VIEWS[anatomy_probe])
    assert standing(backbone) == before


@pytest.mark.parametrize("name", [card["name"] for card in list_backbones()])
def test_the_anatomy_of_every_shipped_network_is_whole(name):
    found = anatomy(name)
    assert found.status == "complete"
    assert found.multiply_adds > 0
    assert found.parameters == found.layers.parameters.sum()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_anatomy_in_grey_and_colour(channels, dtype, tiny, some, standing):
    backbone = tiny(channels, dtype=dtype)
    before = standing(backbone)
    outcome = anatomy_probe(backbone, some(5, channels), **VIEWS[anatomy_probe]).checked(5)
    assert outcome.arrays["input_shape"].tolist() == [channels, 12, 12]
    assert np.nanmax(outcome.arrays["effective"]) == 1
    assert outcome.findings[0].level == "green"
    assert standing(backbone) == before
