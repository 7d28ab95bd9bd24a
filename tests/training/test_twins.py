"""Specs of twins: what differs in one thing is read, what differs in more is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomli_w

from robustlab.errors import BadRequest
from robustlab.training import list_twins, load_twins
from robustlab.twinning import _starts

HEAD: dict[str, Any] = {"schema": 1, "name": "t", "recipe": "lenet5-max@digits", "suite": "quick"}


def _read(folder: Path, *twins: dict[str, Any], **head: Any) -> Any:
    path = folder / "spec.toml"
    path.write_text(tomli_w.dumps(HEAD | head | {"twin": list(twins)}), encoding="utf-8")
    return load_twins(path)


def _twin(name: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "backbone": {"options": options}}


@pytest.mark.parametrize("name", list_twins())
def test_shipped_specs_differ_in_one_thing(name: str) -> None:
    found = load_twins(name)
    assert len(found.recipes) >= 2
    assert found.seeds == (0, 1, 2, 3, 4)
    assert found.name == name


def test_seeds_change_the_seed_and_the_name_alone(tmp_path: Path) -> None:
    found = _read(tmp_path, _twin("max", pool="max"), _twin("avg", pool="avg"), seeds=3)
    first, second = (found.recipe("avg", seed).as_dict() for seed in (0, 2))
    assert (first.pop("name"), second.pop("name")) == ("avg-seed0", "avg-seed2")
    assert (first.pop("seed"), second.pop("seed")) == (0, 2)
    assert first == second
    assert found.differs == "backbone.options.pool"


@pytest.mark.parametrize(
    ("twins", "told"),
    [
        ([_twin("a", pool="max"), _twin("b", pool="avg", width=3)], "width"),
        ([_twin("a", pool="max"), {**_twin("b", pool="avg"), "train": {"lr": 0.1}}], "train.lr"),
        (
            [{"name": "a", "augment": {}}, {"name": "b", "backbone": {"options": {"width": 3}}}],
            "augment",
        ),
        (
            [
                _twin("a", width=6),
                {"name": "b", "backbone": {"builder": "local", "options": {"width": 4}}},
            ],
            "width",
        ),
        ([_twin("a", pool="max"), _twin("b", pool="max")], "do not differ"),
        ([_twin("a", pool="max"), _twin("b", pool="avg"), _twin("c", pool="max")], "a and c"),
        ([_twin("a", pool="max")], "at least two"),
        ([_twin("a", pool="max"), _twin("a", pool="avg")], "two twins"),
        ([_twin("a", pool="max"), {"name": "b", "trian": {"lr": 1.0}}], "did you mean 'train'"),
        ([_twin("a", pool="max"), _twin("../b", pool="avg")], "file name"),
    ],
)  # fmt: skip
def test_what_is_no_pair_of_twins_is_refused(
    tmp_path: Path, twins: list[dict[str, Any]], told: str
) -> None:
    with pytest.raises(BadRequest, match=told):
        _read(tmp_path, *twins)


def test_another_builder_is_one_thing_with_its_own_options(tmp_path: Path) -> None:
    other = {"name": "b", "backbone": {"builder": "mlp", "options": {"hidden": "8"}}}
    assert _read(tmp_path, _twin("a", pool="max"), other).differs == "backbone.builder"


def test_augmentation_as_a_whole_is_one_thing(tmp_path: Path) -> None:
    found = _read(
        tmp_path,
        {"name": "off", "augment": {}},
        {"name": "on", "augment": {"shift": 2.0, "rotate": 5.0}},
    )
    assert found.differs == "augment"
    assert found.recipes["off"].augment.shift == 0.0


@pytest.mark.parametrize(("option", "same"), [("pool", True), ("width", False)])
def test_twins_start_equal_where_shapes_allow(tmp_path: Path, option: str, same: bool) -> None:
    values = {"pool": ("max", "avg"), "width": (6, 3)}[option]
    found = _read(tmp_path, *(_twin(f"{v}", **{option: v}) for v in values))
    first, second = _starts(found).values()
    assert first[0] == first[1] == 61_706
    assert (second[0] == second[1]) == same


def test_unknown_specs_are_told_with_the_nearest() -> None:
    with pytest.raises(BadRequest, match="did you mean 'pooling'"):
        load_twins("poolin")
