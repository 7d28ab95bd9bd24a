"""A square of one content for all images, learned from images that it is not used on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

import robustlab
from robustlab import Attack, statistics, testing
from robustlab.adversarial import learning
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.randomness import SampleRandom
from robustlab.registry import resolve

pytestmark = pytest.mark.slow

Patch: Any = resolve("patch").obj
module: Any = sys.modules[Patch.__module__]
TRAIN: dict[str, Any] = {"learn_on": "digits:train", "take": 300, "epochs": 5}


def made(**params: Any) -> Attack:
    found: Attack = Patch(**bind(resolve("patch"), {"eps": ["36px"], **params}))
    return found


class Spy(Patch):  # type: ignore[misc]
    """Keeps what each image became, fooled or not, by the image's bytes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "became", {})

    def search(self, model: Any, x: Any, *rest: Any, learned: Any) -> Any:
        return self.keep(x, super().search(model, x, *rest, learned=learned))

    def keep(self, x: Tensor, x_adv: Tensor) -> Tensor:
        for clean, image in zip(x, x_adv, strict=True):
            self.became[clean.numpy().tobytes()] = image.numpy()
        return x_adv


def tried(attack: Any, lenet: Backbone, data: Data) -> tuple[NDArray[Any], NDArray[Any]]:
    """Clean images that were attacked, and what they became."""
    attack(lenet, data, fast=False)
    x = data.batch(np.arange(len(data)))
    rows = [row for row in range(len(data)) if x[row].tobytes() in attack.became]
    assert len(rows) > 0.8 * len(data)
    return x[rows], np.stack([attack.became[x[row].tobytes()] for row in rows])


# One content, in one piece --------------------------------------------------------------------


def contents(image: NDArray[Any], clean: NDArray[Any], side: int) -> list[NDArray[Any]]:
    """The image's pixels in every square of this side outside which nothing changed."""
    rows, columns = np.nonzero((image != clean).any(axis=0))
    height, width = image.shape[1:]
    tops = range(max(0, rows.max() - side + 1), min(rows.min(), height - side) + 1)
    lefts = range(max(0, columns.max() - side + 1), min(columns.min(), width - side) + 1)
    return [image[:, t : t + side, f : f + side] for t in tops for f in lefts]


def one_square(images: NDArray[Any], clean: NDArray[Any], side: int) -> bool:
    """Whether all ``images`` are the clean ones with one content laid over a square of each."""
    seen = [contents(*pair, side) for pair in zip(images, clean, strict=True)]
    return any(
        all(any(np.array_equal(first, one) for one in some) for some in seen) for first in seen[0]
    )


class OneEach(Spy):
    """Mutant: fits the content of each image alone, at the same places."""

    def search(
        self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any, learned: Any
    ) -> Any:
        where = module.square(x, 6, *self.corners(x, 6, rng))
        x_adv = module.laid(x, learned, where)
        _, _, gradient = self.look(model, x_adv, y, threat.target)
        return self.keep(x, module.laid(x, (gradient[where] > 0).to(x.dtype), where))


class Scattered(Spy):
    """Mutant: as many pixels, in no square."""

    def search(
        self, model: Any, x: Any, y: Any, start: Any, threat: Any, *_: Any, **__: Any
    ) -> Any:
        x_adv = x.clone()
        x_adv[:, :, ::6, ::6] = 1.0 - x[:, :, ::6, ::6]
        return self.keep(x, x_adv)


class TwoSquares(Spy):
    """Mutant: half of the content lies elsewhere."""

    def search(self, model: Any, x: Any, *rest: Any, learned: Any) -> Any:
        x_adv = super().search(model, x, *rest, learned=learned[..., :3, :3])
        x_adv[:, :, -3:, -3:] = learned[..., 3:, 3:]
        return self.keep(x, x_adv)


@pytest.mark.parametrize("place", ["random", "centre", "corner"])
def test_one_content_for_all(place: str, lenet: Backbone) -> None:
    data = robustlab.load_data("digits:test", take=60)
    x, x_adv = tried(Spy(eps=["36px"], place=place, **TRAIN), lenet, data)
    assert one_square(x_adv, x, 6)
    assert not one_square(x_adv, x, 5)
    for mutant in (OneEach, Scattered, TwoSquares):
        x, x_adv = tried(mutant(eps=["36px"], place=place, **TRAIN), lenet, data)
        assert not one_square(x_adv, x, 6)


def test_one_content_for_each_half(lenet: Backbone) -> None:
    data = robustlab.load_data("digits:test", take=60)
    attack = Spy(eps=["38px"], epochs=3)  # allows a square of 6 x 6, no more
    attack(lenet, data, fast=False)
    x = data.batch(np.arange(len(data)))
    sides = []
    for _, attacked in learning.halves(data):
        rows = [row for row in attacked if x[row].tobytes() in attack.became]
        sides.append((np.stack([attack.became[x[row].tobytes()] for row in rows]), x[rows]))
    assert all(one_square(*side, 6) for side in sides)
    both = [np.concatenate(part) for part in zip(*sides, strict=True)]
    assert not one_square(both[0], both[1], 6)  # there are two of them


def test_nothing_is_outside_box_budget_or_grid(lenet: Backbone, digits: Data) -> None:
    found = made(eps=["0px", "1px", "10px", "1024px"], epochs=2)(lenet, digits)
    assert not found.invalid.any()
    assert np.array_equal(found.verified, found.verified_8bit)
    levels = found.images * 255.0
    assert np.abs(levels - levels.round()).max() < 1e-4
    most = np.array([0, 1, 9, 1024])[:, None]
    won = found.verified & found.clean_correct
    assert (found.distance[won] <= np.broadcast_to(most, won.shape)[won]).all()
    assert won[3].any()

    class Loud(Patch):  # type: ignore[misc]
        """Mutant: leaves the box."""

        def learn(self, lessons: Any, threat: Any) -> Any:
            return super().learn(lessons, threat) + 0.5

    assert Loud(eps=["36px"], epochs=1)(lenet, digits).invalid.any()

    class Fine(Patch):  # type: ignore[misc]
        """Mutant: between two levels."""

        def learn(self, lessons: Any, threat: Any) -> Any:
            return (super().learn(lessons, threat) * 0.9 + 0.05 + 0.001).clamp(0.0, 1.0)

    levels = Fine(eps=["1024px"], epochs=1)(lenet, digits).images * 255.0
    assert np.abs(levels - levels.round()).max() > 1e-2


# Places ---------------------------------------------------------------------------------------


def corners(place: str, n: int, seed: int = 0) -> NDArray[Any]:
    x, ids = torch.zeros(n, 1, 9, 12), [str(row) for row in range(n)]
    attack: Any = made(place=place)
    return np.stack([c.numpy() for c in attack.corners(x, 4, SampleRandom(seed, ids))], axis=1)


def is_uniform(drawn: NDArray[Any]) -> bool:
    """Whether each place of a square of 4 x 4 on 9 x 12 is taken as often as another."""
    often = np.zeros((6, 9))
    np.add.at(often, tuple(drawn.T), 1)
    expected = len(drawn) / often.size
    return bool(((often - expected) ** 2 / expected).sum() < 53 + 4 * (2 * 53) ** 0.5)  # chi-square


def test_every_place_is_as_likely_as_another() -> None:
    drawn = corners("random", 3000)
    assert is_uniform(drawn)
    assert not is_uniform(np.minimum(drawn, [4, 8]))  # mutant: never at the lower border
    assert not is_uniform(drawn[:, :1].repeat(2, axis=1))  # mutant: along the diagonal alone
    assert (corners("centre", 3) == [2, 4]).all()
    assert (corners("corner", 3) == 0).all()


def test_laying_and_cutting_are_adjoint() -> None:
    """The slope of a content is the image's slope, cut where the content lies."""
    generator = torch.Generator().manual_seed(0)
    x, slope = torch.rand(2, 3, 2, 7, 9, generator=generator, dtype=torch.float64)
    content = torch.rand(2, 3, 3, generator=generator, dtype=torch.float64)
    top, left = torch.tensor([0, 4, 2]), torch.tensor([6, 1, 3])
    where = module.square(x, 3, top, left)
    content.requires_grad_(True)
    (module.laid(x, content, where) * slope).sum().backward()
    assert content.grad is not None
    assert torch.allclose(content.grad, slope[where].sum(dim=0))
    swapped = module.square(x, 3, left.clamp_max(4), top)  # mutant: rows for columns
    assert not torch.allclose(content.grad, slope[swapped].sum(dim=0))
    moved = module.laid(x, content, where)[2, :, 2:5, 3:6]
    assert torch.equal(moved, content)


# Against theory -------------------------------------------------------------------------------


def linear_case() -> tuple[Backbone, Tensor, Data]:
    """A linear network of two classes, its weights [1, 7, 9], and images of the first class."""
    backbone = testing.linear_backbone((1, 7, 9), seed=3)
    weight = next(p for p in backbone.network.parameters() if p.dim() == 2).detach()[1]
    rng, w = np.random.default_rng(0), weight.view(1, 7, 9).numpy()
    slant = np.linspace(0.02, 0.14, 80)[:, None, None, None]
    images = np.clip(0.5 + 0.2 * rng.standard_normal((80, 1, 7, 9)) - slant * w, 0, 1)
    data = Data(images.astype(np.float32), np.zeros(80, np.int64), classes=2, name="slanted")
    return backbone, weight.view(1, 7, 9), data


def learned(kind: Any, backbone: Backbone, data: Data, **params: Any) -> list[Tensor]:
    """The contents that were learned, [C, side, side]."""
    seen: list[Tensor] = []

    class Kept(kind):  # type: ignore[misc]
        def learn(self, lessons: Any, threat: Any) -> Any:
            seen.append(super().learn(lessons, threat))
            return seen[-1]

    Kept(**params)(backbone, data)
    return seen


class Backwards(Patch):  # type: ignore[misc]
    """Mutant: descends."""

    def look(self, *args: Any) -> Any:
        logits, losses, gradient = super().look(*args)
        return logits, losses, -gradient


@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize(("place", "top", "left"), [("centre", 2, 3), ("corner", 0, 0)])
def test_a_linear_network_has_one_best_content(place: str, top: int, left: int, loss: str) -> None:
    backbone, weight, data = linear_case()
    best = (weight[:, top : top + 3, left : left + 3] > 0).double()
    params: dict[str, Any] = {"eps": ["9px"], "place": place, "loss": loss, "epochs": 10}
    for content in learned(Patch, backbone, data, **params):
        assert torch.equal(content.double(), best)
    for content in learned(Backwards, backbone, data, **params):
        assert torch.equal(content.double(), 1 - best)
    x = torch.tensor(data.batch(np.arange(len(data)))).double()
    x[:, :, top : top + 3, left : left + 3] = best
    found = Patch(**params)(backbone, data)
    fooled = (backbone(x)[:, 1] > backbone(x)[:, 0]).numpy()
    assert 0.1 < fooled[found.clean_correct].mean() < 0.9
    assert np.array_equal(found.verified[0][found.clean_correct], fooled[found.clean_correct])


def test_at_random_places_it_is_the_best_on_average() -> None:
    """Each pixel follows the mean weight over all places, wherever that is not close to zero."""
    backbone, weight, data = linear_case()
    mean = functional.unfold(weight[None], 3).mean(dim=2).view(1, 3, 3)
    clear = mean.abs() > 0.05
    assert int(clear.sum()) >= 6
    settings: dict[str, Any] = {"eps": ["9px"], "loss": "margin", "minibatch": 40, "epochs": 60}
    for content in learned(Patch, backbone, data, **settings):
        assert torch.equal((content > 0.5)[clear], (mean > 0)[clear])
    for content in learned(Patch, backbone, data, place="corner", **settings):
        assert not torch.equal((content > 0.5)[clear], (mean > 0)[clear])  # mutant: one place


# On a network that is not linear --------------------------------------------------------------


class Blind(Patch):  # type: ignore[misc]
    """The control: each image gets a content of its own, drawn at random, in the same square."""

    def search(
        self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any, learned: Any
    ) -> Any:
        side = learned.shape[-1]
        where = module.square(x, side, *self.corners(x, side, rng))
        return module.laid(x, x.new_tensor(rng.uniform(learned.shape[1:])).round(), where)


def beats(attack: Attack, control: Attack, lenet: Backbone, data: Data) -> bool:
    paired = statistics.mcnemar(*(a(lenet, data).verified[0] for a in (control, attack)))
    return paired.only_second > paired.only_first and paired.p < 1e-3


def test_it_beats_noise_in_the_same_squares(lenet: Backbone) -> None:
    data = robustlab.load_data("digits:test", take=300)
    blind = Blind(eps=["36px"], epochs=1)
    scattered: Attack = resolve("noise").obj(norm="l0", eps=["36px"])
    for attack in (made(), made(**TRAIN)):
        assert beats(attack, blind, lenet, data)
    assert beats(made(**TRAIN), scattered, lenet, data)
    assert not beats(Backwards(eps=["36px"], **TRAIN), blind, lenet, data)


def at_target(attack: Any, lenet: Backbone, data: Data, target: int) -> NDArray[Any]:
    """Whether what each image became is taken for the target, [n]; false for those of its class."""
    attack(lenet, data, fast=False)
    x = data.batch(np.arange(len(data)))
    became = np.stack([attack.became.get(one.tobytes(), one) for one in x])
    taken = lenet(torch.tensor(became)).argmax(dim=1).numpy() == target
    there: NDArray[Any] = taken & (np.asarray(data.labels) != target)
    return there


def aims(params: Sequence[dict[str, Any]], lenet: Backbone, **shared: Any) -> bool:
    """Whether the first of two attacks reaches class 3 more often than the second."""
    data = robustlab.load_data("digits:test", take=200)
    hits = [at_target(Spy(**shared, **TRAIN, **one), lenet, data, 3) for one in params]
    paired = statistics.mcnemar(hits[1], hits[0])
    return paired.only_second > paired.only_first and paired.p < 1e-3


@pytest.mark.parametrize(("place", "eps"), [("random", "144px"), ("centre", "81px")])
def test_a_targeted_square_reaches_its_target(place: str, eps: str, lenet: Backbone) -> None:
    shared = {"place": place, "eps": [eps]}
    assert aims([{"target": "3"}, {}], lenet, **shared)
    assert not aims([{}, {"target": "3"}], lenet, **shared)
    assert not aims([{"target": "8"}, {}], lenet, **shared)  # mutant: aims at another class


def test_more_places_fool_more(lenet: Backbone, digits: Data) -> None:
    one, three = (made(eps=["64px"], epochs=5, restarts=k)(lenet, digits) for k in (1, 3))
    assert (three.verified >= one.verified).all()
    assert three.verified.sum() > one.verified.sum()
    assert any("one of 3 places" in note for note in three.notes)


# What decides the outcome ---------------------------------------------------------------------


@pytest.mark.parametrize("target", [None, "next"])
def test_halves_keep_the_contract(target: str | None, lenet: Backbone, digits: Data) -> None:
    attack = made(eps=["16px", "64px"], target=target, epochs=3)
    testing.check_attack(attack, lenet, digits.subset(np.arange(16)))


def test_batches_of_evaluation_change_nothing(lenet: Backbone, digits: Data) -> None:
    attack = made(epochs=3, minibatch=5)
    small, large = (attack(lenet, digits, batch=batch) for batch in (3, 40))
    assert np.array_equal(small.images, large.images)
    other = attack(lenet, digits, seed=1)
    assert not np.array_equal(small.images, other.images)


def test_passes_are_counted(lenet: Backbone, digits: Data) -> None:
    halved = made(epochs=3)(lenet, digits)
    assert np.allclose(halved.passes, made(epochs=3).passes())
    other = made(learn_on="digits:train", take=50, epochs=3)(lenet, digits)
    assert other.passes.sum() == pytest.approx(2 * 3 * 50)
    assert other.backward.sum() == pytest.approx(other.forward.sum())


def test_small_sound_squares_are_not_doubted(digits: Data) -> None:
    """They lead most images away from a mistake, as anything does that covers a pixel or two."""
    robust = robustlab.load_backbone("lenet5-robust@digits")
    for eps in (["1px"], ["36px"]):
        found = made(eps=eps, **TRAIN)(robust, digits)
        assert {one.level for one in found.findings} == {"green"}


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"place": "center"}, r"unknown place 'center'.*did you mean 'centre'"),
        ({"place": "corner", "restarts": 2}, "restarts repeat the same search"),
        ({"take": 5}, "take is of the images of learn_on"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"eps": ["0.1"]}, "no whole number of pixels"),
        ({"norm": "linf"}, "not one of its norms: l0"),
    ],
)
def test_a_wrong_request_names_what_is_right(params: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        made(**params)
