"""fool: one picture, one network, and the proof that it sees something else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustlab.cli.output import json_option, print_json, table
from robustlab.cli.running import command_line
from robustlab.errors import BadRequest
from robustlab.units import NORM_TITLES

if TYPE_CHECKING:
    from robustlab.fooled import Fooled, Reading

__all__ = ["fool"]

DEFAULT = "torchvision:googlenet"


@click.command()
@click.argument("image", required=False)
@click.option("--target", help="Class to reach: name, index, WordNet id, least-likely, second, ...")
@click.option(
    "--backbone", multiple=True, help="Network, torchvision:googlenet; more: does it transfer?"
)
@click.option("--eps", default="4/255", show_default=True, help="Budget, as 4/255.")
@click.option("--attack", default="pgd", show_default=True, help="As pgd?steps=100&norm=l2.")
@click.option("-o", "--out", type=click.Path(), help="Folder of what is written.")
@click.option(
    "--on", default="picture", show_default=True, help="picture, or crop: what the network sees."
)
@click.option("--resize", help="Shorter side before the crop, or whole; as the weights say.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides all randomness.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@json_option
def fool(
    image: str | None,
    target: str | None,
    backbone: tuple[str, ...],
    eps: str,
    attack: str,
    out: str | None,
    on: str,
    resize: str | None,
    seed: int,
    device: str,
    as_json: bool,
) -> int:
    """Change IMAGE a little, so that the network sees something else in it; write it and prove it.

    IMAGE is a picture file, a folder of them, noise, black, white, or an image of a data set, as
    digits:test#12; without one, a photograph that scikit-learn ships. Exit code 0: fooled, by the
    file as it was read back; 1: not fooled.
    """
    asked: dict[str, Any] = {
        "backbone": backbone[0] if backbone else DEFAULT,
        "others": backbone[1:] or None,
        "target": target,
        "eps": eps,
        "attack": attack,
        "on": on,
        "resize": resize,
        "seed": seed,
        "device": device,
        "command": command_line(),
        "tell": lambda sentence: click.echo(sentence, err=True),
    }
    if image is not None and not image.strip():
        # A variable of the shell that is not set; as a path it would be the folder one stands in.
        raise BadRequest("IMAGE is empty; name a picture file, or leave it out for one at hand")
    if image is not None and Path(image).is_dir():
        return _folder(Path(image), out, asked, as_json)
    from robustlab.doors import fool as fool_picture

    found = fool_picture(image, out=out, **asked)
    if as_json:
        from robustlab.reporting.fooling.files import figures

        print_json(figures(found))
    else:
        _print(found)
    return 0 if found.succeeded else 1


def _folder(folder: Path, out: str | None, asked: dict[str, Any], as_json: bool) -> int:
    from robustlab.doors import fool_folder
    from robustlab.reporting.fooling.files import figures

    found, place = fool_folder(folder, out=out, **asked)
    many = sum(one.succeeded for one in found)
    if as_json:
        told = {"folder": str(place), "fooled": many, "of": len(found)}
        print_json({**told, "pictures": [figures(one) for one in found]})
    else:
        norm = found[0].norm
        rows = [
            [one.picture, one.before.top[0][1], one.after.top[0][1], _least(one)] for one in found
        ]
        table(["picture", "before", "after", f"smallest found ({NORM_TITLES[norm]})"], rows)
        click.echo(f"\n{many} of {len(found)} fooled; see {place}/index.csv")
    return 0 if many == len(found) else 1


def _least(one: Fooled) -> str:
    """In the norm that was searched in; what the others are follows from it by chance alone."""
    if one.smallest is None:
        return "none" if one.succeeded else "not fooled"
    size = {name: getattr(one.smallest, name) for name in ("linf", "l2", "l1", "l0")}
    unit = "pixel" if one.norm == "l0" else "grey level"
    return f"{size[one.norm]:.4g} {unit}{'s' * (size[one.norm] != 1)}"


def _print(found: Fooled) -> None:
    click.echo(found.source)
    click.echo(f"{found.network} looks at it: {found.sight}")
    click.echo(f"before: {_top(found.before)}")
    click.echo(f"after:  {_top(found.after)}")
    for check in found.checks:
        click.echo(f"  {'yes' if check.passed else 'NO '}  {check.question} {check.found}")
    if found.smallest is not None:
        least = found.smallest
        click.echo(
            f"smallest found by {found.attack} ({NORM_TITLES[found.norm]}) at 8 bits: "
            f"{_least(found)}; in all {least.linf} of 255 grey levels a value, L2 {least.l2:.0f}, "
            f"{least.l0} of {least.pixels} pixels changed"
        )
    for note in found.notes:
        click.echo(f"note: {note}")
    click.echo(
        f"{'fooled' if found.succeeded else 'not fooled'}; see {found.facts['folder']}/report.html"
    )


def _top(reading: Reading) -> str:
    from robustlab.reporting.fooling.words import chance

    return ", ".join(f"{name} {chance(share)}" for _, name, share in reading.top)
