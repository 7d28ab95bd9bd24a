"""What a newcomer waits for, and what an attack keeps in memory."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.benchmark

_PEAK = """
import resource, sys
import numpy as np
import robustlab
b = robustlab.load_backbone("lenet5-max@digits")
n = int(sys.argv[1])
images = np.random.default_rng(0).integers(0, 256, (n, 1, 32, 32), dtype=np.uint8)
data = robustlab.Data(images, np.zeros(n, int), classes=10)
robustlab.attack("pgd", b, data.subset(np.arange(128)), eps="0.1", steps=2, batch=128)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = robustlab.attack("pgd", b, data, eps="0.1", steps=2, batch=128)
kept = (found.images.nbytes + found.images_8bit.nbytes + found.clean.nbytes + images.nbytes) / 1024
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before - kept)
"""


def _run(*command: str) -> str:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    return done.stdout


def test_help_starts_soon_after_python(pair: Any) -> None:
    """``robustlab --help`` beside bare Python and beside Python with click alone."""
    pair(
        {
            "ours": lambda: _run("-m", "robustlab", "--help"),
            "bare python": lambda: _run("-c", "pass"),
            "python with click": lambda: _run("-c", "import click"),
        },
        rounds=11,
    )


def test_peak_memory_of_many_images(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Memory beyond the results themselves, in KiB, for 10,000 images after a batch of 128."""
    n = "10000" if benchmark.enabled else "256"
    beyond = float(benchmark.pedantic(lambda: _run("-c", _PEAK, n), rounds=1))
    benchmark.extra_info["KiB beyond the results"] = beyond
    with capsys.disabled():
        print(f"\n{n} images: {beyond:.0f} KiB beyond the results themselves")
