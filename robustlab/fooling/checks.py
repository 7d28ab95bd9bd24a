"""What a sceptic asks of the written file, each answered from the file and nothing else.

The picture is loaded afresh from disk. What the search believed of its own tensors counts for
nothing but the last question: whether the file bears it out.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from robustlab.adversarial.images import exact_kernels
from robustlab.errors import BadRequest
from robustlab.fooled import Check, Pixels
from robustlab.fooling.asked import Asked
from robustlab.fooling.search import Candidate, Scene, measure, within
from robustlab.fooling.sight import Sight
from robustlab.units import NORM_TITLES

__all__ = ["Loaded", "check_file", "load_png"]

Logits = NDArray[np.float64]


@dataclass(frozen=True)
class Loaded:
    """A picture file as Pillow finds it: its format and its pixels, uint8 [C, H, W]."""

    format: str
    pixels: Pixels


def load_png(file: Path) -> Loaded:
    """Open ``file`` and decode it; the format is what its bytes say, whatever its name.

    Raises:
        BadRequest: no readable picture.
    """
    from PIL import Image

    try:
        with Image.open(file) as image:
            kind, values = str(image.format), np.asarray(image, np.uint8)
    except Exception as error:  # Pillow's decoders raise errors of many kinds
        raise BadRequest(f"{file} cannot be read back: {error}") from None
    return Loaded(kind, values[None] if values.ndim == 2 else values.transpose(2, 0, 1).copy())


def check_file(
    original: Path, changed: Path, scene: Scene, sight: Sight, asked: Asked, found: Candidate
) -> tuple[Check, ...]:
    """All questions, each with what was found; `Fooled` has succeeded where all passed.

    Args:
        original, changed: the two files that were written.
        found: the search's answer that ``changed`` was written from.
    """
    clean, other = load_png(original), load_png(changed)
    if clean.pixels.shape != other.pixels.shape:
        return (_form(clean, other, scene),)
    read = scene.chances(other.pixels)
    goal = _goal(scene)
    hit = scene.hits(read)
    return (
        _form(clean, other, scene),
        _spent(clean.pixels, other.pixels, asked),
        _unchanged(clean.pixels, scene),
        Check(
            f"Opened again from disk, resized and cropped by Pillow: {goal}?",
            hit,
            _said(scene, read),
        ),
        _elsewhere(other.pixels, scene, sight, goal),
        _precise(clean.pixels, other.pixels, scene, goal),
        _borne_out(hit, found),
    )


def _goal(scene: Scene) -> str:
    classes = scene.backbone.classes
    if scene.target is None:
        return f"is it no longer taken for {classes[scene.label]}"
    return f"is it taken for {classes[scene.target]}"


def _percent(share: float) -> str:
    """Rounding must make neither certainty nor impossibility."""
    if share >= 0.99995:
        return "over 99.99 %"
    return "under 0.01 %" if share < 0.00005 else f"{100 * share:.2f} %"


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[2]}x{pixels.shape[1]}, {'grey' if len(pixels) == 1 else 'RGB'}"


def _form(clean: Loaded, other: Loaded, scene: Scene) -> Check:
    same = other.pixels.shape == clean.pixels.shape == scene.pixels.shape
    return Check(
        "Is the file a PNG of the original's size?",
        same and other.format == clean.format == "PNG",
        f"{other.format}, {_size(other.pixels)}; the original {clean.format}, "
        f"{_size(clean.pixels)}",
    )


def _spent(clean: Pixels, other: Pixels, asked: Asked) -> Check:
    """Counted on the pixels of the two files, in whole levels."""
    size = measure(other, clean)
    eps, norm = asked.budget, asked.norm
    told = {
        "linf": f"at most {size.linf} of {eps.value * 255:.4g} grey levels a value",
        "l2": f"{size.l2:.1f} of {eps.value * 255:.1f} grey levels",
        "l1": f"{size.l1:.0f} of {eps.value * 255:.0f} grey levels",
        "l0": f"{size.l0} of {eps.value:.0f} pixels",
    }[norm]
    fits = within(other, clean, norm, eps.value) and size.l0 > 0
    question = f"Is every pixel's change within the budget ({NORM_TITLES[norm]} {eps.text})?"
    return Check(question, fits, told if size.l0 else "nothing was changed")


def _unchanged(clean: Pixels, scene: Scene) -> Check:
    chances = scene.chances(clean)
    top = int(chances.argmax())
    name = scene.backbone.classes[scene.label]
    return Check(
        f"Is the original, written and read the same way, still taken for {name}?",
        top == scene.label and np.array_equal(clean, scene.pixels),
        _said(scene, chances),
    )


def _elsewhere(other: Pixels, scene: Scene, sight: Sight, goal: str) -> Check:
    with exact_kernels():
        x = torch.from_numpy(sight.by_torchvision(other)[None])
        chances = scene.backbone(x).double().softmax(dim=1)[0].cpu().numpy()
    return Check(
        f"Preprocessed by torchvision's transforms on a tensor instead: {goal}?",
        scene.hits(chances),
        _said(scene, chances),
    )


def _precise(clean: Pixels, other: Pixels, scene: Scene, goal: str) -> Check:
    """In a batch with other pictures, and in float64 where the network can be run so."""
    x = np.stack([scene.read(clean), scene.read(other), scene.read(other)])
    with exact_kernels():
        batch = scene.backbone(x).double().softmax(dim=1).cpu().numpy()
        exact = _in_float64(scene, x[1:2])
    told = [f"{_said(scene, batch[1])} in a batch of 3"]
    told += ["float64 cannot be run"] if exact is None else [f"{_said(scene, exact)} in float64"]
    held = all(scene.hits(one) for one in [batch[1], batch[2], *([] if exact is None else [exact])])
    return Check(f"In another batch and in float64: {goal}?", held, "; ".join(told))


def _said(scene: Scene, chances: NDArray[np.float64]) -> str:
    top = int(chances.argmax())
    return f"{scene.backbone.classes[top]}, {_percent(chances[top])}"


def _in_float64(scene: Scene, x: NDArray[np.float32]) -> Logits | None:
    try:
        network = copy.deepcopy(scene.backbone.network).double()
        with torch.no_grad():
            logits = network(torch.from_numpy(x).double().to(scene.backbone.device))
    except Exception:  # a network with a fixed dtype inside
        return None
    return np.asarray(logits.softmax(dim=1)[0].cpu().numpy(), np.float64)


def _borne_out(hit: bool, found: Candidate) -> Check:
    said = found.claimed or found.believed
    told = {
        (True, True): "the search believed that it had succeeded, and the file shows it",
        (True, False): "the search believed that it had succeeded, and the file does not show it",
        (False, True): "the search did not believe that it had succeeded, but the file shows it",
        (False, False): "the search did not believe that it had succeeded, and it had not",
    }
    question = "Does the file bear out what the search believed of its own numbers?"
    return Check(question, hit or not said, told[said, hit])
