"""An attack written for one defence: its own loss, and a gradient where the defence has none."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from robustlab import Attack, attack
from robustlab.adversarial import ways
from robustlab.adversarial.fastpath import Way
from robustlab.adversarial.losses import cross_entropy
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.planted import planted

MINE = """
from robustlab import Attack, probe


@probe("mine")
class Mine(Attack):
    def surrogate(self, module):
        module.quantise = self.straight_through(module.quantise)
        return module

    def objective(self, logits, y, target):
        others = logits.scatter(1, y[:, None], -1e9).logsumexp(dim=1)
        return others - logits.gather(1, y[:, None]).squeeze(1)

    def search(self, model, x, y, start, threat, rng):
        return self.gradient_search(
            model, x, y, start, threat, steps=30, step_size=0.1 * threat.eps
        )
"""


@pytest.fixture
def mine(tmp_path: Path, forget: None) -> str:
    (tmp_path / "mine.py").write_text(MINE)
    return f"{tmp_path / 'mine.py'}:mine"


def test_a_surrogate_breaks_what_a_quantiser_hides(mine: str, digits: Data) -> None:
    defended = planted("quantised")
    plain = attack("pgd", defended, digits, eps="0.15", random_start=False)
    adaptive = attack(mine, defended, digits, eps="0.15")
    undefended = attack("pgd", "lenet5-max@digits", digits, eps="0.15")
    assert plain.attack_success["0.15"].value == 0.0  # no gradient: it stands still
    assert adaptive.verified.sum() >= undefended.verified.sum() - 4


def test_without_the_surrogate_nothing_is_broken(
    mine: str, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: the surrogate is ignored."""
    monkeypatch.setattr(ways, "_own", lambda stage, backbone, dtype: Way(backbone.network, dtype))
    found = attack(mine, planted("quantised"), digits, eps="0.15")
    assert found.attack_success["0.15"].value == 0.0


def test_a_surrogate_that_answers_otherwise_fakes_nothing(
    tmp_path: Path, digits: Data, forget: None
) -> None:
    text = MINE.replace(
        "        return module\n", "        return torch.nn.Sequential(module, Flip())\n"
    )
    text = text.replace(
        "from robustlab import Attack, probe",
        "import torch\nfrom robustlab import Attack, probe\n\n\n"
        "class Flip(torch.nn.Module):\n    def forward(self, z):\n        return -z",
    )
    (tmp_path / "mine.py").write_text(text)
    found = attack(f"{tmp_path / 'mine.py'}:mine", planted("quantised"), digits, eps="0.001")
    right = found.clean_correct
    assert found.claimed[0][right].any()
    assert not found.verified[0][right].any()


# A defence in the middle of the network ----------------------------------------------------------


class _Levels(nn.Module):
    """Activations rounded to eight levels an image."""

    def forward(self, x: Tensor) -> Tensor:
        top = x.flatten(1).amax(dim=1).view(-1, 1, 1, 1).clamp_min(1e-6)
        return (x / top * 7).round() / 7 * top.detach()


def _rounded_inside(lenet: Backbone) -> Backbone:
    module: Any = copy.deepcopy(lenet.module)
    module.pool1 = nn.Sequential(module.pool1, _Levels())
    return Backbone(
        module.eval(),
        input_shape=lenet.input_shape,
        classes=lenet.classes,
        mean=(0.0,),
        std=(1.0,),
        name="rounded-inside",
    )


def test_a_layer_in_the_middle_is_exchanged_by_its_name(
    tmp_path: Path, lenet: Backbone, digits: Data, forget: None
) -> None:
    """The normalisation around the module is not in the surrogate's way."""
    text = MINE.replace(
        "module.quantise = self.straight_through(module.quantise)",
        "module.pool1[1] = self.straight_through(module.pool1[1])",
    )
    (tmp_path / "mine.py").write_text(text)
    defended = _rounded_inside(lenet)
    before = defended.module.state_dict().keys()
    found = attack(f"{tmp_path / 'mine.py'}:mine", defended, digits, eps="0.15")
    plain = attack("pgd", defended, digits, eps="0.15", random_start=False)
    undefended = attack("pgd", lenet, digits, eps="0.15")
    assert plain.verified.sum() < undefended.verified.sum() / 2
    assert found.verified.sum() >= undefended.verified.sum() - 4
    assert defended.module.state_dict().keys() == before  # only a copy was changed
    assert isinstance(defended.module.pool1[1], _Levels)  # type: ignore[index]


# A loss of one's own -----------------------------------------------------------------------------

DOWNHILL = """
from robustlab import Attack, probe


@probe("downhill")
class Downhill(Attack):
    def objective(self, logits, y, target):
        return -super().objective(logits, y, target)

    def search(self, model, x, y, start, threat, rng):
        return self.ENGINE
"""
ENGINES = {
    "gradient_search": "gradient_search(model, x, y, start, threat, steps=10, "
    "step_size=0.25 * threat.eps)",
    "auto_pgd": "auto_pgd(model, x, y, start, threat, steps=10)",
}


def _broken_downhill(tmp_path: Path, engine: str, lenet: Backbone, digits: Data) -> int:
    """How many right images an attack breaks whose loss falls as the network errs."""
    (tmp_path / "downhill.py").write_text(DOWNHILL.replace("ENGINE", ENGINES[engine]))
    found = attack(f"{tmp_path / 'downhill.py'}:downhill", lenet, digits, eps="0.08")
    return int(found.verified[0][found.clean_correct].sum())


@pytest.mark.parametrize("engine", ENGINES)
def test_the_loss_of_ones_own_is_ascended(
    engine: str, tmp_path: Path, lenet: Backbone, digits: Data, forget: None
) -> None:
    assert _broken_downhill(tmp_path, engine, lenet, digits) == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_an_ignored_loss_is_caught(
    engine: str,
    tmp_path: Path,
    lenet: Backbone,
    digits: Data,
    forget: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mutant: the engine ascends cross-entropy, whatever the attack says."""
    whole = getattr(Attack, engine)

    def deaf(self: Attack, *args: Any, **kwargs: Any) -> Any:
        return whole(self, *args, **kwargs, loss=cross_entropy)

    monkeypatch.setattr(Attack, engine, deaf)
    assert _broken_downhill(tmp_path, engine, lenet, digits) > 10
