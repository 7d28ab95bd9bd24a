"""The animation, read back: the pictures' own pixels, bars as long as they say, small enough."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from robustlab.errors import BadRequest
from robustlab.fooling import animation
from robustlab.fooling.animation import Frame, animated, frames_of, magnified, shrunk
from robustlab.fooling.readings import reading
from robustlab.fooling.ways import walked
from robustlab.registry import resolve

pytestmark = pytest.mark.usefixtures("one_thread")

BLUE, VERMILION = (0, 114, 178), (213, 94, 0)


def read_back(made):
    """Every frame as an array [H, W, 3], and how long it stands."""
    with Image.open(io.BytesIO(made)) as file:
        assert file.format == "PNG"
        frames, times = [], []
        for number in range(getattr(file, "n_frames", 1)):
            file.seek(number)
            frames.append(np.asarray(file.convert("RGB")))
            times.append(file.info.get("duration"))
        return frames, times, file.info.get("loop")


def noise(n=4, channels=3, height=40, width=60, seed=0):
    """Frames of noise, of which nothing can be compressed away."""
    rng = np.random.default_rng(seed)
    shape = (n, channels, height, width)
    return [
        Frame(pixels, f"look {k}", "panda" if k < n / 2 else "vulture", 1 - k / n, k / n)
        for k, pixels in enumerate(rng.integers(0, 256, shape, np.uint8))
    ]


def holds(shown, pixels):
    """Whether the picture's area of a frame is the picture, each pixel a square, to the byte."""
    _, height, width = pixels.shape
    times = magnified(height, width)
    squares = np.kron(pixels.transpose(1, 2, 0), np.ones((times, times, 1), np.uint8))
    area = shown[: height * times, : width * times]
    return bool((area == np.broadcast_to(squares, area.shape)).all())


@pytest.mark.parametrize(
    ("channels", "height", "width"), [(3, 40, 60), (1, 32, 32), (3, 300, 200), (3, 200, 480)]
)
def test_the_pixels_are_the_pictures_to_the_byte(channels, height, width):
    frames = noise(3, channels, height, width)
    shown, _, loop = read_back(animated(frames, "panda", "vulture"))
    assert len(shown) == 3
    assert all(holds(one, frame.pixels) for one, frame in zip(shown, frames, strict=True))
    assert loop == 0


@pytest.mark.parametrize("form", ["JPEG", "GIF", "one level off"])
def test_a_lossy_one_dies(form):
    frame = noise(1)[0]
    (shown,), _, _ = read_back(animated([frame], "panda"))
    assert holds(shown, frame.pixels)
    if form == "one level off":
        changed = shown.copy()
        changed[7, 7, 1] ^= 1
    else:
        buffer = io.BytesIO()
        Image.fromarray(shown).save(buffer, form)
        changed = np.asarray(Image.open(buffer).convert("RGB"))
    assert not holds(changed, frame.pixels)


def bars(shown):
    """The lengths of the two bars, as shares of the panel's width."""
    low, high = shown.shape[0] - 8 - 4, shown.shape[0] - 8 - 4 - 31
    room = shown.shape[1] - 16
    return [
        float((shown[y] == colour).all(axis=1).sum() / room)
        for y, colour in ((high, BLUE), (low, VERMILION))
    ]


def test_bars_are_as_long_as_the_probabilities():
    frames = noise(4)
    for one, frame in zip(read_back(animated(frames, "panda", "vulture"))[0], frames, strict=True):
        assert bars(one) == pytest.approx([frame.label, frame.target], abs=0.002)


def test_without_a_target_the_second_bar_is_of_all_others():
    frame = Frame(noise(1)[0].pixels, "x", "cat", 0.25, float("nan"))
    (shown,), _, _ = read_back(animated([frame], "panda"))
    assert bars(shown) == pytest.approx([0.25, 0.75], abs=0.002)


def test_times_of_the_first_and_the_last():
    _, times, _ = read_back(animated(noise(4), "panda", "vulture"))
    assert times == [1200, 160, 160, 2400]


def test_many_frames_become_24_with_the_first_and_the_last():
    frames = noise(60, height=113, width=113)
    shown, _, _ = read_back(animated(frames, "panda", "vulture"))
    assert len(shown) == 24
    assert holds(shown[0], frames[0].pixels)
    assert holds(shown[-1], frames[-1].pixels)


def test_bytes_are_saved_by_fewer_frames_before_smaller_pictures():
    frames = noise(14, height=230, width=230)
    whole = len(animated(frames, "panda", "vulture"))
    made = animated(frames, "panda", "vulture", largest=whole * 3 // 4)
    shown, _, _ = read_back(made)
    assert len(made) <= whole * 3 // 4
    assert 8 <= len(shown) < 14
    assert holds(shown[-1], frames[-1].pixels)
    made = animated(frames, "panda", "vulture", largest=whole // 2)
    shown, _, _ = read_back(made)
    assert len(made) <= whole // 2
    assert len(shown) == 8
    assert not holds(shown[-1], frames[-1].pixels)


def test_no_room_is_told():
    with pytest.raises(BadRequest, match="fits in 300 bytes"):
        animated(noise(4), "panda", "vulture", largest=300)
    with pytest.raises(BadRequest, match="needs a frame"):
        animated([], "panda")


def test_a_large_picture_is_shrunk_first():
    pixels = np.zeros((3, 960, 500), np.uint8)
    pixels[:, :, 250:] = 200
    assert shrunk(pixels).shape == (3, 480, 250)
    assert shrunk(pixels[:, :480]) is not None
    assert (shrunk(pixels[:, :480, :400]) == pixels[:, :480, :400]).all()
    (shown,), _, _ = read_back(animated([Frame(pixels, "x", "y", 0.5, 0.5)], "a", "b"))
    assert holds(shown, shrunk(pixels))


def test_long_and_hostile_names_stay_in_the_panel():
    name = "<script>&\x00\n" + "W" * 300
    frame = Frame(noise(1)[0].pixels, "x", name, 0.5, 0.5)
    (shown,), _, _ = read_back(animated([frame], name, name))
    assert shown.shape[1] == 320
    assert (shown[120:, -7:] == 255).all()


def test_the_same_frames_give_the_same_bytes():
    assert animated(noise(4), "a", "b") == animated(noise(4), "a", "b")


def test_the_way_of_a_search(case):
    attack = resolve("pgd").obj(eps="20/255", early_exit=False, steps=12, target=case.target)
    walk = walked(case.backbone, attack, case.original, case.label, case.target, keep=8)
    before, after = (
        reading(case.backbone, case.read(p), case.label, case.target)
        for p in (case.original, case.changed)
    )
    frames = frames_of(walk, case.original, case.changed, before, after)
    assert [frame.seen for frame in (frames[0], frames[-1])] == [
        str(case.label),
        str(case.target),
    ]
    assert frames[2].where == "look 2 of the search"
    assert frames[2].target == walk.way.target[2]
    assert (frames[2].pixels == walk.pictures[1]).all()
    shown, _, _ = read_back(animated(frames, str(case.label), str(case.target)))
    assert holds(shown[0], case.original)
    assert holds(shown[-1], case.changed)
    assert bars(shown[-1]) == pytest.approx([after.label, after.target], abs=0.005)


@pytest.mark.slow
def test_the_pandas_way_fits(panda):
    attack = resolve("pgd").obj(eps="1/255", target=23, early_exit=False)
    walk = walked(panda.backbone, attack, panda.original, 388, 23, small=shrunk)
    before, after = (
        reading(panda.backbone, panda.read(p), 388, 23) for p in (panda.original, panda.changed)
    )
    frames = frames_of(walk, panda.original, panda.changed, before, after)
    made = animated(frames, "giant panda", "vulture")
    shown, _, _ = read_back(made)
    assert len(made) <= animation.LARGEST
    assert 8 <= len(shown) <= 24
    assert holds(shown[0], panda.original)
    assert holds(shown[-1], panda.changed)
