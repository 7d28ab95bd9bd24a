"""Square: its schedule and bumps as published, its balls, its queries, each image on its own."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustlab import Attack, Threat, attack, testing
from robustlab.adversarial import Access, gradients
from robustlab.adversarial.geometry import distance
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.planted import planted
from robustlab.randomness import SampleRandom
from robustlab.registry import resolve

EPS = {"linf": 0.08, "l2": 1.5, "l1": 14.0}
_FOUND: Any = resolve("square").obj
square: Any = sys.modules[_FOUND.__module__]


def _square(norm: str = "linf", kind: type[Attack] = _FOUND, **params: Any) -> Attack:
    settings = {"eps": [str(EPS[norm])], "norm": norm, **params}
    return kind(**bind(resolve("square"), settings))


def _images(n: int = 6, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, channels, 12, 12, generator=generator)


def _streams(n: int) -> SampleRandom:
    return SampleRandom(0, [str(row) for row in range(n)])


# As published ------------------------------------------------------------------------------------


def _theirs(queries: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = pytest.importorskip("torchattacks.attacks.square")
        made = library.Square(torch.nn.Identity(), n_queries=queries)
    made.device = "cpu"
    return made


@pytest.mark.parametrize("queries", [100, 5000, 10000])
def test_the_schedule_is_the_published_one(queries: int) -> None:
    ours, theirs = _square(queries=queries), _theirs(queries)
    shares = [ours._share(tries / queries) for tries in range(queries)]  # type: ignore[attr-defined]
    assert shares == [theirs.p_selection(tries) for tries in range(queries)]


def _bumps_agree() -> bool:
    theirs, like = _theirs(100), torch.zeros(1)
    gaps = []
    for side in (1, 2, 3, 4, 5, 9, 25):
        ours, bump = square._bump(side, like, 2.0), theirs.eta(side)
        gaps.append(min((bump - ours).abs().max(), (bump - ours.T).abs().max()))
    return bool(max(gaps) < 1e-6)


def test_the_bumps_are_the_published_ones() -> None:
    assert _bumps_agree()


def test_flat_bumps_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: squares without hills."""
    monkeypatch.setattr(square, "_bump", lambda side, like, power: torch.ones(side, side) / side)
    assert not _bumps_agree()


# Geometry ----------------------------------------------------------------------------------------


def _walk(norm: str, tries: int = 60) -> tuple[float, float]:
    """Largest and smallest share of its own budget that a proposal took, an image each its own."""
    x = _images()
    eps = torch.linspace(0.5, 1.0, len(x)).view(-1, 1, 1, 1) * 0.2 * EPS[norm]
    threat, rng = Threat(norm, eps), _streams(len(x))
    moves = square._Squares() if norm == "linf" else square._Transfers(norm)
    best = moves.begin(x, threat, rng)
    shares = []
    for side in np.linspace(11, 1, tries).round().astype(int):
        drawn = x.new_tensor(rng.uniform((moves.numbers(x),)))
        best = moves.propose(x, best, threat, int(side), drawn)
        assert ((best >= 0) & (best <= 1)).all()
        shares.append(distance(best, x, norm) / eps.flatten())
    taken = torch.stack(shares)
    return float(taken.max()), float(taken.min())


@pytest.mark.parametrize("norm", EPS)
def test_proposals_fill_the_ball_and_never_leave_it(norm: str) -> None:
    largest, smallest = _walk(norm)
    assert largest <= 1 + 1e-5
    assert smallest > 0.6  # the box takes some


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_without_the_projection_they_leave_it(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: the budget is not held."""
    bare = lambda self, delta, x, threat: (x + delta).clamp(0.0, 1.0)  # noqa: E731
    monkeypatch.setattr(square._Transfers, "_fill", bare)
    assert _walk(norm)[0] > 1 + 1e-3


@pytest.mark.parametrize("side", [1, 3, 12])
def test_every_place_is_reached_and_none_beyond(side: int) -> None:
    x = _images(1)
    u = torch.cat([torch.linspace(0, 1 - 1e-6, 500), torch.ones(1)])  # float32 rounds up to 1
    top, left = square._corners(x, side, u, u.flip(0))
    assert set(top.tolist()) == set(left.tolist()) == set(range(12 - side + 1))
    covered = square._inside(x, side, top, left)
    assert (covered.flatten(1).sum(dim=1) == side**2).all()


def test_a_transfer_empties_one_window_and_fills_the_other() -> None:
    x, side = torch.full((1, 1, 12, 12), 0.5), 3
    threat = Threat("l2", 0.5)
    moves = square._Transfers("l2")
    best = moves.begin(x, threat, _streams(1))
    drawn = torch.tensor([[0.0, 0.0, 0.99, 0.99, 0.2, 0.9]])  # from the last corner to the first
    delta = moves.propose(x, best, threat, side, drawn) - x
    assert (delta[:, :, -side:, -side:] == 0).all()
    before = (best - x)[:, :, :side, :side].norm()
    assert delta[:, :, :side, :side].norm() > before
    assert delta.norm() == pytest.approx(0.5, abs=1e-5)


# Queries and claims ------------------------------------------------------------------------------


def test_queries_are_forward_passes(lenet: Backbone, digits: Data) -> None:
    few = digits.subset(np.arange(8))
    whole = _square(queries=30, early_exit=False)(lenet, few)
    assert (whole.forward[0][whole.clean_correct] == 30).all()
    assert whole.backward.sum() == 0
    assert _square(queries=30).passes() == 30


def test_a_fooled_image_pays_no_more(lenet: Backbone, digits: Data) -> None:
    early = _square(queries=150)(lenet, digits)
    late = _square(queries=150, early_exit=False)(lenet, digits)
    fooled = early.verified_8bit[0] & early.clean_correct
    assert fooled.any()
    assert (early.forward[0][fooled] < 150).all()
    assert (early.forward[0][~early.verified[0]] == 150).all()
    assert np.array_equal(early.verified, late.verified)


class _Shared(_FOUND):  # type: ignore[misc]  # found by name
    """Mutant: every image gets the numbers of the batch's first."""

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Threat, rng: Any) -> Any:
        class First:
            def narrow(self, rows: Any) -> First:
                return self

            def uniform(self, shape: Any, low: float = 0.0, high: float = 1.0) -> Any:
                drawn = rng.narrow([0]).uniform(shape, low, high)[0]
                return np.broadcast_to(drawn, (self.n, *shape)).copy()

            n = len(x)

        return super().search(model, x, y, start, threat, First())


@pytest.mark.slow
@pytest.mark.parametrize("norm", EPS)
def test_an_image_does_not_depend_on_its_companions(
    norm: str, lenet: Backbone, digits: Data
) -> None:
    queries = 120 if norm == "linf" else 50
    testing.check_batch_and_order(_square(norm, queries=queries), lenet, digits)


def test_shared_numbers_are_caught(lenet: Backbone, digits: Data) -> None:
    with pytest.raises(AssertionError, match="changed the verdict"):
        testing.check_batch_and_order(
            _square(kind=_Shared, queries=120, early_exit=False), lenet, digits
        )


class _OwnLoss(_FOUND):  # type: ignore[misc]  # found by name
    """The margin, lifted above zero: positive where nothing is won."""

    def objective(self, logits: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
        return super().objective(logits, y, target) + 1000.0  # type: ignore[no-any-return]


def test_a_loss_of_ones_own_does_not_decide_what_is_claimed(lenet: Backbone, digits: Data) -> None:
    found = _square(kind=_OwnLoss, queries=120)(lenet, digits)
    right = found.clean_correct
    assert found.verified[0][right].any()
    assert np.array_equal(found.claimed[0][right], found.verified[0][right])


def test_it_asks_for_no_gradient(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quantising layer stops gradients, not Square."""
    hidden = planted("quantised", lenet)
    blind = attack("pgd", hidden, digits, eps=EPS["linf"], random_start=False)
    found = _square(queries=300)(hidden, digits)
    assert found.verified.sum() > blind.verified.sum() + 5
    monkeypatch.setattr(gradients, "look", None)
    assert np.array_equal(_square(queries=300)(hidden, digits).verified, found.verified)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_polish_is_a_share_below_one(share: float) -> None:
    with pytest.raises(BadRequest, match="share of the queries"):
        _square("l1", polish=share)


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_refused(share: float) -> None:
    with pytest.raises(BadRequest, match="share of the image"):
        _square(p_init=share)


# Beside another implementation -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.08), ("l2", 1.5)])
def test_as_strong_as_torchattacks(norm: str, eps: float, lenet: Backbone, digits: Data) -> None:
    """Equal but for luck: within five of forty images, at a budget that breaks about two thirds."""
    x = torch.tensor(digits.batch(np.arange(len(digits))))
    y = torch.tensor(np.asarray(digits.labels))
    theirs = _theirs(1500)
    theirs.model, theirs.norm, theirs.eps = lenet.network, norm.capitalize(), eps
    theirs.n_restarts, theirs.seed = 1, 0
    with torch.no_grad():
        broken = (lenet.network(theirs.perturb(x, y)).argmax(dim=1) != y).sum()
    ours = attack("square", lenet, digits, eps=eps, norm=norm, queries=1500).verified.sum()
    assert abs(int(ours) - int(broken)) <= 5


@pytest.mark.slow
def test_l1_bumps_are_weighed_in_l1(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: bumps of Euclidean norm 1 drown what the window held before. Single pixels in the end
    would make up for it.
    """
    searched = _square("l1", queries=1000, polish=0.0)
    sound = searched(lenet, digits).verified.sum()
    whole = square._bump
    monkeypatch.setattr(square, "_bump", lambda side, like, power: whole(side, like, 2.0))
    assert searched(lenet, digits).verified.sum() < sound - 3


def test_the_access_counts_what_leaves(lenet: Backbone, digits: Data) -> None:
    """Images that the referee lets go are asked about once, and cost nothing afterwards."""
    x = torch.tensor(digits.batch(np.arange(8)))
    asked = []

    def referee(rows: Tensor, x_adv: Tensor) -> Tensor:
        asked.extend(rows.tolist())
        return torch.ones_like(rows, dtype=torch.bool)

    access = Access(lenet.network, 8, referee)
    wrong = (torch.tensor(np.asarray(digits.labels[:8])) + 1) % 10  # fooled from the start
    _square(queries=20).search(access, x, wrong, x, Threat("linf", 0.01), _streams(8))
    assert sorted(asked) == list(range(8))
    assert (access.forward_passes == 1).all()
