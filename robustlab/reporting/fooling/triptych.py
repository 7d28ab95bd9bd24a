"""Three panels in one picture, to be shown elsewhere: the original, what was added, the result."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from robustlab.fooled import Fooled, Reading
from robustlab.reporting.fooling.verdict import Finding
from robustlab.reporting.fooling.words import budget, chance, count, network_name, quoted
from robustlab.reporting.pixels import as_picture, magnified

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

__all__ = ["triptych"]

SIDE = 320  # pixels of a panel's longer side; larger pictures are reduced, smaller ones magnified
_EDGE, _LINE = 12, 20
_INK, _PAPER, _GREY = "#1a1a1a", "#ffffff", "#666666"


def triptych(fooled: Fooled) -> bytes:
    """A PNG: original, perturbation and result side by side, each with a line below.

    It is for showing: its panels are reduced to 320 pixels (or magnified by a whole factor), and
    only the file ``fooled.png`` is what was verified.
    """
    from PIL import Image, ImageDraw

    added, factor = magnified(fooled.original, fooled.changed)
    shown = (as_picture(fooled.original), added, as_picture(fooled.changed))
    panels = [_panel(one) for one in shown]
    width, height = panels[0].size
    step = max(width, 200) + _EDGE
    page = Image.new("RGB", (3 * step + _EDGE, height + 3 * _LINE + 3 * _EDGE), _PAPER)
    draw = ImageDraw.Draw(page)
    below = (
        ("original", _seen(fooled.before)),
        (
            f"added, drawn {factor} times as strong",
            f"by at most {count(fooled.size.linf, 'grey level')}",
        ),
        ("changed", _seen(fooled.after)),
    )
    for place, (panel, lines) in enumerate(zip(panels, below, strict=True)):
        left = _EDGE + place * step
        page.paste(panel, (left, _EDGE))
        for row, (line, colour) in enumerate(zip(lines, (_GREY, _INK), strict=True)):
            _write(draw, (left, height + 2 * _EDGE + row * _LINE), line, step - _EDGE, colour)
    foot = f"{network_name(fooled.network)} at {budget(fooled)}"
    if not Finding(fooled).proven:
        foot = f"Not what was asked for: {foot}"
    _write(draw, (_EDGE, height + 2 * _EDGE + 2 * _LINE), foot, 3 * step - _EDGE, _GREY)
    buffer = io.BytesIO()
    page.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _panel(pixels: Any) -> Image:
    """uint8 [H, W] or [H, W, 3] at the size of a panel."""
    from PIL import Image

    image = Image.fromarray(pixels).convert("RGB")
    longest = max(image.size)
    if longest > SIDE:
        width, height = (max(1, round(side * SIDE / longest)) for side in image.size)
        return image.resize((width, height), Image.Resampling.LANCZOS)
    times = max(1, SIDE // longest)
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


def _seen(reading: Reading) -> str:
    _, name, probability = reading.top[0]
    return f"{quoted(name)} {chance(probability)}"


def _write(draw: ImageDraw, at: tuple[int, int], text: str, room: int, colour: str) -> None:
    """One line, cut short where there is no room for all of it."""
    from PIL import ImageFont

    font, line = ImageFont.load_default(14), " ".join(text.split())
    while len(line) > 1 and draw.textlength(line, font=font) > room:
        line = line[:-2].rstrip() + "…"
    draw.text(at, line, fill=colour, font=font)
