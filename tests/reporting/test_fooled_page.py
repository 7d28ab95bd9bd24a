"""The page of one fooled picture: its numbers are the object's; what is missing is left out."""

from __future__ import annotations

import base64
import dataclasses
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from robustlab.errors import BadRequest, NoVerdict
from robustlab.reporting.fooling import fooled_page, page, write_fooled

spec = importlib.util.spec_from_file_location(
    "reporting_tests_make_fooled", Path(__file__).with_name("make_fooled.py")
)
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)

SECTIONS = [
    *("verdict", "belief", "top5", "controls", "size", "way", "steps", "survival"),
    *("transfer", "trace", "maps", "making"),
]


@pytest.fixture(scope="module")
def text():
    """The page of a whole tale."""
    return fooled_page(make.make())


@pytest.fixture(scope="module")
def tree(parse, text):
    return parse(text)


def section(root, name):
    (found,) = root.all("section", id=name)
    return found


# --- numbers ------------------------------------------------------------------------------------


def table_rows(root):
    return [[c.words for c in r.all("th") + r.all("td")] for r in root.all("tr")]


def check_numbers(fooled, root):
    """Numbers of the page, recomputed from the object; returns how many."""
    tops = make.data_of(root, "top5.csv")[1:]
    told = [(p, *one) for p, r in sides(fooled) for one in r.top]
    assert [(p, int(i), n, float(v)) for p, i, n, v in tops] == told
    shown = [r for r in table_rows(section(root, "top5")) if r[-1].endswith(" %")]
    assert [r[-1] for r in shown] == [f"{100 * p:.1f} %" for *_, p in told]
    (size, *_) = make.data_of(root, "sizes.csv")[1:]
    assert [float(v) for v in size[1:]] == list(dataclasses.astuple(fooled.size))
    count = len(told) + 6
    for place, way in enumerate(fooled.ways):
        rows = make.data_of(root, f"way-{place + 1}.csv")[1:]
        columns = (way.at.tolist(), way.label.tolist(), way.target.tolist(), way.prediction)
        assert [(*map(float, r[:3]), r[3]) for r in rows] == list(zip(*columns, strict=True))
        count += 3 * len(rows)
    for place, curve in enumerate(fooled.survival):
        rows = make.data_of(root, f"kept-{place + 1}.csv")[1:]
        assert [float(r[2]) for r in rows] == curve.target.tolist()
        assert [r[5] == "yes" for r in rows] == curve.clean.tolist()
        count += 2 * len(rows)
    rows = make.data_of(root, "steps.csv")[1:]
    assert [(r[0], float(r[1]), float(r[3]), r[6]) for r in rows] == [
        (s.attack, *row)
        for s in fooled.steps
        for row in zip(s.eps, s.target, s.prediction, strict=True)
    ]
    rows = make.data_of(root, "trace.csv")
    assert [float(r[1]) for r in rows[1:]] == fooled.trace["amplification"].tolist()
    assert [r[0] for r in rows[1:]] == fooled.trace["layers"].tolist()
    controls = make.data_of(root, "controls.csv")[1:]
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


# --- the file -----------------------------------------------------------------------------------


def test_the_same_tale_gives_the_same_bytes(tmp_path, text):
    path = write_fooled(make.make(), tmp_path / "report.html")
    assert path.read_text(encoding="utf-8") == text
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
    assert uri in fooled_page(make.make(bare=True), way=png)
    for other in (b"GIF89a", b""):
        assert "moving picture" not in fooled_page(make.make(bare=True), way=other)
    heavy = fooled_page(make.make(bare=True), way=png + bytes(4_000_000))
    assert "it lies beside it, as <code>way.png</code>" in heavy
    assert len(heavy.encode()) < page.HEAVIEST
