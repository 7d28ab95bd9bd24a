"""What in an image drives one unit: projections of units back to the pixels."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from robustlab.errors import BadRequest, choices
from robustlab.filters.rectified import RULES, Exchanged, Rule
from robustlab.filters.steps import check_graph
from robustlab.hooks import Layer, listening
from robustlab.randomness import SampleRandom

__all__ = ["Place", "Seed", "check_rule", "gradients_on", "layer_output", "project", "randomised"]

Place = tuple[int, int, int]  # channel, row and column of a unit; row and column 0 in a vector
Seed = Literal["activation", "one"]


@contextmanager
def gradients_on() -> Iterator[None]:
    """Gradients inside, whatever the mode outside; put back afterwards."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def _leaf(x: Tensor) -> Tensor:
    """A copy that gradients are taken of: tensors of inference mode bear none."""
    return x.detach().clone().requires_grad_()


def layer_output(network: nn.Module, layer: Layer, x: Tensor) -> Tensor:
    """What a layer gives for ``x``, [n, C, h, w] or [n, d], with its graph.

    Copied when it is seen: a step in place behind the layer would become a part of its graph.
    """
    seen: list[Tensor] = []

    def see(name: str, module: nn.Module, output: Tensor) -> None:
        if name == layer.name:
            seen.append(layer.standard(output).clone())

    with listening(network, see):
        network(x.clone())  # a first step in place must not meet a leaf
    if not seen:
        raise BadRequest(f"layer {layer.name!r} was not computed this time")
    return seen[-1]


def check_rule(network: nn.Module, layer: Layer, x: Tensor, rule: Rule, name: str) -> int:
    """Refuse a layer for which a rule is not defined; see `check_graph`.

    Args:
        x: one image [1, C, H, W]; the two others that it is compared with are drawn.
        name: the backbone's name, for the refusal.

    Returns:
        How many rectifiers lie between the layer and the image.
    """
    if rule not in RULES:
        raise BadRequest(f"unknown rule {rule!r}{choices(rule, RULES)}")
    if rule == "gradient":
        return 0
    drawn = SampleRandom(0, ["other"], "rule").uniform(x.shape[1:])
    other = torch.tensor(drawn, dtype=x.dtype, device=x.device)
    with gradients_on():
        leaves, outputs = [_leaf(x[:1]), _leaf(other), _leaf(1 - other)], []
        for leaf in leaves:
            with Exchanged(rule):
                outputs.append(layer_output(network, layer, leaf))
        return check_graph(outputs, leaves, rule, f"layer {layer.name!r} of {name}")


def project(
    network: nn.Module,
    layer: Layer,
    x: Tensor,
    places: Sequence[Place],
    rule: Rule = "deconvnet",
    seed: Seed | Tensor = "activation",
    name: str = "this network",
) -> tuple[Tensor, Tensor]:
    """Project one unit an image back to its pixels.

    Args:
        x: images [n, C, H, W].
        places: the unit of each image.
        rule: see `rectified`.
        seed: what is sent back from the unit, zero from all others: its activation or one; or a
            number for each image, [n]. For a unit of activation a >= 0 a projection of ``"one"``
            times a is that of ``"activation"``, so their pictures are equal up to the scale.
        name: the backbone's name, for a refusal.

    Returns:
        The units' activations [n] and their projections [n, C, H, W], detached.

    Raises:
        BadRequest: the rule is not defined for this layer; see `check_graph`.
    """
    check_rule(network, layer, x, rule, name)
    with gradients_on():
        leaf = _leaf(x)
        with Exchanged(rule):
            output = layer_output(network, layer, leaf)
        units = output if output.ndim == 4 else output[:, :, None, None]
        channels, rows, columns = (
            torch.tensor(v, device=x.device) for v in zip(*places, strict=True)
        )
        values = units[torch.arange(len(x), device=x.device), channels, rows, columns]
        if isinstance(seed, Tensor):
            sent = seed.to(values)
        else:
            sent = values.detach() if seed == "activation" else torch.ones_like(values)
        (projected,) = torch.autograd.grad((values * sent).sum(), leaf)
    return values.detach(), projected.detach()


def randomised(network: nn.Module, seed: int) -> nn.Module:
    """A copy with random weights: the control of Adebayo et al. (2018), all layers at once.

    Filters and matrices are drawn from normal distributions of their own mean and spread; vectors
    (biases, scales) are put in another order; buffers stay. Each tensor has its own stream, by its
    name.
    """
    with torch.inference_mode(False), torch.no_grad():  # gradients pass through the copy
        other = copy.deepcopy(network)
        for name, weights in other.named_parameters():
            draw = SampleRandom(seed, [name], "randomised")
            if weights.ndim < 2:
                order = draw.uniform(weights.shape)[0].argsort(axis=None)
                weights.copy_(weights.detach().flatten()[torch.tensor(order)].view_as(weights))
                continue
            values = torch.tensor(draw.normal(weights.shape)[0], dtype=torch.float64)
            held = weights.detach().double().cpu()
            spread = held.std(correction=0)
            weights.copy_((held.mean() + spread * values).to(weights))
    return other
