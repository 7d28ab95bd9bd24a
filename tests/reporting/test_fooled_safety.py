"""No text from outside becomes more than text on the page of one fooled picture."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from jinja2 import Environment, FileSystemLoader

from robustlab import shelf
from robustlab.fooled import Fooled
from robustlab.reporting.fooling import fooled_page, page
from robustlab.reporting.section import environment

spec = importlib.util.spec_from_file_location(
    "reporting_tests_make_fooled", Path(__file__).with_name("make_fooled.py")
)
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>`{{7*7}}` $x^2$ \u202e =1+1"


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
    for row in make.data_of(parse(text), "top5.csv"):
        assert not row[2].startswith("=")


def test_the_check_of_safety_kills_a_page_that_does_not_escape(parse, monkeypatch):
    bare = Environment(
        loader=FileSystemLoader(shelf.reports()), trim_blocks=True, lstrip_blocks=True
    )
    bare.filters |= environment().filters
    monkeypatch.setattr(page, "environment", lambda: bare)
    with pytest.raises((AssertionError, ValueError)):
        check_safe(parse(fooled_page(hostile(make.make()))))
