"""What the probe `attribution` collects image by image, and hands over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.adversarial import Found
from robustlab.filters.attribution_tiles import MOST, occlusion_picture
from robustlab.filters.explained import Occluded, Settings
from robustlab.filters.integrated import BASELINES, DOUBLINGS, INCOMPLETE
from robustlab.filters.tiles import grid
from robustlab.outcome import Finding, Metric, Outcome, Picture

__all__ = ["Told", "about", "outcome"]

MUCH = 0.25  # share of black pixels that is worth a word


@dataclass
class Told:
    """What is collected image by image."""

    n: int
    methods: list[str]
    side: int = 0  # pixels of the longer side of an image
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    tiles: list[NDArray[np.uint8]] = field(default_factory=list)
    twins: list[int] = field(default_factory=list)
    maps: list[tuple[NDArray[np.uint8], Occluded]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.columns |= {name: np.zeros(self.n, bool) for name in ("measured", "fooled")}
        answers = ("prediction", "adversarial_prediction")
        self.columns |= {name: np.full(self.n, -1, np.int16) for name in answers}
        names = [
            f"{kind}_likeness[method={m}]"
            for kind in ("randomised", "adversarial")
            for m in self.methods
        ]
        if "occlusion" in self.methods:
            names += ["occlusion_flips", "occlusion_lowest"]
        names += [f"completeness_error[method={m}]" for m in self.methods if m in BASELINES]
        names += ["black"] if "integrated" in self.methods else []
        self.columns |= {name: np.full(self.n, np.nan) for name in names}


def about(attack: str, found: Found | None) -> str:
    if found is None:
        return "No adversarial images were asked for."
    return f"Adversarial images are {attack}'s at the smallest of eps {', '.join(found.eps)}."


def outcome(
    told: Told,
    pictured: Sequence[int],
    left_out: list[str],
    settings: Settings,
    cost: dict[str, float],
    about: str,
) -> Outcome:
    metrics = {
        name: Metric(name, among="fooled" if name.startswith("adversarial") else "measured")
        for name in told.columns
        if "likeness" in name or name.startswith(("occlusion", "completeness"))
    }
    metrics["fooled"] = Metric("fooled", among="measured")
    arrays: dict[str, Any] = {
        "methods": np.array(told.methods, dtype=str),
        "pictured": np.array(pictured, np.int64),
        "adversarial": np.array(told.twins, np.int64),
    }
    pictures = []
    if told.tiles and told.methods:
        made = grid(told.tiles, 1 + len(told.methods), gap=2)
        caption = "image, " + ", ".join(told.methods)
        pictures.append(Picture("attribution", made, caption))
    if told.maps:
        made, classes = occlusion_picture(told.maps)
        caption = "image, probability of the label, most probable class"
        pictures.append(Picture("occlusion", made, caption))
        arrays |= {
            "occlusion_probability": np.stack([m.probability for _, m in told.maps]),
            "occlusion_winner": np.stack([m.winner for _, m in told.maps]),
            "occlusion_classes": classes,
        }
    notes = [*left_out, about, *_notes(told, settings)]
    return Outcome(
        told.columns, arrays, pictures, metrics, notes, cost, findings=_findings(told, settings)
    )


def _notes(told: Told, settings: Settings) -> list[str]:
    notes = [
        "Attribution is of the logit of the class that the network says on the image in question; "
        "the control explains the same class with random weights. Each map has its own scale.",
        f"SmoothGrad: {settings.samples} copies, noise {settings.noise:g}.",
        f"Occlusion: a square of {settings.window} pixels of grey {settings.grey:g}, every "
        f"{settings.stride}; the probability is that of the label.",
    ]
    if told.side > MOST:
        notes.append(
            f"Pictures are drawn smaller: each pixel is the mean over {-(-told.side // MOST)} x "
            f"{-(-told.side // MOST)} of the image or the map, in which signs may cancel."
        )
    starts = {"integrated": "black", "integrated_grey": "grey 0.5 (integrated_grey)"}
    held = [text for name, text in starts.items() if name in told.methods]
    if held:
        notes.append(
            f"Integrated gradients: {settings.steps} steps from {' and from '.join(held)}, up to "
            f"{settings.steps * 2**DOUBLINGS} where their sum is off by more than "
            f"{100 * INCOMPLETE:g} %; a pixel "
            "that is what they start from gets 0 whatever the network does, so that correlations "
            "are over the others."
        )
    black = told.columns.get("black", np.empty(0))
    black = black[np.isfinite(black)]
    if len(black) and black.mean() >= MUCH:
        notes.append(
            f"{100 * black.mean():.0f} % of the pixel values are black: integrated gradients from "
            "black say nothing about these, and cannot tell a background that the class rests on."
            + ("" if "integrated_grey" in told.methods else " integrated_grey starts elsewhere.")
        )
    return notes


def _findings(told: Told, settings: Settings) -> list[Finding]:
    """Whether the maps of integrated gradients add up to what they explain."""
    found = []
    for method in (m for m in told.methods if m in BASELINES):
        off = told.columns[f"completeness_error[method={method}]"]
        off = off[~np.isnan(off)]
        if not len(off):
            continue
        worst, many = float(off.max()), int((off > INCOMPLETE).sum())
        if many:
            found.append(
                Finding(
                    "completeness",
                    "amber",
                    f"{method}: on {{count}} of {{of}} images the attributions miss the change of "
                    f"the logit by more than {100 * INCOMPLETE:g} % (by {100 * worst:.3g} % at "
                    f"worst) even with {settings.steps * 2**DOUBLINGS} steps; take steps="
                    f"{2 * settings.steps * 2**DOUBLINGS}.",
                    count=many,
                    of=len(off),
                )
            )
        else:
            found.append(
                Finding(
                    "completeness",
                    "green",
                    f"{method}: attributions add up to the change of the logit within "
                    f"{100 * INCOMPLETE:g} % on every image.",
                )
            )
    return found
