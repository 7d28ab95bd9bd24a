"""Plausible run directories for the page's tests: digits on 32 x 32, invented outcomes.

Every image gets one number, the eps at which an attack of strength 1 breaks it; an attack finds it
at that eps divided by its strength. So all attacks are nested and their union is known beforehand.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from robustlab.identity import identity
from robustlab.outcome import Finding, Metric, Outcome, Picture
from robustlab.record import Record
from robustlab.store import Store

DIGITS = tuple(str(k) for k in range(10))
LINF = ("0.025", "0.05", "0.1", "0.2")
L2 = ("0.5", "1.0", "2.0")


@dataclass(frozen=True)
class Probe:
    """One line of the plan."""

    name: str
    kind: str = "attack"
    knowledge: str = "gradient"
    norm: str | None = "linf"
    eps: tuple[str, ...] = LINF
    strength: float = 1.0
    targeted: bool = False
    params: str = ""
    skips: int = -1  # never breaks the images whose place is this, modulo 7
    radius: bool = False
    losses: int = 0  # steps
    stages: Sequence[str] = ()
    learns: bool = False
    apart: bool = False

    @property
    def label(self) -> str:
        return f"{self.name} ({self.params})" if self.params else self.name


PROBES = (
    Probe("clean", "clean", norm=None, eps=()),
    Probe("pgd"),
    Probe("pgd", strength=0.93, params="loss=margin"),
    Probe("fgsm", strength=0.55),
    Probe("uniform_noise", knowledge="none", strength=0.06),
    Probe("pgd_l2", norm="l2", eps=L2, strength=0.07),
    Probe("pgd_target", strength=0.6, targeted=True),
    Probe("translation", "probe", norm=None, eps=()),
)


@dataclass(frozen=True)
class Recipe:
    """What the synthetic run is made of."""

    backbones: Mapping[str, float] | None = None  # name -> median eps at which it breaks
    n: int = 200
    classes: Sequence[str] = DIGITS
    shape: tuple[int, int, int] = (1, 32, 32)
    probes: Sequence[Probe] = PROBES
    data: str = "digits:test"
    pictures: int = 24
    missing: Sequence[tuple[str, str]] = ()  # (backbone, label): never ran
    failed: Mapping[tuple[str, str], str] | None = None  # (backbone, label) -> error
    probabilities: bool = False
    shards: int = 1
    note: str = ""

    def but(self, **changes: Any) -> Recipe:
        return replace(self, **changes)


# Attacks that break different images, with stages, losses and radii.
SEARCHES = (
    PROBES[0],
    Probe("pgd", skips=1, losses=40),
    Probe(
        "autoattack", strength=1.05, skips=2, losses=20, stages=("apgd loss=ce steps=20", "square")
    ),
    Probe("fmn", strength=0.95, skips=3, losses=30, radius=True),
    Probe("fgsm", strength=0.55, losses=1),
    Probe("noise", knowledge="none", strength=0.06),
)

BACKBONES = {"lenet5-max@digits": 0.11, "lenet5-avg@digits": 0.07, "lenet5-blur@digits": 0.105}


@cache
def _images(n: int, shape: tuple[int, int, int], classes: int) -> tuple[Any, Any]:
    """Scikit-learn's digits pasted on the wanted size, as uint8 [n, C, H, W], and labels."""
    channels, height, width = shape
    if channels == 1:
        from sklearn.datasets import load_digits

        digits = load_digits()
        take = np.arange(n) % len(digits.target)
        scale = min(height, width) // 8
        big = np.kron(digits.images[take] / 16 * 255, np.ones((1, scale, scale)))
        images = np.zeros((n, 1, height, width), np.uint8)
        images[:, 0, : 8 * scale, : 8 * scale] = big.round()
        return images, digits.target[take] % classes
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = rng.uniform(2, 9, (n, channels, 2))[..., None, None]
    images = 127 + 110 * np.sin(waves[:, :, 0] * x + waves[:, :, 1] * y)
    return images.astype(np.uint8), rng.integers(0, classes, n)


def make_run(folder: Path, recipe: Recipe | None = None) -> Path:
    """Write a synthetic run directory and return it."""
    recipe = recipe or Recipe()
    backbones = dict(recipe.backbones or BACKBONES)
    store = Store.create(folder)
    plan = []
    for place, (backbone, median) in enumerate(backbones.items()):
        for probe in recipe.probes:
            whole = _outcome(recipe, probe, place, median)
            for start, stop in _shards(recipe):
                entry = _entry(probe, backbone, start, stop)
                plan.append(entry)
                _land(store, recipe, entry, _cut(whole, start, stop))
    store.write_json("run.json", _about(recipe, backbones, plan))
    store.write_json(
        "environment.json",
        {"python": "3.11.9", "torch": "2.15.0", "robustlab": "0.1.0", "platform": "Linux-x86_64"},
    )
    store.write_json(
        "resolved.json", {"device": "cpu", "threads": 2, "batch": 100, "precision": "float32"}
    )
    return folder


def _shards(recipe: Recipe) -> list[tuple[int, int]]:
    edges = np.linspace(0, recipe.n, recipe.shards + 1).astype(int).tolist()
    return list(itertools.pairwise(edges))


def _land(store: Store, recipe: Recipe, entry: Mapping[str, Any], outcome: Outcome) -> None:
    key = (entry["backbone"], entry["label"])
    if key in recipe.missing:
        return
    n = entry["stop"] - entry["start"]
    record = Record(entry["cell"], {"probe": entry["probe"], "seed": 0}, n, seconds=1.25)
    if key in (recipe.failed or {}):
        store.fail(replace(record, status="failed", error=(recipe.failed or {})[key]))
        return
    outcome = outcome.checked(n)
    record.metrics, record.notes, record.cost = outcome.metrics, outcome.notes, outcome.cost  # type: ignore[assignment]
    record.findings = tuple(outcome.findings)
    record.pictures = tuple((p.name, p.caption) for p in outcome.pictures)
    record.device, record.threads, record.started = "cpu", 2, "2026-03-01T09:00:00Z"
    store.land(record, outcome)


def _entry(probe: Probe, backbone: str, start: int, stop: int) -> dict[str, Any]:
    return {
        "cell": identity([probe.label, backbone, start])[:24],
        "probe": probe.name,
        "label": probe.label,
        "label_params": probe.params,
        "kind": probe.kind,
        "knowledge": probe.knowledge,
        "learns": probe.learns,
        "apart": probe.apart,
        "norm": probe.norm,
        "eps": list(probe.eps),
        "eps_values": [float(e) for e in probe.eps],
        "targeted": probe.targeted,
        "params": {
            "steps": probe.losses or 40,
            "loss": "margin",
            "restarts": 1,
            "norm": probe.norm,
            "eps": list(probe.eps),
        },
        "backbone": backbone,
        "start": start,
        "stop": stop,
    }


def _about(recipe: Recipe, backbones: Mapping[str, float], plan: Any) -> dict[str, Any]:
    suite = 'schema = 1\nseed = 0\n\n[data]\nsource = "digits:test"\ntake = 200\n'
    return {
        "schema": 1,
        "name": "quick",
        "command": "robustlab run quick",
        "created": "2026-03-01T09:00:00Z",
        "version": "0.1.0",
        "suite": {"schema": 1, "seed": 0, "data": {"source": recipe.data, "take": recipe.n}},
        "suite_toml": suite,
        "data": {
            "name": recipe.data,
            "fingerprint": identity("pixels"),
            "n": recipe.n,
            "classes": list(recipe.classes),
            "shape": list(recipe.shape),
        },
        "backbones": [
            {
                "name": name,
                "reference": name,
                "fingerprint": identity(name),
                "parameters": 61706,
                "card": {},
            }
            for name in backbones
        ],
        "plan": plan,
    }


def _outcome(recipe: Recipe, probe: Probe, place: int, median: float) -> Outcome:
    images, labels = _images(recipe.n, recipe.shape, len(recipe.classes))
    rng = np.random.default_rng(100 + place)
    shared = np.random.default_rng(7).normal(size=recipe.n)
    breaks_at = median * np.exp(0.55 * (0.8 * shared + 0.6 * rng.normal(size=recipe.n)))
    correct = rng.random(recipe.n) < 0.975
    wrong = (labels + 1 + rng.integers(0, len(recipe.classes) - 1, recipe.n)) % len(recipe.classes)
    common = {
        "id": np.array([f"{recipe.data.replace(':', '/')}/{k:06d}" for k in range(recipe.n)]),
        "label": labels,
        "prediction": np.where(correct, labels, wrong),
        "confidence": rng.uniform(0.7, 1.0, recipe.n),
        "clean_correct": correct,
    }
    if probe.kind == "clean":
        doubted = Finding("outputs", "red", "the outputs are probabilities instead of logits.")
        fine = Finding("outputs", "green", "Outputs look like logits and are finite.")
        return Outcome(
            common,
            metrics={"clean_accuracy": Metric("clean_correct")},
            cost={"forward": 1.0 * recipe.n, "backward": 0.0},
            findings=[doubted if recipe.probabilities else fine],
        )
    if probe.kind == "probe":
        return _translation(recipe, common, rng)
    return _attack(recipe, probe, common, breaks_at, wrong, images, rng)


def _translation(recipe: Recipe, common: Mapping[str, Any], rng: Any) -> Outcome:
    consistency = np.clip(rng.normal(0.8, 0.15, recipe.n), 0, 1)
    y, x = np.mgrid[-8:9, -8:9]
    pixels = (255 * np.exp(-(x**2 + y**2) / 60)).astype(np.uint8)
    return Outcome(
        {"id": common["id"], "consistency": consistency, "any_flip": consistency < 0.7},
        pictures=[Picture("shifts", pixels, "share of images right at each shift, centre: none")],
        metrics={"consistency": Metric("consistency"), "steady": Metric("any_flip", negate=True)},
        notes=[recipe.note] if recipe.note else [],
        cost={"forward": 289.0 * recipe.n, "backward": 0.0},
    )


def _attack(
    recipe: Recipe, probe: Probe, common: Any, breaks_at: Any, wrong: Any, images: Any, rng: Any
) -> Outcome:
    columns = dict(common)
    correct, n = common["clean_correct"], recipe.n
    target = (common["label"] + 1) % len(recipe.classes)
    if probe.targeted:
        columns["target"] = target
        columns["hittable"] = correct & (common["label"] != target)
    at = np.where(np.arange(n) % 7 == probe.skips, np.inf, breaks_at / probe.strength)
    metrics = {"clean_accuracy": Metric("clean_correct")}
    for e in probe.eps:
        hit = at <= float(e)
        verified = (hit & correct) if probe.targeted else (hit | ~correct)
        eight = verified & ((at <= 0.97 * float(e)) | ~correct)
        columns[f"claimed[eps={e}]"] = verified | ((rng.random(n) < 0.005) & correct)
        columns[f"verified[eps={e}]"] = verified
        columns[f"verified_8bit[eps={e}]"] = eight
        columns[f"distance[eps={e}]"] = np.where(verified, np.where(correct, at, 0.0), np.inf)
        after = target if probe.targeted else wrong
        columns[f"adversarial_prediction[eps={e}]"] = np.where(verified, after, -1)
        columns[f"adversarial_confidence[eps={e}]"] = np.where(
            verified, rng.uniform(0.3, 0.9, n), np.nan
        )
        columns[f"fragile[eps={e}]"] = verified & (np.arange(n) == 17)
        metrics |= _metrics(probe, e)
    columns["forward"], columns["backward"] = np.full(n, 41.0), np.full(n, 40.0)
    if probe.radius:
        radius = np.where(at > 2 * float(probe.eps[-1]), np.inf, at)
        columns["radius"] = np.where(correct, radius, 0.0)
    return Outcome(
        columns,
        {**_pictures(recipe, probe, columns, images, rng), **_losses(probe, columns, at)},
        metrics=metrics,
        cost={"forward": 41.0 * n, "backward": 40.0 * n, **_stages(probe, columns)},
    )


def _losses(probe: Probe, columns: Any, at: Any) -> dict[str, Any]:
    """Losses of all images; each leaves at a step of its own once it is broken."""
    steps = np.arange(probe.losses)
    found = {}
    for e in probe.eps if probe.losses else ():
        reach = np.clip(float(e) / at, 0.01, 4)[:, None]
        loss = -10 + 9 * reach * (1 - np.exp(-steps / 4)) + 0.01 * np.sin(steps)
        leaves = 2 + 5 * np.arange(len(at)) % probe.losses
        gone = columns[f"verified[eps={e}]"][:, None] & (steps >= leaves[:, None])
        for stage in probe.stages or ("",):
            name = f"loss[{stage}][eps={e}]" if stage else f"loss[eps={e}]"
            found[name] = np.where(gone, np.nan, loss).astype(np.float32)
    return found


def _stages(probe: Probe, columns: Any) -> dict[str, float]:
    """Says by turns which stage broke an image (adds columns); returns what each has cost."""
    names, n = np.array(["", *probe.stages]), len(columns["id"])
    for e in probe.eps if probe.stages else ():
        turn = 1 + (np.arange(n) // 3) % len(probe.stages)
        hit = columns[f"verified[eps={e}]"] & columns["clean_correct"]
        columns[f"broken_by[eps={e}]"] = names[np.where(hit, turn, 0)]
    cost: dict[str, float] = {}
    for place, name in enumerate(probe.stages, 1):
        spent = {"forward": 30.0 * place * n, "backward": 20.0 * place * n, "images": 0.5 * n}
        cost |= {f"{what}[{name}]": value for what, value in spent.items()}
        cost[f"seconds[{name}]"] = 0.5 * place
    return cost


def _metrics(probe: Probe, e: str) -> dict[str, Metric]:
    if probe.targeted:
        return {
            f"target_success[eps={e}]": Metric(f"verified[eps={e}]", among="hittable"),
            f"target_success_8bit[eps={e}]": Metric(f"verified_8bit[eps={e}]", among="hittable"),
        }
    return {
        f"robust_accuracy[eps={e}]": Metric(f"verified[eps={e}]", negate=True),
        f"robust_accuracy_8bit[eps={e}]": Metric(f"verified_8bit[eps={e}]", negate=True),
        f"attack_success[eps={e}]": Metric(f"verified[eps={e}]", among="clean_correct"),
    }


def _pictures(recipe: Recipe, probe: Probe, columns: Any, images: Any, rng: Any) -> dict[str, Any]:
    rows = np.arange(min(recipe.pictures, recipe.n))
    index = np.full(len(rows), -1)
    for k in reversed(range(len(probe.eps))):
        index[columns[f"verified_8bit[eps={probe.eps[k]}]"][rows]] = k
    size = [0 if k < 0 else min(255 * float(probe.eps[k]), 60) for k in index]
    sign = rng.choice([-1, 1], images[rows].shape)
    moved = images[rows] + (np.array(size)[:, None, None, None] * sign).astype(int)
    return {
        "clean": images[rows],
        "adversarial": np.clip(moved, 0, 255).astype(np.uint8),
        "picture_row": rows,
        "picture_eps": index,
        "picture_prediction": _at("adversarial_prediction", probe, columns, index, rows),
        "picture_confidence": _at("adversarial_confidence", probe, columns, index, rows),
    }


def _at(name: str, probe: Probe, columns: Any, index: Any, rows: Any) -> Any:
    """Of each pictured image, the column's value at the eps of its picture."""
    stacked = np.stack([columns[f"{name}[eps={e}]"] for e in probe.eps])
    return stacked[np.maximum(index, 0), rows]


def _cut(whole: Outcome, start: int, stop: int) -> Outcome:
    """The shard [start, stop) of an outcome."""
    arrays = {k: v for k, v in whole.arrays.items() if not k.startswith("loss")}
    losses = {k: v[start:stop][:64] for k, v in whole.arrays.items() if k.startswith("loss")}
    if "picture_row" in arrays:
        mine = (arrays["picture_row"] >= start) & (arrays["picture_row"] < stop)
        arrays = {name: value[mine] for name, value in arrays.items()}
        arrays["picture_row"] = arrays["picture_row"] - start
    share = (stop - start) / max(1, len(next(iter(whole.samples.values()))))
    return Outcome(
        {name: column[start:stop] for name, column in whole.samples.items()},
        {**arrays, **losses},
        whole.pictures if start == 0 else (),
        whole.metrics,
        whole.notes,
        {name: value * share for name, value in whole.cost.items()},
        whole.findings,
    )
