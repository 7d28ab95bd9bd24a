"""``torchvision:NAME``: the classifiers of torchvision, untrained or with published weights.

What the lab needs to know of them comes from the metadata of the weights: the crop is the input,
mean and std are the statistics, the categories the classes. Auxiliary heads (GoogLeNet, Inception
v3) speak in training alone and are left out. Checkpoints are read without pickle (torchvision's own
builders would unpickle them), so a builder's special arguments are set here; a test holds each
family against torchvision's own loading.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from robustlab.backbones.building import Built, Weights
from robustlab.backbones.downloads import fetch
from robustlab.backbones.library_options import bind_library
from robustlab.backbones.options import OPTIONS
from robustlab.backbones.unfilled import Unfilled
from robustlab.backbones.weightfile import pour, read_weights
from robustlab.catalogue import Entry, Parameter
from robustlab.data.checks import unique_names
from robustlab.errors import BadRequest, choices
from robustlab.seeding import seeded

__all__ = [
    "CLASSES",
    "adapted",
    "build_torchvision",
    "described",
    "laid_out",
    "parameters_of",
]

CLASSES = 1000  # of every published classifier: ImageNet's
_AUXILIARY = re.compile(r"(aux1|aux2|AuxLogits)\.")
# Published DenseNets date from when module names held dots: denselayer1.norm.1.weight.
_DOTTED = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")


@dataclass(frozen=True)
class _Asked:
    """What is asked for: published weights or None, those whose metadata count, all options."""

    member: Any
    about: Any
    options: dict[str, Any]


def build_torchvision(name: str, options: Mapping[str, Any], *, pretrained: bool = True) -> Built:
    """One of ``torchvision.models``' classifiers.

    Args:
        options: ``weights`` is the name of published weights, DEFAULT (torchvision's choice, also
            where nothing is said) or none; ``classes`` other than the published ones get a head
            with fresh weights from ``seed``; ``size`` is the side of the input.
        pretrained: see `robustlab.backbones.building.build`.

    Raises:
        BadRequest: an unknown network, weights or option, or weights that cannot be had.
    """
    asked = _asked(name, options)
    preset = asked.about.transforms()
    load = pretrained and asked.member is not None
    classes, size = asked.options["classes"], asked.options["size"]
    try:
        with seeded(asked.options["seed"] % 2**32):
            module = _module(name, asked, fresh=pretrained and not load)
    except Exception as error:  # its asserts tell a size that does not fit
        raise BadRequest(f"'torchvision:{name}' cannot be built: {error}") from None
    facts: dict[str, Any] = {
        "preprocessing": {
            "resize": round(preset.resize_size[0] * size / preset.crop_size[0]),
            "crop": size,
            "interpolation": preset.interpolation.value,
        }
    }
    if load:
        fresh = _load(name, asked.member, module)
        facts |= {"published": asked.member.url} | ({"fresh": fresh} if fresh else {})
    categories = asked.about.meta["categories"]
    return Built(
        module,
        f"torchvision:{name}",
        asked.options,
        (3, size, size),
        unique_names(categories) if len(categories) == classes else classes,
        tuple(preset.mean),
        tuple(preset.std),
        facts,
        adapted,
    )


def _members(name: str) -> dict[str, Any]:
    """Name -> published weights, DEFAULT among them; weights without a classifier left out."""
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        asked, there = f"torchvision:{name}", [f"torchvision:{one}" for one in known]
        raise BadRequest(f"unknown network {asked!r}{choices(asked, there)}")
    published = torchvision.models.get_model_weights(name)
    return {
        key: member
        for key, member in published.__members__.items()
        if member.meta.get("categories")
    }


def _asked(name: str, options: Mapping[str, Any]) -> _Asked:
    members = _members(name)
    weights = str(options.get("weights", "DEFAULT")).rpartition(".")[2].upper()
    if weights not in (*members, "NONE"):
        raise BadRequest(
            f"unknown weights {options['weights']!r} of 'torchvision:{name}'"
            f"{choices(weights, [*members, 'none'])}"
        )
    member = members.get(weights)
    about = member or members["DEFAULT"]
    known = {"classes": len(about.meta["categories"]), "size": about.transforms().crop_size[0]}
    resolved = member.name if member else "none"
    bound = bind_library(f"torchvision:{name}", options, weights=resolved, **known)
    return _Asked(member, about, bound | {"weights": resolved})


def _module(name: str, asked: _Asked, *, fresh: bool) -> nn.Module:
    """The network without published weights, with the arguments its own builder would set.

    ``fresh``: whether its initial weights count; the slow ones are skipped where others follow.
    """
    size = asked.options["size"]
    arguments: dict[str, Any] = {"weights": None, "num_classes": asked.options["classes"]}
    if name.startswith("vit_"):
        arguments["image_size"] = size
    if name.startswith("maxvit"):
        arguments["input_size"] = (size, size)
    if name in ("googlenet", "inception_v3"):
        arguments |= {"aux_logits": False, "transform_input": asked.member is not None}
    if name.startswith(("googlenet", "inception", "vgg")):
        arguments["init_weights"] = fresh
    module: nn.Module = torchvision.models.get_model(name, **arguments)
    return module


def _load(name: str, member: Any, module: nn.Module) -> list[str]:
    """Pour published weights in; returns the names of those that stay fresh, the head's."""
    # Others than torchvision's choice may have another input and other statistics.
    query = "" if member is _members(name)["DEFAULT"] else f"?weights={member.name}"
    path = fetch(member.url, f"torchvision:{name}{query}", member.meta.get("_file_size"))
    weights, own = adapted(read_weights(path)), module.state_dict()
    fresh = [key for key in own if key in weights and weights[key].shape != own[key].shape]
    pour(weights | {key: own[key] for key in fresh}, module, path)
    return fresh


def adapted(weights: Weights) -> Weights:
    """Weights as torchvision publishes them, under the names of today's modules."""
    renamed = {_DOTTED.sub(r"\1\2", key): value for key, value in weights.items()}
    return {key: value for key, value in renamed.items() if not _AUXILIARY.match(key)}


def described(name: str) -> Entry:
    """What its metadata say, as `robustlab show` prints it: published weights, input, options."""
    asked = _asked(name, {"weights": "none"})
    meta, preset = asked.about.meta, asked.about.transforms()
    published = [key for key in _members(name) if key != "DEFAULT"]
    reached = (_members(name)[key].meta["_metrics"]["ImageNet-1K"]["acc@1"] for key in published)
    facts = {
        "parameters": f"{meta['num_params']:,}",
        "input": f"3x{preset.crop_size[0]}x{preset.crop_size[0]}, of pictures resized to "
        f"{preset.resize_size[0]} ({preset.interpolation.value})",
        "weights": tuple(f"{k} (top-1 {v} %)" for k, v in zip(published, reached, strict=True)),
        "source": meta["recipe"],
    }
    doc = {"weights": "name of published weights, DEFAULT or none", "seed": OPTIONS["seed"]}
    defaults = {**asked.options, "weights": "DEFAULT"}
    options = tuple(
        Parameter(key, type(value).__name__, value, doc.get(key) or OPTIONS[key])
        for key, value in defaults.items()
    )
    text = f"torchvision's {name}; its weights are downloaded when they are first asked for."
    return Entry(f"torchvision:{name}", "backbone", "", Path(__file__), text, options, facts)


def parameters_of() -> dict[str, int]:
    """Network -> number of parameters of its default weights."""
    names = torchvision.models.list_models(module=torchvision.models)
    return {n: _members(n)["DEFAULT"].meta["num_params"] for n in names}


def laid_out(name: str, classes: int) -> nn.Module:
    """The network on the meta device: names and shapes alone.

    Raises:
        NotImplementedError: a RegNet, whose builder computes with tensors.
    """
    asked = _asked(name, {"classes": classes})
    with torch.device("meta"), Unfilled():
        return _module(name, asked, fresh=False)
