"""Feature maps, kernels at work on an image, and neighbours in feature space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustlab.reporting.filters.sheet import Table, Words, outcome, tell
from robustlab.reporting.invariance.told import Told
from robustlab.reporting.section import Story
from robustlab.results import Group, measure
from robustlab.statistics import Rate
from robustlab.verdict import code, plural

__all__ = ["feature_maps", "filter_bank", "retrieval"]


def feature_maps(story: Story, groups: Sequence[Group]) -> Told | None:
    """The part of the probe ``feature_maps``."""

    def say(here: Sequence[Group]) -> Words:
        title = "; ".join(_silent(g, story.evidence.noun) for g in here[:2])
        sentences = [_where(g) for g in here]
        notes = [
            "“Silent” counts channels that are never above 0: behind a ReLU they are dead on these "
            f"{story.evidence.noun}, elsewhere they are merely negative."
        ]
        return Words(title, sentences, [_units(here)], notes=notes)

    return tell(story, groups, say)


def _silent(group: Group, noun: str) -> str:
    """Channels that are zero on all images behind the activations."""
    a = outcome(group).arrays
    acts = [i for i, m in enumerate(a["module"]) if str(m).startswith("ReLU")]
    n = plural(int(a["looked_at"]), noun)
    if not acts:
        return f"What {code(group.backbone)} makes of {n}, layer by layer"
    silent, of = (int(v[acts].sum()) for v in (a["silent"], a["shape"][:, 0]))
    return f"{silent} of {of} units behind the ReLUs of {code(group.backbone)} stay dead on {n}"


def _where(group: Group) -> str:
    """The strongest unit of the first image, in the deepest map whose cell was traced back."""
    a = outcome(group).arrays
    active = _rate(group, "active")
    driven = f"; an image drives {_per_cent(active)} of the units behind ReLUs" if active else ""
    traced = [i for i in np.flatnonzero(a["box"][:, 0] >= 0).tolist() if a["shape"][i, 1] > 1]
    if not traced:
        return f"{code(group.backbone)} has no map whose cells were traced back to pixels{driven}."
    i = traced[-1]
    return (
        f"{code(group.backbone)}: of {code(str(outcome(group).samples['id'][0]))} unit "
        f"{a['unit'][0, i, 0]} of {code(str(a['layer'][i]))} makes the most "
        f"({a['value'][0, i, 0]:.3g}), looking at {_pixels(a['box'][i].tolist())}{driven}."
    )


def _pixels(box: Sequence[int]) -> str:
    if box[0] < 0:
        return ""
    return f"rows {box[0]} to {box[2] - 1}, columns {box[1]} to {box[3] - 1}"


def _units(here: Sequence[Group]) -> Table:
    rows = []
    for g in here:
        a = outcome(g).arrays
        for i, name in enumerate(a["layer"]):
            cell = f"{a['row'][0, i, 0]}, {a['column'][0, i, 0]}"
            value = round(float(a["value"][0, i, 0]), 4)
            units, silent = int(a["shape"][i, 0]), int(a["silent"][i])
            strongest = int(a["unit"][0, i, 0])
            module = str(a["module"][i])
            seen = _pixels(a["box"][i].tolist())
            rows.append(
                [g.backbone, str(name), module, units, silent, strongest, value, cell, seen]
            )
    head = ["backbone", "layer", "module", "units", "silent", "strongest", "its value", "its cell"]
    head.append("pixels it sees")
    return Table("feature-maps.csv", head, rows)


def filter_bank(story: Story, groups: Sequence[Group]) -> Told | None:
    """The part of the probe ``filter_bank``."""

    def say(here: Sequence[Group]) -> Words:
        own = [g for g in here if "correlates" in outcome(g).samples]
        title = "Flip the kernel and convolution is correlation"
        if own and not all(map(_correlates, own)):
            other = _listed([g for g in own if not _correlates(g)])
            title = f"The kernels that {other} keep are not those that run"
        elif own:
            title = f"{_listed(own)} correlate{'s' if len(own) == 1 else ''}: no kernel is flipped"
        return Words(title, [_compared(g, story.evidence.noun) for g in here], [_bank(here)])

    return tell(story, groups, say)


NOTHING = 1e-3  # of the output's norm: far above rounding in single precision, far below a kernel


def _correlates(group: Group) -> bool:
    """Whether the layer is, but for rounding, the correlation with the kernels that it keeps."""
    found = outcome(group).samples["correlates"]
    return bool(np.nanmax(found, initial=0.0) < NOTHING)


def _listed(groups: Sequence[Group]) -> str:
    names = [code(g.backbone) for g in groups]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _compared(group: Group, noun: str) -> str:
    s = outcome(group).samples
    n = plural(len(next(iter(s.values()))), noun)
    worst = max((float(np.max(v)) for k, v in s.items() if k.startswith("methods[")), default=0.0)
    text = (
        f"On {n}, flip-and-filter and translate-and-scale differ by at most {worst:.1g}"
        if any(k.startswith("methods[") for k in s)
        else f"On {n}"
    )
    if "correlates" in s:
        text += (
            f"; {code(str(outcome(group).arrays['layer']))} of {code(group.backbone)} differs from "
            f"correlation with its kernels by at most {float(np.nanmax(s['correlates'])):.1g} of "
            f"its norm, from convolution by {float(np.nanmean(s['convolves'])):.2g} in the mean"
        )
    return text + "."


def _bank(here: Sequence[Group]) -> Table:
    rows = []
    for g in here:
        for name, column in outcome(g).samples.items():
            if column.dtype.kind == "f":
                held = column[np.isfinite(column)]
                mean, most = (
                    float(f(held)) if len(held) else float("nan") for f in (np.mean, np.max)
                )
                rows.append([g.backbone, name, f"{mean:.3g}", f"{most:.3g}", len(held)])
    return Table("filter-bank.csv", ["backbone", "what", "mean", "largest", "images"], rows)


def retrieval(story: Story, groups: Sequence[Group]) -> Told | None:
    """The part of the probe ``retrieval``."""

    def say(here: Sequence[Group]) -> Words:
        sentences = [_beside(g, story.evidence.noun) for g in here]
        return Words(_retrieval_title(here), sentences, [_neighbours(here)])

    return tell(story, groups, say)


def _rate(group: Group, name: str) -> Rate | None:
    metrics = outcome(group).metrics
    return measure(outcome(group), metrics[name]) if name in metrics else None


def _per_cent(rate: Rate | None) -> str:
    if rate is None or not rate.n:
        return "not measured"
    if np.isnan(rate.low):
        return f"{100 * rate.value:.1f} %"
    return f"{100 * rate.value:.1f} % [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"


def _retrieval_title(here: Sequence[Group]) -> str:
    """The clearest change under attack: no claim where the intervals of before and after overlap.

    Where no attack fooled an image, the share of neighbours of the same class.
    """
    changes: dict[str, tuple[Rate, Rate]] = {}
    for g in here:
        before, after = (_rate(g, f"same_class_{when}[fooled]") for when in ("before", "after"))
        if before is not None and after is not None and after.n:
            changes[g.backbone] = before, after
    if not changes:
        clean = [(_per_cent(_rate(g, "same_class_before")), code(g.backbone)) for g in here[:2]]
        return "; ".join(
            f"{value.split(' [')[0]} of the neighbours in {name} share the image's class"
            for value, name in clean
        )
    clear = {n: (b, a) for n, (b, a) in changes.items() if b.low > a.high or a.low > b.high}
    if not clear:
        few = max(after.n for _, after in changes.values())
        return (
            "Whether fooling changes the classes of the neighbours is not clear from "
            f"{plural(few, 'fooled images')}: intervals overlap"
        )
    name = max(clear, key=lambda n: abs(clear[n][0].value - clear[n][1].value))
    before, after = clear[name]
    most = f", the largest change of {len(changes)} networks" if len(changes) > 1 else ""
    return (
        f"fooling {code(name)} takes the neighbours of the image's class from "
        f"{100 * before.value:.0f} % to {100 * after.value:.0f} %{most}"
    )


def _beside(group: Group, noun: str) -> str:
    layer = code(str(outcome(group).arrays["layer"]))
    all_before = _rate(group, "same_class_before")
    n = plural(all_before.n if all_before else 0, noun)
    text = (
        f"{code(group.backbone)}, {layer}: of the nearest {noun} of {n}, {_per_cent(all_before)} "
        "bear the same label"
    )
    fooled = _rate(group, "fooled")
    if fooled is None:
        return f"{text}; no attack was asked for."
    if not (after := _rate(group, "same_class_after[fooled]")) or not after.n:
        return f"{text}; the attack fooled none of them."
    return (
        f"{text}; of the {plural(after.n, noun)} that were fooled "
        f"{_per_cent(_rate(group, 'same_class_before[fooled]'))} before and {_per_cent(after)} "
        f"after, when {_per_cent(_rate(group, 'wrong_class_after[fooled]'))} bear the class now "
        f"predicted; {_per_cent(_rate(group, 'kept[fooled]'))} of the neighbours stayed."
    )


def _neighbours(here: Sequence[Group]) -> Table:
    """A row an image that was looked up."""
    rows = []
    for g in here:
        s = outcome(g).samples
        names = [
            k
            for k in ("same_class_before", "same_class_after", "wrong_class_after", "kept")
            if k in s
        ]
        for i in np.flatnonzero(s["measured"]).tolist():
            fooled = ("yes" if s["fooled"][i] else "no") if "fooled" in s else ""
            rows.append(
                [g.backbone, str(s["id"][i]), fooled, *(round(float(s[k][i]), 3) for k in names)]
            )
    width = max((len(row) for row in rows), default=3) - 3
    named = ["same class before", "same class after", "class predicted after", "stayed"][:width]
    padded = [[*row, *[""] * (3 + width - len(row))] for row in rows]
    return Table("neighbours.csv", ["backbone", "image", "fooled", *named], padded)
