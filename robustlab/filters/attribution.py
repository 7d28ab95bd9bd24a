"""Which pixels speak for a class: attribution on a clean image and on its adversarial twin.

Beside every measure stands the same one on a network of random weights, and the rank correlation of
both: a measure that hardly changes shows the image and the architecture, not what was learned
(Adebayo et al. 2018).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustlab.adversarial import Found
from robustlab.adversarial.images import load_pixels
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.filters.attribution_tiles import attribution_row
from robustlab.filters.attribution_told import Told, about, outcome
from robustlab.filters.explained import Explainer, Settings, occluded
from robustlab.filters.integrated import BASELINES, off_baseline
from robustlab.filters.likeness import rank_correlation
from robustlab.filters.projection import gradients_on, randomised
from robustlab.outcome import Outcome
from robustlab.randomness import SampleRandom
from robustlab.registry import probe, resolve

__all__ = ["attribution"]


@probe("attribution", scope="set", version=2, uses=("{attack}",))
def attribution(
    backbone: Backbone,
    data: Data,
    *,
    methods: tuple[str, ...] = ("gradient", "smoothgrad", "integrated", "gradcam", "occlusion"),
    attack: str = "pgd",
    eps: tuple[str, ...] = ("8/255", "0.1", "0.3"),
    images: int = 16,
    pictures: int = 3,
    samples: int = 16,
    noise: float = 0.1,
    steps: int = 32,
    window: int = 0,
    stride: int = 0,
    seed: int = 0,
) -> Outcome:
    """Attribution of clean and adversarial images, beside the same with random weights.

    Each image is explained for the class that the network says on it, occlusion for its label.
    Columns: ``measured``, ``fooled`` (and classified correctly before), ``prediction``,
    ``adversarial_prediction`` (-1: none), ``randomised_likeness[method=...]`` and
    ``adversarial_likeness[method=...]``, Spearman's rank correlation of the magnitudes with those
    of random weights and of the adversarial image, of integrated gradients over the pixels that
    are not what they start from; ``completeness_error[method=...]`` of integrated gradients, the
    larger of the image's and its twin's; ``black``, the share of pixel values that are 0;
    ``occlusion_flips``, the share of places at
    which the square changes the prediction; ``occlusion_lowest``, the label's lowest probability.
    Arrays, of m pictured images: ``pictured`` rows, ``adversarial`` rows that have a twin,
    ``methods`` text; ``occlusion_probability``, ``occlusion_winner`` [m, rows, columns];
    ``occlusion_classes``, the classes in the order of the colours. Pictures: ``attribution``, three
    rows an image (clean, adversarial, clean under random weights), a column a method behind the
    image; ``occlusion``, a row an image.

    methods: gradient, smoothgrad, integrated(_grey), gradcam, occlusion, deconvnet, guided
    attack: name of the attack that makes the adversarial images; empty: none
    eps: its budgets; of each image the smallest that fools as 8-bit pixels is taken
    images: at most so many images; 0: all
    pictures: of so many images the grid is drawn
    samples: noisy copies of SmoothGrad
    noise: their standard deviation, on the [0, 1] scale
    steps: of integrated gradients, from black or grey 0.5; up to four times as many if need be
    window: side of the grey square in pixels; 0: a quarter of the image's
    stride: between its places in pixels; 0: half its side
    seed: with each image's id it decides noise, attack and random weights
    """
    rows = _checked(backbone, data, methods, images, pictures)
    settings = Settings.of(data.shape, samples, noise, steps, window, stride, seed)
    own = Explainer(backbone, backbone.network, settings)
    control = Explainer(backbone, randomised(backbone.network, seed), settings)
    first = load_pixels(data, rows[:1], backbone)[0].to(backbone.dtype)
    reasons = {m: own.why_not(m, first) for m in methods}
    told = Told(len(data), [m for m in methods if not reasons[m]], max(data.shape[1:]))
    subset = data.subset(rows)
    found = _attacked(backbone, subset, attack, eps, seed)
    for place, row in enumerate(rows):
        _explain(told, backbone, data, row, own, control, found, place, place < pictures)
    spent = (found.forward.sum(), found.backward.sum()) if found else (0.0, 0.0)
    return outcome(
        told,
        rows[:pictures],
        [f"{m} is left out: {why}" for m, why in reasons.items() if why],
        settings,
        {
            "forward": spent[0] + own.forward + control.forward + 2 * len(rows),
            "backward": spent[1] + own.backward + control.backward,
        },
        about(attack, found),
    )


def _checked(
    backbone: Backbone,
    data: Data,
    methods: Sequence[str],
    images: int,
    pictures: int,
) -> list[int]:
    """The rows that are measured, in an order drawn by their ids."""
    backbone.accepts(data)
    if not methods:
        raise BadRequest("'attribution' has nothing to do: give methods, as ['gradient']")
    for name in methods:
        if list(methods).count(name) > 1:
            raise BadRequest(f"methods of 'attribution': {name!r} is given twice; leave one out")
    for name, number in (("images", images), ("pictures", pictures)):
        if number < 0:
            raise BadRequest(f"{name}={number} of 'attribution' is below 0")
    drawn = SampleRandom(0, data.ids, "attribution").uniform(())
    order: list[int] = np.lexsort((np.array(data.ids), drawn)).tolist()
    return order[: images or None]


def _attacked(
    backbone: Backbone, data: Data, name: str, eps: Sequence[str], seed: int
) -> Found | None:
    if not name:
        return None
    registered = resolve(name)
    if registered.kind != "attack":
        raise BadRequest(f"attack={name!r} of 'attribution' is a probe; `robustlab list attacks`")
    made = registered.obj(**bind(registered, {"eps": list(eps)}))
    with gradients_on():
        found: Found = made(backbone, data, seed=seed)
    return found


def _twin(found: Found | None, place: int) -> tuple[NDArray[np.uint8], str] | None:
    """The 8-bit adversarial image of smallest budget, and that budget."""
    if found is None or not found.clean_correct[place]:
        return None
    hits = np.flatnonzero(found.verified_8bit[:, place])
    if not len(hits):
        return None
    best = min(hits, key=lambda i: float(found.distance[i, place]))
    return np.asarray(found.images_8bit[best, place]), found.eps[best]


def _explain(
    told: Told,
    backbone: Backbone,
    data: Data,
    row: int,
    own: Explainer,
    control: Explainer,
    found: Found | None,
    place: int,
    drawn: bool,
) -> None:
    """One image: its columns, and its tiles where it is drawn."""
    x, pixels = load_pixels(data, [row], backbone)
    x, label, image = x.to(backbone.dtype), int(data.labels[row]), str(data.ids[row])
    says = int(backbone(x).argmax())
    columns = told.columns
    columns["measured"][row], columns["prediction"][row] = True, says
    twin = _twin(found, place)
    clean = _all(told, own, x, says, label, image, row)
    random = _all(told, control, x, says, label, image)
    for method in told.methods:
        likeness = rank_correlation(clean[method], random[method], off_baseline(method, x))
        columns[f"randomised_likeness[method={method}]"][row] = likeness
    other: dict[str, NDArray[np.float64]] = {}
    if twin is not None:
        x_adv = torch.tensor(twin[0][None]).to(x) / 255
        now = int(backbone(x_adv).argmax())
        columns["fooled"][row], columns["adversarial_prediction"][row] = True, now
        other = _all(told, own, x_adv, now, label, image, row)
        for method in told.methods:
            off = off_baseline(method, x, x_adv)
            likeness = rank_correlation(clean[method], other[method], off)
            columns[f"adversarial_likeness[method={method}]"][row] = likeness
    if "integrated" in told.methods:
        columns["black"][row] = float((x == 0).double().mean())
    if "occlusion" in told.methods:
        _occlude(told, own, x, label, row, says, pixels, drawn)
    if drawn:
        shown = pixels[0].cpu().numpy()
        told.tiles += attribution_row(shown, clean, told.methods)
        told.tiles += attribution_row(shown if twin is None else twin[0], other, told.methods)
        told.tiles += attribution_row(shown, random, told.methods)
        told.twins += [row] if twin is not None else []


def _all(
    told: Told,
    explainer: Explainer,
    x: Tensor,
    says: int,
    label: int,
    image: str,
    row: int | None = None,
) -> dict[str, NDArray[np.float64]]:
    """The maps of one image; with ``row`` the completeness errors go into their columns."""
    maps = {}
    for method in told.methods:
        maps[method] = explainer(method, x, label if method == "occlusion" else says, image)
        if method in BASELINES and row is not None:
            column = told.columns[f"completeness_error[method={method}]"]
            column[row] = np.fmax(column[row], explainer.incomplete)
    return maps


def _occlude(
    told: Told,
    own: Explainer,
    x: Tensor,
    label: int,
    row: int,
    says: int,
    pixels: Tensor,
    drawn: bool,
) -> None:
    maps = occluded(own, x, label)
    told.columns["occlusion_flips"][row] = (maps.winner != says).mean()
    told.columns["occlusion_lowest"][row] = maps.probability.min()
    if drawn:
        told.maps.append((pixels[0].cpu().numpy(), maps))
