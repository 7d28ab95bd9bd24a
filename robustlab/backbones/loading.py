"""`load_backbone`: a network by its reference. `references` tells the forms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustlab import shelf
from robustlab.backbones.backbone import Backbone
from robustlab.backbones.cards import list_backbones, read_card, shipped
from robustlab.backbones.lectures import builder_named, builders
from robustlab.backbones.references import Reference, parse_reference
from robustlab.backbones.userfile import load_from_python
from robustlab.backbones.weightfile import pour, read_weights
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
        mean, std: normalisation, one number a channel; for shipped networks the card knows them.

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
    if reference.kind == "python":
        if mean is not None or std is not None:
            raise BadRequest(f"network {text!r}: give mean and std in the Backbone it returns")
        return load_from_python(reference)
    if reference.kind == "file":
        return _from_file(reference, mean, std)
    if not reference.data:
        return _untrained(reference, mean, std)
    return _shipped(_shipped_name(reference), reference.text, mean, std)


def _shipped_name(reference: Reference) -> str:
    """The shipped network that a reference with ``@DATA`` means."""
    cards = shipped()
    plain = f"{reference.builder}@{reference.data}"
    if not reference.options and plain in cards:
        return plain
    if reference.builder not in builders:
        raise BadRequest(f"unknown network {reference.text!r}{choices(plain, cards)}")
    builder = builders[reference.builder]
    wanted = builder.bind(reference.options)
    builder(**wanted)  # a value that the builder refuses is told in its own words
    if "seed" not in reference.options:  # any seed will do where none is asked for
        wanted.pop("seed", None)
    for card in list_backbones():
        if card["builder"] != reference.builder:
            continue
        same = wanted.items() <= builder.bind(card["options"]).items()
        if same and card["name"].endswith(f"@{reference.data}"):
            return str(card["name"])
    raise BadRequest(
        f"no network {reference.text!r} is shipped (there is {', '.join(cards)}); train it with "
        "'robustlab train RECIPE.toml' and load it as file:PATH.safetensors"
    )


def _shipped(name: str, text: str, mean: Statistics, std: Statistics) -> Backbone:
    path = shelf.weights() / f"{name}.safetensors"
    return _from_card(read_card(name), path, text, mean, std)


def _from_card(
    card: dict[str, Any], path: Path, text: str, mean: Statistics, std: Statistics
) -> Backbone:
    builder = builder_named(card["builder"])
    module = builder(**builder.bind(card["options"]))
    own = mean is not None or std is not None
    return Backbone(
        pour(read_weights(path), module.eval(), path),
        input_shape=card["input_shape"],
        classes=card["classes"],
        mean=mean if own else card.get("mean"),
        std=std if own else card.get("std"),
        name=str(card["name"]),
        reference=text,
        card=card,
    )


def _from_file(reference: Reference, mean: Statistics, std: Statistics) -> Backbone:
    path = Path(reference.path).expanduser()
    if not path.is_file():
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        hint = nearest(path.name, [one.name for one in beside])
        raise BadRequest(f"network {reference.text!r}: there is no file {path}{hint}")
    if not reference.builder:
        card = path.with_suffix(".json")
        if not card.is_file():
            raise BadRequest(
                f"network {reference.text!r}: no card lies beside the file; "
                f"name the builder: 'file:{path}#BUILDER', BUILDER being {', '.join(builders)}"
            )
        return _from_card(read_card(card), path, reference.text, mean, std)
    builder = builder_named(reference.builder)
    options = builder.bind(reference.options)
    return Backbone(
        pour(read_weights(path), builder(**options).eval(), path),
        input_shape=builder.input_shape(options),
        classes=builder.classes(options),
        mean=mean,
        std=std,
        name=reference.text,
        reference=reference.text,
        card={"builder": reference.builder, "options": options, "file": str(path)},
    )


def _untrained(reference: Reference, mean: Statistics, std: Statistics) -> Backbone:
    if reference.builder not in builders:
        meant = [name for name in shipped() if name.startswith(f"{reference.builder}@")]
        known = meant or [*builders, *shipped()]
        raise BadRequest(f"unknown network {reference.text!r}{choices(reference.builder, known)}")
    builder = builders[reference.builder]
    options = builder.bind(reference.options)
    return Backbone(
        builder(**options).eval(),
        input_shape=builder.input_shape(options),
        classes=builder.classes(options),
        mean=mean,
        std=std,
        name=reference.text,
        reference=reference.text,
        card={"builder": reference.builder, "options": options, "untrained": True},
    )
