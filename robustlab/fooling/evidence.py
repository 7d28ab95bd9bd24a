"""The evidence beside the picture: controls, ways, steps, survival, transfer, and what is inside.

Every part works on the pixels that were read back from the file. A part that cannot be had is told
in a note: the picture is written by then, and stands without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from robustlab import atomic
from robustlab.backbones import Backbone
from robustlab.errors import BadRequest
from robustlab.fooled import Fooled, Pixels, Reading
from robustlab.fooling.animation import animated, frames_of, shrunk
from robustlab.fooling.asked import Asked
from robustlab.fooling.controls import controls
from robustlab.fooling.inside import attribution, depth_trace
from robustlab.fooling.readings import Read
from robustlab.fooling.search import Scene
from robustlab.fooling.steps import LEVELS, eps_of, many_steps, over_budgets, single_steps
from robustlab.fooling.survival import survival
from robustlab.fooling.transfer import transfer
from robustlab.fooling.ways import Walked, straight_line, walked

__all__ = ["WAY", "gathered", "tried"]

WAY = "way.png"

Other = tuple[Backbone, Read]  # a network, and how it reads a picture
Clock = Callable[[str], AbstractContextManager[None]]


def gathered(
    scene: Scene,
    asked: Asked,
    fooled: Fooled,
    others: Sequence[Other],
    folder: Path,
    clock: Clock,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Fields of `Fooled` by name, ``notes`` among them; ``way.png`` is written into ``folder``.

    Args:
        fooled: what is known so far: the two pictures as they were read back, and their readings.
        others: networks that the picture is shown to, too, each with its own way of reading it.
    """
    pair = (fooled.original, fooled.changed)
    goal = (scene.label, scene.target)
    mine = (scene.backbone, scene.read)
    notes: list[str] = []
    found: dict[str, Any] = {}

    def part(name: str, make: Callable[[], Any]) -> Any:
        tell(f"evidence: {name}")
        with clock(name):
            found, note = tried(name, make)
        notes.extend(note)
        return found

    found["controls"] = part("controls", partial(controls, *mine, *pair, *goal, seed=scene.seed))
    line = part("straight line", partial(straight_line, *mine, *pair, *goal))
    walk = part("way of the search", partial(_walk, scene, asked))
    if walk is not None:
        readings = (fooled.before, fooled.after)
        part("animation", partial(_animate, walk, pair, readings, fooled, folder))
    found["ways"] = tuple(way for way in (line, walk and walk.way) if way is not None)
    found["steps"] = part("single step against many", partial(_steps, scene, asked))
    found["survival"] = part("survival", partial(survival, *mine, *pair, *goal))
    found["transfer"] = part("transfer", partial(_transfer, scene, others, pair))
    found["trace"] = part("depth trace", partial(depth_trace, *mine, *pair, seed=scene.seed))
    found["maps"] = part("attribution", partial(attribution, *mine, *pair, seed=scene.seed))
    kept = {name: value for name, value in found.items() if value is not None}
    return {**kept, "notes": (*fooled.notes, *notes)}


def tried(name: str, make: Callable[[], Any]) -> tuple[Any, tuple[str, ...]]:
    """What ``make`` gives, None where it cannot, and then a note that says why.

    One piece that fails, in whichever way, must not take the rest with it: by now pictures have
    been written, and the figures that tell of them have not.
    """
    try:
        return make(), ()
    except BadRequest as error:
        return None, (f"No {name}: {str(error).rstrip('.')}.",)
    except Exception as error:  # a network may break in any way
        said = " ".join(str(error).split())[:200].rstrip(".")
        return None, (f"The {name} failed: {type(error).__name__}{said and ': '}{said}.",)


def _walk(scene: Scene, asked: Asked) -> Walked:
    attack = asked.made(asked.budget.text, scene.target)
    return walked(
        scene.seen,
        attack,
        scene.pixels,
        *(scene.label, scene.target),
        seed=scene.seed,
        picture=scene.name,
        small=shrunk,
    )


def _animate(
    walk: Walked,
    pair: tuple[Pixels, Pixels],
    readings: tuple[Reading, Reading],
    fooled: Fooled,
    folder: Path,
) -> None:
    made = animated(frames_of(walk, *pair, *readings), fooled.label, fooled.target)
    atomic.write(folder / WAY, made)


def _steps(scene: Scene, asked: Asked) -> Any:
    """The gradient's sign once, and PGD: where it was asked for the very search of the picture."""
    judge: dict[str, Any] = {"backbone": scene.backbone, "read": scene.read}
    first = (scene.seen, scene.pixels, scene.label, scene.target)
    if asked.name != "pgd" or asked.norm != "linf":
        many = many_steps(*first, seed=scene.seed, picture=scene.name, **judge)
        return single_steps(*first, **judge), many

    def reached(level: float) -> Pixels:
        # Written as it was given, the budget that was asked for leads to the picture itself.
        same = abs(asked.budget.value * 255 - level) < 1e-3
        return scene.search(asked, asked.budget.text if same else eps_of(level)).pixels

    many = over_budgets("pgd", reached, scene.pixels, *first[2:], LEVELS, *judge.values())
    return single_steps(*first, **judge), many


def _transfer(scene: Scene, others: Sequence[Other], pair: tuple[Pixels, Pixels]) -> Any:
    return transfer(others, *pair, scene.label, scene.target, scene.backbone.classes)
