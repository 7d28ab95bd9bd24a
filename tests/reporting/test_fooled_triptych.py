"""The picture of three panels: pixels are the files', and nothing is claimed without proof."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from robustlab.reporting.fooling.triptych import SIDE, triptych

spec = importlib.util.spec_from_file_location(
    "reporting_tests_make_fooled", Path(__file__).with_name("make_fooled.py")
)
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)


@pytest.fixture
def written(monkeypatch):
    """Lines that are written into the picture."""
    lines, true = [], ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda self, at, text, **rest: (lines.append(text), true(self, at, text, **rest)),
    )
    return lines


def opened(fooled):
    with Image.open(io.BytesIO(triptych(fooled))) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def test_panels_are_the_pictures(written):
    fooled = make.make()
    page = opened(fooled)
    times = SIDE // max(fooled.original.shape[1:])
    assert times > 1
    height, width = (side * times for side in fooled.original.shape[1:])
    step = max(width, 200) + 12
    for place, pixels in ((0, fooled.original), (2, fooled.changed)):
        left = 12 + place * step
        shown = page[12 : 12 + height, left : left + width][::times, ::times]
        assert np.array_equal(shown, np.broadcast_to(pixels.transpose(1, 2, 0), shown.shape))
    before, after = (one.top[0][1] for one in (fooled.before, fooled.after))
    assert any(before in line for line in written)
    assert any(after in line for line in written)
    assert not any("Not what" in line for line in written)


def test_what_failed_says_so(written):
    fooled = make.make()
    failed = tuple(dataclasses.replace(one, passed=False) for one in fooled.checks[:1])
    opened(dataclasses.replace(fooled, checks=failed + fooled.checks[1:]))
    assert any("Not what was asked for" in line for line in written)


@pytest.mark.parametrize("shape", [(1, 9, 500), (3, 500, 9), (3, 1, 1)])
def test_any_size(shape, written):
    fooled = dataclasses.replace(make.make(), smallest=None, smallest_changed=None)
    pixels = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    page = opened(dataclasses.replace(fooled, original=pixels, changed=pixels + 1))
    assert page.shape[0] <= SIDE + 100
    long = dataclasses.replace(fooled, network="x" * 500 + "\n<b>", original=pixels, changed=pixels)
    assert opened(long).shape == page.shape
