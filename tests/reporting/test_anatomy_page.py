"""What the page says of a network's anatomy, against the table that it comes from."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import robustlab
from robustlab import Backbone, anatomy, load_backbone
from robustlab.reporting import anatomy as section
from robustlab.reporting.anatomy import _row, _verdict
from robustlab.reporting.anatomy.blocks import branching, chain
from robustlab.reporting.anatomy.found import Network, network, short
from robustlab.reporting.anatomy.stepper import chosen, unreached
from robustlab.reporting.section import Story
from robustlab.results import Results
from robustlab.suite import ProbeSpec, Suite

pytestmark = pytest.mark.slow

HOSTILE = '<script>alert("x")</script>&‮'


class Unfit(nn.Module):
    """A convolution that drops a row and two columns, on names that would be markup."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("<b>conv</b>", nn.Conv2d(1, 4, (5, 6), (4, 3)))
        self.add_module("last", nn.Linear(4 * 7 * 9, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.get_submodule("<b>conv</b>")(x)
        logits: torch.Tensor = self.get_submodule("last")(maps.relu().flatten(1))
        return logits


def laid(folder: Path, backbones: list[Any], **params: Any) -> Results:
    params = {"repeats": 1, "effective": 4, "check": 3, **params}
    suite = Suite(take=12, probes=(ProbeSpec("anatomy", params),))
    return Results(robustlab.run(suite, backbones=backbones, out=folder, device="cpu").folder)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    torch.manual_seed(0)
    given: dict[str, Any] = {"input_shape": (1, 32, 32), "classes": 10, "mean": [0.5], "std": [0.2]}
    own = Backbone(Unfit().eval(), name=HOSTILE, **given)
    names = ["lenet5-max@digits", "local@digits", "resnet20-narrow@digits"]
    return laid(tmp_path_factory.mktemp("anatomy") / "run", [*map(load_backbone, names), own])


@pytest.fixture(scope="module")
def found(results: Results) -> dict[str, Network]:
    groups = Story.of(results).evidence.landed
    return {
        g.backbone: one
        for g in groups
        if g.plan["probe"] == "anatomy" and (one := network(g)) is not None
    }


@pytest.fixture(scope="module")
def page(results: Results, parse: Callable[[str], Any]) -> Any:
    return parse((results.folder / "report.html").read_text(encoding="utf-8"))


def part(page: Any) -> Any:
    (node,) = [one for one in page.all("section") if one.attributes.get("id") == "anatomy"]
    return node


def test_the_title_is_computed(page: Any) -> None:
    layers = anatomy("lenet5-max@digits").layers
    full = layers[layers.kind == "fully connected"]
    held = 100 * full.parameters.sum() / layers.parameters.sum()
    work = 100 - 100 * full.multiply_adds.sum() / layers.multiply_adds.sum()
    title = part(page).all("h2")[0].words
    assert f"{held:.1f}" in title
    assert f"{work:.1f}" in title
    assert "lenet5-max@digits" in title


def test_tables_hold_the_numbers(page: Any) -> None:
    tables = part(page).all("table", class_="layers")
    assert len(tables) == 4
    layers = anatomy("lenet5-max@digits").layers.set_index("layer")
    rows = {
        row.all("th")[0].words: [c.words for c in row.all("td")] for row in tables[0].all("tr")[1:]
    }
    assert rows["conv2"][4:7] == ["2 416", "240 000", "14"]
    assert rows["conv2"][4] == f"{layers.loc['conv2'].parameters:,}".replace(",", " ")
    assert rows["conv1"][9:] == ["4.82 M", "117 600"]
    assert set(rows) == set(layers[layers.kernel.notna() | (layers.weights > 0)].index)


def test_what_does_not_fit_is_red_with_a_word(page: Any) -> None:
    tables = part(page).all("table", class_="layers")
    assert [len(table.all("td", class_="wrong")) for table in tables] == [0, 0, 0, 1]
    (cell,) = tables[3].all("td", class_="wrong")
    assert cell.words == "7.75×9.667, floor: 3 rows, 2 columns dropped"
    titles = [one.words for one in part(page).all("h3")]
    assert any("does not fit: rows or columns are dropped by <b>conv</b>" in t for t in titles)
    assert any("lenet5-max@digits fits: every window stands whole" in t for t in titles)
    assert any("fits but for padding: 2 layers leave" in t for t in titles)


def test_the_stepper_shows_the_layer_that_drops(found: dict[str, Network], page: Any) -> None:
    picked = chosen(list(found.values()))
    assert picked is not None
    assert picked[1].name == "<b>conv</b>"
    captions = " ".join(one.words for one in part(page).all("figcaption"))
    assert "(32 − 6 + 2·0) / 3 + 1 = 9.667, rounded to 9 (floor)" in captions
    drawing = next(
        d for d in part(page).all("svg") if "columns dropped" in d.attributes.get("aria-label", "")
    )
    assert drawing.text.count("dropped") == 1  # one word for both, or they would overlap
    assert unreached(picked[1]) == (0, 2)
    assert "2 dropped behind the last one" in captions


def test_nothing_of_a_name_is_markup(page: Any, results: Results) -> None:
    text = (results.folder / "report.html").read_text(encoding="utf-8")
    assert "<b>conv</b>" not in text
    assert "<script>alert" not in text
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_a_picture_costs_one_image_a_backbone(page: Any, found: dict[str, Network]) -> None:
    images = part(page).all("img")
    assert len(images) == sum("effective" in one.outcome.arrays for one in found.values()) == 4
    assert all(image.attributes["src"].startswith("data:image/png") for image in images)


def test_ratios_are_those_of_the_arrays(page: Any, found: dict[str, Network]) -> None:
    counted = found["resnet20-narrow@digits"].outcome.arrays["passes.counted"]
    table = part(page).all("table", class_="numbers")
    ratios = [t.all("tr")[-1].all("td")[1].words for t in table if "training" in t.words]
    assert ratios[2] == f"{counted[2] / counted[0]:.2f}"


def test_the_chain_holds_every_layer_once(found: dict[str, Network]) -> None:
    for one in found.values():
        blocks = chain(one)
        numbers = [layer.number for block in blocks for layer in block.layers]
        assert numbers == [layer.number for layer in one.layers if layer.ran]


def test_a_residual_block_has_two_ways_to_its_sum(found: dict[str, Network]) -> None:
    inside = branching(found["resnet20-narrow@digits"])
    assert inside is not None
    path, blocks = inside
    assert path == "layer1.0"
    names = [block.name for block in blocks]
    assert names[:3] == ["what comes in", "conv1", "bn1"]
    joint = blocks[names.index("add")]
    assert joint.sources == {0, names.index("bn2")}
    assert branching(found["lenet5-max@digits"]) is None


def test_the_last_map_is_no_mean_over_all_places(found: dict[str, Network]) -> None:
    """81 pixels are those of layer3; the pooling behind it has one place, which sees 109."""
    one = found["resnet20-narrow@digits"]
    layers = anatomy("resnet20-narrow@digits").layers
    maps = [len(shape) == 3 and max(shape[1:]) > 1 for shape in layers.output_shape]
    assert one.sees == f"{layers[maps].field_columns.iloc[-1]:.0f} pixels" == "81 pixels"
    assert layers[layers.kernel.notna()].field_columns.iloc[-1] == 109


def test_a_shortcut_that_runs_last_is_not_the_last_map(found: dict[str, Network]) -> None:
    """The sum behind it sees what the longer path sees."""
    one = found["resnet20-narrow@digits"]
    joint = next(i for i, layer in enumerate(one.layers) if layer.name == "layer3.0:add")
    shortcut = replace(one.layers[joint - 1], numbers={**one.layers[0].numbers})
    ends = replace(one, layers=(*one.layers[: joint - 1], shortcut, one.layers[joint]))
    assert ends.sees == f"{one.layers[joint].get('field_columns'):.0f} pixels"
    assert shortcut.get("field_columns") == 3


def test_the_csv_holds_all_layers(page: Any, found: dict[str, Network]) -> None:
    links = [a for a in part(page).all("a") if a.attributes.get("download", "") == "anatomy-1.csv"]
    (link,) = links
    assert link.attributes["href"].count("%0A") == 1 + len(found["lenet5-max@digits"].layers)


def test_shares_add_up(found: dict[str, Network]) -> None:
    from robustlab.reporting.anatomy.found import KINDS

    for one in found.values():
        for column in ("parameters", "multiply_adds"):
            assert sum(one.share(column, kind) for kind in KINDS) == pytest.approx(1)


def test_it_is_told_once(page: Any) -> None:
    assert not [one for one in page.all("section") if one.attributes.get("id") == "probes"]


def test_a_network_without_maps(tmp_path: Path, parse: Callable[[str], Any]) -> None:
    results = laid(tmp_path / "run", [load_backbone("mlp@digits")], repeats=0, effective=0)
    text = (results.folder / "report.html").read_text(encoding="utf-8")
    node = part(parse(text))
    assert "receptive fields are not defined here" in node.words
    assert "Does it fit?" not in node.words
    assert node.all("table", class_="layers")


def test_counts_in_three_digits() -> None:
    assert [short(v) for v in (0.0, 61_706.0, 4.089e9, 714.2e6)] == [
        "0",
        "61\u202f706",
        "4.09 G",
        "714 M",
    ]
    assert short(np.nan) == "not known"


def test_other_arrays_are_no_anatomy(results: Results) -> None:
    groups = Story.of(results).evidence.landed
    assert [network(g) for g in groups if g.plan["probe"] == "clean"] == [None] * 4
    assert section.PROBE == "anatomy"


def test_windows_of_locally_connected_layers_are_told(found: dict[str, Network]) -> None:
    one = found["local"] if "local" in found else found["local@digits"]
    local = [x for x in one.layers if x.kind == "locally connected"]
    told = [(_row(x, {"parameters": 1.0, "multiply_adds": 1.0})) for x in local]
    assert [(r["window"], r["fit"]) for r in told] == [("5×5 /1", "fits")] * len(local)
    assert len(local) == 2
    assert "every window stands whole" in _verdict(one)
    # A layer whose windows are not known claims nothing of them.
    bare = [replace(x, texts={**x.texts, "kernel": ""}) if x in local else x for x in one.layers]
    assert "those of `conv1` are not" in _verdict(replace(one, layers=tuple(bare)))
