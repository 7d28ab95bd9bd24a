"""The page of one fooled picture: its pictures and numbers are the object's, its text is safe."""

from __future__ import annotations

import base64
import csv
import dataclasses
import importlib.util
import io
import math
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from jinja2 import Environment, FileSystemLoader
from PIL import Image

from robustlab import shelf
from robustlab.errors import BadRequest, NoVerdict
from robustlab.fooled import Fooled
from robustlab.reporting.fooling import fooled_page, page, write_fooled
from robustlab.reporting.section import environment

spec = importlib.util.spec_from_file_location(
    "reporting_tests_make_fooled", Path(__file__).with_name("make_fooled.py")
)
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>`{{7*7}}` $x^2$ \u202e =1+1"
SECTIONS = [
    *("verdict", "belief", "top5", "controls", "size", "way", "steps", "survival"),
    *("transfer", "trace", "maps", "making"),
]


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
    text = fooled_page(dataclasses.replace(fooled, maps=noisy), way=page._PNG + bytes(700_000))
    check_large(fooled, text, parse(text))


# --- numbers ------------------------------------------------------------------------------------


def table_rows(root):
    return [[c.words for c in r.all("th") + r.all("td")] for r in root.all("tr")]


def data_of(root, name):
    """The rows of a CSV in the page."""
    (link,) = [a for a in root.all("a") if a.attributes.get("download") == name]
    text = unquote(link.attributes["href"].split(",", 1)[1])
    return list(csv.reader(io.StringIO(text)))


def check_numbers(fooled, root):
    """Numbers of the page, recomputed from the object; returns how many."""
    tops = data_of(root, "top5.csv")[1:]
    told = [(p, *one) for p, r in sides(fooled) for one in r.top]
    assert [(p, int(i), n, float(v)) for p, i, n, v in tops] == told
    shown = [r for r in table_rows(section(root, "top5")) if r[-1].endswith(" %")]
    assert [r[-1] for r in shown] == [f"{100 * p:.1f} %" for *_, p in told]
    (size, *_) = data_of(root, "sizes.csv")[1:]
    assert [float(v) for v in size[1:]] == list(dataclasses.astuple(fooled.size))
    count = len(told) + 6
    for place, way in enumerate(fooled.ways):
        rows = data_of(root, f"way-{place + 1}.csv")[1:]
        columns = (way.at.tolist(), way.label.tolist(), way.target.tolist(), way.prediction)
        assert [(*map(float, r[:3]), r[3]) for r in rows] == list(zip(*columns, strict=True))
        count += 3 * len(rows)
    for place, curve in enumerate(fooled.survival):
        rows = data_of(root, f"kept-{place + 1}.csv")[1:]
        assert [float(r[2]) for r in rows] == curve.target.tolist()
        assert [r[5] == "yes" for r in rows] == curve.clean.tolist()
        count += 2 * len(rows)
    rows = data_of(root, "steps.csv")[1:]
    assert [(r[0], float(r[1]), float(r[3]), r[6]) for r in rows] == [
        (s.attack, *row)
        for s in fooled.steps
        for row in zip(s.eps, s.target, s.prediction, strict=True)
    ]
    rows = data_of(root, "trace.csv")
    assert [float(r[1]) for r in rows[1:]] == fooled.trace["amplification"].tolist()
    assert [r[0] for r in rows[1:]] == fooled.trace["layers"].tolist()
    controls = data_of(root, "controls.csv")[1:]
    assert [(r[0], int(r[1]), int(r[2])) for r in controls] == [
        (c.name, c.tries, c.fooling) for c in fooled.controls
    ]
    return count + 3 * len(rows)


def sides(fooled):
    return (("original", fooled.before), ("changed", fooled.after))


def test_the_numbers_are_those_of_the_object(tree):
    assert check_numbers(make.make(), tree) > 40


@pytest.mark.parametrize("name", ["after", "size", "ways", "survival", "steps", "controls"])
def test_the_check_of_numbers_kills(tree, name):
    fooled = make.make()
    ways, steps, survival = fooled.ways, fooled.steps, fooled.survival
    other = {
        "after": make.reading(make.THIRD),
        "size": dataclasses.replace(fooled.size, mean=fooled.size.mean + 0.01),
        "ways": (dataclasses.replace(ways[0], target=ways[0].target + 0.01), *ways[1:]),
        "survival": (dataclasses.replace(survival[0], clean=~survival[0].clean), *survival[1:]),
        "steps": (dataclasses.replace(steps[0], target=steps[0].target + 0.01), *steps[1:]),
        "controls": (dataclasses.replace(fooled.controls[0], fooling=3), *fooled.controls[1:]),
    }[name]
    with pytest.raises(AssertionError):
        check_numbers(dataclasses.replace(fooled, **{name: other}), tree)


def test_sections_stand_in_order_and_the_contents_lead_to_them(tree):
    assert [s.attributes["id"] for s in tree.all("section")] == SECTIONS
    for nav in tree.all("nav"):
        assert [a.attributes["href"][1:] for a in nav.all("a")] == SECTIONS
    for plot in tree.all("svg", class_="plot"):
        assert len(plot.attributes["aria-label"]) > 40
    assert all("alt" in image.attributes for image in tree.all("img"))


OPTIONAL = {
    "controls": "controls",
    "ways": "way",
    "steps": "steps",
    "survival": "survival",
    "transfer": "transfer",
    "trace": "trace",
    "maps": "maps",
}


@pytest.mark.parametrize("name", OPTIONAL)
def test_what_was_not_asked_for_is_not_shown(parse, name):
    empty = {} if name in ("trace", "maps") else ()
    root = parse(fooled_page(make.make(**{name: empty})))
    found = [s.attributes["id"] for s in root.all("section")]
    assert found == [s for s in SECTIONS if s != OPTIONAL[name]]


@pytest.mark.parametrize("changes", [{}, {"notes": ()}, {"facts": {}}, {"params": {}}])
def test_the_barest_tale_is_told(parse, changes):
    root = parse(fooled_page(make.make(bare=True, **changes)))
    assert [s.attributes["id"] for s in root.all("section")] == [
        "verdict",
        "belief",
        "top5",
        "size",
        "making",
    ]
    assert "Not looked at: random changes of the same size" in section(root, "belief").words


@pytest.mark.parametrize("untold", ["flips", "controls", "restoring", "control_amplification"])
def test_a_trace_may_hold_less(untold):
    trace = {k: v for k, v in make.make().trace.items() if k != untold}
    assert 'id="trace"' in fooled_page(make.make(trace=trace))


@pytest.mark.parametrize("left", ["control_gradient", "methods", "changed_likeness"])
def test_attribution_may_hold_less(left):
    maps = {k: v for k, v in make.make().maps.items() if k != left}
    assert 'id="maps"' in fooled_page(make.make(maps=maps))


def test_without_a_target_nothing_is_said_of_one(parse):
    fooled = make.make(target=None)
    untold = {
        name: tuple(
            dataclasses.replace(one, target=np.full(len(one.target), math.nan))
            for one in getattr(fooled, name)
        )
        for name in ("ways", "steps", "survival")
    }
    before, after = (dataclasses.replace(r, target=math.nan) for _, r in sides(fooled))
    root = parse(fooled_page(dataclasses.replace(fooled, **untold, before=before, after=after)))
    assert "asked for" not in section(root, "steps").text.replace("p asked for", "")
    assert "at target" not in section(root, "transfer").words
    assert "None" not in root.words.replace("None of", "")
    assert " nan" not in root.words.lower()


# --- safety -------------------------------------------------------------------------------------


def hostile(value):
    """Every text of a tale replaced; names of arrays and the picture's kind stay."""
    if isinstance(value, str):
        return EVIL
    if isinstance(value, tuple):
        return tuple(hostile(v) for v in value)
    if isinstance(value, Mapping):
        return {EVIL + str(k): hostile(v) for k, v in value.items()}
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        return np.array([EVIL] * len(value))
    if dataclasses.is_dataclass(value):
        kept = ("norm", "on", "eps", "trace", "maps")
        names = [f.name for f in dataclasses.fields(value) if f.name not in kept]
        made = {n: hostile(getattr(value, n)) for n in names}
        if isinstance(value, Fooled):
            for name in ("trace", "maps"):
                made[name] = {k: hostile(v) for k, v in getattr(value, name).items()}
            made["facts"] = made["facts"] | {"command": EVIL}
        return dataclasses.replace(value, **made)
    return value


def check_safe(root):
    """One script, the page's own; no address but data and anchors, no handler, no foreign tag."""
    (script,) = root.all("script")
    assert script.text == (shelf.reports() / "page.js").read_text(encoding="utf-8")
    assert not root.all("iframe") + root.all("form") + root.all("object")
    for node in root.walk():
        for name, value in node.attributes.items():
            assert not name.startswith("on"), name
            if name in ("src", "href", "xlink:href"):
                assert value.startswith(("data:", "#")), value
    return len(list(root.walk()))


def test_hostile_texts_in_every_field_are_only_text(parse):
    text = fooled_page(hostile(make.make()))
    assert check_safe(parse(text)) > 500
    assert "alert(1)</script>" not in text
    assert "49" not in parse(text).all("h1")[0].text
    assert "\u202e" not in parse(text).all("h1")[0].text + parse(text).all("title")[0].text
    for row in data_of(parse(text), "top5.csv"):
        assert not row[2].startswith("=")


def test_the_check_of_safety_kills_a_page_that_does_not_escape(parse, monkeypatch):
    bare = Environment(
        loader=FileSystemLoader(shelf.reports()), trim_blocks=True, lstrip_blocks=True
    )
    bare.filters |= environment().filters
    monkeypatch.setattr(page, "environment", lambda: bare)
    with pytest.raises((AssertionError, ValueError)):
        check_safe(parse(fooled_page(hostile(make.make()))))


# --- the file -----------------------------------------------------------------------------------


def test_the_same_tale_gives_the_same_bytes(tmp_path):
    path = write_fooled(make.make(), tmp_path / "report.html")
    assert path.read_text(encoding="utf-8") == fooled_page(make.make())
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("original", "changed"),
    [
        (np.zeros((3, 4, 4), np.uint8), np.zeros((3, 4, 5), np.uint8)),
        (np.zeros((3, 4, 4)), np.zeros((3, 4, 4))),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)),
        (np.zeros((3, 0, 0), np.uint8), np.zeros((3, 0, 0), np.uint8)),
    ],
)
def test_pictures_that_are_no_pair_are_refused_and_nothing_is_written(tmp_path, original, changed):
    with pytest.raises(BadRequest, match="must be uint8"):
        write_fooled(make.make(original=original, changed=changed), tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(NoVerdict):
        write_fooled(make.make(bare=True), tmp_path / "nowhere" / "report.html")


def test_the_moving_picture_stands_in_the_page_where_it_is_light():
    png = page._PNG + b"rest"
    uri = "data:image/png;base64," + base64.b64encode(png).decode()
    assert uri in fooled_page(make.make(), way=png)
    for other in (b"GIF89a", b"", page._PNG + bytes(900_000)):
        assert "moving picture" not in fooled_page(make.make(), way=other)
