"""One perturbation for all images, learned from images that it is not used on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import robustlab
from robustlab import Attack, statistics, testing
from robustlab.adversarial import evaluate, learning, lessons
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.plan import make_plan
from robustlab.registry import resolve
from robustlab.suite import BackboneSpec, ProbeSpec, Suite

pytestmark = pytest.mark.slow

Universal: Any = resolve("universal").obj
TRAIN: dict[str, Any] = {"learn_on": "digits:train", "take": 200, "epochs": 4}


def made(**params: Any) -> Attack:
    found: Attack = Universal(**bind(resolve("universal"), {"eps": ["0.15"], **params}))
    return found


class Spy(Universal):  # type: ignore[misc]
    """Keeps what each image was attacked with, by the image's bytes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "used", {})

    def search(self, model: Any, x: Any, *rest: Any, learned: Any) -> Any:
        for image, delta in zip(x, learned, strict=True):
            self.used[image.numpy().tobytes()] = delta
        return super().search(model, x, *rest, learned=learned)


def one_for_all(images: NDArray[Any], clean: NDArray[Any]) -> bool:
    """Whether one perturbation, clipped to the box with each image, gives all ``images``.

    Where an image ends inside the box it tells the perturbation's pixel; where it ends on the
    border, only how far it must have gone at least.
    """
    change = images - clean
    low = np.where(images <= 0.0, -np.inf, change).max(axis=0)
    high = np.where(images >= 1.0, np.inf, change).min(axis=0)
    return bool((low <= high + 1e-6).all())


def by_half(data: Data) -> list[NDArray[Any]]:
    return [attacked for _, attacked in learning.halves(data)]


def shares_one(attack: Attack, lenet: Backbone, data: Data, parts: list[NDArray[Any]]) -> bool:
    """Whether what was verified is one perturbation for each of the parts."""
    found, clean = attack(lenet, data, fast=False), data.batch(np.arange(len(data)))
    right = [rows[(found.verified[0] & found.clean_correct)[rows]] for rows in parts]
    assert all(len(rows) > 5 for rows in right)
    return all(one_for_all(np.asarray(found.images[0])[rows], clean[rows]) for rows in right)


class OneEach(Universal):  # type: ignore[misc]
    """Mutant: fits each image alone."""

    def search(
        self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any, learned: Any
    ) -> Any:
        steps = {"steps": 10, "step_size": 0.25 * threat.eps}
        return self.gradient_search(model, x, y, start, threat, **steps)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_one_perturbation_for_all(norm: str, lenet: Backbone) -> None:
    data = robustlab.load_data("digits:test", take=100)
    eps = ["0.2"] if norm == "linf" else ["3"]
    everything = [np.arange(len(data))]
    assert shares_one(made(norm=norm, eps=eps, **TRAIN), lenet, data, everything)
    halved = made(norm=norm, eps=eps)
    assert shares_one(halved, lenet, data, by_half(data))
    assert not shares_one(halved, lenet, data, everything)  # there are two of them
    assert not shares_one(OneEach(norm=norm, eps=eps), lenet, data, by_half(data))


def test_it_beats_noise(lenet: Backbone) -> None:
    data = robustlab.load_data("digits:test", take=200)
    noise = resolve("noise").obj(eps=["0.15"])(lenet, data).verified[0]
    for attack in (made(), made(**TRAIN)):
        paired = statistics.mcnemar(noise, attack(lenet, data).verified[0])
        assert paired.only_second > paired.only_first
        assert paired.p < 1e-3


# Nobody is attacked with what has seen it ----------------------------------------------------


def changes(lenet: Backbone, data: Data) -> list[bool]:
    """Another image in the first half: do the perturbations of the halves change?"""
    first, second = by_half(data)
    images, row = data.batch_8bit(np.arange(len(data))), int(first[0])
    images[row] = 255 - images[row]
    other = Data(images, data.labels, classes=data.classes, ids=data.ids)
    used = []
    for source in (data, other):
        spy = Spy(eps=["0.15"], epochs=2, clip=1e3)
        spy(lenet, source)
        x = [torch.tensor(source.batch([rows[1]]))[0] for rows in (first, second)]
        used.append([spy.used[image.numpy().tobytes()] for image in x])
    return [not torch.equal(one, two) for one, two in zip(*used, strict=True)]


def test_no_image_has_taught_what_it_is_attacked_with(lenet: Backbone, digits: Data) -> None:
    assert changes(lenet, digits) == [False, True]


def test_an_image_that_teaches_its_own_half_is_caught(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: everyone learns from all."""
    real: Callable[[Data], Any] = learning.halves
    everyone = lambda data: [(np.arange(len(data)), own) for _, own in real(data)]  # noqa: E731
    monkeypatch.setattr(lessons, "halves", everyone)
    assert changes(lenet, digits) == [True, True]


def test_halves_hang_on_ids_alone(digits: Data) -> None:
    order = np.random.default_rng(0).permutation(len(digits))
    for one, two in zip(by_half(digits), by_half(digits.subset(order)), strict=True):
        assert {digits.ids[row] for row in one} == {digits.ids[order[row]] for row in two}
    assert sorted(np.concatenate(by_half(digits))) == list(range(len(digits)))


def parted_copies(digits: Data) -> int:
    """Of 20 images that stand twice, those whose copies are in different halves."""
    images = np.concatenate([digits.batch_8bit(np.arange(20))] * 2)
    twice = Data(images, np.tile(np.asarray(digits.labels[:20]), 2), classes=10, name="twice")
    one, other = by_half(twice)
    return len({row % 20 for row in one.tolist()} & {row % 20 for row in other.tolist()})


def test_copies_of_an_image_are_in_one_half(digits: Data) -> None:
    assert parted_copies(digits) == 0


def test_copies_that_are_parted_are_seen(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: halves by ids alone."""
    monkeypatch.setattr(learning, "_pixels", lambda data, row: str(data.ids[row]))
    assert parted_copies(digits) > 3


def test_images_that_are_attacked_teach_nothing(lenet: Backbone, tmp_path: Path) -> None:
    test = robustlab.load_data("digits:test", take=20)
    more = robustlab.load_data("digits:train", take=30)
    pixels = [data.batch_8bit(np.arange(len(data))) for data in (test, more)]
    path, labels = tmp_path / "both.npz", np.concatenate([test.labels, more.labels])
    np.savez(path, images=np.concatenate(pixels), labels=labels)
    np.savez(tmp_path / "same.npz", images=pixels[0], labels=test.labels)
    found = made(learn_on=f"npz:{path}", epochs=2)(lenet, test)
    assert any(note.startswith("20 images of") for note in found.notes)
    assert found.passes.sum() == pytest.approx(2 * 2 * 30)
    with pytest.raises(BadRequest, match=r"all images of .* are among those attacked"):
        made(learn_on=f"npz:{tmp_path / 'same.npz'}")(lenet, test)


def test_one_image_alone_has_nobody_to_learn_from(lenet: Backbone, digits: Data) -> None:
    with pytest.raises(BadRequest, match="one image alone"):
        made()(lenet, digits.subset([0]))


# What decides the outcome --------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("target", [None, "next"])
def test_halves_keep_the_contract(
    norm: str, target: str | None, lenet: Backbone, digits: Data
) -> None:
    eps = ["0.1", "0.2"] if norm == "linf" else ["1", "2"]
    attack = made(norm=norm, eps=eps, target=target, epochs=3)
    testing.check_attack(attack, lenet, digits.subset(np.arange(16)))


def test_batches_of_evaluation_change_nothing(lenet: Backbone, digits: Data) -> None:
    attack = made(epochs=3, minibatch=5)
    small, large = (attack(lenet, digits, batch=batch) for batch in (3, 40))
    assert np.array_equal(small.images, large.images)
    other = attack(lenet, digits, seed=1)
    assert not np.array_equal(small.images, other.images)  # another order of learning


def alone_and_beside(lenet: Backbone, digits: Data) -> bool:
    """Whether an eps gives the same verdicts alone as beside a smaller one."""
    beside = made(eps=["0.1", "0.2"])(lenet, digits)
    alone = made(eps=["0.2"])(lenet, digits)
    return bool(np.array_equal(beside.images[1], alone.images[0]))


def test_each_eps_has_one_perturbation(lenet: Backbone, digits: Data) -> None:
    assert alone_and_beside(lenet, digits)


def test_shared_budgets_are_caught(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: what a smaller eps has fooled is counted at a larger one, as in other attacks."""

    class Sharing(evaluate.Batch):
        def _begin(self, clean: Any) -> None:
            if not hasattr(self, "best"):
                super()._begin(clean)

    monkeypatch.setattr(evaluate, "Batch", Sharing)
    assert not alone_and_beside(lenet, digits)


def test_passes_are_counted(lenet: Backbone, digits: Data) -> None:
    class Counting(nn.Module):
        looks = 0

        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            Counting.looks += len(x) * x.requires_grad
            logits: Tensor = self.network(x)
            return logits

    module = Counting(lenet.module).eval()
    target = Backbone(module, input_shape=lenet.input_shape, classes=lenet.classes)
    for attack in (made(epochs=3), made(learn_on="digits:train", take=50, epochs=3)):
        Counting.looks = 0
        found = attack(target, digits, fast=False)
        assert found.passes.sum() >= 2 * 3 * len(digits)
        assert found.backward.sum() == pytest.approx(found.forward.sum())
        assert Counting.looks == pytest.approx(found.forward.sum())
    assert made(epochs=3)(lenet, digits).passes.max() <= made(epochs=3).passes()


def test_memory_is_one_minibatch(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def load(data: Data, rows: Any, backbone: Backbone) -> Any:
        sizes.append(len(rows))
        return evaluate.load_pixels(data, rows, backbone)

    monkeypatch.setattr(learning, "load_pixels", load)
    made(minibatch=7, epochs=1)(lenet, digits)
    assert max(sizes) == 7
    assert sum(sizes) == len(digits)


# Runs and belief -----------------------------------------------------------------------------


def cells(params: dict[str, Any]) -> list[Any]:
    probe = ProbeSpec("universal", {"eps": ["0.1"], **params})
    suite = Suite(take=10, shard=4, backbones=(BackboneSpec("mlp@digits"),), probes=(probe,))
    return [c for c in make_plan(suite).cells if c.bound.registered.name == "universal"]


def test_a_run_never_splits_it() -> None:
    (cell,) = cells({})
    assert (cell.start, cell.stop) == (0, 10)


def test_a_cell_is_another_with_other_images_to_learn_from(tmp_path: Path) -> None:
    path, ids = tmp_path / "mine.npz", []
    for first in (0, 40, 40):
        rows = np.arange(first, first + 40)
        train = robustlab.load_data("digits:train")
        labels = np.arange(40) % 10
        np.savez(path, images=train.batch_8bit(rows), labels=labels)
        (cell,) = cells({"learn_on": f"npz:{path}"})
        ids.append(cell.id)
    assert ids[0] != ids[1] == ids[2]


def test_an_ensemble_does_not_take_it() -> None:
    with pytest.raises(BadRequest, match="learns from all images at once"):
        resolve("ensemble").obj(eps=["0.1"], attacks=["pgd", "universal"])


def test_take_needs_something_to_take_from() -> None:
    with pytest.raises(BadRequest, match="take is of the images of learn_on"):
        made(take=5)


def levels(attack: Attack, lenet: Backbone, digits: Data, detector: str) -> set[str]:
    found = attack(lenet, digits)
    return {one.level for one in found.findings if one.detector == detector}


class Backwards(Universal):  # type: ignore[misc]
    """Mutant: descends."""

    def look(self, *args: Any) -> Any:
        logits, losses, gradient = super().look(*args)
        return logits, losses, -gradient


class Nothing(Universal):  # type: ignore[misc]
    """Mutant: learns nothing."""

    def learn(self, lessons: Any, threat: Any) -> Any:
        return lessons.blank()


def test_faults_are_told(lenet: Backbone, digits: Data) -> None:
    sound = made(**TRAIN)(lenet, digits)
    assert not [one for one in sound.findings if one.level == "red"]
    mlp, l2 = robustlab.load_backbone("mlp@digits"), {"norm": "l2", "eps": ["1.5"], **TRAIN}
    assert levels(made(**l2), mlp, digits, "astray") == {"green"}
    assert levels(Backwards(**l2), mlp, digits, "astray") == {"red"}
    assert levels(Nothing(eps=["0.15"], **TRAIN), lenet, digits, "idle") == {"red"}
