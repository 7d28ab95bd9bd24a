"""Where it breaks: classes, confusion under attack, images that always and never fall."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab import statistics
from robustlab.evidence import Hits, column, eps_of, within
from robustlab.reporting.gallery import class_name
from robustlab.reporting.pixels import as_picture, data_uri, scale_for
from robustlab.reporting.section import Section, Story, render
from robustlab.results import Group
from robustlab.verdict import code, plural

__all__ = ["breaks", "confusion", "per_class"]

FEWEST = 5  # a class with fewer images has no rate worth reading
CLASSES = 20  # more classes than this are cut to the weakest
READABLE = 12  # up to this many classes the confusion is a table of numbers
THUMBS, THUMB_ROOM, THUMB_LARGEST = 12, 64, 96


def breaks(story: Story) -> Section | None:
    """The section, at the telling eps of the main norm."""
    if story.verdict.eps is None:
        return None
    classes = [c for c in per_class(story) if c["n"] >= FEWEST]
    weakest = sorted(classes, key=lambda c: c["pooled"])[:CLASSES]
    rows = weakest if len(classes) > CLASSES else classes
    names = [s.backbone for s in story.verdict.standings]
    names = [n for n in story.evidence.backbones if n in names]
    body = render(
        "breaks.html",
        story,
        names=names,
        classes=rows,
        cut=len(classes) - len(rows),
        confusions=_shaded([confusion(story, n) for n in names]),
        fates=[_fates(story, n) for n in names],
        thumb=_thumb_scale(story),
    )
    return Section("breaks", "Where it breaks", _title(story, classes), body)


def _labels(story: Story) -> NDArray[Any]:
    group = story.evidence.attacks(story.verdict.standings[0].backbone, story.verdict.norm)[0]
    assert group.outcome is not None
    return np.asarray(group.outcome.samples["label"])


def per_class(story: Story) -> list[dict[str, Any]]:
    """A row a class: its images, and clean and robust rate of every backbone."""
    verdict, evidence = story.verdict, story.evidence
    assert verdict.eps is not None
    labels = _labels(story)
    rows = []
    for label in np.unique(labels).tolist():
        mine = labels == label
        rates: dict[str, Any] = {}
        for standing in verdict.standings:
            broken = evidence.broken(standing.backbone, verdict.norm, verdict.eps)
            clean = evidence.clean(standing.backbone)
            assert broken is not None
            rates[standing.backbone] = (
                statistics.rate(column(clean, "clean_correct")[mine] if clean else []),
                statistics.rate(~broken[mine]),
            )
        pooled = float(np.mean([robust.value for _, robust in rates.values()]))
        row = {"label": label, "name": class_name(story, label), "n": int(mine.sum())}
        rows.append({**row, "rates": rates, "pooled": pooled})
    return rows


def _title(story: Story, classes: list[dict[str, Any]]) -> str:
    worst = story.verdict.standings[0].backbone
    if not classes:
        return "Too few images a class to say where it breaks"
    row = min(classes, key=lambda c: (c["rates"][worst][1].value, -c["n"], c["label"]))
    found = row["rates"][worst][1]
    left = round(found.value * found.n)
    return (
        f"On {code(worst)} class {code(row['name'])} keeps least: {left} of its "
        f"{plural(found.n, story.evidence.noun)} at {story.at}"
    )


def _strongest(story: Story, backbone: str) -> Group:
    label = next(s.strongest for s in story.verdict.standings if s.backbone == backbone)
    groups = story.evidence.attacks(backbone, story.verdict.norm)
    return next(g for g in groups if g.label == label)


def _after(story: Story, group: Group) -> NDArray[Any]:
    """What the backbone says of each image under the attack, within the telling eps."""
    assert group.outcome is not None
    assert story.verdict.eps is not None
    samples = group.outcome.samples
    said = np.array(samples["prediction"])
    for e in reversed(eps_of(group)):
        if e.value <= story.verdict.eps.value * (1 + 1e-9):
            found = np.asarray(samples[f"adversarial_prediction[eps={e.text}]"])
            said = np.where(found >= 0, found, said)
    return said


def confusion(story: Story, backbone: str) -> dict[str, Any]:
    """True class against what is said under the strongest single attack."""
    group = _strongest(story, backbone)
    assert group.outcome is not None
    truth, said = np.asarray(group.outcome.samples["label"]), _after(story, group)
    classes = np.unique(np.concatenate([truth, said]))
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (np.searchsorted(classes, truth), np.searchsorted(classes, said)), 1)
    names = [class_name(story, int(c)) for c in classes]
    wrong = [
        (int(counts[i, j]), names[i], names[j])
        for i in range(len(classes))
        for j in range(len(classes))
        if i != j and counts[i, j] > 1
    ]
    wrong.sort(key=lambda pair: -pair[0])
    found = {"backbone": backbone, "attack": group.label, "names": names, "top": wrong[:10]}
    found |= {
        "head": ["true", *names],
        "rows": [[n, *c] for n, c in zip(names, counts.tolist(), strict=True)],
    }
    return found | {"counts": counts}


def _shaded(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Confusions on one scale, so that equal grounds are equal numbers on the whole page."""
    largest = max((int(c["counts"].max()) for c in found), default=1)
    for c in found:
        if len(c["names"]) <= READABLE:
            c["table"] = [_shade(row, largest) for row in c["counts"].tolist()]
        elif len(c["names"]) <= 100:
            c["map"] = data_uri(_cividis(c["counts"] / largest))
            c["scale"] = scale_for(len(c["names"]), 280)
    return found


def _cividis(shares: NDArray[Any]) -> NDArray[Any]:
    from matplotlib import colormaps

    colours = np.asarray(colormaps["cividis"](shares))[..., :3]
    return (255 * colours).round().astype(np.uint8)


def _shade(row: list[int], largest: int) -> list[dict[str, Any]]:
    """Each count on its cividis ground, in black or white, whichever reads better."""
    cells = []
    for count in row:
        red, green, blue = _cividis(np.array(count / max(1, largest))).tolist()
        linear = [((v / 255 + 0.055) / 1.055) ** 2.4 for v in (red, green, blue)]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        ink = "#000" if luminance > 0.18 else "#fff"
        cells.append({"count": count, "ground": f"#{red:02x}{green:02x}{blue:02x}", "ink": ink})
    return cells


def _fates(story: Story, backbone: str) -> dict[str, Any]:
    """Images that every attack broke and that none did, among the correctly classified."""
    verdict, evidence = story.verdict, story.evidence
    assert verdict.eps is not None
    groups = evidence.attacks(backbone, verdict.norm)
    hits = [(g, h) for g in groups if (h := within(g, verdict.eps)) is not None]
    right: Hits = column(hits[0][0], "clean_correct")
    every = np.logical_and.reduce([h for _, h in hits]) & right
    none = ~np.logical_or.reduce([h for _, h in hits])
    return {
        "backbone": backbone,
        "attacks": len(hits),
        "right": int(right.sum()),
        "every": _named(story, hits[0][0], every),
        "none": _named(story, hits[0][0], none),
    }


def _named(story: Story, group: Group, chosen: Hits) -> dict[str, Any]:
    assert group.outcome is not None
    rows = np.flatnonzero(chosen).tolist()
    names = [str(group.outcome.samples["id"][row]) for row in rows]
    pictures = _thumbs(story)
    thumbs = [(n, pictures[n]) for n in names if n in pictures][:THUMBS]
    return {"names": names, "thumbs": [(n, data_uri(as_picture(p))) for n, p in thumbs]}


def _thumbs(story: Story) -> dict[str, NDArray[Any]]:
    """Clean pixels by image name, of whatever images any attack kept; none of large images."""
    found: dict[str, NDArray[Any]] = {}
    if max(story.evidence.about["data"]["shape"][1:]) > THUMB_LARGEST:
        return found
    for group in story.evidence.landed:
        assert group.outcome is not None
        arrays = group.outcome.arrays
        for row, pixels in zip(arrays.get("picture_row", ()), arrays.get("clean", ()), strict=True):
            found.setdefault(str(group.outcome.samples["id"][int(row)]), pixels)
    return found


def _thumb_scale(story: Story) -> int:
    return scale_for(int(story.evidence.about["data"]["shape"][-1]), THUMB_ROOM)
