"""The pictures: original, perturbation, adversarial; about twelve a backbone.

The choice is a rule, not a taste: attacks take turns, and each takes the class and the eps seen
least so far, then the first image. The pixels are the 8-bit pixels that were verified.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from robustlab.evidence import is_control
from robustlab.reporting.pixels import as_picture, data_uri, magnified, scale_for
from robustlab.reporting.section import Section, Story, render
from robustlab.results import Group
from robustlab.verdict import norm_name, plural

__all__ = ["Chosen", "choose", "class_name", "gallery"]

FOOLED, RESISTED = 9, 3
ROOM, NARROW_ROOM = 144, 104  # page pixels for the width of one picture
BUDGET = 1_500_000  # bytes of pictures on the page; large images are shown in smaller numbers
LEAST = 2


@dataclass(frozen=True)
class Chosen:
    """A picture of a group: its place in the arrays, its row, its eps (None: it resisted).

    ``held`` says that no attack of the norm broke the image at the largest eps.
    """

    group: Group
    place: int
    row: int
    eps: str | None
    held: bool


def gallery(story: Story) -> Section | None:
    """The section; nothing where no attack kept pictures."""
    names = [n for n in story.evidence.backbones if choose(story, n)]
    if not names:
        return None
    shown: list[dict[str, Any]] = []
    for name in names:
        spent = 0
        for mine, chosen in enumerate(choose(story, name)):
            item = _item(story, chosen)
            spent += (
                len(item["clean"]) + len(item.get("adversarial", "")) + len(item.get("moved", ""))
            )
            if spent > BUDGET / len(names) and mine >= LEAST:
                break
            shown.append(item)
    height, width = shown[0]["size"]
    body = render(
        "gallery.html",
        story,
        items=shown,
        names=names,
        scale=scale_for(width, ROOM),
        narrow=scale_for(width, NARROW_ROOM),
        width=width,
        height=height,
        pixelated=scale_for(width, NARROW_ROOM) > 1,
        attacks=list(dict.fromkeys(i["attack"] for i in shown)),
        classes=list(dict.fromkeys(i["true"] for i in sorted(shown, key=lambda i: i["label"]))),
    )
    return Section("pictures", "The pictures", _title(story, shown), body)


def choose(story: Story, backbone: str) -> list[Chosen]:
    """The pictures of one backbone, in the order of the page."""
    groups = [
        g
        for g in story.evidence.landed
        if g.backbone == backbone
        and g.plan["kind"] == "attack"
        and not is_control(g)
        and g.outcome is not None
        and len(g.outcome.arrays.get("picture_row", ())) > 0
    ]
    fooled = _take(groups, FOOLED, list(_candidates(story, groups, True)))
    untargeted = [g for g in groups if not g.plan["targeted"]]
    resisted = [c for c in _candidates(story, untargeted, False) if c.held]
    return fooled + _take(untargeted, RESISTED, resisted)


def _candidates(story: Story, groups: list[Group], broken: bool) -> Iterator[Chosen]:
    for group in groups:
        assert group.outcome is not None
        arrays, right = group.outcome.arrays, group.outcome.samples["clean_correct"]
        norm = group.plan["norm"]
        eps = story.evidence.eps(norm, group.backbone)
        worst = story.evidence.broken(group.backbone, norm, eps[-1]) if eps else None
        pairs = zip(arrays["picture_row"].tolist(), arrays["picture_eps"].tolist(), strict=True)
        for place, (row, index) in enumerate(pairs):
            if right[row] and (index >= 0) == broken:
                text = str(group.plan["eps"][index]) if broken else None
                yield Chosen(group, place, row, text, worst is not None and not worst[row])


def _take(groups: list[Group], count: int, candidates: list[Chosen]) -> list[Chosen]:
    taken: list[Chosen] = []
    seen: Counter[Any] = Counter()

    def rank(chosen: Chosen) -> tuple[Any, ...]:
        return (*(seen[trait] for trait in _traits(chosen)), chosen.row)

    for _ in range(count):  # rounds
        for group in groups:
            mine = [c for c in candidates if c.group is group and (c.eps or not seen["row", c.row])]
            if mine and len(taken) < count:
                best = min(mine, key=rank)
                seen.update(_traits(best))
                candidates.remove(best)
                taken.append(best)
    return taken


def _traits(chosen: Chosen) -> tuple[Any, ...]:
    """What should not repeat: the image, then its class, then the attack at this eps."""
    assert chosen.group.outcome is not None
    label = int(chosen.group.outcome.samples["label"][chosen.row])
    return ("row", chosen.row), ("label", label), ("eps", chosen.group.label, chosen.eps)


def class_name(story: Story, label: int) -> str:
    """The name of a class, its number where the data names none."""
    classes = story.evidence.about["data"].get("classes") or []
    return str(classes[label]) if 0 <= label < len(classes) else str(label)


def _item(story: Story, chosen: Chosen) -> dict[str, Any]:
    group, row = chosen.group, chosen.row
    assert group.outcome is not None
    samples, arrays = group.outcome.samples, group.outcome.arrays
    clean = arrays["clean"][chosen.place]
    item: dict[str, Any] = {
        "backbone": group.backbone,
        "attack": group.label,
        "norm": norm_name(group.plan["norm"]),
        "id": str(samples["id"][row]),
        "label": int(samples["label"][row]),
        "true": class_name(story, int(samples["label"][row])),
        "before": class_name(story, int(samples["prediction"][row])),
        "sure": _percent(samples["confidence"][row]),
        "clean": data_uri(as_picture(clean)),
        "size": as_picture(clean).shape[:2],
        "eps": chosen.eps,
        "largest": str(group.plan["eps"][int(np.argmax(group.plan["eps_values"]))]),
    }
    if chosen.eps is None:
        return item
    adversarial = arrays["adversarial"][chosen.place]
    moved, factor = magnified(clean, adversarial)
    after = int(arrays["picture_prediction"][chosen.place])
    item |= {
        "adversarial": data_uri(as_picture(adversarial)),
        "moved": data_uri(moved),
        "factor": factor,
        "after": class_name(story, after) if after >= 0 else "another class",
        "after_sure": _percent(arrays["picture_confidence"][chosen.place]),
    }
    if "picture_pose" in arrays:
        item["pose"] = _posed(*arrays["picture_pose"][chosen.place].tolist())
    if "target" in samples:
        item["target"] = class_name(story, int(samples["target"][row]))
    return item


def _posed(angle: float, dx: float, dy: float) -> str:
    """``turned 12 degrees to the left, moved 1.5 px right and 3 px up``."""
    parts = []
    if angle:
        parts.append(f"turned {abs(angle):.3g} degrees to the {'left' if angle > 0 else 'right'}")
    ways = ((dx, "right", "left"), (dy, "down", "up"))
    moved = [f"{abs(way):.3g} px {ahead if way > 0 else back}" for way, ahead, back in ways if way]
    if moved:
        parts.append(f"moved {' and '.join(moved)}")
    return ", ".join(parts) or "as it was"


def _percent(confidence: Any) -> str:
    """A confidence; rounding must not turn near-certainty into certainty."""
    if not np.isfinite(confidence):
        return "confidence not recorded"
    return "over 99.9 %" if confidence > 0.9994 else f"{100 * float(confidence):.1f} %"


def _title(story: Story, shown: list[dict[str, Any]]) -> str:
    fooled = sum(1 for item in shown if item["eps"] is not None)
    if not fooled:
        return "No image in the pictures was fooled"
    resisted = len(shown) - fooled
    noun = story.evidence.noun
    return f"What fooled them: {plural(fooled, noun)}" + (
        f", and {resisted} that resisted" if resisted else ""
    )
