"""Equivariance against invariance: where each network stops moving along with its image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from robustlab.reporting.invariance.layers_curves import curves
from robustlab.reporting.invariance.layers_found import Found, found_in, share, shift_name, size
from robustlab.reporting.invariance.layers_maps import feature_pictures
from robustlab.reporting.invariance.told import Told
from robustlab.reporting.section import Story, render
from robustlab.results import Group
from robustlab.verdict import code, plural

__all__ = ["layers", "sentence"]

BROKEN = 0.01  # of the map's energy about its mean; rounding is a ten-thousandth of that


def layers(story: Story, groups: Sequence[Group]) -> Told | None:
    """Curves over the layers, a table, and maps before and after, for each set of parameters."""
    found = [one for group in groups if (one := found_in(group)) is not None]
    if not found:
        return None
    labels = list(dict.fromkeys(one.label for one in found))
    parts = [
        _part(story, [one for one in found if one.label == label], place)
        for place, label in enumerate(labels)
    ]
    body = render("layers.html", story, parts=parts, several=len(parts) > 1)
    return Told(parts[0]["title"], body)


def _part(story: Story, found: Sequence[Found], place: int) -> dict[str, Any]:
    told = [sentence(one, story.evidence.noun) for one in found]
    drawn, rows = curves(story, found, f"layers-{place}")
    return {
        "label": found[0].label,
        "title": title(found),
        "sentences": told,
        "mode_masks": found[0].mode != "circular",
        "mode": MODES.get(found[0].mode, found[0].mode),
        "shift": shift_name(found[0].shift),
        "names": [one.backbone for one in found],
        "drawings": drawn,
        "tables": [_table(one) for one in found],
        "maps": [m for one in found if (m := feature_pictures(one)) is not None],
        "notes": [(one.backbone, note) for one in found for note in one.notes],
        "file": f"layers-{place + 1}.csv",
        "head": ["backbone", "layer", "shift", "measure", "mean", "low", "high", "n"],
        "rows": rows,
    }


MODES = {
    "zero": "black enters where the image leaves",
    "reflect": "the mirrored image enters where the image leaves",
    "circular": "what leaves on one side enters on the other",
}


def breaking(one: Found) -> int | None:
    """The first map whose best-roll error is above `BROKEN` throughout its interval."""
    for place in one.maps:
        error = one.mean("best_roll", place)
        if error.n and not error.value < BROKEN and not error.low < BROKEN:
            return place
    return None


def _last_measured(one: Found) -> int | None:
    return next((p for p in reversed(one.maps) if one.mean("best_roll", p).n), None)


def sentence(one: Found, noun: str) -> str:
    """At which layer a network stops being equivariant, and what is left of it at the logits."""
    place, last = breaking(one), _last_measured(one)
    left = one.mean("in_place", one.logits)
    at_logits = (
        f"At the logits a shift by {shift_name(one.shift)} leaves {size(left)} of the distance to "
        f"the mean logits{_all_shifts(one)}"
        if left.n
        else "At the logits nothing could be measured"
    )
    other = one.unrelated("in_place", one.logits)
    if other.n:
        at_logits += f", an unrelated image {size(other)}"
    images = plural(one.n, noun)
    if last is None:
        start = f"No map of {code(one.backbone)} has a cell that sees the {noun} alone"
    elif place is None:
        start = (
            f"{code(one.backbone)} moves along with its image up to {code(one.names[last])}, the "
            f"last map that can be compared (n = {images})"
        )
    else:
        error, unrelated = one.mean("best_roll", place), one.unrelated("best_roll", place)
        beside = f", between unrelated images {size(unrelated)}" if unrelated.n else ""
        start = (
            f"{code(one.backbone)} stops moving along with its image at {code(one.names[place])}: "
            f"after a shift by {shift_name(one.shift)} its map differs from the old one, moved "
            f"along as well as whole cells allow, by {size(error)} of its spread{beside} "
            f"(n = {images})"
        )
    return f"{start}. {at_logits}."


def _all_shifts(one: Found) -> str:
    """The figure of the summary, which averages over the shifts, beside that of the first shift."""
    many = len(one.shifts)
    if many < 2:
        return ""
    found = one.over_shifts(one.logits)
    return f" (mean over all {many} shifts asked for: {size(found)})" if found.n else ""


def title(found: Sequence[Found]) -> str:
    """The finding over all backbones."""
    places = [(one, breaking(one)) for one in found]
    if len(found) == 1:
        one, place = places[0]
        if place is None:
            return f"{code(one.backbone)} moves along with its image as far as can be compared"
        return f"{code(one.backbone)} stops moving along with its image at {_at(one, place)}"
    broken = [(one, place) for one, place in places if place is not None]
    if not broken:
        return "Every network moves along with its image as far as can be compared"
    whole = [one for one, place in places if place is None]
    told = [f"{code(one.backbone)} at {_at(one, place)}" for one, place in broken[:3]]
    more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
    text = f"Moving along with the image ends for {', '.join(told)}{more}"
    return text + (f"; {code(whole[0].backbone)} keeps it" if len(whole) == 1 else "")


def _at(one: Found, place: int) -> str:
    return f"{code(one.names[place])} ({one.modules[place]})"


def _table(one: Found) -> dict[str, Any]:
    """Every layer of one backbone, for the first shift."""
    rows = []
    for place, name in enumerate(one.names):
        sides = one.shapes[place]
        stride = one.strides[place]
        rows.append(
            {
                "name": name,
                "module": one.modules[place],
                "shape": " × ".join(map(str, sides if place in one.maps else sides[:1])),
                "stride": "×".join(map(str, stride)) if 0 not in stride else "",
                "kept": f"{100 * one.kept[0, place]:.0f} %" if place in one.maps else "",
                "aligned": _cell(one, "aligned", place),
                "best": _cell(one, "best_roll", place),
                "parts": _cell(one, "fractional", place),
                "in_place": _cell(one, "in_place", place),
                "unrelated": _written(one.unrelated("in_place", place)),
                "changed": _share(one, place),
            }
        )
    return {
        "backbone": one.backbone,
        "rows": rows,
        "n": one.n,
        "circular": one.mode == "circular",
        "kept": _listed(one.kept_predictions),
    }


def _listed(shares: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in shares)


def _cell(one: Found, measure: str, place: int) -> str:
    return _written(one.mean(measure, place))


def _written(rate: Any) -> str:
    return size(rate) if rate.n and not math.isnan(rate.value) else ""


def _share(one: Found, place: int) -> str:
    found = one.mean("changed", place)
    return share(found) if found.n and np.isfinite(found.value) else ""
