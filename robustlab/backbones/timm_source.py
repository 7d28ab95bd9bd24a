"""``timm:NAME``: the classifiers of timm, untrained or with published weights.

timm is optional and imported here alone. Most weights lie on the Hugging Face hub, whose client
keeps what came of a download that broke off, apart from whole files, for the next try. The lab
reads the file without pickle; timm knows how it fits the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from robustlab.backbones.building import Built, Weights
from robustlab.backbones.downloads import fetch, unreachable, ways_out
from robustlab.backbones.library_options import bind_library
from robustlab.backbones.options import OPTIONS
from robustlab.backbones.weightfile import read_weights
from robustlab.catalogue import Entry, Parameter
from robustlab.data.categories import class_names
from robustlab.errors import BadRequest, choices
from robustlab.seeding import seeded

__all__ = ["build_timm", "described"]

_WEIGHTS = ("default", "none")
_FILES = ("model.safetensors", "pytorch_model.bin")  # as timm names them on the hub
_IMAGENET = 1000  # its classes


def build_timm(name: str, options: Mapping[str, Any], *, pretrained: bool = True) -> Built:
    """One of timm's classifiers, ``NAME`` or ``NAME.TAG``, the tag saying which weights.

    Args:
        options: ``weights`` is default (where nothing is said) or none; ``classes`` other than the
            published ones get a head with fresh weights from ``seed``; ``size`` is the side of the
            input.
        pretrained: see `robustlab.backbones.building.build`.

    Raises:
        BadRequest: timm is not installed, an unknown network or option, or weights that cannot be
            had.
    """
    timm = _timm()
    published = _published(timm, name)
    bound = _bind(name, options, published)
    arguments: dict[str, Any] = {"num_classes": bound["classes"]}
    if published.fixed_input_size:
        arguments["img_size"] = bound["size"]
    load = pretrained and bound["weights"] == "default"
    if load:
        arguments["pretrained_cfg_overlay"] = {"state_dict": _weights(name, published)}
    try:
        with seeded(bound["seed"] % 2**32):
            module = timm.create_model(name, pretrained=load, **arguments)
    except Exception as error:  # networks refuse sizes in errors of many kinds
        raise BadRequest(f"'timm:{name}' cannot be built: {error}") from None
    config = timm.data.resolve_model_data_config(module)
    facts: dict[str, Any] = {
        "preprocessing": {
            "resize": int(bound["size"] / config["crop_pct"]),
            "crop": bound["size"],
            "interpolation": config["interpolation"],
        }
    }
    if load:
        facts["published"] = published.hf_hub_id or published.url
        if bound["classes"] != published.num_classes:
            facts["fresh"] = _head(module, published)
    for note in ("pretrained_cfg", "default_cfg"):  # where weights are from decides no logit
        vars(module).pop(note, None)
    return Built(
        module,
        f"timm:{name}",
        bound,
        (config["input_size"][0], bound["size"], bound["size"]),
        _classes(bound["classes"], published),
        tuple(config["mean"]),
        tuple(config["std"]),
        facts,
    )


def described(name: str) -> Entry:
    """What timm says of its network, as `robustlab show` prints it; nothing is built or fetched.

    Raises:
        BadRequest: timm is not installed, or an unknown network.
    """
    timm = _timm()
    published = _published(timm, name)
    side = published.input_size[-1]
    facts = {
        "input": f"{published.input_size[0]}x{side}x{side}, of pictures resized to "
        f"{int(side / published.crop_pct)} ({published.interpolation})",
        "published weights": tuple(
            f"timm:{one}" for one in timm.list_pretrained(f"{name.partition('.')[0]}.*")
        ),
        "source": published.hf_hub_id or published.url,
    }
    defaults = {"weights": "default", "classes": published.num_classes, "size": side, "seed": 0}
    doc = {**OPTIONS, "weights": "default (those of the name's tag, or timm's choice) or none"}
    options = tuple(Parameter(k, type(v).__name__, v, doc[k]) for k, v in defaults.items())
    text = f"timm's {name}; its weights are downloaded when they are first asked for."
    return Entry(f"timm:{name}", "backbone", "", Path(timm.__file__), text, options, facts)


def _timm() -> Any:
    try:
        import timm
    except ImportError:
        raise BadRequest("timm is not installed; pip install 'robustlab[timm]'") from None
    return timm


def _published(timm: Any, name: str) -> Any:
    """What timm knows of the network's published weights."""
    try:
        found = timm.models.get_pretrained_cfg(name) if timm.is_model(name) else None
    except RuntimeError:  # a tag that the network has not
        found = None
    if found is None:
        known = [f"timm:{one}" for one in (*timm.list_models(), *timm.list_pretrained())]
        raise BadRequest(f"unknown network 'timm:{name}'{choices(f'timm:{name}', known)}")
    return found


def _bind(name: str, options: Mapping[str, Any], published: Any) -> dict[str, Any]:
    builder = f"timm:{name}"
    known = {"classes": published.num_classes, "size": published.input_size[-1]}
    bound = bind_library(builder, options, weights="default", **known)
    bound["weights"] = bound["weights"].lower()
    if bound["weights"] not in _WEIGHTS:
        raise BadRequest(
            f"unknown weights {options['weights']!r} of {builder!r}"
            f"{choices(bound['weights'], _WEIGHTS)}; others have a tag, as timm:resnet18.a1_in1k"
        )
    if not bound["classes"]:
        raise BadRequest(f"{builder!r} has no classifier; give it one, as {builder}?classes=10")
    return bound


def _weights(name: str, published: Any) -> Weights:
    if published.hf_hub_id:
        return read_weights(_from_hub(name, published))
    if published.url:
        return read_weights(fetch(published.url, f"timm:{name}"))
    raise BadRequest(
        f"'timm:{name}' has no published weights; take 'timm:{name}?weights=none' (untrained) or "
        "another tag"
    )


def _from_hub(name: str, published: Any) -> Path:
    """The file in the hub's folder; only one that is not there is asked for."""
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    place, _, revision = published.hf_hub_id.partition("@")
    asked = {"repo_id": place, "revision": revision or None}
    files = [published.hf_hub_filename] if published.hf_hub_filename else list(_FILES)
    for file in files:
        kept = try_to_load_from_cache(filename=file, **asked)
        if isinstance(kept, str):
            return Path(kept)
    reason = unreachable(constants.ENDPOINT)
    try:
        for file in () if reason else files:
            try:
                return Path(hf_hub_download(filename=file, **asked))
            except EntryNotFoundError as error:
                reason = str(error.__cause__ or error)
    except Exception as error:  # the hub's client raises errors of several libraries
        reason = f"{type(error).__name__}: {error}"
    raise BadRequest(
        f"network 'timm:{name}': its weights {files[0]} of {place} are not in "
        f"{constants.HF_HUB_CACHE} and {constants.ENDPOINT} does not give them: "
        f"{reason.strip().splitlines()[0]}; {ways_out(f'timm:{name}')}"
    )


def _head(module: nn.Module, published: Any) -> list[str]:
    """Parameters of the classifier, which timm leaves out where the classes are others."""
    heads = published.classifier or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    return [key for key in module.state_dict() if key.rpartition(".")[0] in heads]


def _classes(classes: int, published: Any) -> int | tuple[str, ...]:
    """ImageNet's names where the published weights were trained on it, the number otherwise."""
    if classes == published.num_classes == _IMAGENET and "in1k" in (published.tag or ""):
        return class_names()
    return classes
