"""`Data`: layouts, dtypes, batches, subsets, the fingerprint; and every kind of nonsense."""

import numpy as np
import pytest
import torch

from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.identity import fingerprint

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 1, 4, 5), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 3, 4, 5), dtype=np.uint8)
LABELS = [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (GREY, GREY),
        (GREY[:, 0], GREY),
        (GREY.transpose(0, 2, 3, 1), GREY),
        (COLOUR, COLOUR),
        (COLOUR.transpose(0, 2, 3, 1), COLOUR),
        (torch.from_numpy(COLOUR), COLOUR),
        (COLOUR.tolist(), None),
    ],
    ids=["nchw1", "nhw", "nhwc1", "nchw3", "nhwc3", "torch", "lists"],
)
def test_layouts(given, kept):
    if kept is None:  # lists hold int64, which is refused rather than guessed
        with pytest.raises(BadRequest, match="dtype int64; give uint8"):
            Data(given, LABELS)
        return
    data = Data(given, LABELS)
    assert data.images.flags.c_contiguous
    np.testing.assert_array_equal(data.images, kept)
    assert data.shape == kept.shape[1:]
    assert data.is_8bit
    assert len(data) == 6


def test_defaults():
    data = Data(GREY, LABELS)
    assert data.classes == ("0", "1", "2")
    assert data.ids[3] == "own/000003"
    assert data.labels.dtype == np.int64
    assert repr(data) == "Data('own': 6 8-bit images 1x4x5, 3 classes)"
    assert Data(GREY, LABELS, 10).classes[-1] == "9"
    assert Data(GREY, LABELS, ["a", "b", "c"], name="x").ids[0] == "x/000000"


def test_the_arrays_are_its_own_and_read_only():
    mine = GREY.copy()
    data = Data(mine, LABELS)
    before = data.fingerprint
    mine[:] = 0
    assert Data(data.images, LABELS).fingerprint == before
    with pytest.raises(ValueError, match="read-only"):
        data.images[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        data.labels[0] = 0
    data.batch([0])[:] = 0  # a batch is a copy
    assert Data(data.images, LABELS).fingerprint == before


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_kept_and_remembered(dtype):
    data = Data(np.full((2, 1, 2, 2), 0.25, dtype), [0, 1])
    assert data.images.dtype == np.float32
    assert not data.is_8bit
    assert data.batch_8bit([0]).max() == 64  # 63.75 rounded


def test_bfloat16_tensors_and_gradients():
    images = torch.full((1, 1, 2, 2), 0.5, dtype=torch.bfloat16, requires_grad=True)
    assert Data(images, torch.tensor([0])).images.max() == 0.5


def test_a_last_bit_outside_is_clipped():
    data = Data(np.array([[[[-5e-7, 1 + 5e-7]]]]), [0])
    assert (data.images.min(), data.images.max()) == (0.0, 1.0)


def test_every_level_survives_both_batches():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    data = Data(levels, [0])
    floats = data.batch(slice(None))
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(floats, (levels / np.float32(255)).astype(np.float32))
    np.testing.assert_array_equal(Data(floats, [0]).batch_8bit([0]), levels)
    np.testing.assert_array_equal(data.batch_8bit([0]), levels)


@pytest.mark.parametrize("rows", [[4, 1], np.array([4, 1]), np.array([4, 1]) - 6])
def test_subset_keeps_ids(rows):
    part = Data(GREY, LABELS).subset(rows)
    assert part.ids == ("own/000004", "own/000001")
    assert part.labels.tolist() == [1, 1]
    np.testing.assert_array_equal(part.images, GREY[[4, 1]])
    assert part.classes == ("0", "1", "2")


def test_subset_by_slice_mask_and_nothing():
    data = Data(GREY, LABELS)
    assert data.subset(slice(1, 3)).ids == data.ids[1:3]
    assert data.subset(data.labels == 2).ids == (data.ids[2], data.ids[5])
    assert len(data.subset([])) == 0
    assert data.subset(slice(None)).fingerprint == data.fingerprint


def changes():
    other = GREY.copy()
    other[5, 0, 3, 4] ^= 1
    yield "pixel", Data(other, LABELS)
    yield "label", Data(GREY, [0, 1, 2, 0, 1, 1], 3)
    yield "id", Data(GREY, LABELS, ids=[f"own/{k:06d}" for k in (0, 1, 2, 3, 4, 6)])
    yield "shape", Data(GREY.reshape(6, 1, 5, 4), LABELS)
    yield "dtype", Data(GREY / 255, LABELS)
    yield "order", Data(GREY, LABELS).subset([1, 0, 2, 3, 4, 5])


def tells_apart(weigh):
    """Every change changes the fingerprint, and no two changes to the same."""
    found = [weigh(Data(GREY, LABELS)), *(weigh(data) for _, data in changes())]
    assert len(set(found)) == len(found)


def test_fingerprint_tells_changes_apart():
    tells_apart(lambda data: data.fingerprint)
    assert Data(GREY, LABELS, ["a", "b", "c"], ids=Data(GREY, LABELS).ids).fingerprint == (
        Data(GREY, LABELS).fingerprint
    )


@pytest.mark.parametrize(
    "mutant",
    [
        lambda data: fingerprint([data.images.data]),
        lambda data: fingerprint([data.images.data, data.labels.data]),
        lambda data: fingerprint([data.labels.data, "".join(data.ids).encode()]),
    ],
    ids=["pixels alone", "no ids", "no pixels"],
)
def test_that_check_kills(mutant):
    with pytest.raises(AssertionError):
        tells_apart(mutant)


FLOATS = np.full((2, 1, 2, 2), 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((FLOATS * 600, [0, 1]), r"range from 300 to 300, outside \[0, 1\].*\(mean, std\)"),
        ((FLOATS * 200, [0, 1]), r"range from 100 to 100.*divide by 255"),
        ((FLOATS - 1, [0, 1]), r"range from -0\.5 to -0\.5.*normalisation \(mean, std\)"),
        ((FLOATS * np.nan, [0, 1]), r"image 0 holds NaN or infinity \(8 such values"),
        ((np.concatenate([FLOATS, FLOATS * np.inf]), [0] * 4), "image 2 holds NaN or infinity"),
        ((FLOATS.astype(int), [0, 1]), "dtype int64; give uint8"),
        ((FLOATS > 0, [0, 1]), "dtype bool"),
        ((np.zeros((2, 2)), [0, 1]), r"shape \[2, 2\]; give \[n, channels"),
        ((np.zeros((2, 2, 4, 4)), [0, 1]), "neither 1 nor 3 channels"),
        ((np.zeros((2, 4, 4, 4), np.uint8), [0, 1]), "convert them to grey or RGB"),
        ((np.zeros((0, 1, 4, 4), np.uint8), []), r"no images \(n = 0\)"),
        ((np.zeros((2, 1, 0, 4), np.uint8), [0, 1]), "hold no pixels"),
        (([np.zeros((1, 2, 2)), np.zeros((1, 3, 3))], [0, 1]), "do not form one array"),
        ((FLOATS, [0]), "2 images but 1 labels"),
        ((FLOATS, [0.0, 1.0]), r"dtype float64; give integers .*astype\(int\)"),
        ((FLOATS, [True, False]), "dtype bool; give integers"),
        ((FLOATS, [[0, 1], [1, 0]]), r"shape \[2, 2\].*argmax\(1\)"),
        ((FLOATS, [0, -1]), "label -1 of image 1 names no class; there are 1 classes"),
        ((FLOATS, [3, 9], 3), "label 3 of image 0 names no class; there are 3 .* 0 to 2"),
        ((FLOATS, [0, 1], ["a", "a"]), "class name 'a' is given twice"),
        ((FLOATS, [0, 1], "ab"), "'ab' is neither a number nor a list"),
        ((FLOATS, [0, 1], 0), "there are no classes"),
        ((FLOATS, [0, 1], None, "x", ["a", "a"]), "id 'a' is given 2 times"),
        ((FLOATS, [0, 1], None, "x", ["a"]), "2 images but 1 ids"),
    ],
)
def test_nonsense_is_refused(arguments, message):
    with pytest.raises(BadRequest, match=message):
        Data(*arguments)


def check_middle(middle, kind):
    """Against the window pixel by pixel, for sides that do and do not stand in the middle."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 3, 9, 12), np.uint8)
    images = pixels if kind == "8-bit" else (pixels / np.float32(255)).astype(np.float32)
    data = Data(images, [0, 1, 1, 0, 1], name="large")
    part = middle(data, 4, 6)
    assert part.shape == (3, 4, 6)
    for n, c, i, j in np.ndindex(*part.images.shape):
        assert part.images[n, c, i, j] == images[n, c, i + 2, j + 3]
    assert part.ids == data.ids
    assert part.labels.tolist() == data.labels.tolist()
    assert part.fingerprint != data.fingerprint
    assert part.fingerprint == Data(np.array(part.images), data.labels, ids=data.ids).fingerprint


@pytest.mark.parametrize("kind", ["8-bit", "float"])
def test_middle(kind):
    check_middle(Data.middle, kind)


def test_that_check_kills_a_window_of_the_corner():
    def corner(data, height, width):
        return Data(data.images[:, :, :height, :width], data.labels, ids=data.ids)

    with pytest.raises(AssertionError):
        check_middle(corner, "8-bit")


@pytest.mark.parametrize("size", [(10, 6), (4, 13), (0, 2)])
def test_there_is_no_middle_larger_than_the_image(size):
    data = Data(np.zeros((1, 1, 9, 12), np.uint8), [0], classes=2)
    with pytest.raises(BadRequest, match=f"9x12 pixels have no window of {size[0]}x{size[1]}"):
        data.middle(*size)
