"""What the options of the lectures' networks mean: one word for one thing in all. Needs no torch.

A line ``option: text`` in a network's own docstring goes before the line here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from robustlab.backbones.published import PUBLISHED
from robustlab.catalogue import Entry, read_function

__all__ = ["OPTIONS", "described"]

_LECTURES = Path(__file__).resolve().parent / "lectures"

OPTIONS = {
    "width": "channels of the first layer; all later ones scale with it",
    "size": "height and width of the input, in pixels",
    "channels": "channels of the input: 1 grey, 3 colour",
    "classes": "number of classes",
    "pool": "max, avg, strided, blur or polyphase: what stands at every down-sampling site",
    "padding": "zero, reflect, replicate or circular: what padded convolutions see past the edge",
    "head": "flatten, or a global pooling: gap (mean), gmp (max), gem (mean of cubes, its root)",
    "activation": "relu, leaky_relu, elu, gelu, silu, tanh or sigmoid",
    "norm": "batch (batch normalisation), lrn (local response normalisation, where published), off",
    "dropout": "share of units dropped in training",
    "init": "he, xavier, lecun or normal (std 0.01): how weights are drawn; logits always by lecun",
    "seed": "decides the weights",
    "shortcut": "A (no parameters), B (1x1 convolution) or none (the plain twin)",
    "hidden": "widths of the hidden layers, as 128,64",
}


def described(name: str) -> Entry:
    """One of the lectures' networks with its options and their defaults, read as text."""
    row = PUBLISHED[name]
    entry = read_function(_LECTURES / f"{row.home}.py", row.function, name, "backbone")
    options = tuple(replace(p, doc=p.doc or OPTIONS.get(p.name, "")) for p in entry.parameters)
    facts = {
        "source": row.source,
        "parameters": f"{row.parameters:,}",
        "input": "x".join(map(str, row.input_shape)),
        "classes": row.classes,
    }
    return replace(entry, parameters=options, facts=facts)
