"""The page of one fooled picture as a reader meets it: headless Chromium, wide and narrow."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from robustlab.reporting.fooling import write_fooled


def beside(name):
    full = f"reporting_tests_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).with_name(f"{name}.py"))
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


make, report = beside("make_fooled"), beside("test_page_browser")
browser, visit = report.browser, report.visit
pytestmark = report.pytestmark

OPEN = "document.querySelectorAll('details').forEach((d) => { d.open = true; })"
LONG = "a_rather_long_name.without_a_space" * 8
KINDS = ["whole", "digits", "large", "long names", "missed"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Paths of pages by their kind."""
    folder = tmp_path_factory.mktemp("pages")
    whole = make.make(shape=(3, 224, 224))
    names = [(i, LONG, p) for i, _, p in make.ASKED]
    large = make.pictures((3, 700, 900))
    kinds = {
        "whole": whole,
        "digits": make.make(shape=(1, 28, 28), levels=8),
        "large": make.make(
            original=large[0],
            changed=large[1],
            size=make.measured(*large),
            smallest_changed=None,
        ),
        "long names": dataclasses.replace(
            whole,
            **dict.fromkeys(("picture", "network", "label", "target", "attack", "sight"), LONG),
            after=make.reading(names),
            facts={LONG: LONG, "command": LONG},
            notes=(LONG,),
            controls=(make.answer(LONG, names, tries=3),),
            transfer=(make.answer(LONG, names),),
            trace=whole.trace | {"layers": np.array([LONG] * 3)},
        ),
        "missed": make.make(bare=True, after=make.reading(make.THIRD)),
    }
    return {k: write_fooled(v, folder / f"{k}.html") for k, v in kinds.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_no_error_and_no_request_leaves_the_page(visit, pages, kind):
    page, messages, requests = visit(pages[kind])
    page.evaluate(OPEN)
    page.wait_for_timeout(100)
    report.check_quiet(messages, requests)
    broken = "() => [...document.images].filter((i) => i.complete && !i.naturalWidth).length"
    assert page.evaluate(broken) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_phone_needs_no_sideways_scrolling(visit, pages, kind):
    page, _, _ = visit(pages[kind], width=390)
    page.evaluate(OPEN)
    report.check_no_overflow(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_aa(visit, pages, scheme):
    page, _, _ = visit(pages["whole"], color_scheme=scheme)
    page.evaluate(OPEN)
    found = page.evaluate(report.CONTRAST)
    assert found["seen"] > 300
    assert found["failures"] == []


def check_switching(page):
    """The original lies over the result, in the same place, and the words change with it."""
    flip = page.locator("#verdict .flip").first
    over, changed = flip.locator(".over"), flip.locator(".changed")
    opacity = "(e) => getComputedStyle(e).opacity"
    assert over.bounding_box() == changed.bounding_box()
    assert over.evaluate(opacity) == "0"
    assert flip.locator(".said").inner_text().startswith("changed, “vulture” 97.3 %")
    flip.locator("label").last.click()
    assert over.evaluate(opacity) == "1"
    assert flip.locator(".of-original").is_visible()
    assert not flip.locator(".of-changed").is_visible()
    page.keyboard.press("ArrowLeft")
    assert over.evaluate(opacity) == "0"


@pytest.mark.parametrize("script", [True, False])
@pytest.mark.parametrize("width", [1280, 390])
def test_switching_works_without_script(visit, pages, script, width):
    page, _, _ = visit(pages["whole"], width=width, java_script_enabled=script)
    check_switching(page)


def test_the_check_of_switching_kills_a_picture_that_stays(visit, pages):
    page, _, _ = visit(pages["whole"])
    page.add_style_tag(content=".flip .turned .over { opacity: 0 !important; }")
    with pytest.raises(AssertionError):
        check_switching(page)


@pytest.mark.parametrize(("kind", "multiple"), [("whole", 1), ("digits", 10), ("large", 1)])
def test_pictures_are_drawn_at_whole_multiples(visit, pages, kind, multiple):
    page, _, _ = visit(pages[kind])
    ratios = "(all) => all.map((i) => i.getBoundingClientRect().width / i.naturalWidth)"
    found = page.locator("#verdict .as-it-is img").evaluate_all(ratios)
    assert found == [multiple] * len(found)
    assert len(found) == 4
