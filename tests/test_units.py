"""Norms and budgets as people write them."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustlab.errors import BadRequest
from robustlab.units import (
    NORM_TITLES,
    NORMS,
    SPATIAL,
    Budget,
    eps_value,
    parse_budget,
    parse_budgets,
    parse_norm,
)


@pytest.mark.parametrize(
    ("text", "norm"),
    [
        *((norm, norm) for norm in (*NORMS, SPATIAL)),
        ("Linf", "linf"),
        ("L_inf", "linf"),
        ("inf", "linf"),
        ("L∞", "linf"),
        (" L2 ", "l2"),
        ("2", "l2"),
        (2, "l2"),
        ("1", "l1"),
        ("0", "l0"),
        ("L0", "l0"),
    ],
)
def test_norms(text, norm):
    assert parse_norm(text) == norm
    assert norm in NORM_TITLES


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("l3", "unknown norm 'l3'; did you mean"),
        ("linff", "unknown norm 'linff'; did you mean 'linf'?"),
        ("", "unknown norm ''"),
        (None, "unknown norm None"),
    ],
)
def test_unknown_norms(text, told):
    with pytest.raises(BadRequest) as error:
        parse_norm(text)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("given", "value", "text"),
    [
        ("8/255", 8 / 255, "8/255"),
        (" 0.03 ", 0.03, "0.03"),
        (0.03, 0.03, "0.03"),
        ("1e-3", 0.001, "1e-3"),
        (1, 1.0, "1"),
        ("0", 0.0, "0"),
        ("1/3", 1 / 3, "1/3"),
        ("0.5/255", 0.5 / 255, "0.5/255"),
        ("1/2.5", 0.4, "1/2.5"),
    ],
)
def test_budgets(given, value, text):
    assert parse_budget(given, "linf") == Budget(value, text)


@pytest.mark.parametrize(
    ("given", "norm", "size", "told"),
    [
        (
            "8",
            "linf",
            None,
            "images in [0, 1] (1); did you mean '8/255'?",
        ),
        ("256", "linf", None, "larger than the whole box of images in [0, 1] (1)"),
        ("1.0000001", "linf", None, "larger than the whole box"),
        ("33", "l2", 1024, "eps 33 (L2) is larger than the whole box of images in [0, 1] (32)"),
        ("1025", "l1", 1024, "eps 1025 (L1) is larger"),
        ("-1", "linf", None, "eps '-1' must be finite and at least 0"),
        ("-8/255", "linf", None, "must be finite and at least 0"),
        ("nan", "l2", None, "eps 'nan' must be finite"),
        ("inf", "l2", None, "eps 'inf' must be finite"),
        ("", "l2", None, "eps '' is not a number; write a decimal or a fraction"),
        ("1/0", "l2", None, "eps '1/0' is not a number"),
        ("8/255/2", "l2", None, "is not a number"),
        (
            "8px",
            "l2",
            None,
            "eps '8px' counts pixels, as norm = 'l0' and 'spatial' do; in L2 write",
        ),
        ("three", "spatial", None, "eps 'three' is not a number; write pixels, as '5px'"),
        ("px", "spatial", None, "eps 'px' is not a number"),
        ("-1px", "spatial", None, "eps '-1px' must be finite and at least 0"),
        ("2.5px", "l0", None, "eps '2.5px' (L0) is no whole number of pixels; write '5px' or '5'"),
        ("8/255", "l0", None, "is no whole number of pixels"),
        ("5 pixels", "l0", None, "is not a number; write pixels, as '5px'"),
        ("px", "l0", None, "is not a number; write pixels"),
        ("-1px", "l0", None, "eps '-1px' must be finite and at least 0"),
        ("inf", "l0", None, "must be finite"),
        (True, "l0", None, "is not a number"),
        (True, "l2", None, "eps 'True' is not a number"),
        (None, "l2", None, "eps 'None' is not a number"),
    ],
)
def test_refused(given, norm, size, told):
    with pytest.raises(BadRequest) as error:
        parse_budget(given, norm, size)
    assert told in str(error.value)


def test_a_hint_only_where_it_helps():
    with pytest.raises(BadRequest) as error:
        parse_budget("256", "linf")
    assert "did you mean" not in str(error.value)


@pytest.mark.parametrize(("norm", "largest"), [("linf", 1), ("l2", 32), ("l1", 1024)])
def test_the_whole_box_is_allowed(norm, largest):
    assert parse_budget(largest, norm, 1024).value == largest
    with pytest.raises(BadRequest):
        parse_budget(math.nextafter(largest, math.inf), norm, 1024)


@pytest.mark.parametrize(
    ("given", "value"), [("3px", 3.0), ("3", 3.0), (2, 2.0), ("0.5px", 0.5), ("1/2 px", 0.5)]
)
def test_pixels_of_translation(given, value):
    assert parse_budget(given, "spatial", 784, 28) == Budget(value, str(given))
    assert eps_value(str(given)) == value


def test_an_image_is_not_moved_out_of_sight():
    with pytest.raises(BadRequest, match="'28px' moves an image of 28 pixels out of sight"):
        parse_budget("28px", "spatial", 784, 28)


@pytest.mark.parametrize(
    ("given", "value", "text"),
    [("5px", 5, "5px"), ("5 px", 5, "5 px"), ("5", 5, "5"), (5, 5, "5"), ("0px", 0, "0px")],
)
def test_pixels(given, value, text):
    assert parse_budget(given, "l0", 192, 64) == Budget(value, text)


def test_no_more_pixels_than_there_are():
    """A pixel counts once, so that the channels do not add to the largest budget."""
    assert parse_budget("64px", "l0", 192, 64).value == 64
    with pytest.raises(BadRequest, match="eps 65px \\(L0\\) is more than the 64 pixels"):
        parse_budget("65px", "l0", 192, 64)
    with pytest.raises(BadRequest, match="'5px' and '5' are the same budget"):
        parse_budgets(["5px", "5"], "l0")


def test_lists():
    with pytest.raises(BadRequest, match="'3px' and '3' are the same budget"):
        parse_budgets(["3px", "3"], "spatial")
    assert parse_budgets("0.1", "l2") == (Budget(0.1, "0.1"),)
    assert [b.text for b in parse_budgets(["0.2", 0.1], "l2")] == ["0.2", "0.1"]  # as given
    for twice in (["0.1", "1/10"], ["0.5", "0.50"], [0.1, "0.1"]):
        with pytest.raises(BadRequest, match="are the same budget"):
            parse_budgets(twice, "l2")
    with pytest.raises(BadRequest, match="eps is an empty list"):
        parse_budgets([], "l2")


@given(st.integers(0, 255), st.integers(1, 255))
def test_fractions_are_exactly_rounded(over, under):
    if over <= under:
        assert parse_budget(f"{over}/{under}", "linf").value == float(Fraction(over, under))


@given(st.floats(0, 1))
def test_a_number_and_its_text_are_one_budget(value):
    assert parse_budget(value, "linf").value == value
    assert parse_budget(str(value), "linf") == parse_budget(value, "linf")


def test_a_fraction_beyond_the_box_is_not_divided_once_more():
    """ "did you mean '300/255/255'?" would be refused as well."""
    with pytest.raises(BadRequest, match="larger than the whole box") as error:
        parse_budgets("300/255", "linf")
    assert "did you mean" not in str(error.value)
