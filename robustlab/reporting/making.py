"""How this was made: suite, seeds, versions, device, fingerprints, cost, the command again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustlab.errors import RobustlabError
from robustlab.evidence import is_spatial
from robustlab.reporting.section import Section, Story, render
from robustlab.results import Group

__all__ = ["making"]

LISTED = 12


def making(story: Story) -> Section:
    """The section."""
    evidence = story.evidence
    about = evidence.about
    seconds = sum(g.seconds for g in evidence.landed)
    costs = [_cost(g) for g in evidence.groups]
    body = render(
        "making.html",
        story,
        about=about,
        spatial=any(map(is_spatial, evidence.norms)),
        seed=about.get("suite", {}).get("seed", "not recorded"),
        environment=_read(story, "environment.json"),
        resolved=_read(story, "resolved.json"),
        costs=costs,
        seconds=seconds,
        passes=sum(c["forward"] + c["backward"] for c in costs),
        cards=[(b["name"], _flat(b["card"])) for b in about["backbones"] if b.get("card")],
    )
    return Section("making", "How this was made", f"Repeat it: `{about['command']}`", body)


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """A card as lines: nested names joined by spaces, long lists told by their length."""
    if isinstance(value, Mapping):
        return [line for k, v in value.items() for line in _flat(v, f"{name} {k}".strip())]
    if isinstance(value, list):
        short = len(value) <= LISTED
        return [(name, ", ".join(map(str, value)) if short else f"{len(value)} values")]
    return [(name, f"{value:.4g}" if isinstance(value, float) else str(value))]


def _read(story: Story, name: str) -> dict[str, Any]:
    try:
        return story.evidence.results.store.read_json(name)
    except RobustlabError:
        return {}


def _cost(group: Group) -> dict[str, Any]:
    cost = group.outcome.cost if group.outcome is not None else {}
    landed = group.outcome is not None
    return {
        "backbone": group.backbone,
        "label": group.label,
        "state": "landed" if landed else "failed" if group.failures else "not measured",
        "forward": float(cost.get("forward", 0.0)),
        "backward": float(cost.get("backward", 0.0)),
        "seconds": group.seconds,
        "params": sorted((str(k), str(v)) for k, v in group.plan["params"].items()),
    }
