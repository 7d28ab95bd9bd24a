"""A run from suite to landed cells: the same call resumes, extends or does nothing."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomli_w
import torch

from robustlab import __version__
from robustlab.backbones import Backbone
from robustlab.engines.inline import Tell, work_through
from robustlab.environment import environment
from robustlab.errors import BadRequest
from robustlab.machine import choose
from robustlab.plan import Plan
from robustlab.store import Store
from robustlab.work import Resolved

__all__ = ["Done", "choose_device", "default_out", "execute", "parse_part"]


@dataclass(frozen=True)
class Done:
    """What a call of `execute` did."""

    folder: Path
    cells: int
    computed: int
    failed: int
    changed: bool


def default_out(name: str, *instead: str | None) -> Path:
    """``reports/out/NAME`` of the folder the user stands in.

    What takes the place of the suite's own backbones and data is part of the name, so that
    ``run quick -b mlp@digits`` and ``run quick`` keep a directory each.
    """
    words = [re.sub(r"[^A-Za-z0-9@._-]+", "_", str(word)) for word in instead if word]
    return Path("reports") / "out" / "--".join([name, *words])


def choose_device(device: str = "auto") -> str:
    """``auto`` takes the GPU where there is one; anything else is checked.

    Raises:
        BadRequest: the device does not exist.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise BadRequest(
            f"no device {device!r} here; use cpu, or `robustlab doctor` to see what there is"
        ) from None
    return device


def parse_part(part: str | None) -> tuple[int, int]:
    """``"2/3"`` -> (2, 3); none -> (1, 1)."""
    if part is None:
        return 1, 1
    index, slash, count = part.partition("/")
    if (
        not slash
        or not index.isdecimal()
        or not count.isdecimal()
        or not 1 <= int(index) <= int(count)
    ):
        raise BadRequest(f"part {part!r} is not I/N with 1 <= I <= N, as 1/2")
    return int(index), int(count)


def execute(
    plan: Plan, out: Path, tell: Tell, *, part: str | None = None, command: str = ""
) -> Done:
    """Land all cells of a plan (or of one part of it) in the run directory ``out``."""
    index, count = parse_part(part)
    store = Store.create(out)
    changed = _describe(plan, store, command)
    resolved = _resolved(plan, store)
    store.create_json("environment.json", environment())
    mine = _where_begun(plan, resolved, store).cells[index - 1 :: count]
    computed, failed = work_through(mine, store, resolved, tell)
    return Done(store.folder, len(plan.cells), computed, failed, changed)


def _resolved(plan: Plan, store: Store) -> Resolved:
    """What the first process chose."""
    chosen = store.create_json("resolved.json", asdict(_resolve(plan)))
    try:
        return Resolved(**chosen)
    except TypeError:
        raise BadRequest(
            f"{store.folder / 'resolved.json'} is of another version of the lab; "
            "choose another folder with --out"
        ) from None


def _where_begun(plan: Plan, resolved: Resolved, store: Store) -> Plan:
    """A run goes on where it began: a GPU that was found since would give other last bits."""
    if all(str(backbone.device) == resolved.device for backbone in plan.backbones):
        return plan
    try:
        return plan.on(resolved.device)
    except BadRequest as error:
        raise error.inside(f"the run in {store.folder} began on {resolved.device!r}") from None


def _resolve(plan: Plan) -> Resolved:
    return Resolved(device=str(plan.backbones[0].device), **asdict(choose(plan.backbones)))


def _describe(plan: Plan, store: Store, command: str) -> bool:
    """Write `run.json` where it says something new; returns whether it did."""
    suite = plan.suite.to_dict()
    suite["backbone"] = [_suite_entry(b, suite["backbone"]) for b in plan.backbones]
    about: dict[str, Any] = {
        "schema": 1,
        "name": plan.suite.name,
        "version": __version__,
        "command": command,
        "suite": suite,
        "suite_toml": tomli_w.dumps(suite),
        "data": {
            "name": plan.data.name,
            "fingerprint": plan.data.fingerprint,
            "n": len(plan.data),
            "classes": list(plan.data.classes),
            "shape": list(plan.data.shape),
        },
        "backbones": [_backbone(b) for b in plan.backbones],
        "plan": [cell.entry() for cell in plan.cells],
    }
    if (store.folder / "run.json").is_file():
        before = store.read_json("run.json")
        created = before.pop("created", "")
        if {**before, "command": ""} == {**about, "command": ""}:
            return False
    else:
        created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    store.write_json("run.json", {**about, "created": created})
    return True


def _suite_entry(backbone: Backbone, specs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The suite's own words for a backbone, or its reference where it came as an object."""
    for spec in specs:
        if backbone.name in (spec.get("name"), spec["ref"]):
            return spec
    reference = backbone.reference or backbone.name
    return {"ref": reference, **({"name": backbone.name} if backbone.name != reference else {})}


def _backbone(backbone: Backbone) -> dict[str, Any]:
    return {
        "name": backbone.name,
        "reference": backbone.reference,
        "fingerprint": backbone.fingerprint,
        "parameters": backbone.parameters,
        "input_shape": list(backbone.input_shape),
        "mean": None if backbone.mean is None else list(backbone.mean),
        "std": None if backbone.std is None else list(backbone.std),
        "card": backbone.card or {},
    }
