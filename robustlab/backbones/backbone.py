"""`Backbone`: a trained classifier the lab can probe.

The module is deep-copied (the user's stays as it was), frozen, its dtype and device kept, its
preprocessing put in front of it, so that every network takes images in [0, 1] and gives logits.
Costs one copy of the weights and one forward pass at construction.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustlab.backbones.checks import (
    as_device,
    as_input_shape,
    as_statistics,
    check_eval_mode,
    check_forward,
    private_copy,
)
from robustlab.backbones.memory import enough_memory
from robustlab.backbones.weigh import weigh
from robustlab.data import Data
from robustlab.data.checks import as_class_names
from robustlab.errors import BadRequest

__all__ = ["Backbone", "Normalised"]


class Normalised(nn.Module):
    """``module((x - mean) / std)``, mean and std one number a channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, module: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.view(1, -1, 1, 1))
        self.register_buffer("std", std.view(1, -1, 1, 1))
        self.module = module
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, classes] of images [n, C, H, W] in [0, 1]."""
        logits: Tensor = self.module((x - self.mean) / self.std)
        return logits


class Backbone:
    """A frozen classifier from images in [0, 1], NCHW float, to logits.

    Args:
        module: the network, in eval mode, from (normalised) images to logits [n, classes].
        input_shape: (C, H, W) of one image.
        classes: names of the classes, or their number.
        mean, std: what the module's images are normalised with, on the [0, 1] scale, one number a
            channel; None where the module takes [0, 1] as it is.
        name: what it is called in tables.
        reference: the text that loads it again, where there is one.
        card: anything known of its origin, JSON-able.

    Attributes:
        network: an nn.Module from [0, 1] images to logits, differentiable in its input.
        module: the copy inside it, without the normalisation.

    Raises:
        BadRequest: a submodule in train mode, or an argument that the module does not fit.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        input_shape: Sequence[int],
        classes: int | Sequence[str],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        name: str = "own",
        reference: str | None = None,
        card: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.reference = name, reference
        self.card: dict[str, Any] = dict(card or {})
        self.input_shape = as_input_shape(input_shape)
        self.classes = as_class_names(classes)
        self.mean, self.std = as_statistics(mean, std, self.input_shape[0])
        check_eval_mode(module, name)
        self.module = private_copy(module, name)
        self.network = self._network()
        check_forward(
            self.network, self.input_shape, len(self.classes), self.dtype, self.device, name
        )

    def _network(self) -> nn.Module:
        if self.mean is None or self.std is None:
            return self.module
        mean, std = torch.tensor([self.mean, self.std], dtype=self.dtype, device=self.device)
        return Normalised(self.module, mean, std)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.input_shape))
        return (
            f"Backbone({self.name!r}: {size} -> {len(self.classes)} classes, "
            f"{self.parameters} parameters, {self.device})"
        )

    def _tensors(self) -> list[Tensor]:
        return [*self.module.parameters(), *self.module.buffers()]

    @property
    def device(self) -> torch.device:
        """Where the weights lie; the CPU for a module without any."""
        return next((one.device for one in self._tensors()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The first floating dtype among the weights; float32 for a module without any."""
        floating = (one.dtype for one in self._tensors() if one.is_floating_point())
        return next(floating, torch.float32)

    @property
    def parameters(self) -> int:
        """Number of parameters, shared ones counted once."""
        return sum(one.numel() for one in self.module.parameters())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what decides its logits: weights, structure, preprocessing; see `weigh`."""
        return weigh(self.module, self.mean, self.std, self.input_shape, len(self.classes))

    def to(self, device: str | torch.device) -> Backbone:
        """The same network elsewhere, as a new object; itself where it already is there."""
        target = as_device(device)
        if target == self.device:
            return self
        moved = copy.copy(self)
        with enough_memory(self.name, lambda: self.parameters):
            moved.module = copy.deepcopy(self.module).to(target)
        moved.network = moved._network()
        return moved

    def renamed(self, name: str) -> Backbone:
        """The same network under another name, sharing the frozen weights."""
        other = copy.copy(self)
        other.name = name
        return other

    def __call__(self, x: Tensor | NDArray[Any]) -> Tensor:
        """Logits [n, classes] of images [n, C, H, W] in [0, 1], without gradients.

        The images are brought to the network's device and dtype; the logits stay there.
        """
        images = x if isinstance(x, Tensor) else torch.tensor(x)
        self._check_images(images)
        with torch.no_grad():
            logits: Tensor = self.network(images.to(device=self.device, dtype=self.dtype))
        return logits

    def _check_images(self, images: Tensor) -> None:
        if images.ndim != 4:
            raise BadRequest(
                f"{self.name}: images have shape {list(images.shape)}; give "
                f"[n, {', '.join(map(str, self.input_shape))}]"
            )
        self._check_shape(tuple(images.shape[1:]), "the images")
        if not images.is_floating_point():
            raise BadRequest(
                f"{self.name}: images have dtype {images.dtype}; give floats in [0, 1], "
                "as data.batch(rows) does"
            )

    def _check_shape(self, shape: tuple[int, ...], what: str) -> None:
        channels, *size = self.input_shape
        if shape[0] != channels:
            raise BadRequest(
                f"{self.name} takes images of {channels} channel{'s' * (channels > 1)}, "
                f"{what} have {shape[0]}; convert them to {'grey' if channels == 1 else 'RGB'}"
            )
        if list(shape[1:]) != size:
            raise BadRequest(
                f"{self.name} takes images of {size[0]}x{size[1]} pixels (height x width), "
                f"{what} are {shape[1]}x{shape[2]}; resize them"
            )

    def accepts(self, data: Data) -> None:
        """Check that ``data`` are images for this network.

        Raises:
            BadRequest: other channels, another size, another number of classes, or a class of
                both that has another index in each.
        """
        self._check_shape(data.shape, f"those of {data.name}")
        if len(data.classes) != len(self.classes):
            raise BadRequest(
                f"{self.name} knows {len(self.classes)} classes, {data.name} has "
                f"{len(data.classes)}; give data of the network's classes; where its images lack "
                f"some of them say so: classes={len(self.classes)}, or `classes` in an npz"
            )
        known = {name: index for index, name in enumerate(self.classes)}
        # Of a network that only knows their number the names mean nothing, unless all are the same.
        numbered = self.classes == tuple(map(str, range(len(known))))
        named = not numbered or set(known) == set(data.classes)
        for index, name in enumerate(data.classes):
            if named and known.get(name, index) != index:
                raise BadRequest(
                    f"{self.name} and {data.name} have classes in another order: {name!r} is "
                    f"number {known[name]} of the network and {index} of the data, and its label "
                    f"would be misread; give data with classes={list(self.classes)}"
                )
