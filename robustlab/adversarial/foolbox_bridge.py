"""Any attack of foolbox by its name, with foolbox's own parameters: nothing is mirrored here.

Foolbox draws its random numbers, and some of its stopping rules, a batch at a time, so that an
image's result would depend on its companions. The bridge therefore gives it one image at a time,
each with its own seed; ``batched = true`` trades that for speed and is said in the report.
What comes back is a claim like any other: clipped to [0, 1] by the base and verified by the lab.
"""

from __future__ import annotations

import contextlib
import inspect
import typing
import warnings
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from robustlab.adversarial.access import Access
from robustlab.adversarial.base import Attack
from robustlab.adversarial.threats import Threat
from robustlab.errors import BadRequest, choices
from robustlab.randomness import SampleRandom
from robustlab.registry import Registered
from robustlab.seeding import seeded
from robustlab.units import NORMS

__all__ = ["FoolboxAttack", "resolve"]

# What foolbox's attacks may see, by the module they stand in; all others follow gradients. Plain
# noise knows nothing and is a control.
_KNOWLEDGE = {
    "additive_noise": "none",
    "gen_attack": "score",
    **dict.fromkeys(
        (
            "binarization",
            "blended_noise",
            "blur",
            "boundary_attack",
            "contrast",
            "contrast_min",
            "dataset_attack",
            "hop_skip_jump",
            "inversion",
            "pointwise",
            "saltandpepper",
            "spatial_attack",
        ),
        "decision",
    ),
}
# Whose search does not depend on the norm they are held against: they change as few values as they
# can. Foolbox counts values in L0, the lab counts pixels, and the lab's verdict is what counts.
_ANY_NORM = {
    "PointwiseAttack": ("l0", "linf", "l2", "l1"),
    "SaltAndPepperNoiseAttack": ("l2", "linf", "l1", "l0"),
}
_OWN = ("eps", "norm", "target", "restarts", "early_exit", "batched")
_BATCH_DEPENDENT = (
    "Batch-dependent: foolbox worked on whole batches, so another batch size may give other images."
)


class FoolboxAttack(Attack):
    """Base of the bridged attacks; `resolve` makes one subclass for each foolbox attack."""

    paper: ClassVar[str] = "Rauber et al. 2020, foolbox native, JOSS 5(53) 2607"
    foolbox_class: ClassVar[Any] = None
    foolbox_parameters: ClassVar[tuple[str, ...]] = ()

    batched: bool = False
    """let foolbox work on whole batches: faster, and an image's result depends on its companions"""

    def is_random(self) -> bool:
        return True

    def check(self) -> None:
        if self.foolbox_class.__name__ in _ANY_NORM:
            return
        made = _norm_of(getattr(self._made(), "distance", None))
        if made is not None and made != self.norm:
            raise BadRequest(f"with these parameters it measures {made}, not {self.norm}")

    def notes(self) -> tuple[str, ...]:
        return (_BATCH_DEPENDENT,) if self.batched else ()

    def passes(self) -> int:
        """A guess from foolbox's usual parameter names; it has no count of its own."""
        steps = next((getattr(self, n) for n in ("steps", "iterations") if hasattr(self, n)), 1)
        return 2 * int(steps) * int(getattr(self, "binary_search_steps", 1))

    def search(
        self, model: Access, x: Tensor, y: Tensor, start: Tensor, threat: Threat, rng: SampleRandom
    ) -> tuple[Tensor, Tensor]:
        size = len(x) if self.batched else 1
        found = []
        for first in range(0, len(x), size):
            rows = torch.arange(first, min(first + size, len(x)), device=x.device)
            seed = int(rng.narrow([first]).integers(2**31)[0])
            part = (model.narrow(rows), x[rows], y[rows], threat.narrow(rows))
            with seeded(seed), torch.enable_grad():
                found.append(self._call(*part))
        return torch.cat([x_adv for x_adv, _ in found]), torch.cat([hit for _, hit in found])

    def _made(self) -> Any:
        """Foolbox's own attack with its own parameters."""
        values = {name: getattr(self, name) for name in self.foolbox_parameters}
        if "distance" in inspect.signature(self.foolbox_class).parameters:
            values["distance"] = getattr(_foolbox().distances, self.norm)
        return self.foolbox_class(**values)

    def _call(self, model: Access, x: Tensor, y: Tensor, threat: Threat) -> tuple[Tensor, Tensor]:
        foolbox = _foolbox()
        view = foolbox.PyTorchModel(model, bounds=(0, 1), device=x.device)
        criteria = foolbox.criteria
        goal = threat.target
        criterion = (
            criteria.Misclassification(y)
            if goal is None
            else criteria.TargetedMisclassification(goal)
        )
        eps = None if self.minimum_norm else threat.eps
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it found nothing shows in the claim
                _, x_adv, success = self._made()(view, x, criterion, epsilons=eps)
        except ValueError as error:
            # An attack that starts from a misclassified image found none: it has no claim.
            if "init_attack failed" not in str(error) or len(x) > 1:
                raise
            return x, torch.zeros_like(y, dtype=torch.bool)
        return x_adv.detach(), success.bool()


def resolve(name: str) -> Registered:
    """The foolbox attack called ``name``, as in `foolbox.attacks`.

    Raises:
        BadRequest: foolbox has no such attack, or it measures a norm that the lab does not have.
    """
    from importlib.metadata import version

    return Registered(
        f"foolbox:{name}", _attack_class(name), library=f"foolbox {version('foolbox')}"
    )


@cache
def _foolbox() -> Any:
    """Foolbox, imported when first used; it imports a SciPy name that SciPy has deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import foolbox
    return foolbox


def _available() -> dict[str, Any]:
    foolbox = _foolbox()
    base = foolbox.attacks.base.Attack
    return {
        name: value
        for name, value in vars(foolbox.attacks).items()
        if inspect.isclass(value) and issubclass(value, base) and not inspect.isabstract(value)
    }


@cache
def _attack_class(name: str) -> type[FoolboxAttack]:
    available = _available()
    if name not in available:
        raise BadRequest(f"foolbox has no attack {name!r}{choices(name, available)}")
    cls = available[name]
    parameters = _parameters(cls)
    norms = _norms(name, cls)
    fields = {key: annotation for key, (annotation, _) in parameters.items()}
    defaults = {key: default for key, (_, default) in parameters.items() if default is not _NEEDED}
    body = {
        "__module__": __name__,
        "__doc__": f"`{name}` of foolbox.\n\n{inspect.getdoc(cls) or ''}",
        "__annotations__": {**fields, "norm": str},
        **defaults,
        "norm": norms[0],
        "norms": norms,
        "knowledge": _KNOWLEDGE.get(cls.__module__.rpartition(".")[2], "gradient"),
        "minimum_norm": issubclass(cls, _foolbox().attacks.base.MinimizationAttack),
        "foolbox_class": cls,
        "foolbox_parameters": tuple(parameters),
    }
    return type(name, (FoolboxAttack,), body)


_NEEDED = object()


def _parameters(cls: Any) -> dict[str, tuple[Any, Any]]:
    """Constructor parameters that a TOML file can write: numbers, words, flags and none."""
    found = {}
    hints = typing.get_type_hints(cls.__init__)
    for parameter in inspect.signature(cls).parameters.values():
        default = _NEEDED if parameter.default is parameter.empty else parameter.default
        plain = default is _NEEDED or isinstance(default, bool | int | float | str | None)
        if parameter.name in (*_OWN, "distance") or not plain:
            continue
        hint = hints.get(parameter.name, Any)
        found[parameter.name] = (hint if hint in (bool, int, float, str) else Any, default)
    return found


def _norms(name: str, cls: Any) -> tuple[str, ...]:
    """Norms the attack can be held against, its usual one first."""
    if name in _ANY_NORM:
        return _ANY_NORM[name]
    if "distance" in inspect.signature(cls).parameters:
        return NORMS
    own = getattr(cls, "distance", None)
    with contextlib.suppress(TypeError):  # a required parameter: the class must say it
        own = getattr(cls(), "distance", None)
    norm = _norm_of(own)
    if norm is None:
        raise BadRequest(
            f"foolbox:{name} measures no norm that the lab has; take one in {', '.join(NORMS)}"
        )
    # HopSkipJump chooses its norm by a parameter of its own.
    return (norm, *(n for n in NORMS if n != norm)) if own is not cls.distance else (norm,)


def _norm_of(distance: Any) -> str | None:
    power: Any = getattr(distance, "p", None)
    return {float("inf"): "linf", 2: "l2", 1: "l1", 0: "l0"}.get(power)
