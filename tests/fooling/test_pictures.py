"""Any picture file as a viewer would show it; what is no picture is refused from its header."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustlab.errors import BadRequest
from robustlab.fooling.pictures import at_hand, from_data, from_nothing, pictures_in, read_file

RNG = np.random.default_rng(3)
COLOUR = RNG.integers(0, 256, (14, 18, 3), np.uint8)
GREY = RNG.integers(0, 256, (14, 18), np.uint8)
# A smooth picture, so that lossy formats and conversions stay near.
SMOOTH = np.stack(np.meshgrid(np.arange(18) * 12, np.arange(14) * 16), axis=2).astype(np.uint8)
SMOOTH = np.concatenate([SMOOTH, 255 - SMOOTH[..., :1]], axis=2)


def saved(image: Image.Image, file: Path, **options: object) -> np.ndarray:
    """uint8 [H, W] or [H, W, 3] as it is read back."""
    image.save(file, **options)
    pixels = read_file(file).pixels
    return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.bmp", "a.ppm"])
def test_lossless_formats(tmp_path, name):
    options = {"lossless": True} if name.endswith("webp") else {}
    assert np.array_equal(saved(Image.fromarray(COLOUR), tmp_path / name, **options), COLOUR)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_grey_stays_grey(tmp_path, name):
    assert np.array_equal(saved(Image.fromarray(GREY), tmp_path / name), GREY)


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_lossy_formats(tmp_path, name):
    found = saved(Image.fromarray(SMOOTH), tmp_path / name, quality=95)
    assert np.abs(found.astype(int) - SMOOTH).mean() < 4


def test_cmyk(tmp_path):
    found = saved(Image.fromarray(SMOOTH).convert("CMYK"), tmp_path / "a.jpg", quality=95)
    assert np.abs(found.astype(int) - SMOOTH).mean() < 6
    assert "CMYK converted to RGB" in read_file(tmp_path / "a.jpg").source


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    deep = (GREY.astype(np.uint16) * 257).astype(np.uint16)
    found = saved(Image.fromarray(deep), tmp_path / "a.png")
    assert np.array_equal(found, GREY)
    assert "scaled to 8 bits" in read_file(tmp_path / "a.png").source
    clipped = np.minimum(deep, 255).astype(np.uint8)  # what a plain conversion does
    assert not np.array_equal(found, clipped)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 9.0), (0.0, 200.0)])
def test_floats(tmp_path, low, high):
    levels = np.linspace(low, high, 14 * 18, dtype=np.float32).reshape(14, 18)
    found = saved(Image.fromarray(levels), tmp_path / "a.tif")
    wanted = levels if high == 200 else (levels - low) / (high - low) * 255
    assert np.abs(found - wanted).max() <= 0.51


def test_transparency_lies_on_white(tmp_path):
    alpha = np.full((14, 18, 1), 255, np.uint8)
    alpha[:7] = 0
    found = saved(Image.fromarray(np.concatenate([COLOUR, alpha], axis=2)), tmp_path / "a.png")
    assert (found[:7] == 255).all()
    assert np.array_equal(found[7:], COLOUR[7:])
    assert "transparency laid on white" in read_file(tmp_path / "a.png").source


def test_a_palette_and_two_levels(tmp_path):
    few = Image.fromarray(SMOOTH).quantize(8)
    found = saved(few, tmp_path / "a.gif")
    assert np.array_equal(found, np.asarray(few.convert("RGB")))
    bits = Image.fromarray((GREY > 127).astype(np.uint8) * 255).convert("1")
    assert np.array_equal(saved(bits, tmp_path / "b.png"), (GREY > 127) * 255)


def test_turned_as_the_camera_says(tmp_path):
    """EXIF 6: the first row is the right side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    found = saved(Image.fromarray(COLOUR), tmp_path / "a.png", exif=exif)
    assert np.array_equal(found, np.rot90(COLOUR, k=-1))
    assert "turned as its EXIF tag says" in read_file(tmp_path / "a.png").source


def test_the_first_frame(tmp_path):
    frames = [Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)]
    found = saved(frames[0], tmp_path / "a.png", save_all=True, append_images=frames[1:])
    assert np.array_equal(found, COLOUR)
    assert "the first of 2 frames" in read_file(tmp_path / "a.png").source


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def bare_png(width: int, height: int) -> bytes:
    """A PNG whose header says ``width`` x ``height``, with next to no data behind."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


BAD = {
    "text.png": (b"these are words, no picture", "no readable image"),
    "empty.jpg": (b"", "no readable image"),
    "bomb.png": (bare_png(30_000, 30_000), "refused as a decompression bomb"),
    "nothing.png": (bare_png(0, 0), ""),
    "cut.png": (bare_png(20, 20), "no readable image"),
    "film.mp4": (b"\0\0\0\x18ftypmp42", "film.mp4 is a video; give one of its frames"),
    "film.png": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "no readable image"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture(tmp_path, name):
    content, told = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadRequest) as error:
        read_file(tmp_path / name)
    assert told in str(error.value)
    assert name in str(error.value)


def test_a_cut_jpeg(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadRequest, match="no readable image"):
        read_file(tmp_path / "a.jpg")


def test_folders(tmp_path):
    with pytest.raises(BadRequest, match="holds no pictures; give a folder that does"):
        pictures_in(tmp_path)
    (tmp_path / "in").mkdir()
    for name in ("b.png", "a.jpg"):
        Image.fromarray(COLOUR).save(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("words")
    with pytest.raises(BadRequest, match="its folder 'in' does"):
        pictures_in(tmp_path)
    assert [one.name for one in pictures_in(tmp_path / "in")] == ["a.jpg", "b.png"]


def test_from_nothing():
    noise = from_nothing("noise", 3, (20, 30), seed=1)
    assert noise.pixels.shape == (3, 20, 30)
    assert noise.pixels.min() == 0
    assert noise.pixels.max() == 255
    assert noise.pixels.mean() == pytest.approx(127.5, abs=5)
    again, other = (from_nothing("noise", 3, (20, 30), seed=seed) for seed in (1, 2))
    assert np.array_equal(noise.pixels, again.pixels)
    assert not np.array_equal(noise.pixels, other.pixels)
    assert (from_nothing("black", 1, (4, 4), 0).pixels == 0).all()
    assert (from_nothing("white", 1, (4, 4), 0).pixels == 255).all()
    with pytest.raises(BadRequest, match="did you mean 'black'"):
        from_nothing("blak", 3, (4, 4), 0)


def test_an_image_of_a_data_set_by_its_place_or_its_id():
    """Pages tell the id, whose number is not the place's; both are said."""
    found = from_data("digits:test#3")
    assert found.source == ("Image 3 of digits:test, with the id digits/test/000016, labelled 6.")
    again = from_data("digits:test#digits/test/000016")
    assert again.source == found.source
    assert np.array_equal(again.pixels, found.pixels)
    with pytest.raises(BadRequest, match=r"or an id as digits:test#digits/test/000012"):
        from_data("digits:test#digits/test/000004")


def test_at_hand_is_credited():
    found = at_hand()
    assert found.pixels.shape == (3, 427, 640)
    assert "CC BY 2.0" in found.source


def test_an_image_of_a_data_set():
    from robustlab import load_data

    found = from_data("digits:test#12")
    data = load_data("digits:test")
    assert np.array_equal(found.pixels, data.batch_8bit([12])[0])
    assert f"labelled {data.classes[int(data.labels[12])]}" in found.source
    with pytest.raises(BadRequest, match="digits:test has 360 images"):
        from_data("digits:test#360")
    with pytest.raises(BadRequest, match="there is no file"):
        from_data("nowhere.png")


def test_channels_of_the_network():
    colour = at_hand()
    grey = colour.with_channels(1, "lenet")
    assert grey.pixels.shape == (1, 427, 640)
    red, green, blue = colour.pixels.astype(float)
    assert np.abs(grey.pixels[0] - (0.299 * red + 0.587 * green + 0.114 * blue)).max() <= 1
    assert "lenet takes grey images" in grey.source
    back = grey.with_channels(3, "net")
    assert (back.pixels == grey.pixels).all()
