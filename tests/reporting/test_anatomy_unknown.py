"""What is not known of a network is not known on its page: no number stands in its place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import robustlab
from robustlab import Backbone, load_data
from robustlab.reporting.anatomy.found import Network, network
from robustlab.reporting.anatomy.stepper import stepper, unreached
from robustlab.reporting.section import Story
from robustlab.results import Results
from robustlab.suite import ProbeSpec, Suite

pytestmark = pytest.mark.slow


class Lost(nn.Module):
    """Fields are lost behind the first convolution; of what works in the spectrum nothing is known
    but that it is there. The first convolution skips pixels, and its kernel has gaps.
    """

    def __init__(self, rolled: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 2, 5, 1, 2)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(4 * 7 * 7, 10)
        self.rolled = rolled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.roll(1, 2) if self.rolled else x
        x = torch.fft.fft2(self.first(x)).real
        logits: torch.Tensor = self.last(self.second(x).relu().flatten(1))
        return logits


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    torch.manual_seed(0)
    given: dict[str, Any] = {"input_shape": (1, 32, 32), "classes": 10}
    nets = [Backbone(Lost(b).eval(), name=n, **given) for n, b in (("lost", False), ("none", True))]
    suite = Suite(take=10, probes=(ProbeSpec("anatomy", {"repeats": 0, "check": 2}),))
    out = tmp_path_factory.mktemp("lost") / "run"
    data = load_data("digits:test", take=10)
    return Results(robustlab.run(suite, backbones=nets, data=data, out=out).folder)


@pytest.fixture(scope="module")
def found(results: Results) -> dict[str, Network]:
    groups = [g for g in Story.of(results).evidence.landed if g.plan["probe"] == "anatomy"]
    return {g.backbone: one for g in groups if (one := network(g)) is not None}


@pytest.fixture(scope="module")
def part(results: Results, parse: Any) -> Any:
    page = parse((results.folder / "report.html").read_text(encoding="utf-8"))
    (node,) = [one for one in page.all("section") if one.attributes.get("id") == "anatomy"]
    return node


def check_the_last_map(part: Any) -> None:
    """3 pixels are those of `first`; `second` would see more, and nobody knows how much."""
    facts = [one.words.partition("top-1")[0].strip() for one in part.all("dl", class_="facts")]
    assert facts[0].endswith("receptive field of the last mapnot known behind first (3 pixels)")
    assert facts[1].endswith("receptive field of the last mapnot known")
    assert "A line stops where fields cannot be followed" in part.words


def test_the_field_of_the_last_map_is_not_that_of_an_earlier_one(part: Any) -> None:
    check_the_last_map(part)


def test_that_check_kills_the_last_number_there_is(
    results: Results, parse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robustlab.reporting.anatomy import anatomy

    def last(one: Network) -> str:
        known = [v for m in one.maps if (v := m.get("field_columns")) == v]
        return f"{known[-1]:.0f} pixels" if known else "not known"

    monkeypatch.setattr(Network, "sees", property(last))
    section = anatomy(Story.of(results))
    assert section is not None
    with pytest.raises(AssertionError):
        check_the_last_map(parse(f"<section>{section.body}</section>"))


def test_work_that_is_not_known_has_no_shares(part: Any, found: dict[str, Network]) -> None:
    assert all(found["lost"].share("multiply_adds", k) != 0 for k in ("convolution", "the rest"))
    (link,) = [a for a in part.all("a") if a.attributes.get("download", "") == "anatomy-shares.csv"]
    lines = link.attributes["href"].replace("%2C", ",").split("%0A")
    work = [line for line in lines if "lost,multiply_adds" in line]
    assert len(work) == 4
    assert all(line.removesuffix("%0D").endswith(",") for line in work)
    label = part.all("svg")[0].attributes["aria-label"]
    assert "multiply-adds not known" in label
    assert "not known multiply-adds, that is not known FLOPs" in part.words
    assert "nan" not in part.words.lower().split()
    assert "not measured by gradient: the work of this network is not known" in part.words


def test_a_title_is_made_of_known_numbers(results: Results, part: Any) -> None:
    assert "of its work" not in part.all("h2")[0].words
    assert "nan" not in part.all("h2")[0].words


def test_red_pixels_are_counted_where_they_are(part: Any, found: dict[str, Network]) -> None:
    """32 pixels, windows at -1, 4, ... 29 that read two pixels, one apart: by hand."""
    layer = next(one for one in found["lost"].layers if one.name == "first")
    read = {start + step for start in range(-1, 30, 5) for step in (0, 2)} | {31}
    assert layer.output == (4, 7, 7)
    missed = [pixel for pixel in range(32) if pixel not in read]
    assert unreached(layer) == (len(missed), 0)
    caption = next(one.words for one in part.all("figcaption") if "(W − F" in one.words)
    assert "(32 − 3 + 2·1) / 5 + 1 = 7.2, rounded to 7 (floor)" in caption
    assert "F is the span 3 of 2 values 2 apart" in caption
    assert f"0 dropped behind the last one, {len(missed)} between windows" in caption
    drawn = stepper(layer)
    assert "dropped<" not in str(drawn["wide"]) + str(drawn["narrow"])
