"""Pairs measured in turn in one process: A B A B ..., medians, ratios; nothing asserts a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Pair = Callable[..., dict[str, float]]


@pytest.fixture
def pair(benchmark: Any, capsys: pytest.CaptureFixture[str], request: Any) -> Pair:
    """Times several callables in turn and reports each against the first, as "B / A"."""

    def run(work: dict[str, Callable[[], object]], rounds: int = 9) -> dict[str, float]:
        rounds = rounds if benchmark.enabled else 1
        for call in work.values():
            call()  # the first call pays for set-up
        times: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(rounds):
            for name, call in work.items():
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
        first = next(iter(work))
        benchmark.pedantic(work[first], rounds=1)
        medians = {name: float(np.median(t)) for name, t in times.items()}
        ratios = {
            name: float(np.median(np.array(t) / np.array(times[first])))
            for name, t in times.items()
            if name != first
        }
        benchmark.extra_info.update({"seconds": medians, "ratio to ours": ratios})
        if benchmark.enabled:
            with capsys.disabled():
                print(f"\n{request.node.name}: " + _line(medians, ratios))
        return ratios

    return run


def _line(medians: dict[str, float], ratios: dict[str, float]) -> str:
    parts = [f"{name} {seconds:.3f} s" for name, seconds in medians.items()]
    return ", ".join(parts) + "; " + ", ".join(f"{n} / ours = {r:.2f}" for n, r in ratios.items())
