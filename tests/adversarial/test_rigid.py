"""Rotation and translation: exact where nothing is interpolated, scipy's elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from robustlab.adversarial.rigid import PADDINGS, rigid
from robustlab.errors import BadRequest

SIZES = [(8, 8), (7, 7), (9, 12), (32, 32)]
Transform = Callable[..., Tensor]


def _images(height: int, width: int, n: int = 3) -> Tensor:
    return torch.tensor(
        np.random.default_rng(height).random((n, 2, height, width)), dtype=torch.float32
    )


# Oracles, each a function of the transform that it is held against ------------------------------


def copies_to_the_bit(transform: Transform, by_scipy: Transform) -> None:
    for size in SIZES:
        x = _images(*size)
        for padding in PADDINGS:
            assert torch.equal(transform(x, 0.0, 0.0, 0.0, padding), x)
        moved = transform(x, 0.0, 3.0, -2.0, "zeros")
        assert torch.equal(moved[:, :, :-2, 3:], x[:, :, 2:, :-3])
        assert not moved[:, :, -2:].any()
        assert not moved[:, :, :, :3].any()


def quarter_turns_copy(transform: Transform, by_scipy: Transform) -> None:
    for size in SIZES:
        if size[0] == size[1]:
            x = _images(*size)
            assert torch.equal(transform(x, 90.0, 0.0, 0.0, "zeros"), torch.rot90(x, 1, (2, 3)))
            assert torch.equal(transform(x, -90.0, 0.0, 0.0, "zeros"), torch.rot90(x, -1, (2, 3)))


def agrees_with_scipy(transform: Transform, by_scipy: Transform) -> None:
    rng = np.random.default_rng(0)
    for size in SIZES:
        x = _images(*size)
        for padding in PADDINGS:
            for _ in range(4):
                pose = rng.uniform([-180, -4, -4], [180, 4, 4]).tolist()
                theirs = by_scipy(x, *pose, padding)
                apart = (transform(x, *pose, padding).double() - theirs).abs().max()
                assert apart < 1e-6, (size, padding, pose)


def each_image_its_own(transform: Transform, by_scipy: Transform) -> None:
    x, rng = _images(9, 12, 5), np.random.default_rng(1)
    poses = torch.tensor(rng.uniform([-180, -4, -4], [180, 4, 4], (5, 3)))
    together = transform(x, *poses.unbind(1), "zeros")
    for row, pose in enumerate(poses.tolist()):
        assert torch.equal(together[row : row + 1], transform(x[row : row + 1], *pose, "zeros"))


ORACLES = [copies_to_the_bit, quarter_turns_copy, agrees_with_scipy, each_image_its_own]


@pytest.mark.parametrize("oracle", ORACLES)
def test_the_transform_is_sound(oracle: Any, by_scipy: Transform) -> None:
    oracle(rigid, by_scipy)


# Mutants ----------------------------------------------------------------------------------------


def clockwise(x: Any, angle: Any, dx: Any, dy: Any, padding: str) -> Tensor:
    return rigid(x, -angle, dx, dy, padding)


def axes_swapped(x: Any, angle: Any, dx: Any, dy: Any, padding: str) -> Tensor:
    return rigid(x, angle, dy, dx, padding)


def moved_then_turned(x: Any, angle: Any, dx: Any, dy: Any, padding: str) -> Tensor:
    return rigid(rigid(x, 0.0, dx, dy, padding), angle, 0.0, 0.0, padding)


def always_black(x: Any, angle: Any, dx: Any, dy: Any, padding: str) -> Tensor:
    return rigid(x, angle, dx, dy, "zeros")


def first_pose_for_all(x: Any, angle: Any, dx: Any, dy: Any, padding: str) -> Tensor:
    first = (torch.as_tensor(one).reshape(-1)[0] for one in (angle, dx, dy))
    return rigid(x, *first, padding)


def on_a_scale_of_one(x: Any, angle: Any, dx: Any, dy: Any, padding: str) -> Tensor:
    """Torch's own sampling, whose places are float32 numbers from -1 to 1."""
    turn = torch.deg2rad(torch.as_tensor(angle, dtype=torch.float32))
    height, width = x.shape[2:]
    cos, sin = turn.cos(), turn.sin()
    x_shift = -(cos * dx - sin * dy) * 2 / width
    y_shift = -(sin * dx + cos * dy) * 2 / height
    rows = [
        torch.stack([cos, -sin * height / width, x_shift]),
        torch.stack([sin * width / height, cos, y_shift]),
    ]
    grid = functional.affine_grid(
        torch.stack(rows)[None].expand(len(x), 2, 3), list(x.shape), align_corners=False
    )
    mode = "reflection" if padding == "reflect" else padding
    return functional.grid_sample(x, grid, padding_mode=mode, align_corners=False)


@pytest.mark.parametrize(
    ("mutant", "oracle"),
    [
        (clockwise, agrees_with_scipy),
        (clockwise, quarter_turns_copy),
        (axes_swapped, agrees_with_scipy),
        (axes_swapped, copies_to_the_bit),
        (moved_then_turned, agrees_with_scipy),
        (always_black, agrees_with_scipy),
        (first_pose_for_all, each_image_its_own),
        (on_a_scale_of_one, copies_to_the_bit),
    ],
)
def test_a_mutant_is_killed(mutant: Any, oracle: Any, by_scipy: Transform) -> None:
    with pytest.raises(AssertionError):
        oracle(mutant, by_scipy)


def test_torch_samples_the_same_but_for_rounding() -> None:
    x = _images(9, 12)
    for padding in PADDINGS:
        theirs = on_a_scale_of_one(x, 23.0, 1.3, -2.2, padding)
        assert (rigid(x, 23.0, 1.3, -2.2, padding) - theirs).abs().max() < 1e-5


def test_images_stay_in_the_box_and_far_moves_leave_nothing() -> None:
    x = torch.ones(1, 1, 16, 16)
    for angle in np.linspace(-180, 180, 37):
        moved = rigid(x, float(angle), 0.37, 0.61, "border")
        assert moved.max() <= 1
        assert moved.min() > 1 - 1e-6
    assert not rigid(x, 0.0, 1e300, 0.0).any()
    assert rigid(x, 0.0, 1e300, -1e300, "reflect").isfinite().all()


def test_an_unknown_padding_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"unknown padding 'zero'; did you mean 'zeros'"):
        rigid(_images(8, 8), 0.0, 0.0, 0.0, "zero")
