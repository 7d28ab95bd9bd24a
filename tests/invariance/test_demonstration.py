"""The lecture's numbers, windows against a loop, the theory of noise, counts of one's own rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.invariance import demonstration as room
from robustlab.invariance.demonstration import KINDS, LECTURE, Kind, count, demonstration, one_step

MAX3 = Kind("max", 3, 1)


def lecture():
    before, after = one_step(torch.tensor(LECTURE).double() / 10)
    return before[None, None, None], after[None, None, None]


def check_lecture(kind=MAX3, step=one_step):
    before, after = step(torch.tensor(LECTURE).double() / 10)
    assert before.tolist() == [0.1, 1.0, 0.2, 0.1]
    assert after.tolist() == [0.3, 0.1, 1.0, 0.2]
    before, after = before[None, None, None], after[None, None, None]
    assert kind.pool(before).flatten().tolist() == [1, 1, 1, 0.2]
    assert kind.pool(after).flatten().tolist() == [0.3, 1, 1, 1]
    found = count(kind, before, after)
    assert (int(found.changed), int(found.concerned)) == (2, 4)


def test_the_lecture_s_numbers():
    before, after = lecture()
    assert int((before != after).sum()) == 4
    check_lecture()


@pytest.mark.parametrize(
    "mutant",
    [
        {"kind": Kind("max", 2, 1)},
        {"kind": Kind("avg", 3, 1)},
        {"step": lambda row: (row[:-1], row[1:])},
        {"step": lambda row: (row[1:], row[1:].roll(1))},  # the last value comes in, as in a ring
    ],
)
def test_that_check_kills(mutant):
    with pytest.raises(AssertionError):
        check_lecture(**mutant)


def slow(kind, row):
    """One output after the other."""
    n, out = len(row), []
    if kind.name == "polyphase":
        phases = [row[i :: kind.stride] for i in range(kind.stride)]
        return max(phases, key=lambda p: sum(v * v for v in p))
    for start in range(0, n, kind.stride):
        first = start - (kind.width - 1) // 2 if kind.stride == 1 or kind.name == "blur" else start
        places = range(first, first + kind.width)
        if kind.name == "blur":
            a, b, c = (row[min(max(i, 0), n - 1)] for i in places)
            out.append((a + 2 * b + c) / 4)
        else:
            seen = [row[i] for i in places if 0 <= i < n]
            out.append(max(seen) if kind.name == "max" else sum(seen) / len(seen))
    return out


@pytest.mark.parametrize("kind", [*KINDS, Kind("max", 2, 1)], ids=lambda k: k.label)
def test_pooling_against_the_loop(kind):
    rows = torch.rand(3, 2, 4, 8, generator=torch.Generator().manual_seed(1)).double()
    found = kind.pool(rows)
    for place in np.ndindex(3, 2, 4):
        assert found[place].tolist() == pytest.approx(slow(kind, rows[place].tolist()))
    with pytest.raises(ValueError, match="do not divide"):
        Kind("polyphase", 2, 2).pool(rows[..., :7])


@pytest.mark.parametrize("kind", KINDS[:-1], ids=lambda k: k.label)
def test_outputs_concerned_are_those_that_a_change_can_reach(kind):
    changed = torch.rand(1, 1, 50, 12, generator=torch.Generator().manual_seed(2)) < 0.1
    base = torch.rand(1, 1, 50, 12).double()
    moved = [kind.pool(base + size * changed) != kind.pool(base) for size in (1.0, -1.0)]
    reached = kind.concerned(changed)
    if kind.name == "max":  # what changes above or below all others shows
        assert torch.equal(moved[0], reached)
    else:
        assert torch.equal(moved[0] & moved[1], reached)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.label)
def test_what_is_left_once_moved_along(kind):
    """Stride 1 and polyphase move along; a fixed grid does not."""
    rows = torch.rand(40, 1, 4, 33, generator=torch.Generator().manual_seed(3)).double()
    rows[..., :8] = rows[..., -8:] = 0.0  # nothing enters or leaves that could change a choice
    found = count(kind, *one_step(rows))
    left = found.moved_changed.sum() / found.moved_concerned.sum()
    exact = kind.stride == 1 or kind.name == "polyphase"
    assert left == 0 if exact else left > 0.3
    assert found.moved_concerned.sum() > 500


EXPECTED = {  # of the union of two windows, the share in which the maximum may lie and be lost
    Kind("max", 3, 1): (1 / 2, 0.509),
    Kind("max", 2, 1): (2 / 3, 0.664),
    Kind("max", 2, 2): (2 / 3, 0.677),
    Kind("avg", 2, 2): (1.0, 1.000),
}


@pytest.mark.parametrize("kind", EXPECTED, ids=lambda k: k.label)
def test_noise_moved_by_one_pixel(kind):
    """Windows k x k on uniform noise, 64 x 64: the share of outputs that change is known."""
    noise = torch.rand(200, 1, 64, 64, generator=torch.Generator().manual_seed(0)).double()

    def planes(x):
        return kind.pool(kind.pool(x).mT).mT

    changed = (planes(noise) != planes(noise.roll(1, -1))).double()
    inner = changed[..., 2:-2, 2:-2].mean(dim=(1, 2, 3))
    theory, measured_elsewhere = EXPECTED[kind]
    error = float(inner.std()) / 200**0.5
    assert float(inner.mean()) == pytest.approx(theory, abs=4 * error + 1e-12)
    # One picture of the kind, measured by others, lies among ours.
    assert measured_elsewhere == pytest.approx(
        theory, abs=4 * float(changed.mean((1, 2, 3)).std()) + 1e-12
    )


# The probe -------------------------------------------------------------------------------------


def own(images, **kwargs):
    images = np.asarray(images)
    return Data(images, np.zeros(len(images), int), classes=2, **kwargs)


def network(data):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(int(np.prod(data.shape)), 2))
    return Backbone(module.eval(), input_shape=data.shape, classes=2)


def digits(n=5):
    generator = np.random.default_rng(0)
    return own(generator.integers(0, 256, (n, 1, 6, 9), dtype=np.uint8))


def recount(data, kind):
    """Changed outputs and those that look at a changed input, by hand; odd rows lose a value."""
    totals = []
    for image in data.images:
        changed = concerned = 0
        for row in image.reshape(-1, image.shape[-1]).tolist():
            before, after = row[1:9], row[:8]
            old, new = (slow(kind, [float(v) for v in r]) for r in (before, after))
            for place, (a, b) in enumerate(zip(old, new, strict=True)):
                first = place * kind.stride - ((kind.width - 1) // 2 if kind.stride == 1 else 0)
                if kind.name == "blur":
                    first = place * kind.stride - 1
                window = [i for i in range(first, first + kind.width) if 0 <= i < 8]
                if any(before[i] != after[i] for i in window):
                    concerned += 1
                    changed += abs(a - b) > 1e-9
        totals.append([changed, concerned])
    return totals


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.label)
def test_counts_of_one_s_own_images(kind):
    data = digits()
    outcome = demonstration(network(data), data).checked(len(data))
    names = [n.removeprefix("changed[").removesuffix("]") for n in outcome.samples]
    counts = outcome.arrays["counts"][:, names.index(kind.label)].tolist()
    assert counts == recount(data, kind)
    shares = outcome.samples[f"changed[{kind.label}]"]
    assert shares.tolist() == pytest.approx([a / b for a, b in counts])
    assert outcome.cost["forward"] == 0


def test_counts_are_the_same_in_any_batch(monkeypatch):
    data = digits()
    whole = demonstration(network(data), data)
    monkeypatch.setattr(room, "BATCH", 2)
    parts = demonstration(network(data), data)
    assert np.array_equal(whole.arrays["counts"], parts.arrays["counts"])


def test_the_lecture_is_among_the_arrays_and_a_row_of_the_first_image():
    data = digits()
    arrays = demonstration(network(data), data).arrays
    assert arrays["lecture_input"].tolist() == [[1, 10, 2, 1], [3, 1, 10, 2]]
    assert arrays["lecture_output"][0].tolist() == [[10, 10, 10, 2], [3, 10, 10, 10]]
    row, column = arrays["row_place"]
    width = arrays["row_input"].shape[1]
    assert (
        arrays["row_input"][1].tolist() == data.images[0, 0, row, column : column + width].tolist()
    )


def test_images_without_a_change_count_nothing():
    data = own(np.full((2, 1, 6, 9), 7, np.uint8))
    samples = demonstration(network(data), data).checked(2).samples
    assert samples["changed[inputs]"].tolist() == [0, 0]
    assert np.isnan(samples["changed[max, width 3, stride 1]"]).all()


def test_floats_are_taken_as_they_are():
    data = own(np.random.default_rng(1).random((2, 3, 5, 8)))
    outcome = demonstration(network(data), data).checked(2)
    assert outcome.samples["changed[avg, width 2, stride 2]"].min() == 1.0


def test_images_too_narrow():
    data = own(np.zeros((1, 1, 9, 4), np.uint8))
    with pytest.raises(BadRequest, match="4 pixels wide"):
        demonstration(network(data), data)
