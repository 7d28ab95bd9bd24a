"""Equal content has equal identity, other content another; what is not plain data is refused."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustlab.identity import canonical, fingerprint, identity, source_fingerprint

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(string.ascii_letters, max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def reordered(value):
    """The same content, every dict the other way round."""
    if isinstance(value, dict):
        return {k: reordered(v) for k, v in reversed(value.items())}
    if isinstance(value, list):
        return [reordered(v) for v in value]
    return value


def check_order(value, number=identity):
    assert number(reordered(value)) == number(value)


@given(values)
def test_the_order_of_keys_does_not_count(value):
    check_order(value)
    assert json.loads(canonical(value)) == value


def test_order_kills():
    with pytest.raises(AssertionError):
        check_order({"a": 1, "b": 2}, lambda value: json.dumps(value))


@given(values, values)
def test_other_content_differs(one, other):
    """`repr` tells 1, 1.0 and True apart, and 0.0 from -0.0; so must the identity."""
    same = repr(sorted_deeply(one)) == repr(sorted_deeply(other))
    assert (identity(one) == identity(other)) == same


def sorted_deeply(value):
    if isinstance(value, dict):
        return {k: sorted_deeply(value[k]) for k in sorted(value)}
    if isinstance(value, list):
        return [sorted_deeply(v) for v in value]
    return value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0.1 + 0.2, 0.3),
        (0.0, -0.0),
        ("1", 1),
        (None, "null"),
        ([1, 2], [2, 1]),
        ([[1], 2], [1, [2]]),
        ({"a": 1}, {"a": 1, "b": None}),
        ("ä", "a\u0308"),
        (1e16, 10**16),
    ],
)
def test_pairs_that_differ(one, other):
    assert identity(one) != identity(other)


def test_golden():
    """Cells that landed yesterday are found again: these numbers may never change."""
    assert canonical({"b": [1, 0.1, True], "a": "ä"}) == '{"a":"ä","b":[1,0.1,true]}'
    found = identity({"b": [1, 0.1, True], "a": "ä"})
    assert found == "5cd4d944f240d690d16d7fe9cab560b0b55fbd0d16bdc07b292e587b11718aeb"
    assert identity((1, 2)) == identity([1, 2])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused(bad):
    for value in (bad, [bad], {"a": {"b": bad}}):
        with pytest.raises(ValueError, match="JSON"):
            identity(value)


@pytest.mark.parametrize("bad", [{1, 2}, object(), b"x", 1j])
def test_what_is_not_plain_is_refused(bad):
    with pytest.raises(TypeError):
        identity(bad)


# Blocks and files ---------------------------------------------------------------------------------


def check_blocks(number):
    """How the bytes are cut into blocks counts."""
    parts = [[b"ab", b"c"], [b"a", b"bc"], [b"abc"], [b"abc", b""], [b"", b"abc"], []]
    assert len({number(one) for one in parts}) == len(parts)


def test_blocks():
    check_blocks(fingerprint)
    assert fingerprint([bytearray(b"ab"), memoryview(b"c")]) == fingerprint([b"ab", b"c"])


def test_blocks_kill_plain_concatenation():
    with pytest.raises(AssertionError):
        check_blocks(lambda parts: fingerprint([b"".join(parts)]))


def test_source_files(tmp_path):
    """Names and bytes count; folders, order and repetition do not."""
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        (folder / "x.py").write_text("x = 1")
        (folder / "y.py").write_text("y = 1")
    x, y = first / "x.py", first / "y.py"
    number = source_fingerprint([x, y])
    assert source_fingerprint([y, x, x]) == number
    assert source_fingerprint([second / "x.py", second / "y.py"]) == number
    (second / "x.py").write_text("x = 2")
    assert source_fingerprint([second / "x.py", second / "y.py"]) != number
    # Two files of one name, in either order.
    both = [x, second / "x.py"]
    assert source_fingerprint(both) == source_fingerprint(both[::-1])
    # Contents swapped between names.
    (second / "x.py").write_text("y = 1")
    (second / "y.py").write_text("x = 1")
    assert source_fingerprint([second / "x.py", second / "y.py"]) != number
