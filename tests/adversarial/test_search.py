"""The loop and what the base does around it: best iterate, leaving, restarts, eps lists, counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustlab import attack
from robustlab.adversarial import Access, Threat, gradient_search
from robustlab.adversarial import search as search_module
from robustlab.adversarial.batch import Batch
from robustlab.adversarial.fastpath import search_copy
from robustlab.adversarial.losses import LOSSES, cross_entropy, fooled, margin
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest


def _inputs(data: Data) -> tuple[Tensor, Tensor]:
    x = torch.tensor(data.batch(np.arange(len(data))))
    return x, torch.tensor(np.asarray(data.labels))


def _best_margin(backbone: Backbone, data: Data, **options: Any) -> Tensor:
    x, y = _inputs(data)
    access = Access(search_copy(backbone.network, backbone.input_shape)[0], len(x))
    settings: dict[str, Any] = {"steps": 15, "step_size": 0.08, "early_exit": False} | options
    found, claimed = gradient_search(access, x, y, x, Threat("linf", 0.08), **settings)
    logits = backbone(found)
    assert torch.equal(claimed, fooled(logits, y))
    return margin(logits, y)


def test_the_best_iterate_is_at_least_as_good_as_the_last(lenet: Backbone, digits: Data) -> None:
    """With steps as long as the ball the walk overshoots, so that keeping the best matters."""
    best = _best_margin(lenet, digits, keep_best=True)
    last = _best_margin(lenet, digits, keep_best=False)
    assert bool((best >= last - 1e-4).all())
    assert int((best > last + 1e-3).sum()) > 5  # else dropping the best iterate would go unseen


def test_images_leave_once_fooled_and_verdicts_stay(lenet: Backbone, digits: Data) -> None:
    early, late = (
        attack("pgd", lenet, digits, eps=["0.1"], early_exit=e, steps=20) for e in (True, False)
    )
    assert np.array_equal(early.verified, late.verified)
    assert early.passes.sum() < 0.8 * late.passes.sum()


@pytest.mark.slow
def test_an_image_that_is_lost_at_8_bits_stays_in_the_search(lenet: Backbone) -> None:
    from robustlab.data import load_data

    data = load_data("digits:test", take=150)
    found = attack("pgd", lenet, data, eps=["0.04"], restarts=3)
    stayed = found.verified[0] & ~found.verified_8bit[0]
    if stayed.any():  # those used all three restarts to the end
        assert (found.forward[0][stayed] >= 3 * 40).all()
    left = found.verified_8bit[0] & found.clean_correct
    assert (found.forward[0][left] <= 3 * 41).all()
    assert found.forward[0][left].min() < 40


def test_passes_are_counted_an_image(lenet: Backbone, digits: Data) -> None:
    found = attack("pgd", lenet, digits, eps=["0.001"], steps=10, restarts=2, early_exit=False)
    standing = found.clean_correct & ~found.verified[0]
    assert set(found.backward[0][standing]) == {20.0}
    assert set(found.forward[0][standing]) == {22.0}
    assert set(found.passes[0][~found.clean_correct]) <= {0.0}


def test_an_eps_list_shares_work_and_gives_what_single_runs_give(
    lenet: Backbone, digits: Data
) -> None:
    texts = ["0.15", "0.05", "0.1"]  # out of order on purpose
    together = attack("pgd", lenet, digits, eps=texts, steps=20)
    alone = [attack("pgd", lenet, digits, eps=one, steps=20) for one in texts]
    assert list(together.robust_accuracy) == texts
    for row, one in enumerate(alone):
        assert (together.verified[row] | ~one.verified[0]).all()
    assert together.passes.sum() < sum(one.passes.sum() for one in alone)


def test_restarts_only_add(lenet: Backbone, digits: Data) -> None:
    one = attack("pgd", lenet, digits, eps=["0.08"], steps=2, restarts=1)
    many = attack("pgd", lenet, digits, eps=["0.08"], steps=2, restarts=6)
    assert (many.verified | ~one.verified).all()
    assert many.verified.sum() > one.verified.sum()


def test_restarts_that_repeat_one_start_are_caught(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant of the test above: every restart draws the first start."""
    whole = Batch._search
    monkeypatch.setattr(
        Batch,
        "_search",
        lambda self, rows, threat, turn, way: whole(
            self, rows, threat, replace(turn, restart=0), way
        ),
    )
    one = attack("pgd", lenet, digits, eps=["0.08"], steps=2, restarts=1)
    many = attack("pgd", lenet, digits, eps=["0.08"], steps=2, restarts=6)
    assert many.verified.sum() == one.verified.sum()


@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize("targeted", [False, True])
def test_a_loss_rises_as_the_goal_comes_closer(loss: str, targeted: bool) -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0]])
    y, target = torch.tensor([0]), torch.tensor([2]) if targeted else None
    closer = torch.tensor([[1.0, 0.0, 1.9]])
    function = LOSSES[loss]
    assert float(function(closer, y, target)) > float(function(logits, y, target))
    wrong_way = -function(closer, y, target)  # the mutant that other libraries shipped for years
    assert not float(wrong_way) > float(-function(logits, y, target))


def test_margin_is_positive_exactly_when_fooled() -> None:
    logits = torch.randn(200, 5, generator=torch.Generator().manual_seed(0)) - 3.0
    y = torch.arange(200) % 5
    target = (y + 2) % 5
    assert torch.equal(margin(logits, y) > 0, fooled(logits, y))
    assert torch.equal(margin(logits, y, target) > 0, fooled(logits, y, target))
    masked = (logits * nn.functional.one_hot(y, 5)).amax(1)  # mutant: true logit through a product
    assert not torch.equal((logits.amax(1) - masked) > 0, fooled(logits, y))


def test_losses_are_summed_not_averaged(lenet: Backbone, digits: Data) -> None:
    """An image's steps do not shrink with its batch; a batch mean in an L-raw search would."""
    x, y = _inputs(digits)
    access = Access(search_copy(lenet.network, lenet.input_shape)[0], len(x))
    batch = search_module._Batch(access, torch.arange(len(x)), x, y, Threat("linf", 0.1), x)
    _, together = search_module._evaluate(batch, cross_entropy, with_gradient=True)
    one = search_module._Batch(
        access.narrow(torch.tensor([0])), torch.arange(1), x[:1], y[:1], Threat("linf", 0.1), x[:1]
    )
    _, alone = search_module._evaluate(one, cross_entropy, with_gradient=True)
    assert together is not None
    assert alone is not None
    assert torch.allclose(together[:1], alone, rtol=1e-4, atol=1e-7)
    averaged = lambda logits, y, target: cross_entropy(logits, y, target) / len(logits)  # noqa: E731
    _, mean = search_module._evaluate(batch, averaged, with_gradient=True)
    assert mean is not None
    assert not torch.allclose(mean[:1], alone, rtol=1e-4, atol=1e-7)


def test_targeted_attacks_report_target_success_only(lenet: Backbone, digits: Data) -> None:
    found = attack("pgd", lenet, digits, eps=["0.2"], target="3")
    labelled = np.asarray(digits.labels) == 3
    assert not found.attackable[labelled].any()
    assert found.target_success["0.2"].n == int((found.clean_correct & ~labelled).sum())
    assert (found.prediction[0][found.verified[0]] == 3).all()
    with pytest.raises(AttributeError, match="ask for target_success"):
        _ = found.robust_accuracy
    untargeted = attack("fgsm", lenet, digits, eps=["0.1"])
    with pytest.raises(AttributeError, match="ask for robust_accuracy"):
        _ = untargeted.target_success


def test_targets_by_rule(lenet: Backbone, digits: Data) -> None:
    logits = lenet(digits.batch(np.arange(len(digits)))).numpy()
    labels = np.asarray(digits.labels)
    rules = {"least-likely": logits.argmin(1), "next": (labels + 1) % 10}
    for rule, expected in rules.items():
        found = attack("fgsm", lenet, digits, eps=["0.1"], target=rule)
        assert found.target is not None
        assert np.array_equal(found.target, expected)
    drawn = attack("fgsm", lenet, digits, eps=["0.1"], target="random").target
    assert drawn is not None
    assert (drawn != labels).all()
    assert len(set(drawn)) > 3


def test_an_unknown_target_names_the_nearest(lenet: Backbone, digits: Data) -> None:
    with pytest.raises(BadRequest, match="did you mean 'least-likely'"):
        attack("fgsm", lenet, digits, eps=["0.1"], target="least-likly")


def test_memory_on_the_device_is_one_batch(lenet: Backbone) -> None:
    """However many images there are, the network never sees more than a batch of them."""
    from robustlab.binding import bind
    from robustlab.data import load_data
    from robustlab.registry import resolve

    seen: list[int] = []

    class Spy(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            logits: Tensor = self.module(x)
            return logits

    spied = Backbone(Spy(lenet.module).eval(), input_shape=(1, 32, 32), classes=10)
    registered = resolve("pgd")
    pgd = registered.obj(**bind(registered, {"eps": ["0.1"], "steps": 3}))
    pgd(spied, load_data("digits:test", take=100), batch=16)
    assert max(seen) == 16


def test_the_fast_copy_computes_the_same_logits() -> None:
    import torchvision

    torch.manual_seed(0)
    module = torchvision.models.resnet18(num_classes=10).eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-0.5, 0.5)  # type: ignore[union-attr]
            part.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
    x = torch.rand(2, 3, 64, 64)
    fast, dtype = search_copy(module, (3, 64, 64))
    assert dtype is None
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fast.modules())
    assert not any(p.requires_grad for p in fast.parameters())
    with torch.no_grad():
        assert torch.allclose(fast(x), module(x), rtol=1e-3, atol=1e-4)
    assert all(p.requires_grad for p in module.parameters())


def test_a_network_that_cannot_be_traced_is_copied_as_it_is() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(self.conv(x))
            return y.flatten(1) if y.sum() > 0 else -y.flatten(1)

    module = Branches().eval()
    x = torch.rand(2, 1, 5, 5)
    copied, _ = search_copy(module, (1, 5, 5))
    with torch.no_grad():
        assert torch.allclose(copied(x), module(x), atol=1e-5)
        assert torch.allclose(copied(-x), module(-x), atol=1e-5)
