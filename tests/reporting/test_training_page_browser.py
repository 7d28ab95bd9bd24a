"""The training page as a reader meets it: headless Chromium, light and dark, wide and narrow."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from robustlab.backbones.cards import shipped
from robustlab.reporting.training import write_training_page


def beside(name):
    full = f"reporting_tests_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).with_name(f"{name}.py"))
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


make, report = beside("make_training"), beside("test_page_browser")
browser, visit = report.browser, report.visit
pytestmark = report.pytestmark

LONG = ("a_rather_long_prefix.of_layers" + ".0.conv1" * 6,) * 30


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Paths of pages by their kind."""
    folder = tmp_path_factory.mktemp("pages")
    whole = make.adversarial(make.make_card())
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>" + "x" * 300
    kinds = {
        "whole": (whole, make.make_arrays()),
        "colour": (make.make_card(120), make.make_arrays(120, shape=(64, 3, 7, 7))),
        "long names": (
            whole | {"name": evil, "builder": evil, "stopped": evil, "torch": evil},
            make.make_arrays(layers=LONG),
        ),
        "large filters": (whole, make.make_arrays(shape=(3, 1, 200, 200))),
    }
    found = {k: write_training_page(make.write(folder, *v, stem=k)) for k, v in kinds.items()}
    card = shipped()["mlp@digits"].read_bytes()
    (folder / "shipped.json").write_bytes(card)
    return found | {"shipped": write_training_page(folder / "shipped.json")}


KINDS = ["whole", "colour", "long names", "large filters", "shipped"]
OPEN = "document.querySelectorAll('details').forEach((d) => { d.open = true; })"


@pytest.mark.parametrize("kind", KINDS)
def test_no_error_no_request_and_no_dialog(visit, pages, kind):
    page, messages, requests = visit(pages[kind])
    page.on("dialog", lambda dialog: messages.append(dialog.message))
    page.mouse.wheel(0, 20_000)
    page.wait_for_timeout(100)
    report.check_quiet(messages, requests)
    broken = "() => [...document.images].filter((i) => i.complete && !i.naturalWidth).length"
    assert page.evaluate(broken) == 0


def test_the_check_of_quiet_kills_a_planted_request(visit, pages, tmp_path):
    text = pages["whole"].read_text(encoding="utf-8")
    path = tmp_path / "planted.html"
    planted = '<script>console.log(1)</script><img src="https://example.org/x.png" alt="">'
    path.write_text(text.replace("</main>", f"{planted}</main>"), encoding="utf-8")
    _, messages, requests = visit(path)
    with pytest.raises(AssertionError):
        report.check_quiet(messages, requests)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_aa(visit, pages, scheme):
    page, _, _ = visit(pages["whole"], color_scheme=scheme)
    page.evaluate(OPEN)
    found = page.evaluate(report.CONTRAST)
    assert found["seen"] > 300
    assert found["failures"] == []
    page.add_style_tag(content="p, td { color: #77787a !important; }")
    assert len(page.evaluate(report.CONTRAST)["failures"]) > 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_phone_needs_no_sideways_scrolling(visit, pages, kind):
    page, _, _ = visit(pages[kind], width=390)
    page.evaluate(OPEN)
    report.check_no_overflow(page)
    assert page.locator(".narrow-drawing:visible").count() >= 2
    assert page.locator(".wide-drawing:visible").count() == 0
    page.add_style_tag(content=".facts dd { width: 500px; }")
    with pytest.raises(AssertionError):
        report.check_no_overflow(page)


RATIOS = "(all) => [...new Set(all.map((i) => i.getBoundingClientRect().width / i.naturalWidth))]"


def test_filters_are_drawn_at_whole_multiples_in_rows_that_align(visit, pages):
    for width in (1280, 390):
        page, _, _ = visit(pages["whole"], width=width)
        pictures = page.locator(".snapshot img")
        (ratio,) = pictures.evaluate_all(RATIOS)
        assert ratio >= 4
        assert ratio == int(ratio)
        assert pictures.first.evaluate("(i) => getComputedStyle(i).imageRendering") == "pixelated"
        places = "(all) => new Set(all.map((i) => i.getBoundingClientRect().x)).size"
        assert pictures.evaluate_all(places) == 6  # as many columns as filters


def test_without_script_everything_is_said(visit, pages):
    page, messages, requests = visit(pages["whole"], java_script_enabled=False)
    report.check_quiet(messages, requests)
    text = page.locator("main").inner_text()
    for said in ("a stronger attack may find less", "robustlab train", "Training ran all of"):
        assert said in text
    assert page.locator("svg.plot:visible").count() == 3
    assert page.locator(".theme:visible").count() == 0
    page.locator("summary", has_text="Data of this figure").first.click()
    assert page.locator("table.numbers:visible").count() == 1


def test_the_theme_turns_and_the_keyboard_reaches(visit, pages):
    page, _, _ = visit(pages["whole"], color_scheme="light")
    found = report.reached(page, 13)
    assert found[0][:2] == ["A.skip", "Skip to the verdict"]
    assert all(seen for _, _, seen in found)
    assert {"BUTTON.theme", "SUMMARY.", "DIV.scroll"} <= {name for name, _, _ in found}
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator(".theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_it_prints(visit, pages, tmp_path):
    page, _, _ = visit(pages["whole"])
    page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.locator(".side:visible, .theme:visible, .data:visible").count() == 0
    style = "(f) => getComputedStyle(f).breakInside"
    assert page.locator("figure").first.evaluate(style) == "avoid"
    adjusted = "(i) => getComputedStyle(i).printColorAdjust"
    assert page.locator(".strips img").first.evaluate(adjusted) == "exact"
