"""Every class as a target, beside a call of the public attack for each; memory; one picture.

On a network of ImageNet's shape: the published SqueezeNet where it lies beside the checkout,
otherwise the same with random weights.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustlab import Data, attack, load_data
from robustlab.backbones import Backbone, load_backbone
from robustlab.fooling.reach import reach

pytestmark = pytest.mark.benchmark

FILE = Path(__file__).resolve().parents[3] / "shared/data/imagenet/squeezenet1_1.safetensors"
EPS = ("1/255", "2/255", "4/255")


def _squeezenet() -> Backbone:
    known = f"file:{FILE}#torchvision:squeezenet1_1"
    return load_backbone(known if FILE.is_file() else "torchvision:squeezenet1_1?weights=none")


def _picture() -> Data:
    return load_data("samples:imagenet").subset([3])


def test_targets_in_batches_beside_calls(pair: Any, benchmark: Any) -> None:
    """The same targets and budgets, PGD-40 at each until it is reached; the model is warm."""
    backbone, picture = _squeezenet(), _picture()
    many = 40 if benchmark.enabled else 2
    settings: dict[str, Any] = {"eps": EPS, "steps": 40 if benchmark.enabled else 2}
    told: dict[str, Any] = {}

    def ours() -> None:
        told["ours"] = reach(backbone, picture, targets=many, **settings).arrays["smallest"][0]

    def calls() -> None:
        told["calls"] = np.full(len(backbone.classes), -3)
        told["calls"][int(backbone(picture.batch([0])).argmax())] = -2
        for target in np.flatnonzero(told["ours"] >= -1).tolist():
            name = f"{picture.ids[0]} as {target}"
            alone = Data(picture.images, picture.labels, picture.classes, ids=[name])
            found = attack("pgd", backbone, alone, target=target, **settings)
            hits = found.verified_8bit[:, 0]
            told["calls"][target] = int(hits.argmax()) if hits.any() else -1

    pair({"ours": ours, "calls": calls}, rounds=1)
    # The long steps that come first reach some targets sooner; other starts may decide an edge.
    assert (told["ours"] >= 0).sum() >= (told["calls"] >= 0).sum() - max(1, many // 20)


def test_targeted_pgd_on_one_picture(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """40 steps to the end at 224x224, as `robustlab.attack` runs them; the model is loaded."""
    backbone, picture = _squeezenet(), _picture()
    steps = 40 if benchmark.enabled else 2

    def ours() -> None:
        found = attack(
            "pgd", backbone, picture, eps="4/255", target=23, early_exit=False, steps=steps
        )
        assert found.passes.sum() >= 2 * steps

    benchmark.pedantic(ours, rounds=3 if benchmark.enabled else 1)
    if benchmark.enabled:
        with capsys.disabled():
            print(
                f"\ntargeted PGD-40, one picture 224x224: {benchmark.stats['median']:.2f} s, "
                f"{torch.get_num_threads()} threads, load included"
            )


_PEAK = """
import os, sys, threading
import robustlab
from robustlab.fooling.reach import reach
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
backbone = robustlab.load_backbone(sys.argv[1])
picture = robustlab.load_data("samples:imagenet").subset([3])
settings = {"eps": ("1/255", "2/255"), "steps": 1, "batch": 8}
peak, done = 0.0, threading.Event()
def watch():
    global peak
    while not done.wait(0.005):
        peak = max(peak, resident())
watcher = threading.Thread(target=watch)
watcher.start()
reach(backbone, picture, targets=int(sys.argv[2]), **settings)
done.set()
watcher.join()
print(peak)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_flat(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Peak of 200 targets beside that of 50, each in a process of its own."""
    known = f"file:{FILE}#torchvision:squeezenet1_1"
    name = known if FILE.is_file() else "torchvision:squeezenet1_1?weights=none"
    few, many = (50, 200) if benchmark.enabled else (8, 16)

    def peak(targets: int) -> float:
        command = [sys.executable, "-c", _PEAK, name, str(targets)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    small = peak(few)
    large = benchmark.pedantic(peak, args=(many,), rounds=1)
    benchmark.extra_info.update({f"MiB of {few}": small, f"MiB of {many}": large})
    if benchmark.enabled:
        with capsys.disabled():
            print(f"\npeak of {few} targets {small:.0f} MiB, of {many} {large:.0f} MiB")
