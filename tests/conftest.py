"""What several tests share. Nothing here imports torch before a test asks for it."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

# Beside other testing processes, one thread each: threads that wait for a core cost more than they
# bring. Benchmarks run alone and keep theirs.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test asserts a time, and a shared machine may stand still for a second.
settings.register_profile("lab", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lab")

TINY = """
schema = 1
seed = 3
shard = 4

[data]
source = "digits:test"
take = 10

[[backbone]]
ref = "mlp@digits"

[[probe]]
use = "fgsm"
eps = ["0.1", "0.2"]

[[probe]]
use = "noise"
eps = ["0.2"]
"""

CONTRAST = '''
import numpy as np

import robustlab
from robustlab import Outcome


@robustlab.probe("contrast")
def contrast(backbone, data, *, factor: float = 0.5) -> Outcome:
    """Accuracy on images of less contrast.

    factor: what is left of the contrast
    """
    images = 0.5 + factor * (data.batch(slice(None)) - 0.5)
    logits = backbone(images.astype(np.float32)).numpy()
    right = logits.argmax(1) == data.labels
    return Outcome(samples={"right": right, "margin": np.ptp(logits, axis=1)})
'''

OWN_ATTACK = '''
from typing import ClassVar

from robustlab import Attack, Threat, probe


@probe("brighter")
class Brighter(Attack):
    """All pixels up by eps."""

    norms: ClassVar[tuple[str, ...]] = ("linf",)

    share: float = 1.0
    """how much of eps is used"""

    def search(self, model, x, y, start, threat: Threat, rng):
        return threat.constrain(x + self.share * threat.eps, x)
'''


@pytest.fixture
def tiny(tmp_path):
    """A suite file of 9 cells: clean, fgsm and noise on 10 images in shards of 4."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture
def own_probes(tmp_path, forget):
    """A file with a probe of one's own, ``./contrast.py:contrast``, and one with an attack."""
    (tmp_path / "contrast.py").write_text(CONTRAST, encoding="utf-8")
    (tmp_path / "mine.py").write_text(OWN_ATTACK, encoding="utf-8")
    return tmp_path


@pytest.fixture
def forget():
    """Leave the registry as it was: names that a test registers do not outlive it."""
    from robustlab import catalogue, registry

    before = dict(registry._REGISTERED), dict(registry._LOADED)
    yield
    kept = {k: r for k, r in registry._REGISTERED.items() if k in catalogue.entries()}
    registry._REGISTERED.clear()
    registry._REGISTERED.update(before[0] | kept)
    registry._LOADED.clear()
    registry._LOADED.update(before[1])


@pytest.fixture
def lab(capsys):
    """The command line in this process: ``lab("run", suite)`` gives code, out, err and json."""

    def call(*arguments):
        from robustlab.cli import main

        capsys.readouterr()
        code = main([str(one) for one in arguments])
        text = capsys.readouterr()
        parsed = json.loads(text.out) if "--json" in arguments and text.out else None
        return SimpleNamespace(code=code, out=text.out, err=text.err, json=parsed)

    return call


@pytest.fixture(scope="module")
def one_thread():
    """Small tensors gain nothing from threads, and on a shared machine threads wait for cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The tiny suite, run once a session. Read it, do not write to it: copy it first."""
    import robustlab

    folder = tmp_path_factory.mktemp("finished")
    suite = folder / "tiny.toml"
    suite.write_text(TINY, encoding="utf-8")
    robustlab.run(suite, out=folder / "run")
    return folder / "run"


@pytest.fixture
def python(tmp_path):
    """Bare Python in a process and a folder of its own: ``python("-c", code)``."""

    def call(*arguments, **options):
        options = {"cwd": tmp_path, "capture_output": True, "text": True, **options}
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        environment["OMP_NUM_THREADS"] = "1"
        return subprocess.run(
            [sys.executable, *map(str, arguments)], env=environment, check=False, **options
        )

    return call
