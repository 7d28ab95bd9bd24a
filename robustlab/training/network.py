"""The network of a recipe before its first step: built, weights poured in, parts held still."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from robustlab.backbones import load_backbone
from robustlab.backbones.building import Built, build
from robustlab.data import Data
from robustlab.errors import BadRequest, choices
from robustlab.training.recipe import Recipe

__all__ = ["Start", "check_data", "start", "train_mode"]


@dataclass(frozen=True)
class Start:
    """A network ready to be trained.

    Attributes:
        built: the network as built, with the weights it starts from.
        held: names of the modules and parameters that stay as they are.
        weights: fingerprint of the network whose weights were taken, empty if none.
    """

    built: Built
    held: frozenset[str]
    weights: str = ""


def start(recipe: Recipe) -> Start:
    """The recipe's network, fresh from its seed or with given weights; ``held`` is frozen.

    Raises:
        BadRequest: no such builder, option, network or part, weights that do not fit, or nothing
            left to train.
    """
    try:
        options = {"seed": recipe.seed, **recipe.options}
        built = build(recipe.builder, options, pretrained=not recipe.weights)
        fingerprint = ""
        if recipe.weights:
            built, fingerprint = _poured(recipe, built)
        held = _held(recipe, built.module)
    except BadRequest as error:
        raise error.inside(f"recipe {recipe.name}") from None
    for name, parameter in built.module.named_parameters():
        parameter.requires_grad_(name not in held)
    if not any(one.requires_grad for one in built.module.parameters()):
        raise BadRequest(
            f"recipe {recipe.name}: every parameter is frozen, so there is nothing to train; "
            "shorten [backbone] frozen"
        )
    return Start(built, held, fingerprint)


def _poured(recipe: Recipe, built: Built) -> tuple[Built, str]:
    given = load_backbone(recipe.weights)
    _check_prefixes("fresh", recipe.fresh, built.module)
    taken: dict[str, Tensor] = {}
    weights = given.module.state_dict()
    for name, own in built.module.state_dict().items():
        if _under(name, recipe.fresh):
            continue
        found = weights.get(name)
        if found is None or found.shape != own.shape:
            lacks = "are lacking" if found is None else f"have shape {list(found.shape)}"
            part = name.rpartition(".")[0] or name
            allowing = ", ".join(f'"{one}"' for one in (*recipe.fresh, part))
            raise BadRequest(
                f"weights {recipe.weights!r}: those of {name} {lacks}, the network needs "
                f"{list(own.shape)}; to start that part afresh give fresh = [{allowing}]"
            )
        taken[name] = found
    built.module.load_state_dict(taken, strict=False)
    return replace(built, mean=given.mean, std=given.std), given.fingerprint


def _held(recipe: Recipe, module: nn.Module) -> frozenset[str]:
    names = _names(module)
    _check_prefixes("frozen", recipe.frozen, module)
    _check_prefixes("free", recipe.free, module)
    if recipe.free:
        above = {name for name in names if any(one.startswith(f"{name}.") for one in recipe.free)}
        return frozenset(n for n in names if not _under(n, recipe.free) and n not in above)
    return frozenset(name for name in names if _under(name, recipe.frozen))


def _names(module: nn.Module) -> list[str]:
    """Of all parts and parameters."""
    parts = [name for name, _ in module.named_modules() if name]
    return parts + [name for name, _ in module.named_parameters()]


def _under(name: str, prefixes: Iterable[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in prefixes)


def _check_prefixes(key: str, prefixes: Iterable[str], module: nn.Module) -> None:
    names = _names(module)
    for one in prefixes:
        if one not in names:
            top = [name for name, _ in module.named_children()]
            known = choices(one, names) if "; did" in choices(one, names) else choices(one, top)
            raise BadRequest(f"[backbone] {key}: the network has no part {one!r}{known}")


def train_mode(module: nn.Module, held: Iterable[str]) -> None:
    """Train mode, but for the parts held still: their batch norm keeps its running statistics."""
    module.train()
    still = set(held)
    for name, part in module.named_modules():
        if name in still:
            part.training = False


def check_data(recipe: Recipe, built: Built, data: Data) -> None:
    """Refuse images of another shape, or of another number of classes, than the network's.

    Raises:
        BadRequest: with the options that would fit.
    """
    if data.shape != tuple(built.input_shape):
        raise BadRequest(
            f"recipe {recipe.name}: {built.builder} takes images of shape "
            f"{list(built.input_shape)} (channels, height, width), those of {data.name} have "
            f"{list(data.shape)}; change [backbone] options or the data"
        )
    count = built.classes if isinstance(built.classes, int) else len(built.classes)
    if count != len(data.classes):
        raise BadRequest(
            f"recipe {recipe.name}: {built.builder} gives {count} logits, {data.name} has "
            f"{len(data.classes)} classes; give [backbone] options = "
            f"{{ classes = {len(data.classes)} }}"
        )
    turned = recipe.augment.rotate or recipe.augment.scale or recipe.augment.shift
    if turned and data.shape[1] != data.shape[2]:
        raise BadRequest(
            f"recipe {recipe.name}: [augment] shift, rotate and scale need square images, those of "
            f"{data.name} are {data.shape[1]}x{data.shape[2]}; leave them out, or make the images "
            "square"
        )
