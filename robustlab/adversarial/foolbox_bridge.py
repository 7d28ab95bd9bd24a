"""Any attack of foolbox by its name, with foolbox's own parameters: nothing is mirrored here.

Foolbox draws its random numbers, and some of its stopping rules, a batch at a time, so that an
image's result would depend on its companions. The bridge therefore gives it one image at a time,
each with its own seed; ``batched = true`` trades that for speed and is said in the report.
What comes back is a claim like any other: clipped to [0, 1] by the base and verified by the lab.
What foolbox would find out while it runs is refused before: a package that is missing, a goal that
the attack does not have, parameters that its constructor does not take.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import traceback
import typing
import warnings
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from robustlab.adversarial.access import Access
from robustlab.adversarial.base import Attack
from robustlab.adversarial.foolbox_facts import Family, family
from robustlab.adversarial.threats import Threat
from robustlab.errors import BadRequest, choices
from robustlab.randomness import SampleRandom
from robustlab.registry import Registered
from robustlab.seeding import seeded
from robustlab.units import NORMS

__all__ = ["FoolboxAttack", "names", "resolve"]

_AT_LEAST_ONE = (
    *("steps", "binary_search_steps", "directions", "repeats", "population"),
    *("update_stats_every_k", "initial_gradient_eval_steps", "max_gradient_eval_steps"),
)
_OWN = ("eps", "norm", "target", "restarts", "early_exit", "batched")
_BATCH_DEPENDENT = (
    "Batch-dependent: foolbox worked on whole batches, so another batch size may give other images."
)


class FoolboxAttack(Attack):
    """Base of the bridged attacks; `resolve` makes one subclass for each foolbox attack."""

    family: ClassVar[Family]
    bounded: ClassVar[bool] = True
    foolbox_class: ClassVar[Any] = None
    foolbox_parameters: ClassVar[tuple[str, ...]] = ()

    batched: bool = False
    """let foolbox work on whole batches: faster, and an image's result depends on its companions"""

    def is_random(self) -> bool:
        random = self.family.random
        return bool(getattr(self, "random_start", False)) if random is None else random

    def check(self) -> None:
        for name in _AT_LEAST_ONE:
            if hasattr(self, name):
                self.at_least(name, 1)
        gamma = getattr(self, "gamma", 1.0)
        if gamma <= 0:
            self.refuse(f"gamma must be above 0, not {gamma}")
        self._check_goal()
        if missing := _missing(self.foolbox_class):
            extra = self.family.extra
            self.refuse(f"foolbox needs {missing} for it; run pip install 'robustlab[{extra}]'")
        try:
            distance = getattr(self._made(), "distance", None)
        except (AssertionError, TypeError, ValueError) as error:
            self.refuse(f"foolbox does not take these parameters{f': {error}' * bool(str(error))}")
        made = _norm_of(distance)
        if made not in (None, self.norm) and self.norm not in self.family.also:
            self.refuse(f"with these parameters it measures {made}, not {self.norm}")

    def _check_goal(self) -> None:
        if self.family.goal == "untargeted" and self.target is not None:
            self.refuse("foolbox's attack knows no target; leave target out")
        if self.family.goal == "targeted" and self.target is None:
            self.refuse("foolbox's attack needs a target; give one, as target = 'next'")

    def notes(self) -> tuple[str, ...]:
        return (_BATCH_DEPENDENT,) if self.batched else ()

    def passes(self) -> int:
        """Counted in `foolbox_facts`, for an image worked on alone; a guess where foolbox has no
        end of its own, as in its Pointwise attack."""
        return self.family.passes(self)

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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that compiling takes a while
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
        except (AssertionError, ValueError) as error:
            if len(x) > 1 or not _has_no_start(error):
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


def names() -> list[str]:
    """The attacks of foolbox that can be run by name, each once; some have short names besides."""
    found = []
    for name, cls in sorted(_available().items()):
        with contextlib.suppress(BadRequest):
            _attack_class(name)
            found += [name] if name == cls.__name__ else []
    return found


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
    facts = family(cls)
    if facts.refused:
        raise BadRequest(
            f"foolbox:{name} {facts.refused}, which a name cannot give; call foolbox for it"
        )
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
        "family": facts,
        "knowledge": facts.knowledge,
        "paper": facts.paper,
        "bounded": facts.bounded,
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
    also = family(cls).also
    if issubclass(cls, _foolbox().attacks.base.FlexibleDistanceMinimizationAttack):
        # Pointwise among them, though its constructor does not ask.
        return (*also, *(n for n in NORMS if n not in also))
    own = getattr(cls, "distance", None)
    # A required parameter, a package that is missing, no distance: the class must say it.
    with contextlib.suppress(TypeError, ImportError, AttributeError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own = cls().distance
    norm = _norm_of(own)
    if norm is None:
        raise BadRequest(
            f"foolbox:{name} measures no norm that the lab has; take one in {', '.join(NORMS)}"
        )
    # HopSkipJump chooses between two norms by a parameter of its own.
    chosen = tuple(n for n in ("linf", "l2") if n != norm) if own is not cls.distance else ()
    return (norm, *chosen, *also)


def _norm_of(distance: Any) -> str | None:
    power: Any = getattr(distance, "p", None)
    return {float("inf"): "linf", 2: "l2", 1: "l1", 0: "l0"}.get(power)


def _missing(cls: Any) -> str:
    """The package that foolbox could not import for this attack; empty where nothing is missing."""
    error = getattr(sys.modules[cls.__module__], "NUMBA_IMPORT_ERROR", None)
    return "" if error is None else f"numba ({error})"


def _has_no_start(error: Exception) -> bool:
    """Whether foolbox gave up for want of an adversarial image to work from: it has no claim then.

    Some of its attacks raise, others assert, at the start or, on a network that answers at random,
    when such an image no longer is one.
    """
    line = traceback.extract_tb(error.__traceback__)[-1].line or ""
    asserted = isinstance(error, AssertionError) and "is_adversarial(" in line
    return asserted or "init_attack failed" in str(error)
