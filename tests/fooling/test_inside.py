"""Arrays of the trace and of the maps are those of the functions that made them, on what the
network is shown."""

from __future__ import annotations

import numpy as np
import pytest

from robustlab.backbones import load_backbone
from robustlab.data import load_data
from robustlab.errors import BadRequest
from robustlab.filters.explained_pair import explain_pair
from robustlab.filters.trace_pair import trace_pair
from robustlab.fooling.inside import attribution, depth_trace, levels_shown
from robustlab.fooling.readings import as_it_is

pytestmark = pytest.mark.usefixtures("one_thread")

FEW = {"layers": 4, "draws": 2, "seed": 1}
QUICK = {"samples": 2, "steps": 4, "window": 8, "stride": 8, "seed": 1}


@pytest.fixture(scope="module")
def lenet():
    return load_backbone("lenet5@digits")


@pytest.fixture(scope="module")
def pair():
    """A digit, and the same as another network would be shown it: half its levels."""
    clean = load_data("digits:test").batch_8bit([0])[0]
    changed = clean.copy()
    changed[:, 8:20, 8:20] = 255 - changed[:, 8:20, 8:20]
    return clean, changed


def half(pixels):
    return as_it_is(pixels // 2)


def test_the_trace(lenet, pair):
    arrays = depth_trace(lenet, half, *pair, **FEW)
    found = trace_pair(lenet, pair[0] // 2, pair[1] // 2, image="picture", **FEW)
    assert arrays["layers"].tolist() == list(found.layers)
    for name in ("amplification", "flips", "control_amplification", "restoring", "cut"):
        np.testing.assert_array_equal(arrays[name], getattr(found, name))
    assert arrays["controls"].tolist() == list(found.controls)
    assert bool(arrays["lost"]) == found.lost
    assert all(isinstance(one, np.ndarray) and one.dtype != object for one in arrays.values())
    other = depth_trace(lenet, as_it_is, *pair, **FEW)
    assert (other["amplification"] != arrays["amplification"]).any()


def test_the_maps(lenet, pair):
    arrays = attribution(lenet, half, *pair, methods=("gradient", "occlusion"), **QUICK)
    found = explain_pair(
        lenet,
        pair[0] // 2,
        pair[1] // 2,
        methods=("gradient", "occlusion"),
        image="picture",
        **QUICK,
    )
    assert arrays["methods"].tolist() == ["gradient", "occlusion"]
    for method in ("gradient", "occlusion"):
        for side in ("clean", "changed", "control"):
            expected = getattr(found, side)[method].astype(np.float32)
            np.testing.assert_array_equal(arrays[f"{side}_{method}"], expected)
    likeness = [found.changed_likeness[m] for m in ("gradient", "occlusion")]
    np.testing.assert_array_equal(arrays["changed_likeness"], likeness)
    assert (arrays["clean_gradient"] != arrays["changed_gradient"]).any()


def test_a_method_that_is_not_defined_is_told(case):
    arrays = attribution(
        case.backbone,
        case.read,
        case.original,
        case.changed,
        methods=("gradient", "gradcam"),
        control=False,
        **QUICK,
    )
    assert arrays["methods"].tolist() == ["gradient"]
    assert arrays["left_out"][0, 0] == "gradcam"
    assert not any(name.startswith("control") for name in arrays)


def test_what_is_shown(pair):
    assert (levels_shown(as_it_is, pair[0]) == pair[0]).all()
    assert levels_shown(half, pair[0]).dtype == np.uint8


@pytest.mark.parametrize("wrong", [lambda p: as_it_is(p) + 0.002, lambda p: as_it_is(p) - 1])
def test_what_is_not_of_8_bits_is_refused(pair, wrong):
    with pytest.raises(BadRequest, match="more than 8-bit pixels"):
        levels_shown(wrong, pair[0])
