"""An attack written for one defence: its own loss, and a gradient where the defence has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustlab import attack
from robustlab.adversarial import evaluate
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
    monkeypatch.setattr(evaluate, "_as_attacked", lambda stage, network, backbone: network)
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
