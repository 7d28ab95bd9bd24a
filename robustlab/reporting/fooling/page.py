"""The page of one fooled picture: one HTML file that asks the network for nothing."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from robustlab import atomic
from robustlab.fooled import Fooled, Reading
from robustlab.reporting.fooling import (
    answers,
    making,
    maps,
    pictures,
    steps,
    survival,
    trace,
    ways,
)
from robustlab.reporting.fooling.recount import measured
from robustlab.reporting.fooling.verdict import Finding
from robustlab.reporting.fooling.words import chance, network_name, plain_name, quoted
from robustlab.reporting.frame import frame
from robustlab.reporting.section import environment

__all__ = ["fooled_page", "write_fooled"]

_PNG = b"\x89PNG\r\n\x1a\n"
HEAVIEST = 5_000_000  # bytes of a page


def fooled_page(fooled: Fooled, *, way: bytes = b"") -> str:
    """The whole page as text; the same `Fooled` gives the same bytes.

    Args:
        fooled: one picture and what it took; nothing of it is trusted as HTML, and sizes are
            counted again.
        way: the animated way, an APNG; where the page would weigh more than 5 MB with it, the page
            says that it lies beside.

    Raises:
        BadRequest: pictures that are not uint8 [C, H, W] of one shape.
    """
    measured(fooled.original, fooled.changed)  # refuses what is no pair before anything is drawn
    values, template = _values(fooled), environment().get_template("fooled.html")
    uri = "data:image/png;base64," + base64.b64encode(way).decode()
    has_way = way.startswith(_PNG)
    page = template.render(animated="", beside=has_way, **values) + "\n"
    if not has_way or len(page.encode("utf-8", "replace")) + len(uri) > HEAVIEST:
        return page
    return template.render(animated=uri, beside=False, **values) + "\n"


def _values(fooled: Fooled) -> dict[str, Any]:
    """Everything that the template shows but the animated way."""
    found, shown = Finding(fooled), pictures.shown(fooled)
    return {
        "fooled": fooled,
        "found": found,
        "network": network_name(fooled.network),
        "name": plain_name(Path(fooled.picture).name or fooled.picture),
        "said": {"before": _said(fooled.before), "after": _said(fooled.after)},
        "shown": shown,
        "exact": len(shown) == 1,
        "belief": making.belief(found),
        "caveats": making.caveats(fooled),
        "tops": answers.tops(fooled),
        "controls": answers.controls(fooled),
        "sizes": making.sizes(found),
        "smallest": pictures.smallest(fooled),
        "ways": ways.ways(fooled),
        "steps": steps.steps(fooled),
        "survival": survival.survival(fooled),
        "transfer": answers.transfer(fooled),
        "trace": trace.trace(fooled),
        "maps": maps.maps(fooled),
        "facts": making.facts(fooled),
        "command": str(fooled.facts.get("command", "")),
        **frame(),
    }


def _said(one: Reading) -> str:
    """``“giant panda” 98.7 %``."""
    return f"{quoted(one.top[0][1])} {chance(one.top[0][2])}"


def write_fooled(fooled: Fooled, path: Path, *, way: bytes = b"") -> Path:
    """Write the page, whole or not at all, and return its path.

    Raises:
        BadRequest: as of `fooled_page`.
        NoVerdict: the page cannot be written.
    """
    path = Path(path)
    atomic.write(path, fooled_page(fooled, way=way).encode("utf-8", "replace"))
    return path
