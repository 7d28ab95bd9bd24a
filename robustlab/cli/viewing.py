"""view: one probe on one network and one image, as a picture or a page."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustlab.cli.output import json_option, print_json
from robustlab.errors import BadRequest, choices

if TYPE_CHECKING:
    from robustlab.backbones import Backbone
    from robustlab.data import Data
    from robustlab.outcome import Outcome, Picture

__all__ = ["view"]

WEIGHTS_ALONE = ("first_layer", "kernels", "anatomy")  # these need no image
WIDTH = 900  # pixels that a picture is enlarged to, by a whole multiple


@click.command()
@click.argument("name")
@click.argument("backbone")
@click.argument("image", required=False)
@click.option("-o", "--out", type=click.Path(), help="A .png of the pictures, or a page (.html).")
@click.option("--data", help="Images beside IMAGE, as digits:test: neighbours, units, accuracies.")
@click.option("--take", type=click.IntRange(1), help="How many of them, stratified and seeded.")
@click.option(
    "--set", "given", multiple=True, metavar="NAME=VALUE", help="A parameter; repeatable."
)
@click.option("--fit", is_flag=True, help="Scale and crop an IMAGE that does not fit.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@json_option
def view(
    name: str,
    backbone: str,
    image: str | None,
    out: str | None,
    data: str | None,
    take: int | None,
    given: tuple[str, ...],
    fit: bool,
    device: str,
    as_json: bool,
) -> int:
    """Show what NAME (a probe, as first_layer) sees in BACKBONE on IMAGE: one PNG or one page.

    IMAGE is a picture file, or one of a data set as digits:test#12. `robustlab list views` names
    the views, `robustlab show NAME` their parameters.
    """
    _check_name(name)
    path = Path(out) if out else _default((name, backbone, image, data, take, *given))
    if path.suffix.lower() not in (".png", ".html"):
        raise BadRequest(f"{path} is no picture and no page; name a file .png or .html")
    params = _params(given, _texts(name))
    network, images = _loaded(name, backbone, image, data, take, fit, device)
    if path.suffix.lower() == ".html":
        notes = _page(name, network, images, params, device, path)
    else:
        notes = _pictures(name, network, images, params, path)
    if as_json:
        print_json({"file": str(path), "told": notes})
    else:
        for note in notes:
            click.echo(note)
        click.echo(f"{'page' if path.suffix.lower() == '.html' else 'picture'}: {path}")
        if path.suffix.lower() == ".png":
            page = shlex.quote(str(path.with_suffix(".html")))
            click.echo(f"next: the same command with -o {page} writes a page with its numbers")
    return 0


def _check_name(name: str) -> None:
    """A probe that is no attack, known before torch is imported."""
    from robustlab import catalogue

    if ".py:" in name:
        return
    entries = catalogue.entries()
    probes = [key for key, entry in entries.items() if entry.kind == "probe"]
    if name in entries and name not in probes:
        raise BadRequest(
            f"{name!r} is an attack, not a view; robustlab run quick shows attacks, and "
            "robustlab view retrieval takes one: --set attack=" + name
        )
    if name not in probes:
        raise BadRequest(f"no view is called {name!r}{choices(name, probes)}")


def _default(question: Sequence[str | int | None]) -> Path:
    """A file whose name says the question, so that another one takes nothing away."""
    parts = [str(part) for part in question if part is not None]
    name = "-".join(map(_plain, parts))
    if len(name.encode()) > 200:  # a file's name has 255 bytes; cut off, two would share it
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
        name = f"{name[:60]}-{digest}"
    return Path(f"{name}.png")


def _plain(reference: str) -> str:
    """A reference as a part of a file's name."""
    return re.sub(r"[^\w.@-]+", "-", reference).strip("-.")[:80]


def _texts(name: str) -> set[str]:
    """Parameters that take text: ``0.1`` is as good as ``"0.1"`` for them."""
    from robustlab import catalogue

    entry = catalogue.entries().get(name)
    return (
        {p.name for p in entry.parameters if p.type in ("str", "str | float")} if entry else set()
    )


def _params(given: Sequence[str], texts: set[str]) -> dict[str, Any]:
    """``name=value`` as TOML reads the value; what is no TOML is text."""
    import tomllib

    found: dict[str, Any] = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals or not key.strip():
            raise BadRequest(f"--set {one!r}: write NAME=VALUE, as --set layer=conv1")
        if key.strip() in texts:
            found[key.strip()] = value.strip().strip("\"'")
            continue
        try:
            found[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key.strip()] = value
    return found


def _loaded(
    name: str,
    reference: str,
    image: str | None,
    source: str | None,
    take: int | None,
    fit: bool,
    device: str,
) -> tuple[Backbone, Data]:
    from robustlab.backbones import load_backbone
    from robustlab.cli.image import blank, image_of, in_front
    from robustlab.data import load_data
    from robustlab.runner import choose_device

    network = load_backbone(reference, device=choose_device(device))
    one = image_of(image, network, fit) if image is not None else None
    if source is None:
        if take is not None:
            raise BadRequest(f"--take {take} of what? name the images: --data digits:test")
        if one is None and name not in WEIGHTS_ALONE:
            raise BadRequest(
                f"{name!r} needs an image: give a picture file, one of a data set as "
                "digits:test#12, or --data digits:test"
            )
        return network, one if one is not None else blank(network)
    data = load_data(source, take=take)
    network.accepts(data)
    return network, data if one is None else in_front(one, data)


def _run(name: str, network: Backbone, data: Data, params: dict[str, Any]) -> Outcome:
    from robustlab.binding import bind
    from robustlab.registry import resolve

    registered = resolve(name)
    outcome: Outcome = registered.obj(network, data, **bind(registered, params))
    return outcome.checked(len(data))


def _pictures(
    name: str, network: Backbone, data: Data, params: dict[str, Any], path: Path
) -> list[str]:
    """All its pictures under each other; returns what they show."""
    from robustlab import atomic
    from robustlab.reporting.pixels import png

    outcome = _run(name, network, data, params)
    if not outcome.pictures:
        raise BadRequest(
            f"{name!r} draws no picture of its own; name a page: -o {_plain(name)}.html"
        )
    atomic.write(path, png(_stacked(outcome.pictures)))
    return [*(p.caption for p in outcome.pictures if p.caption), *outcome.notes]


def _stacked(pictures: Sequence[Picture]) -> Any:
    """All enlarged by one whole multiple, in colour if one is, on white."""
    import numpy as np

    pixels = [np.asarray(p.pixels) for p in pictures]
    scale = max(1, WIDTH // max(p.shape[1] for p in pixels))
    if any(p.ndim == 3 for p in pixels):
        pixels = [p if p.ndim == 3 else np.repeat(p[..., None], 3, axis=2) for p in pixels]
    grown = [p.repeat(scale, axis=0).repeat(scale, axis=1) for p in pixels]
    width, gap = max(p.shape[1] for p in grown), 4 * scale
    height = sum(p.shape[0] for p in grown) + gap * (len(grown) - 1)
    page = np.full((height, width, *grown[0].shape[2:]), 255, np.uint8)
    top = 0
    for one in grown:
        page[top : top + one.shape[0], : one.shape[1]] = one
        top += one.shape[0] + gap
    return page


def _page(
    name: str, network: Backbone, data: Data, params: dict[str, Any], device: str, path: Path
) -> list[str]:
    """The page of a run of this probe alone; the run itself is not kept."""
    import sys
    import tempfile

    from robustlab.doors import run
    from robustlab.suite import ProbeSpec, Suite

    suite = Suite(name=f"view {name}", probes=(ProbeSpec(name, params),))
    command = shlex.join(["robustlab", *sys.argv[1:]])
    with tempfile.TemporaryDirectory() as folder:
        found = run(
            suite,
            backbones=[network],
            data=data,
            out=Path(folder) / "run",
            device=device,
            command=command,
        )
        failures = [f.error for group in found.groups() for f in group.failures]
        if failures:
            raise BadRequest(f"{name}: {failures[0]}")
        found.report(path)
        return [note for g in found.groups() if g.outcome for note in g.outcome.notes]
