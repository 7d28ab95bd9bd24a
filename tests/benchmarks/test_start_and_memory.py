"""What a newcomer waits for, and what an attack keeps in memory."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.benchmark

_PEAK = """
import os, sys, threading
import numpy as np
import robustlab
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024
b = robustlab.load_backbone("lenet5-max@digits")
n = int(sys.argv[1])
images = np.random.default_rng(0).integers(0, 256, (n, 1, 32, 32), dtype=np.uint8)
data = robustlab.Data(images, np.zeros(n, int), classes=10)
robustlab.attack("pgd", b, data.subset(np.arange(128)), eps="0.1", steps=2, batch=128)
before, peak, done = resident(), 0.0, threading.Event()
def watch():
    global peak
    while not done.wait(0.005):
        peak = max(peak, resident())
watcher = threading.Thread(target=watch)
watcher.start()
found = robustlab.attack("pgd", b, data, eps="0.1", steps=2, batch=128)
done.set()
watcher.join()
kept = (found.images.nbytes + found.images_8bit.nbytes + found.clean.nbytes) / 1024
print(before, peak, kept)
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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_memory_of_many_images(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Peak memory of an attack on 10,000 images beside that of one batch, results left out."""
    n = "10000" if benchmark.enabled else "256"
    answer = benchmark.pedantic(lambda: _run("-c", _PEAK, n), rounds=1)
    batch, peak, kept = (float(part) / 1024 for part in answer.split())
    ratio = (peak - kept) / batch
    benchmark.extra_info.update({"MiB of a batch": batch, "MiB": peak, "MiB of results": kept})
    with capsys.disabled():
        print(
            f"\n{n} images: peak {peak:.1f} MiB, of which results {kept:.1f}; "
            f"after a batch {batch:.1f} MiB; without results / one batch = {ratio:.2f}"
        )
