"""run, report and check: suites from the command line."""

from __future__ import annotations

import math
import shlex
import sys
from typing import Any

import click

from robustlab.cli.output import json_option, print_json, progress, table

__all__ = ["check", "command_line", "report", "run"]

_HEADLINES = ("robust_accuracy", "target_success")
# Numbers of a probe that is no attack, and of all such probes together: fewer of each where many
# probes look at many networks. The page and summary() hold them all.
_FIRST, _LINES = 6, 60


@click.command()
@click.argument("suite")
@click.option("-b", "--backbone", multiple=True, help="Network instead of the suite's; repeatable.")
@click.option("--data", help="Data instead of the suite's, as digits:test or npz:PATH.")
@click.option("--take", type=click.IntRange(1), help="How many images, stratified and seeded.")
@click.option("-o", "--out", type=click.Path(), help="Run directory.")
@click.option("--seed", type=int, help="Seed instead of the suite's.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--part", help="I/N: land only this part; processes may share the directory.")
@json_option
def run(
    suite: str,
    backbone: tuple[str, ...],
    data: str | None,
    take: int | None,
    out: str | None,
    seed: int | None,
    device: str,
    part: str | None,
    as_json: bool,
) -> int:
    """Run SUITE (a shipped name or a TOML file), or resume it, and build its page."""
    from robustlab.doors import run as run_suite

    with progress() as tell:
        found = run_suite(
            suite,
            backbones=list(backbone) or None,
            data=data,
            take=take,
            out=out,
            seed=seed,
            device=device,
            part=part,
            command=command_line(),
            tell=tell,
        )
    if as_json:
        _run_json(found)
    else:
        _print_run(found)
    return _code(found, part=part is not None)


def command_line() -> str:
    """The command as the user wrote it, for the page's "how this was made"."""
    return shlex.join(["robustlab", *sys.argv[1:]])


def _code(found: Any, *, part: bool = False) -> int:
    """3 where cells failed or are missing; one part of a run does not miss the others' cells."""
    return 3 if _failed(found) or not (found.complete or part) else 0


def _failed(found: Any) -> list[str]:
    return [
        f"{group.label} on {group.backbone}: {failure.error}"
        for group in found.groups()
        for failure in group.failures
    ]


def _rate(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return "not measured"
    return f"{100 * value:5.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _headline_rows(found: Any) -> list[list[str]]:
    """Clean accuracy once a backbone, then each probe's headline figures."""
    rows: list[list[str]] = []
    told: dict[int, int] = {}
    kinds = {(g.backbone, g.plan["probe"], g.plan["label_params"]): g for g in found.groups()}
    first = _first(found)
    for row in found.summary().itertuples():
        group = kinds[row.backbone, row.probe, row.params]
        kind, attack = group.plan["kind"], group.plan["kind"] == "attack"
        if attack and row.metric not in _HEADLINES:
            continue
        if kind != "clean" and row.metric == "clean_accuracy":  # it has a line of its own
            continue
        told[id(group)] = told.get(id(group), 0) + 1
        if kind == "probe" and told[id(group)] > first:
            continue
        is_rate = kind != "probe" or _is_rate(group, row.metric, row.eps)
        text = _rate(row.value, row.low, row.high) if is_rate else f"{row.value:.4g}"
        eps = f"{row.eps} ({group.plan['norm']})" if row.eps else ""
        rows.append([row.backbone, group.label, eps, row.metric, text, str(row.n)])
    return rows


def _probes(found: Any) -> list[Any]:
    return [g for g in found.groups() if g.plan["kind"] == "probe" and g.outcome is not None]


def _first(found: Any) -> int:
    """How many numbers of each probe the table has room for."""
    return max(1, min(_FIRST, _LINES // max(1, len(_probes(found)))))


def _is_rate(group: Any, metric: str, eps: str) -> bool:
    """A share of images, from a bool column; any other metric is a mean in units of its own."""
    name = f"{metric}[eps={eps}]" if eps else metric
    column = group.outcome.metrics[name].column
    return bool(group.outcome.samples[column].dtype.kind == "b")


def _print_run(found: Any) -> None:
    head = ["backbone", "probe", "eps", "metric", "value [95 % interval]", "images"]
    table(head, _headline_rows(found))
    _print_kinds(found)
    for line in _failed(found):
        click.echo(f"failed, in no table: {line}", err=True)
    groups = found.groups()
    missing = sum(len(group.missing) for group in groups)
    failed = sum(len(group.failures) for group in groups)
    folder = shlex.quote(str(found.folder))
    click.echo("")
    if any(group.plan["kind"] == "attack" for group in groups):
        click.echo("robust accuracy is an upper bound: found by these attacks")
    if failed:
        click.echo(f"{failed} cells failed; mend what they say and run the same command again")
    if missing > failed:
        click.echo(
            f"{missing - failed} cells have not landed yet; the other parts, or the command "
            "without --part, go on"
        )
    page = found.folder / "report.html"
    if page.exists():
        click.echo(f"page: {page}")
        click.echo(f"run directory: {found.folder}   next: robustlab report {folder}")
    else:
        click.echo(f"run directory: {found.folder}   next: the same command without --part")


def _print_kinds(found: Any) -> None:
    """Of the numbers of probes: which are means, and how many the table leaves out."""
    probes, first = _probes(found), _first(found)
    numbers = [[n for n in g.outcome.metrics if n != "clean_accuracy"] for g in probes]
    told = [(g, name) for g, names in zip(probes, numbers, strict=True) for name in names[:first]]
    if any(not _is_rate(group, name, "") for group, name in told):
        click.echo("numbers without % are means over the images; the page may tell a median beside")
    hidden = sum(map(len, numbers)) - len(told)
    if hidden:
        click.echo(f"{hidden} more numbers of probes are left out here; --json has them all")


def _run_json(found: Any) -> None:
    print_json(
        {
            "folder": str(found.folder),
            "report": str(found.folder / "report.html"),
            "complete": found.complete,
            "failed": _failed(found),
            "summary": found.summary().to_dict("records"),
        }
    )


@click.command()
@click.argument("folder", type=click.Path())
@click.option("-o", "--out", type=click.Path(), help="Where to write the page.")
@json_option
def report(folder: str, out: str | None, as_json: bool) -> int:
    """Build the page of the run directory FOLDER again."""
    from robustlab.runs import open_run

    found = open_run(folder)
    page = found.report(out)
    if as_json:
        print_json({"report": str(page), "complete": found.complete, "failed": _failed(found)})
    else:
        click.echo(f"page: {page}")
        if not found.complete:
            click.echo("the run is not complete: the page says what is missing", err=True)
    return _code(found)


@click.command()
@click.argument("suite")
@click.option("-b", "--backbone", multiple=True, help="Network instead of the suite's; repeatable.")
@click.option("--data", help="Data instead of the suite's.")
@click.option("--take", type=click.IntRange(1), help="How many images.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@json_option
def check(
    suite: str,
    backbone: tuple[str, ...],
    data: str | None,
    take: int | None,
    device: str,
    as_json: bool,
) -> int:
    """Bind all names and parameters of SUITE, count cells, estimate the cost; run nothing."""
    from robustlab.doors import plan_of
    from robustlab.estimate import estimate

    plan = plan_of(suite, backbones=list(backbone) or None, data=data, take=take, device=device)
    costs = estimate(plan)
    total = sum(cost.seconds for cost in costs)
    if as_json:
        rows = [vars(cost) for cost in costs]
        print_json({"cells": len(plan.cells), "seconds_at_most": total, "probes": rows})
        return 0
    table(
        ["backbone", "probe", "cells", "images", "passes an image, at most", "seconds"],
        [[c.backbone, c.probe, c.cells, c.images, c.passes, f"{c.seconds:.1f}"] for c in costs],
    )
    click.echo("")
    click.echo(
        f"{len(plan.cells)} cells; about {total:.0f} s of computing on {plan.backbones[0].device} "
        "if nothing else runs there; less, as fooled images leave early"
    )
    click.echo(f"next: robustlab run {suite}")
    return 0
