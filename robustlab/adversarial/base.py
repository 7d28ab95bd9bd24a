"""The base of every attack: a subclass writes `search`, the base owns everything around it.

A subclass is a frozen dataclass: annotated attributes are parameters (the string below each is its
line in `robustlab show`), ``ClassVar`` attributes are facts. Defaults are literals, so that the
catalogue can be read without importing torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, cast, dataclass_transform

from torch import Tensor, nn

from robustlab.adversarial.access import Access
from robustlab.adversarial.auto_pgd import auto_pgd
from robustlab.adversarial.borrowed import Borrowed
from robustlab.adversarial.evaluate import BATCH, evaluate
from robustlab.adversarial.found import Found
from robustlab.adversarial.gradients import StraightThrough, look
from robustlab.adversarial.learning import Lessons, check_lessons, teachers
from robustlab.adversarial.losses import Loss, difference, find_loss, fooled, wrong_classes
from robustlab.adversarial.momentum import momentum_search
from robustlab.adversarial.nearest import boundary, nearest_classes
from robustlab.adversarial.search import gradient_search
from robustlab.adversarial.segment import shorten
from robustlab.adversarial.spatial import SpatialThreat
from robustlab.adversarial.threats import Threat
from robustlab.adversarial.varied import Varied
from robustlab.binding import bind
from robustlab.errors import BadRequest, choices
from robustlab.randomness import SampleRandom
from robustlab.registry import resolve
from robustlab.units import SPATIAL, Budget, parse_budgets, parse_norm

if TYPE_CHECKING:
    from robustlab.backbones import Backbone
    from robustlab.data import Data

__all__ = ["Attack"]


@dataclass_transform(kw_only_default=True, frozen_default=True)
@dataclass(frozen=True, kw_only=True)
class Attack:
    """Base of the attacks; see `attacks/` for how one is written."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    # Of the network attacked: also "score", "decision", "transfer" (nothing: other networks'
    # gradients, and what they say is claimed), "none" (nothing at all: a control).
    knowledge: ClassVar[str] = "gradient"
    paper: ClassVar[str] = ""
    minimum_norm: ClassVar[bool] = False

    eps: list[str]
    """budget or list of budgets on the [0, 1] scale, as "0.1" or "8/255"; L0, spatial: "5px" """
    norm: str = "linf"
    """norm of the budget"""
    target: str | int | None = None
    """class to reach: "least-likely", "next", "random", a class name or index; none: any mistake"""
    restarts: int = 1
    """independent random starts; an image leaves once it is fooled"""
    early_exit: bool = True
    """images leave the search as soon as they are verified as fooled"""
    eot: int = 1
    """passes averaged at every look, for networks that answer at random (expectation over
    transformation); verdicts then rest on the mean logits of as many passes"""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, kw_only=True)(cls)

    def __post_init__(self) -> None:
        object.__setattr__(self, "norm", parse_norm(self.norm))
        if self.norm not in self.norms:
            raise BadRequest(f"norm {self.norm!r} is not one of its norms: {', '.join(self.norms)}")
        texts = [budget.text for budget in parse_budgets(self.eps, self.norm)]
        object.__setattr__(self, "eps", texts)
        self.at_least("restarts", 1)
        self.at_least("eot", 1)
        if self.restarts > 1 and not self.is_random():
            raise BadRequest("restarts repeat the same search where the start is not random; use 1")
        self.check()
        self.threat(0.0)

    # What a subclass writes -----------------------------------------------------------------

    def search(
        self, model: Access, x: Tensor, y: Tensor, start: Tensor, threat: Threat, rng: SampleRandom
    ) -> Tensor | tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]:
        """Look for adversarial images inside ``threat``.

        Args:
            model: the network: call it for logits, differentiate through it; passes are counted.
            x: clean images [n, C, H, W] in [0, 1]; y: true labels [n].
            start: where to begin, inside the ball.
            rng: random numbers of each image's own stream.

        Returns:
            x_adv [n, C, H, W], or ``(x_adv, claimed)`` with the attack's own opinion, bool [n]; in
            the norm "spatial" ``(x_adv, claimed, pose)``, where ``threat.move(x, pose)`` is x_adv:
            without its pose [n, 3] no image but the clean one is believed there.
        """
        raise TypeError(f"{type(self).__name__} is an Attack without a search method")

    def start(self, x: Tensor, threat: Threat, rng: SampleRandom) -> Tensor:
        """First iterate; the clean image unless a subclass draws one."""
        return x

    def is_random(self) -> bool:
        """Whether a restart differs from the first try."""
        return False

    def check(self) -> None:
        """Raise BadRequest for parameters out of range."""

    def passes(self) -> int:
        """Forward and backward passes an image at most, for one eps and one restart."""
        return 1

    def notes(self) -> Sequence[str]:
        """Sentences that belong beside this attack's numbers."""
        return ()

    def members(self) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """An ensemble's attacks, each by its name and parameters; none for an attack that searches
        itself. They run in this order, each on what those before it left standing.
        """
        return ()

    def uses(self) -> Sequence[str]:
        """Names of other attacks whose code decides this one's numbers."""
        return [name for name, _ in self.members()]

    def searches_on(self) -> Sequence[str]:
        """References of backbones whose mean logits are searched instead of the network attacked,
        which is then never asked; none: the network attacked.
        """
        return ()

    def learns_from(self) -> tuple[str, int | None] | None:
        """A data reference and how many of its images, for an attack that learns: its parameters
        ``learn_on`` and ``take``, if any; none: the images attacked, whose two halves teach each
        other.
        """
        source: str | None = getattr(self, "learn_on", None)
        return None if source is None else (source, getattr(self, "take", None))

    def learn(self, lessons: Lessons, threat: Threat) -> Tensor:
        """Learn once a budget, before any search; what is returned, [...], comes to `search` as
        ``learned``, [n, ...]. Such an attack has ``scope="set"``, and each budget its own verdicts.
        """
        raise TypeError(f"{type(self).__name__} is an Attack without a learn method")

    def objective(self, logits: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
        """The loss to ascend, an image, [n]: the one named by the parameter ``loss``, if any."""
        return find_loss(getattr(self, "loss", "ce"))(logits, y, target)

    def surrogate(self, module: nn.Module) -> nn.Module:
        """The module to search on, made from a copy of the one that was loaded (without the lab's
        normalisation): exchange here a layer that kills the gradient, as in
        ``module.quantise = self.straight_through(module.quantise)``. Verdicts are the original's.
        """
        return module

    # What the base offers -------------------------------------------------------------------

    def gradient_search(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Projected steepest ascent of the objective; see `search.gradient_search`."""
        settings = {"loss": self.objective, "early_exit": self.early_exit, **kwargs}
        return gradient_search(*args, **settings)

    def auto_pgd(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Auto-PGD on the objective; see `auto_pgd.auto_pgd`."""
        settings = {"loss": self.objective, "early_exit": self.early_exit, **kwargs}
        return auto_pgd(*args, **settings)

    def momentum_search(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Steps along accumulated gradients; see `momentum.momentum_search`."""
        settings = {"loss": self.objective, "early_exit": self.early_exit, **kwargs}
        return momentum_search(*args, **settings)

    @staticmethod
    def varied(*args: Any) -> Varied:
        """Inputs shrunk and moved at random; see `varied.Varied`."""
        return Varied(*args)

    @property
    def learns(self) -> bool:
        """Whether the attack learns from a set of images."""
        return type(self).learn is not Attack.learn

    @property
    def apart(self) -> bool:
        """Whether each budget has its own verdicts: where something is learned for it, and where no
        stage asks the network, so that a list of budgets would be a choice among tries.
        """
        unasked = all(stage.knowledge in ("transfer", "none") for _, stage in self.stages())
        return self.learns or unasked

    def check_lessons(self) -> None:
        """Refuse parameters with which nothing can be learned; see `learning.check_lessons`."""
        check_lessons(cast(Any, self))

    @staticmethod
    def teachers(*args: Any) -> str:
        """From which images was learned, as a note; see `learning.teachers`."""
        return teachers(*args)

    @property
    def adapts(self) -> bool:
        """Whether the attack brings a surrogate of its own."""
        return type(self).surrogate is not Attack.surrogate

    @staticmethod
    def straight_through(layer: nn.Module, stand_in: nn.Module | None = None) -> nn.Module:
        """``layer`` forwards, the gradient of ``stand_in`` (none: the identity's) backwards.

        Backward pass differentiable approximation, Athalye et al. (2018), section 4.1.
        """
        return StraightThrough(layer, stand_in)

    @cached_property
    def _stages(self) -> tuple[tuple[str, Attack], ...]:
        members = self.members()
        if not members:
            return (("", self),)
        names = _distinct([_stage_name(*member) for member in members])
        return tuple(zip(names, (self.member(*member) for member in members), strict=True))

    def stages(self) -> Sequence[tuple[str, Attack]]:
        """The attacks that run, by name: an ensemble's members, or this attack alone."""
        return self._stages

    def look(
        self,
        model: Access,
        x_adv: Tensor,
        y: Tensor,
        target: Tensor | None = None,
        loss: Loss | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [n, K], loss [n] (none: the objective), its gradient; see `gradients.look`."""
        return look(model, x_adv, y, target, loss or self.objective)

    def query(
        self, model: Access, x_adv: Tensor, y: Tensor, threat: Threat
    ) -> tuple[Tensor, Tensor]:
        """The objective [n], and whether the goal is reached [n]: one look at the logits alone."""
        logits = model(x_adv)
        return self.objective(logits, y, threat.target), fooled(logits, y, threat.target)

    @staticmethod
    def difference(logits: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
        """The target's logit minus the true one, [n]; see `losses.difference`."""
        return difference(logits, y, target)

    @staticmethod
    def boundary(*args: Any) -> tuple[Tensor, Tensor]:
        """A linearised boundary between two classes; see `nearest.boundary`."""
        return boundary(*args)

    @staticmethod
    def wrong_classes(logits: Tensor, y: Tensor) -> Tensor:
        """All classes but the label, the likeliest first, [n, K - 1]."""
        return wrong_classes(logits, y)

    @staticmethod
    def nearest_classes(*args: Any) -> Tensor:
        """Classes in the order of their linearised boundaries; see `nearest.nearest_classes`."""
        return nearest_classes(*args)

    @staticmethod
    def shorten(*args: Any, **kwargs: Any) -> Tensor:
        """Bisection towards the clean image; see `segment.shorten`."""
        return shorten(*args, **kwargs)

    @staticmethod
    def fooled(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
        """Whether the attack has its goal, bool [n]; see `losses.fooled`."""
        return fooled(logits, y, target)

    def member(self, name: str, params: Mapping[str, Any]) -> Attack:
        """Another attack with this one's eps, norm, target, eot and early exit, and ``params``."""
        shared = {key: getattr(self, key) for key in ("eps", "norm", "target", "eot")}
        for key in shared.keys() & params.keys():
            here = type(self).__name__.lower()
            raise BadRequest(f"{key} is set on {here} itself, for all it runs; not on {name!r}")
        found = resolve(name)
        if found.kind != "attack":
            raise BadRequest(f"{name!r} is a probe, not an attack; name one of `list attacks`")
        settings = {**shared, "early_exit": self.early_exit, **params}
        made: Attack = found.obj(**bind(found, settings))
        return made

    def at_least(self, name: str, smallest: float) -> None:
        """Refuse a parameter below its smallest sensible value."""
        if getattr(self, name) < smallest:
            raise BadRequest(f"{name} must be at least {smallest}, not {getattr(self, name)}")

    def refuse(self, why: str) -> NoReturn:
        """Raise BadRequest: parameters that do not go together."""
        raise BadRequest(why)

    def cost_of(self, member: tuple[str, Mapping[str, Any]]) -> int:
        """Passes an image that a member would take, its restarts included."""
        stage = self.member(*member)
        return stage.restarts * stage.passes()

    def one_of(self, name: str, allowed: Sequence[str]) -> None:
        """Refuse a parameter that is not one of the ``allowed`` words."""
        value = getattr(self, name)
        if value not in allowed:
            raise BadRequest(f"unknown {name} {value!r}{choices(value, allowed)}")

    def budgets(self, shape: Sequence[int]) -> tuple[Budget, ...]:
        """The eps list for images of ``shape`` [C, H, W]."""
        pixels = min(shape[1:]) if self.norm == SPATIAL else prod(shape[1:])
        return parse_budgets(self.eps, self.norm, prod(shape), pixels)

    def threat(self, eps: float, target: Tensor | None = None) -> Threat:
        """What is allowed at one eps.

        In the norm "spatial" the parameters ``degrees`` and ``padding`` say more, where an attack
        has them: the largest rotation (none: 30) and what lies outside the image (none: "zeros").
        """
        if self.norm != SPATIAL:
            return Threat(self.norm, eps, target)
        degrees, padding = getattr(self, "degrees", 30.0), getattr(self, "padding", "zeros")
        return SpatialThreat(SPATIAL, eps, target, degrees, padding)

    def __call__(
        self,
        backbone: Backbone,
        data: Data,
        *,
        seed: int = 0,
        batch: int = BATCH,
        fast: bool = True,
        precision: str = "float32",
        borrowed: Borrowed | None = None,
    ) -> Found:
        """Attack every image at every eps and verify what is found; see `evaluate`."""
        settings: dict[str, Any] = {"batch": batch, "fast": fast, "precision": precision}
        return evaluate(self, backbone, data, seed=seed, borrowed=borrowed, **settings)


def _stage_name(name: str, params: Mapping[str, Any]) -> str:
    """``pgd loss=margin``: the attack and what was asked of it."""
    return " ".join([name, *(f"{key}={value}" for key, value in params.items())])


def _distinct(names: Sequence[str]) -> list[str]:
    """The same names, with a number behind each that has been there before."""
    seen = [names[:place].count(name) for place, name in enumerate(names)]
    return [f"{name} #{many + 1}" if many else name for name, many in zip(names, seen, strict=True)]
