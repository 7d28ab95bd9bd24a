"""`load_backbone`: a network by its reference. `references` tells the forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from torch import nn

from robustlab import shelf
from robustlab.backbones.backbone import Backbone
from robustlab.backbones.building import Built, Weights, build
from robustlab.backbones.cards import list_backbones, read_card, shipped
from robustlab.backbones.lectures import builders
from robustlab.backbones.nearest_builder import nearest_builder
from robustlab.backbones.references import Reference, parse_reference
from robustlab.backbones.userfile import load_from_python
from robustlab.backbones.weightfile import OtherNetwork, pour, read_weights
from robustlab.data.query import split_query
from robustlab.errors import BadRequest, choices, nearest

__all__ = ["load_backbone"]

Statistics = Sequence[float] | None


def load_backbone(
    reference: str | Backbone | nn.Module,
    *,
    device: str | torch.device | None = None,
    name: str | None = None,
    mean: Statistics = None,
    std: Statistics = None,
) -> Backbone:
    """A network ready to be probed.

    Args:
        reference: a reference (see `robustlab.backbones.references`), or a `Backbone`, which is
            passed through.
        device: where to; the default is the CPU, or where a given `Backbone` already is.
        name: what it is called in tables; the default is the reference.
        mean, std: normalisation, one number a channel, in place of what the card or the published
            weights know; a reference with ``mean=none`` takes [0, 1] as it is.

    Raises:
        BadRequest: the reference names nothing that can be loaded, or a bare nn.Module.
    """
    if isinstance(reference, nn.Module):
        raise BadRequest(
            f"a bare {type(reference).__name__} does not tell its input; wrap it: "
            "robustlab.Backbone(module, input_shape=(C, H, W), classes=..., mean=..., std=...)"
        )
    backbone = reference if isinstance(reference, Backbone) else _load(reference, mean, std)
    if isinstance(reference, Backbone) and (mean is not None or std is not None):
        raise BadRequest(f"{reference.name}: give mean and std to robustlab.Backbone itself")
    if name is not None and name != backbone.name:
        backbone = backbone.renamed(name)
    return backbone if device is None else backbone.to(device)


def _load(text: str, mean: Statistics, std: Statistics) -> Backbone:
    reference = parse_reference(text)
    given = mean is not None or std is not None
    if reference.kind == "python":
        if given:
            raise BadRequest(f"network {text!r}: give mean and std in the Backbone it returns")
        return load_from_python(reference)
    if given and reference.statistics:
        raise BadRequest(f"network {text!r}: mean and std are given beside it too; keep one")
    built, card = _built(reference)
    own = (built.mean, built.std)
    mean, std = (mean, std) if given else reference.statistics or own
    if reference.dtype:
        built.module.to(getattr(torch, reference.dtype))
    return Backbone(
        built.module.eval(),
        input_shape=built.input_shape,
        classes=built.classes,
        mean=mean,
        std=std,
        name=str(card.get("name", reference.text)),
        reference=reference.text,
        card=card,
    )


def _built(reference: Reference) -> tuple[Built, dict[str, Any]]:
    """The network with its weights, and its card."""
    if reference.kind == "file":
        return _from_file(reference)
    if reference.data:
        name = _shipped_name(reference)
        return _from_card(read_card(name), shelf.weights() / f"{name}.safetensors")
    _check_known(reference)
    built = build(reference.builder, reference.options)
    untrained = {} if "published" in built.facts else {"untrained": True}
    return built, _told(built) | untrained


def _told(built: Built) -> dict[str, Any]:
    return {"builder": built.builder, "options": built.options, **built.facts}


def _shipped_name(reference: Reference) -> str:
    """The shipped network that a reference with ``@DATA`` means."""
    cards = shipped()
    plain = f"{reference.builder}@{reference.data}"
    if not reference.options and plain in cards:
        return plain
    if not reference.options and (shelf.recipes() / f"{plain}.toml").is_file():
        raise BadRequest(
            f"network {plain!r} comes without weights; 'robustlab train {plain}' makes them, "
            f"then load file:trained/{plain}.safetensors"
        )
    if reference.builder not in builders:
        raise BadRequest(f"unknown network {reference.text!r}{choices(plain, cards)}")
    builder = builders[reference.builder]
    wanted = builder.bind(reference.options)
    builder(**wanted)  # a value that the builder refuses is told in its own words
    if "seed" not in reference.options:  # any seed will do where none is asked for
        wanted.pop("seed", None)
    for card in list_backbones():
        if card["builder"] != reference.builder or card.get("adversarial"):
            continue  # what was trained on attacked images is meant by its name alone
        same = wanted.items() <= builder.bind(card["options"]).items()
        if same and card["name"].endswith(f"@{reference.data}"):
            return str(card["name"])
    raise BadRequest(
        f"no network {reference.text!r} is shipped (there is {', '.join(cards)}); train it with "
        "'robustlab train RECIPE.toml' and load it as file:PATH.safetensors"
    )


def _check_known(reference: Reference) -> None:
    """What stands without a prefix is one of the lectures' networks; others are near it."""
    name = reference.builder
    if name in builders or ":" in name:
        return
    meant = [one for one in shipped() if one.startswith(f"{name}@")]
    known = meant or [*builders, *shipped()]
    raise BadRequest(
        f"unknown network {reference.text!r}{choices(name, known)}; "
        f"of other libraries say so, as torchvision:{name}"
    )


def _from_card(card: dict[str, Any], path: Path) -> tuple[Built, dict[str, Any]]:
    built = _poured(
        build(card["builder"], card["options"], pretrained=False), path, card["builder"]
    )
    built = replace(
        built,
        input_shape=tuple(card["input_shape"]),
        classes=tuple(card["classes"]),
        mean=card.get("mean"),
        std=card.get("std"),
    )
    return built, card


def _from_file(reference: Reference) -> tuple[Built, dict[str, Any]]:
    path = Path(reference.path).expanduser()
    if path.is_dir():
        raise BadRequest(f"network {reference.text!r}: {path} is a folder; name a file in it")
    if not path.is_file():
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        hint = nearest(path.name, [one.name for one in beside if one.name[0] != "."])
        raise BadRequest(f"network {reference.text!r}: there is no file {path}{hint}")
    if reference.builder:
        builder = reference.text.rpartition("#")[2]
        built = _poured(
            build(reference.builder, reference.options, pretrained=False), path, builder
        )
        return built, _told(built) | {"file": str(path)}
    card = path.with_suffix(".json")
    if not card.is_file():
        raise BadRequest(
            f"network {reference.text!r}: no card lies beside the file; name the builder: "
            f"{quote(f'file:{path}#BUILDER')}{nearest_builder(read_weights(path), path)}"
        )
    return _from_card(read_card(card), path)


def _poured(built: Built, path: Path, builder: str) -> Built:
    """With the weights of the file, their names as its library saves them.

    Args:
        builder: how it was asked for, with its options, for the advice of an error.
    """
    weights = read_weights(path)
    adapted = built.adapt(weights)
    try:
        module = pour(adapted, built.module, path)
    except OtherNetwork as error:
        classes = _other_classes(built, adapted)
        if not classes:
            raise BadRequest(f"{error}{nearest_builder(weights, path)}") from None
        name, options = split_query(builder)
        query = "&".join(f"{k}={v}" for k, v in {**options, "classes": classes}.items())
        asked = quote(f"file:{path}#{name}?{query}")
        raise BadRequest(f"{error}; the file has {classes} classes: {asked}") from None
    return replace(built, module=module)


def _other_classes(built: Built, weights: Weights) -> int:
    """How many classes the weights have where they differ in nothing else; 0 where they do."""
    own = built.module.state_dict()
    named_alike = all(key.endswith("num_batches_tracked") for key in own.keys() ^ weights.keys())
    if not named_alike or "classes" not in built.options:
        return 0
    shared = own.keys() & weights.keys()
    pairs = [(own[key].shape, weights[key].shape) for key in shared]
    odd = [(here, there) for here, there in pairs if here != there]
    known = built.classes if isinstance(built.classes, int) else len(built.classes)
    found = {there[0] if there else 0 for _, there in odd}
    same = all(here[:1] == (known,) and here[1:] == there[1:] for here, there in odd)
    return found.pop() if same and len(found) == 1 else 0
