"""Pictures of the page of one fooled picture: those that were verified, pixel by pixel."""

from __future__ import annotations

import base64
import dataclasses
import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustlab.reporting.fooling import fooled_page, page

spec = importlib.util.spec_from_file_location(
    "reporting_tests_make_fooled", Path(__file__).with_name("make_fooled.py")
)
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)


@pytest.fixture(scope="module")
def tree(parse):
    """The page of a whole tale."""
    return parse(fooled_page(make.make()))


def section(root, name):
    (found,) = root.all("section", id=name)
    return found


def decoded(node):
    """The pixels of an <img> as the page holds them, uint8 [C, H, W]."""
    head, data = node.attributes["src"].split(",", 1)
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.format == "PNG"
        found = np.asarray(image)
    return found[None] if found.ndim == 2 else found.transpose(2, 0, 1)


# --- pictures -----------------------------------------------------------------------------------


def check_pictures(fooled, root):
    """Result and original are the file's pixels; the perturbation is their difference."""
    (shown, *_) = section(root, "verdict").all("div", class_="three")
    original, moved, changed, over = map(decoded, shown.all("img"))
    assert np.array_equal(changed, fooled.changed)
    assert np.array_equal(original, fooled.original)
    assert np.array_equal(over, fooled.original)
    difference = fooled.changed.astype(int) - fooled.original.astype(int)
    factor = int(shown.text.split("perturbation ×")[1].split(",")[0].split("\n")[0])
    if len(fooled.original) == 3:
        assert np.array_equal(moved.astype(int) - 128, factor * difference)
    else:  # white is zero, red is brighter, blue darker
        assert ((moved == 255).all(axis=0) == (difference[0] == 0)).all()
        assert ((moved[0] < moved[2]) == (difference[0] < 0)).all()


@pytest.mark.parametrize("levels", [1, 5])
@pytest.mark.parametrize("shape", [(3, 24, 32), (1, 28, 28)])
def test_pictures_are_byte_for_byte_those_that_were_verified(parse, shape, levels):
    fooled = make.make(bare=True, shape=shape, levels=levels)
    check_pictures(fooled, parse(fooled_page(fooled)))


@pytest.mark.parametrize("which", ["original", "changed"])
def test_the_check_of_pictures_kills_one_grey_level(tree, which):
    fooled = make.make()
    other = getattr(fooled, which).copy()
    other[0, 3, 4] ^= 1
    with pytest.raises(AssertionError):
        check_pictures(dataclasses.replace(fooled, **{which: other}), tree)


def check_large(fooled, text, root):
    """Reduced and said so; a part is exact; the page stays light."""
    assert len(text.encode()) <= 5_000_000
    verdict = section(root, "verdict")
    assert "Reduced for the page" in verdict.words
    assert "the file is fooled.png" in verdict.words
    reduced, part = verdict.all("div", class_="three")
    assert decoded(reduced.all("img", class_="changed")[0]).shape[2] < fooled.changed.shape[2]
    words = verdict.words.split("from row ")[1]
    y, x = int(words.split(",")[0]), int(words.split("column ")[1].split(",")[0])
    exact = decoded(part.all("img", class_="changed")[0])
    window = fooled.changed[:, y : y + exact.shape[1], x : x + exact.shape[2]]
    assert np.array_equal(exact, window)
    assert (window != fooled.original[:, y : y + exact.shape[1], x : x + exact.shape[2]]).any()


def test_a_large_picture_is_reduced_and_said_to_be(parse):
    original, _ = make.pictures((3, 700, 900))
    changed = original.copy()
    changed[:, 500:510, 610:640] += 1
    fooled = make.make(original=original, changed=changed)
    fooled = dataclasses.replace(fooled, size=make.measured(original, changed), smallest=None)
    text = fooled_page(dataclasses.replace(fooled, smallest_changed=None))
    check_large(fooled, text, parse(text))
    with pytest.raises(AssertionError):
        check_large(dataclasses.replace(fooled, changed=changed ^ 1), text, parse(text))


@pytest.mark.slow
def test_the_heaviest_page_is_light_enough(parse):
    rng = np.random.default_rng(0)
    original = rng.integers(8, 248, (3, 3000, 4000), np.uint8)
    changed = original + rng.integers(-8, 9, original.shape).astype(np.int8).astype(np.uint8)
    fooled = make.make(original=original, changed=changed, smallest=None, smallest_changed=None)
    noisy = {
        f"{side}_{method}": rng.normal(size=(3, 3000, 4000)).astype(np.float32)
        for side in ("clean", "changed", "control")
        for method in ("gradient",)
    }
    text = fooled_page(dataclasses.replace(fooled, maps=noisy), way=page._PNG + bytes(2_000_000))
    check_large(fooled, text, parse(text))
