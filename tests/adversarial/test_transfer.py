"""Transfer: the search is on the surrogates alone, and what it claims is their opinion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import robustlab
from robustlab import Attack, statistics
from robustlab.adversarial.borrowed import borrow, lent
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.plan import make_plan
from robustlab.registry import resolve
from robustlab.suite import BackboneSpec, ProbeSpec, Suite

AVG = "lenet5-avg@digits"
PLAIN = {"diversity": 0.0}
COPY = """
import robustlab


def build():
    found = robustlab.load_backbone("{name}")
    return robustlab.Backbone(
        found.module, input_shape={shape}, classes={classes}, mean=[{mean}], std=[1.0], name="copy"
    )
"""


def made(name: str = "transfer", **params: Any) -> Attack:
    found: Attack = resolve(name).obj(**bind(resolve(name), {"eps": ["0.1"], **params}))
    return found


def copied(folder: Path, name: str = "lenet5-max@digits", **change: Any) -> str:
    """A reference of the network, whose normalisation by 0 and 1 is written out."""
    told = {"name": name, "shape": (1, 32, 32), "classes": 10, "mean": 0.0, **change}
    path = folder / f"mine{len(list(folder.iterdir()))}.py"
    path.write_text(COPY.format(**told), encoding="utf-8")
    return f"python:{path}:build"


@pytest.mark.parametrize(("norm", "eps"), [("linf", "0.1"), ("l2", "1")])
def test_from_a_copy_of_itself_it_is_mifgsm(
    norm: str, eps: str, lenet: Backbone, digits: Data, tmp_path: Path
) -> None:
    shared = {"norm": norm, "eps": [eps]}
    white = made("mifgsm", **shared, keep_best=False, early_exit=False)(lenet, digits)
    ours = made(surrogates=copied(tmp_path), **shared, **PLAIN)(lenet, digits)
    assert white.verified.sum() > 10
    assert np.array_equal(ours.verified, white.verified)
    assert np.allclose(ours.images, white.images, atol=1e-6)
    assert np.array_equal(ours.claimed, white.claimed)


@pytest.mark.parametrize("change", [{"diversity": 1.0}, {"kernel": 3}, {"nesterov": True}])
def test_each_of_its_parts_does_something(
    change: dict[str, Any], lenet: Backbone, digits: Data
) -> None:
    plain = made(surrogates=AVG, **PLAIN)(lenet, digits)
    changed = made(surrogates=AVG, **{**PLAIN, **change})(lenet, digits)
    assert not np.allclose(plain.images, changed.images, atol=1e-3)


def test_between_noise_and_the_network_itself() -> None:
    lenet, data = robustlab.load_backbone("lenet5-max@digits"), robustlab.load_data("digits:test")
    some = data.take(100)
    found = {
        name: made(name, **params)(lenet, some).verified[0]
        for name, params in (
            ("noise", {}),
            ("transfer", {"surrogates": AVG}),
            ("mifgsm", {}),
        )
    }
    for less, more in (("noise", "transfer"), ("transfer", "mifgsm")):
        paired = statistics.mcnemar(found[less], found[more])
        assert paired.only_second > paired.only_first, (less, more)
        assert paired.p < 1e-3, (less, more)


# The target is never asked -------------------------------------------------------------------


class Listening(nn.Module):
    """A network that counts how often it, or any copy of it, is asked during a search."""

    searching: ClassVar[bool] = False
    asked: ClassVar[int] = 0

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        Listening.asked += Listening.searching
        logits: Tensor = self.network(x)
        return logits


class Watched(resolve("transfer").obj):  # type: ignore[misc]
    def search(self, *args: Any) -> Any:
        Listening.searching = True
        try:
            return super().search(*args)
        finally:
            Listening.searching = False


class OnTheTarget(Watched):
    """Mutant: searches on the network that it attacks."""

    def searches_on(self) -> Any:
        return ()


def asked(attack: Attack, lenet: Backbone, digits: Data) -> int:
    module = Listening(lenet.module).eval()
    target = Backbone(module, input_shape=lenet.input_shape, classes=lenet.classes)
    Listening.asked = 0
    assert attack(target, digits.subset(np.arange(10))).passes.sum() > 0
    return Listening.asked


@pytest.mark.parametrize("keep_best", [False, True])
def test_the_target_is_never_asked(keep_best: bool, lenet: Backbone, digits: Data) -> None:
    attack = Watched(eps=["0.1", "0.2"], surrogates=[AVG], keep_best=keep_best, early_exit=True)
    assert asked(attack, lenet, digits) == 0


def test_a_search_on_the_target_is_caught(lenet: Backbone, digits: Data) -> None:
    assert asked(OnTheTarget(eps=["0.1"], surrogates=[AVG]), lenet, digits) > 0


def test_a_word_of_the_judge_is_caught(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: images leave the search when the target is fooled."""
    from robustlab.adversarial import batch

    class Told(batch.Access):
        def __init__(self, network: Any, n: int, referee: Any, *rest: Any) -> None:
            target = Listening(lenet.module)
            super().__init__(network, n, lambda rows, x: target(x).argmax(dim=1) < 0, *rest)

    class Leaving(Watched):
        def momentum_search(self, *args: Any, **settings: Any) -> Any:
            return super().momentum_search(*args, **{**settings, "early_exit": True})

    monkeypatch.setattr(batch, "Access", Told)
    assert asked(Leaving(eps=["0.2"], surrogates=[AVG]), lenet, digits) > 0


# Surrogates ----------------------------------------------------------------------------------


def test_several_surrogates_are_their_mean_logits() -> None:
    names = [AVG, "mlp@digits"]
    attack = made(surrogates=names)
    x = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    mean = torch.stack([robustlab.load_backbone(name)(x) for name in names]).mean(dim=0)
    assert torch.allclose(lent(names, borrow(attack, 0))(x), mean, atol=1e-5)
    one = lent(names[:1], borrow(attack, 0))(x)
    assert torch.allclose(one, robustlab.load_backbone(AVG)(x), atol=1e-4)


def test_a_surrogate_keeps_its_normalisation_and_precision(tmp_path: Path) -> None:
    name = copied(tmp_path, mean=0.3)
    x = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    seen = lent([name], borrow(made(surrogates=name), 0))(x)
    assert seen.dtype == torch.float64
    plain = robustlab.load_backbone("lenet5-max@digits")
    assert torch.allclose(seen.float(), plain(x.float() - 0.3), atol=1e-4)
    assert not torch.allclose(seen.float(), plain(x.float()), atol=1e-2)


def wrong(folder: Path) -> Iterator[tuple[str, str]]:
    yield "lenet5-max@digits", "is the network that is attacked"
    yield "resnet20?width=4", "takes images of 3x32x32, lenet5-max@digits of 1x32x32"
    yield copied(folder, classes=[*"0123456798"]), "in another order: '9' is number 9 here and 8"
    # Names that stand in both must agree, whatever the others are.
    yield copied(folder, classes=[*"123456789", "none"]), "in another order: '1' is number 1 here"


def test_what_does_not_fit_is_refused(lenet: Backbone, digits: Data, tmp_path: Path) -> None:
    for reference, why in wrong(tmp_path):
        with pytest.raises(BadRequest, match=why):
            made(surrogates=reference)(lenet, digits)


def test_another_number_of_classes_is_refused(lenet: Backbone, digits: Data) -> None:
    with pytest.raises(BadRequest, match="knows 7 classes, lenet5-max@digits 10"):
        made(surrogates="lenet5?classes=7")(lenet, digits)


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"surrogates": []}, "surrogates is empty"),
        ({"kernel": 4}, "kernel must be odd"),
        ({"diversity": 1.5}, "diversity is a probability"),
        ({"smallest": 0.0}, "smallest is a share"),
    ],
)
def test_parameters_out_of_range(params: dict[str, Any], why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        made(**{"surrogates": AVG, **params})


def test_bisection_does_not_take_it() -> None:
    with pytest.raises(BadRequest, match="does not ask the network image by image"):
        made("bisection", attack="transfer", settings={"surrogates": [AVG]})


def test_an_ensemble_takes_it(lenet: Backbone, digits: Data) -> None:
    both = [{"use": "transfer", "surrogates": [AVG]}, "mifgsm"]
    found = made("ensemble", attacks=both)(lenet, digits)
    alone = made("mifgsm")(lenet, digits)
    assert found.verified.sum() >= alone.verified.sum()
    assert {0, 1} <= set(found.broken_by[0].tolist())


# Runs ----------------------------------------------------------------------------------------


def cells(reference: str) -> list[Any]:
    probe = ProbeSpec("transfer", {"eps": ["0.1"], "surrogates": [reference]})
    suite = Suite(take=4, backbones=(BackboneSpec("mlp@digits"),), probes=(probe,))
    return list(make_plan(suite).cells)


def test_a_cell_is_another_with_other_weights(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    reference, ids, ours = f"python:{path}:build", [], []
    for name in ("lenet5-max@digits", AVG, AVG):
        told = {"shape": (1, 32, 32), "classes": 10, "mean": 0.0}
        path.write_text(COPY.format(name=name, **told), encoding="utf-8")
        clean, transfer = cells(reference)
        ids.append(transfer.id)
        ours.append(clean.id)
    assert ids[0] != ids[1] == ids[2]
    assert len(set(ours)) == 1


def test_a_plan_refuses_the_target_as_its_surrogate() -> None:
    with pytest.raises(BadRequest, match=r"transfer: surrogate mlp@digits is the network"):
        cells("mlp@digits")


def test_names_that_are_only_numbers_say_nothing(
    lenet: Backbone, digits: Data, tmp_path: Path
) -> None:
    """Against names of another kind; the same numbers in another order do."""
    named = copied(tmp_path, classes=[f"digit {one}" for one in range(10)])
    assert made(surrogates=named)(lenet, digits.subset(np.arange(4))) is not None


@pytest.mark.parametrize(
    "probe",
    [
        'use = "transfer"\nsurrogates = ["python:./mine.py:build"]\n',
        'use = "ensemble"\nattacks = [\n'
        '{ use = "transfer", surrogates = ["python:./mine.py:build"] }]\n',
    ],
    ids=["alone", "in an ensemble"],
)
def test_a_surrogate_is_looked_for_beside_the_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probe: str
) -> None:
    told = {"name": AVG, "shape": (1, 32, 32), "classes": 10, "mean": 0.0}
    (tmp_path / "mine.py").write_text(COPY.format(**told), encoding="utf-8")
    (tmp_path / "mine.toml").write_text(
        'schema = 1\n[data]\nsource = "digits:test"\ntake = 4\n'
        '[[backbone]]\nref = "mlp@digits"\n'
        f'[[probe]]\neps = ["0.1"]\n{probe}',
        encoding="utf-8",
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    plan = make_plan(robustlab.load_suite(tmp_path / "mine.toml"))
    assert plan.cells[1].borrowed.fingerprints


# Belief --------------------------------------------------------------------------------------


def said(found: Any, detector: str) -> list[str]:
    return [one.level for one in found.findings if one.detector == detector]


def test_claims_that_do_not_carry_over_are_no_violation(lenet: Backbone, digits: Data) -> None:
    found = made(surrogates="mlp@digits")(lenet, digits)
    assert (found.claimed & ~found.verified).sum() > 10
    assert said(found, "violations") == ["green"]
    assert not [one for one in found.findings if one.level == "red"]


def test_the_same_claims_are_one_of_an_attack_with_gradients(lenet: Backbone, digits: Data) -> None:
    class Boasts(resolve("transfer").obj):  # type: ignore[misc]
        knowledge: ClassVar[str] = "gradient"

    found = Boasts(eps=["0.1"], surrogates=["mlp@digits"])(lenet, digits)
    assert said(found, "violations") == ["red"]


def test_a_search_without_gradients_is_idle(lenet: Backbone, digits: Data) -> None:
    class Idle(resolve("transfer").obj):  # type: ignore[misc]
        def search(self, model: Any, x: Any, *rest: Any) -> Any:
            return x

    assert "red" in said(Idle(eps=["0.1"], surrogates=[AVG])(lenet, digits), "idle")


def test_steps_that_cannot_reach_eps_are_told(lenet: Backbone, digits: Data) -> None:
    found = made(surrogates=AVG, step_size=0.05)(lenet, digits)
    assert said(found, "schedule") == ["red"]
    assert said(made(surrogates=AVG, step_size=0.1)(lenet, digits), "schedule") == ["green"]
