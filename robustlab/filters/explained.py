"""Attribution of one class's logit to the pixels, by captum and by the lab's own projections.

captum knows the measures; what needs rectifiers exchanged (deconvnet, guided gradients) is the
lab's own, for captum leaves out what is no ReLU module without a word.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustlab.backbones import Backbone
from robustlab.errors import BadRequest, choices
from robustlab.filters.projection import check_rule, gradients_on, project
from robustlab.filters.rectified import Rule
from robustlab.hooks import Layer, find_layers
from robustlab.randomness import SampleRandom

__all__ = ["METHODS", "Explainer", "Occluded", "Settings", "occluded"]

METHODS = ("gradient", "smoothgrad", "integrated", "gradcam", "occlusion", "deconvnet", "guided")


@dataclass(frozen=True)
class Settings:
    """What the measures need: see the probe `attribution`."""

    samples: int
    noise: float
    steps: int
    window: int
    stride: int
    grey: float
    seed: int

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        samples: int,
        noise: float,
        steps: int,
        window: int,
        stride: int,
        seed: int,
    ) -> Settings:
        """Those of images (C, H, W); a window of 0 is a quarter of the image's side, a stride of 0
        half the window's.

        Raises:
            BadRequest: a number out of range.
        """
        given = {"samples": (samples, 1), "steps": (steps, 1), "noise": (noise, 0.0)}
        given |= {"window": (window, 0), "stride": (stride, 0)}
        for name, (number, least) in given.items():
            if number < least:
                raise BadRequest(f"{name}={number} of 'attribution' is below {least}")
        side = window or max(1, min(shape[1:]) // 4)
        return cls(samples, noise, steps, side, stride or max(1, side // 2), 0.5, seed)


class Explainer:
    """Attributions by one network, image by image.

    Works on a private copy, so that whatever captum hangs on a module vanishes with it.
    """

    def __init__(self, backbone: Backbone, network: nn.Module, settings: Settings) -> None:
        self.name, self.settings = backbone.name, settings
        self.network = copy.deepcopy(network)
        wide = torch.zeros(2, *backbone.input_shape, dtype=backbone.dtype, device=backbone.device)
        self.layers, _ = find_layers(self.network, wide + 0.5)
        self.forward = self.backward = 0

    def why_not(self, method: str, x: Tensor) -> str:
        """Why a measure is not defined for this network; nothing where it is.

        Raises:
            BadRequest: no such measure.
        """
        if method not in METHODS:
            raise BadRequest(
                f"unknown method {method!r} of 'attribution'{choices(method, METHODS)}"
            )
        if method == "gradcam":
            return "" if self._last_map() else f"{self.name} has no map that Grad-CAM could weigh"
        if method in ("deconvnet", "guided"):
            rule: Rule = "deconvnet" if method == "deconvnet" else "guided"
            try:
                check_rule(self.network, self.layers[-1], x, rule, self.name)
            except BadRequest as error:
                return str(error)
        return ""

    def __call__(self, method: str, x: Tensor, target: int, image: str) -> NDArray[np.float64]:
        """Attribution [C, H, W] ([1, H, W] by Grad-CAM and occlusion) of one image [1, C, H, W].

        Args:
            target: the class whose logit is explained, by occlusion its probability.
            image: the id that noise is drawn by.
        """
        if method in ("deconvnet", "guided"):
            rule: Rule = "deconvnet" if method == "deconvnet" else "guided"
            last = self.layers[-1]
            found = project(self.network, last, x, [(target, 0, 0)], rule, "one", self.name)[1]
            self.forward, self.backward = self.forward + 3, self.backward + 1
        elif method == "occlusion":
            return occluded(self, x, target).drop[None]
        else:
            with gradients_on():
                own = x.detach().clone()
                found = getattr(self, f"_{method}")(own, target, image)
        numbers: NDArray[np.float64] = found.detach()[0].double().cpu().numpy()
        return numbers

    def _gradient(self, x: Tensor, target: int, image: str) -> Tensor:
        from captum.attr import Saliency

        self._count(len(x))
        found: Tensor = Saliency(self.network).attribute(
            x.requires_grad_(), target=target, abs=False
        )
        return found

    def _smoothgrad(self, x: Tensor, target: int, image: str) -> Tensor:
        """Smilkov et al. (2017); the noise is the image's own, not a batch's."""
        s = self.settings
        drawn = SampleRandom(s.seed, [image], "smoothgrad")
        total = torch.zeros_like(x)
        for first in range(0, s.samples, 16):
            count = min(16, s.samples - first)
            noise = torch.tensor(drawn.normal((count, *x.shape[1:]))[0]).to(x)
            total += self._gradient(x.detach() + s.noise * noise, target, image).sum(0)
        return total / s.samples

    def _integrated(self, x: Tensor, target: int, image: str) -> Tensor:
        """Sundararajan et al. (2017), from black; the steps of a Gauss-Legendre rule."""
        from captum.attr import IntegratedGradients

        self._count(self.settings.steps)
        found: Tensor = IntegratedGradients(self.network).attribute(
            x.requires_grad_(),
            baselines=0.0,
            target=target,
            n_steps=self.settings.steps,
            internal_batch_size=16,
        )
        return found

    def _gradcam(self, x: Tensor, target: int, image: str) -> Tensor:
        """Selvaraju et al. (2017), at the last map, brought to the size of the image."""
        from captum.attr import LayerAttribution, LayerGradCam

        layer = self._last_map()
        if layer is None:
            raise BadRequest(self.why_not("gradcam", x))
        self._count(1)
        cam = LayerGradCam(self.network, self._module(layer)).attribute(
            x.requires_grad_(), target=target, relu_attributions=True
        )
        size = (int(x.shape[2]), int(x.shape[3]))
        found: Tensor = LayerAttribution.interpolate(cam, size, "bilinear")
        return found

    def _count(self, passes: int) -> None:
        self.forward, self.backward = self.forward + passes, self.backward + passes

    def _last_map(self) -> Layer | None:
        """The last map with its channels in front that one module gives once."""
        uses = [layer.name.partition("#")[0] for layer in self.layers]
        once = [
            layer
            for layer, name in zip(self.layers, uses, strict=True)
            if layer.kind == "map" and not layer.channels_last and uses.count(name) == 1
        ]
        return once[-1] if once else None

    def _module(self, layer: Layer) -> nn.Module:
        inner = type(self.network).__name__ == "Normalised"
        return self.network.get_submodule(f"module.{layer.name}" if inner else layer.name)


@dataclass(frozen=True)
class Occluded:
    """What a grey square does at every place (Zeiler and Fergus 2014, figure 7).

    Attributes:
        drop: [H, W], by how much the square takes the class's probability down, a mean over the
            squares that cover a pixel (captum's `Occlusion`).
        probability: [rows, columns] of places, the class's probability under the square.
        winner: int [rows, columns], the most probable class under it.
    """

    drop: NDArray[np.float64]
    probability: NDArray[np.float64]
    winner: NDArray[np.int64]


def occluded(explainer: Explainer, x: Tensor, target: int) -> Occluded:
    """Slide a grey square over one image [1, C, H, W] and watch the probability of a class."""
    from captum.attr import Occlusion

    s = explainer.settings
    said: list[Tensor] = []

    def probability(images: Tensor) -> Tensor:
        found: Tensor = explainer.network(images).softmax(dim=1)
        said.append(found.detach())
        return found[:, target]

    _, channels, height, width = x.shape
    window = (channels, min(s.window, height), min(s.window, width))
    stride = [min(s.stride, w) for w in window[1:]]  # no pixel is left out
    with torch.inference_mode(False), torch.no_grad():
        drop = Occlusion(probability).attribute(
            x.detach().clone(),
            sliding_window_shapes=window,
            strides=(channels, *stride),
            baselines=s.grey,
            perturbations_per_eval=32,
        )
    places = _places((height, width), window[1:], stride)
    # captum asks for the image as it is, then for one image a place, column by column.
    answers = torch.cat(said[1:]).double().cpu()
    if len(said[0]) != 1 or len(answers) != places[0] * places[1]:
        raise RuntimeError(f"captum asked for {len(answers)} occlusions of {places} places")
    explainer.forward += 1 + len(answers)
    maps = Occluded(
        drop[0, 0].double().cpu().numpy(),
        answers[:, target].numpy().reshape(places, order="F"),
        answers.argmax(1).numpy().reshape(places, order="F"),
    )
    _check_order(maps, float(said[0][0, target]), window[1:], stride)
    return maps


def _check_order(
    maps: Occluded, clean: float, window: Sequence[int], stride: Sequence[int]
) -> None:
    """The map of places has to give captum's map of pixels, or the places were read wrongly."""
    sums, counts = np.zeros(maps.drop.shape), np.zeros(maps.drop.shape)
    for (i, j), value in np.ndenumerate(maps.probability):
        y, x = i * stride[0], j * stride[1]
        square = (slice(y, y + window[0]), slice(x, x + window[1]))
        sums[square] += clean - value
        counts[square] += 1
    if not np.allclose(sums / np.maximum(counts, 1), maps.drop, atol=1e-4):
        raise RuntimeError("captum slides the occlusion in another order than it is read in")


def _places(size: Sequence[int], window: Sequence[int], stride: Sequence[int]) -> tuple[int, int]:
    """How many places a window takes; the last may hang over the border."""
    rows, columns = (1 + -(-(n - w) // s) for n, w, s in zip(size, window, stride, strict=True))
    return rows, columns
