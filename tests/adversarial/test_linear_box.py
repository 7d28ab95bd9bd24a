"""Linear networks inside the box: the smallest perturbation is known exactly, whatever the image.

Attacks succeed at 1.02 of it on at least 99 % of the images, and nothing succeeds at 0.995. Each
image is searched at its own eps (`testing.linear_success`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor

from robustlab import Attack, catalogue, testing
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.registry import resolve

NORMS = ["linf", "l2", "l1"]
SHAPE = (1, 8, 8)


def _images(n: int, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Tensor:
    """Anywhere in the box; half of the pixels exactly black or white."""
    drawn = np.random.default_rng(seed).uniform(-0.5, 1.5, (n, *shape))
    return torch.tensor(drawn).clamp(0.0, 1.0)


# The closed form -------------------------------------------------------------------------------


def _hyperplane_by_program(slope: np.ndarray, lead: float, x: np.ndarray, norm: str) -> float:
    """Smallest perturbation with slope . delta >= lead and x + delta in the box, by a solver."""
    size = len(x)
    if norm == "linf":  # variables: delta, r
        rows = np.block([[np.eye(size), -np.ones((size, 1))], [-np.eye(size), -np.ones((size, 1))]])
        rows = np.vstack([rows, [*-slope, 0.0]])
        limits = [*np.zeros(2 * size), -lead]
        bounds = [*zip(-x, 1 - x, strict=True), (0, None)]
        solved = linprog([*np.zeros(size), 1.0], rows, limits, bounds=bounds)
        return float(solved.fun) if solved.success else np.inf
    if norm == "l1":  # variables: what each pixel goes up, and down
        rows = [[*-slope, *slope]]
        bounds = [*((0, 1 - v) for v in x), *((0, v) for v in x)]
        solved = linprog(np.ones(2 * size), rows, [-lead], bounds=bounds)
        return float(solved.fun) if solved.success else np.inf
    corner = np.where(slope > 0, 1 - x, -x)  # the point of the box deepest in the other class
    if slope @ corner < lead:
        return np.inf
    beyond = {"type": "ineq", "fun": lambda d: slope @ d - lead, "jac": lambda d: slope}
    solved = minimize(
        lambda d: d @ d,
        corner,
        jac=lambda d: 2 * d,
        bounds=[*zip(-x, 1 - x, strict=True)],
        constraints=[beyond],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert solved.success
    return float(np.sqrt(solved.fun))


def _by_program(backbone: Backbone, x: Tensor, norm: str) -> list[float]:
    weight = next(p for p in backbone.network.parameters() if p.dim() == 2).numpy()
    logits, found = backbone(x).numpy(), []
    for image, z in zip(x.flatten(1).numpy(), logits, strict=True):
        top = int(z.argmax())
        found.append(
            min(
                _hyperplane_by_program(weight[k] - weight[top], z[top] - z[k], image, norm)
                for k in range(len(z))
                if k != top
            )
        )
    return found


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 4])
def test_the_radius_is_what_a_solver_finds(classes: int, norm: str) -> None:
    backbone = testing.linear_backbone((1, 2, 4), seed=3, classes=classes)
    x = _images(12, (1, 2, 4), seed=1)
    solved = torch.tensor(_by_program(backbone, x, norm), dtype=torch.float64)
    assert torch.allclose(testing.linear_radius(backbone, x, norm), solved, rtol=1e-5, atol=1e-8)
    # Mutant: the box ignored. Half of the pixels cannot move one way, so it falls short of some.
    boxless = testing.linear_radius(backbone, x, norm, box=False)
    assert (boxless <= solved + 1e-8).all()
    assert int((boxless < 0.9 * solved).sum()) >= 2


@pytest.mark.parametrize("norm", NORMS)
def test_a_class_that_the_box_does_not_hold_is_infinitely_far(norm: str) -> None:
    backbone = testing.linear_backbone((1, 2, 4), seed=3)
    next(p for p in backbone.network.parameters() if p.dim() == 1).data[1] -= 100.0
    x = _images(5, (1, 2, 4))
    assert testing.linear_radius(backbone, x, norm).isinf().all()
    assert testing.linear_radius(backbone, x, norm, box=False).isfinite().all()
    assert np.isinf(_by_program(backbone, x, norm)).all()


def test_near_grey_the_box_does_not_matter() -> None:
    backbone = testing.linear_backbone(classes=10)
    x = 0.5 + 0.02 * (_images(20) - 0.5)
    for norm in ("linf", "l2"):  # in L1 few pixels carry all, and may need more than half the box
        inside = testing.linear_radius(backbone, x, norm)
        assert torch.allclose(inside, testing.linear_radius(backbone, x, norm, box=False))


# Attacks held against it ------------------------------------------------------------------------

# name, parameters, norms, numbers of classes; single steps and plain walks from the clean image do
# not look at several rivals, so that they are held to two classes. A random L1 start spreads its
# budget over all pixels, and sparse steps do not gather it again: PGD's L1 is held from the clean
# image, which is BIM.
_WALK = {"steps": 100, "loss": "margin"}
GRADIENT: list[tuple[str, dict[str, Any], list[str], list[int]]] = [
    ("fgsm", {}, ["linf"], [2]),
    ("bim", {**_WALK, "step_size": 0.03}, NORMS, [2]),
    ("pgd", {**_WALK, "step_size": 0.1, "restarts": 10}, ["linf", "l2"], [2, 10]),
]
STRONG: list[tuple[str, dict[str, Any], list[str], list[int]]] = [
    ("apgd", {"loss": "margin", "restarts": 20}, NORMS, [2, 10]),
    ("apgd", {"loss": "dlr", "restarts": 20}, NORMS, [2, 10]),
    ("apgdt", {}, NORMS, [2, 10]),
    ("fab", {}, NORMS, [2, 10]),
    ("fabt", {}, NORMS, [2, 10]),
    ("fmn", {}, NORMS, [2, 10]),
    ("bisection", {"settings": {"restarts": 2}}, NORMS, [2, 10]),
]


def _cases(
    table: list[tuple[str, dict[str, Any], list[str], list[int]]],
) -> list[Any]:
    return [
        pytest.param(
            name,
            params,
            norm,
            k,
            id=f"{name}-{params.get('loss', 'own')}-{norm}-{k}",
        )
        for name, params, norms, classes in table
        for norm in norms
        for k in classes
    ]


def _attack(name: str, norm: str, **params: Any) -> Attack:
    if name not in catalogue.entries():
        pytest.skip(f"no attack {name} in the catalogue")
    registered = resolve(name)
    attack: Attack = registered.obj(**bind(registered, {"norm": norm, "eps": ["1"], **params}))
    return attack


def _case(classes: int, n: int) -> tuple[Backbone, Tensor]:
    return testing.linear_backbone(SHAPE, seed=1, classes=classes), _images(n)


def _share(attack: Attack, share: float, classes: int, n: int, *, aimed: bool = False) -> float:
    """Part of the images fooled at ``share`` of the radius; aimed: at the nearest class."""
    backbone, x = _case(classes, n)
    nearest = testing._class_radii(backbone, x, attack.norm, box=True).argmin(dim=1)
    won = testing.linear_success(attack, backbone, x, share, target=nearest if aimed else None)
    return float(won.double().mean())


@pytest.mark.parametrize(("name", "params", "norm", "classes"), _cases(GRADIENT))
def test_just_above_the_radius_and_never_below(
    name: str, params: dict[str, Any], norm: str, classes: int
) -> None:
    attack = _attack(name, norm, **params)
    assert _share(attack, 1.02, classes, 100) >= 0.99
    assert _share(attack, 0.995, classes, 100) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "params", "norm", "classes"), _cases(STRONG))
def test_strong_attacks_just_above_the_radius_and_never_below(
    name: str, params: dict[str, Any], norm: str, classes: int
) -> None:
    attack = _attack(name, norm, **params)
    if not attack.minimum_norm:
        assert _share(attack, 1.02, classes, 200) >= 0.99
        few = replace(attack, restarts=min(attack.restarts, 3))
        assert _share(few, 0.995, classes, 30) == 0.0
        return
    n = 50 if name == "bisection" else 200  # bisection searches about ten times
    found = testing.linear_found(attack, *_case(classes, n), share=1.0)
    assert found.min() >= 1 - 1e-6
    assert (found <= 1.02).double().mean() >= 0.99


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize(
    ("name", "params"), [("pgd", {**_WALK, "step_size": 0.1}), ("apgd", {"loss": "margin"})]
)
def test_aimed_at_the_nearest_class(name: str, params: dict[str, Any], classes: int) -> None:
    """It is the first to overtake the prediction, so that no other stands in its way there."""
    attack = _attack(name, "linf", restarts=3, **params)
    assert _share(attack, 1.02, classes, 60, aimed=True) >= 0.99
    assert _share(attack, 0.995, classes, 60, aimed=True) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 10])
def test_square_comes_within_a_quarter(norm: str, classes: int) -> None:
    """At 5,000 queries, the last 30 % of them for single pixels: the weights here are random."""
    attack = _attack("square", norm, queries=5000, polish=0.3)
    assert _share(attack, 1.25, classes, 100) >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_squares_alone_do_not(norm: str) -> None:
    """Mutant: as published, without the single pixels."""
    attack = _attack("square", norm, queries=5000, polish=0.0)
    assert _share(attack, 1.25, 10, 40) < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 10])
def test_square_is_never_below_the_radius(norm: str, classes: int) -> None:
    assert _share(_attack("square", norm, queries=500), 0.995, classes, 50) == 0.0


@pytest.mark.parametrize("norm", NORMS)
def test_noise_does_not_get_there(norm: str) -> None:
    assert _share(_attack("noise", norm), 0.995, 2, 100) == 0.0
    assert _share(_attack("noise", norm), 1.02, 2, 100) < 0.5


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_radius_without_the_box_is_caught(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: the closed form of whole space; most images then stand at 1.02 of it."""
    whole = testing.linear_radius
    monkeypatch.setattr(testing, "linear_radius", lambda *given: whole(*given, box=False))
    attack = _attack("pgd", norm, **_WALK, step_size=0.1, restarts=3)
    assert _share(attack, 1.02, 2, 60) < 0.5


def test_an_attack_that_leaves_its_ball_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    from robustlab.adversarial import geometry

    monkeypatch.setattr(geometry.Linf, "project", lambda self, delta, eps: delta)
    attack = _attack("bim", "linf", **_WALK, step_size=0.03)
    assert _share(attack, 0.995, 2, 60) == 0.0
    # Mutant of the oracle: it does not measure the perturbation.
    monkeypatch.setattr(testing, "distance", lambda x_adv, x, norm: torch.zeros(len(x)).double())
    assert _share(attack, 0.995, 2, 60) > 0.9
