"""Full shift maps beside the straightforward loop: shift, forward, argmax, one shift at a time."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from robustlab.backbones import Backbone, load_backbone
from robustlab.backbones.lectures.pooling import POOLS
from robustlab.data import Data, load_data
from robustlab.invariance.shift_maps import Mapper
from robustlab.invariance.shifts import ground, window

pytestmark = pytest.mark.benchmark

RADIUS = 8


def _networks(which: str) -> list[Backbone]:
    names = [f"twin-{pool}" for pool in POOLS] if which == "twins" else [which]
    return [load_backbone(f"{name}@digits") for name in names]


def _loop(backbone: Backbone, data: Data, mode: str) -> np.ndarray[Any, Any]:
    x = torch.tensor(data.batch(slice(None)))
    picture, grid = ground(x, RADIUS, mode), range(-RADIUS, RADIUS + 1)
    with torch.inference_mode():
        found = [
            backbone.network(window(picture, dy, dx, RADIUS).contiguous()).argmax(1)
            for dy in grid
            for dx in grid
        ]
    return torch.stack(found, dim=1).view(len(data), len(grid), len(grid)).numpy()


@pytest.mark.parametrize("mode", ["circular", "zero", "reflect", "crop"])
@pytest.mark.parametrize("which", ["twins", "lenet5-max", "resnet20-narrow"])
def test_shift_maps_beside_the_loop(pair: Any, benchmark: Any, mode: str, which: str) -> None:
    many = {"twins": 48, "lenet5-max": 360, "resnet20-narrow": 24}[which]
    data = load_data("digits:test", take=many if benchmark.enabled else 2)
    networks = _networks(which)

    def ours() -> list[Any]:
        # Everything that the probe keeps, and finding out how, not top-1 alone.
        return [Mapper(one, RADIUS, mode)(data).prediction for one in networks]

    def loop() -> list[Any]:
        return [_loop(one, data, mode) for one in networks]

    for mine, true in zip(ours(), loop(), strict=True):
        assert np.array_equal(mine, true)
    pair({"ours": ours, "loop": loop}, rounds=3)


@pytest.mark.parametrize("mode", ["circular", "zero", "crop"])
def test_full_maps_of_five_networks(benchmark: Any, mode: str) -> None:
    """17x17 shifts, 360 digits, five networks; with torch's threads as they are."""
    data = load_data("digits:test", take=360 if benchmark.enabled else 2)

    def ours() -> None:
        for one in _networks("twins"):
            Mapper(one, RADIUS, mode)(data)

    benchmark.pedantic(ours, rounds=1)


@pytest.mark.parametrize(("images", "radius"), [(90, 4), (180, 4), (360, 4), (90, 8), (90, 16)])
def test_cost_grows_with_images_and_shifts(benchmark: Any, images: int, radius: int) -> None:
    data = load_data("digits:test", take=images if benchmark.enabled else 2)
    mapper = Mapper(load_backbone("lenet5-max@digits"), radius, "zero")
    mapper(data.subset(np.arange(2)))
    benchmark.pedantic(lambda: mapper(data), rounds=3)
    benchmark.extra_info["windows"] = images * (2 * radius + 1) ** 2


_PEAK = """
import os, sys, threading
import numpy as np
import robustlab
from robustlab.invariance.shift_maps import Mapper
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024
b = robustlab.load_backbone("lenet5-max@digits")
n, radius = int(sys.argv[1]), int(sys.argv[2])
images = np.random.default_rng(0).integers(0, 256, (n, 1, 32, 32), dtype=np.uint8)
data = robustlab.Data(images, np.zeros(n, int), classes=10)
mapper = Mapper(b, radius, "zero")
mapper(data.subset(np.arange(32)))
before, peak, done = resident(), 0.0, threading.Event()
def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, resident())
watcher = threading.Thread(target=watch)
watcher.start()
found = mapper(data)
done.set()
watcher.join()
kept = sum(v.nbytes for v in vars(found).values() if hasattr(v, "nbytes")) / 1024
print(before, peak, kept)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("images", "radius"), [(2000, 4), (128, 15)])
def test_peak_memory_of_maps(
    benchmark: Any, capsys: pytest.CaptureFixture[str], images: int, radius: int
) -> None:
    """Peak memory beside that of 32 images, what is kept left out."""
    n = str(images if benchmark.enabled else 48)
    command = [sys.executable, "-c", _PEAK, n, str(radius)]

    def measure() -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    small, peak, kept = (float(p) / 1024 for p in benchmark.pedantic(measure, rounds=1).split())
    ratio = (peak - kept) / small
    benchmark.extra_info.update({"MiB of 32 images": small, "MiB": peak, "MiB kept": kept})
    with capsys.disabled():
        print(
            f"\n{n} images, radius {radius}: peak {peak:.1f} MiB, of which kept {kept:.1f}; after "
            f"32 images {small:.1f} MiB; without what is kept / 32 images = {ratio:.2f}"
        )
