"""One picture from beginning to end: read, attacked, written, read back, checked, told."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from robustlab.backbones import Backbone
from robustlab.environment import environment
from robustlab.errors import BadRequest
from robustlab.fooled import Fooled, Pixels
from robustlab.fooling.asked import Asked, ask
from robustlab.fooling.checks import check_file, load_png
from robustlab.fooling.evidence import gathered, tried
from robustlab.fooling.keeping import (
    check_folder,
    clear,
    default_folder,
    free_folder,
    prepare,
    write_picture,
)
from robustlab.fooling.others import networks_at_hand
from robustlab.fooling.pictures import Picture
from robustlab.fooling.readings import Read, look, reading
from robustlab.fooling.request import Request, question_of
from robustlab.fooling.search import Candidate, Scene, measure
from robustlab.fooling.sight import Sight, in_full, sight_of
from robustlab.fooling.smallest import smallest
from robustlab.fooling.targets import choose
from robustlab.fooling.transfer import matching

__all__ = ["Request", "fool_one", "stage"]

Tell = Callable[[str], None]


def fool_one(
    picture: Picture,
    backbone: Backbone,
    request: Request,
    folder: Path | None = None,
    *,
    others: Sequence[Backbone] | None = None,
    evidence: bool = True,
    command: str = "",
    tell: Tell | None = None,
) -> tuple[Fooled, Path]:
    """Fool ``backbone`` with ``picture``, write what came of it, and check the file.

    Args:
        folder: where to; None: `default_folder`, numbered where it answers another question.
        others: networks to show the picture to as well; None: those at hand.
        evidence: gather what stands beside the picture: controls, ways, survival and so on.
        tell: called with a sentence as each part begins.

    Returns:
        The tale, and the folder; it holds ``original.png``, ``fooled.png`` and, where something was
        found, ``smallest.png``.

    Raises:
        BadRequest: before anything is written.
    """
    say = tell or (lambda sentence: None)
    picture = picture.with_channels(backbone.input_shape[0], backbone.name)
    scene, sight, asked = stage(picture, backbone, request)
    looking = _looking(scene, request, others) if evidence else ()
    target = None if scene.target is None else backbone.classes[scene.target]
    question = question_of(scene, asked, request, others, evidence)
    folder = folder or free_folder(default_folder(picture.stem, target), question)
    check_folder(folder, question)
    clock = Clock()
    with clock("search"):
        say(f"searching with {asked.name} at {asked.budget.text}")
        found = scene.search(asked, asked.budget.text)
    prepare(folder, question)
    with clock("checks"):
        try:
            fooled = _checked(picture, request, scene, sight, asked, found, folder)
        except BaseException:
            clear(folder)  # pictures of which nothing was told would be half an answer
            raise
    tries = 0
    if fooled.succeeded:
        with clock("smallest"):
            say("looking for the smallest eps that works at 8 bits")
            least, notes = tried("smallest eps", partial(smallest, scene, asked, found))
            fooled = replace(fooled, notes=(*fooled.notes, *notes))
        if least is not None:
            fooled, tries = replace(fooled, **_smallest(scene, least[0], folder)), least[1]
    if evidence:
        fooled = replace(fooled, **gathered(scene, asked, fooled, looking, folder, clock, say))
    facts = _facts(scene, found, tries, clock, command, folder)
    return replace(fooled, facts=facts), folder


def _checked(
    picture: Picture,
    request: Request,
    scene: Scene,
    sight: Sight,
    asked: Asked,
    found: Candidate,
    folder: Path,
) -> Fooled:
    """Both pictures written, read back and checked; what is said is of the files."""
    original, changed = folder / "original.png", folder / "fooled.png"
    write_picture(original, scene.pixels)
    write_picture(changed, found.pixels)
    checks = check_file(original, changed, scene, sight, asked, found)
    clean, shown = load_png(original).pixels, load_png(changed).pixels
    backbone, goal = scene.backbone, (scene.label, scene.target)
    return Fooled(
        picture=picture.name,
        source=picture.source,
        network=backbone.name,
        sight=_sight_told(backbone, request),
        on=request.on,
        attack=asked.name,
        params=dict(asked.params),
        norm=asked.norm,
        eps=asked.budget.text,
        seed=request.seed,
        label=backbone.classes[scene.label],
        target=None if scene.target is None else backbone.classes[scene.target],
        original=clean,
        changed=shown,
        before=reading(backbone, scene.read(clean), *goal),
        after=reading(backbone, scene.read(shown), *goal),
        checks=checks,
        size=measure(shown, clean),
        notes=_notes(asked),
    )


def _sight_told(backbone: Backbone, request: Request) -> str:
    told = sight_of(backbone, request.resize).told
    if request.on == "crop":
        return f"the picture as it is, without a resize; it was made so: {told}"
    return told


def _smallest(scene: Scene, least: Candidate, folder: Path) -> dict[str, Any]:
    """The smallest picture written and read back; nothing where its file does not do it."""
    file = folder / "smallest.png"
    write_picture(file, least.pixels)
    shown = load_png(file).pixels
    if not scene.hits(scene.chances(shown)):
        file.unlink()
        return {}
    return {"smallest": measure(shown, scene.pixels), "smallest_changed": shown}


def _looking(
    scene: Scene, request: Request, others: Sequence[Backbone] | None
) -> tuple[tuple[Backbone, Read], ...]:
    """Other networks, each with its own sight; one that cannot take the picture is refused."""
    found = []
    for one in networks_at_hand(scene.backbone) if others is None else others:
        if one.input_shape[0] != len(scene.pixels):
            raise BadRequest(
                f"{one.name} takes {one.input_shape[0]} channels, the picture has "
                f"{len(scene.pixels)}: it cannot be asked whether it is fooled, too"
            )
        for index in (scene.label, scene.target):
            if index is not None:
                matching(one, index, scene.backbone.classes)
        sight = sight_of(one)
        found.append((one, (in_full(sight) if request.on == "crop" else sight).read))
    return tuple(found)


def stage(picture: Picture, backbone: Backbone, request: Request) -> tuple[Scene, Sight, Asked]:
    """Everything that can be refused, before anything is searched or written."""
    sight = sight_of(backbone, request.resize)
    pixels: Pixels = picture.with_channels(sight.channels, backbone.name).pixels
    if request.on == "crop":
        pixels, sight = sight.levels(pixels), in_full(sight)
    asked = ask(request.attack, request.eps, tuple(pixels.shape))
    logits = look(backbone, [sight.read(pixels)])[0]
    key = hashlib.sha256(pixels.tobytes()).hexdigest()[:16]
    target = choose(request.target, backbone.classes, logits, key, request.seed)
    asked.made(asked.budget.text, target)
    height, width = pixels.shape[1:]
    seen = sight.seen_by(backbone, height, width)
    label = int(logits.argmax())
    scene = Scene(backbone, seen, sight.read, pixels, key, label, target, request.seed)
    return scene, sight, asked


class Clock:
    """Seconds by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._part, self._begun = "", 0.0

    def __call__(self, part: str) -> Clock:
        self._part = part
        return self

    def __enter__(self) -> None:
        self._begun = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        spent = time.perf_counter() - self._begun
        self.seconds[self._part] = self.seconds.get(self._part, 0.0) + spent


def _facts(
    scene: Scene, found: Candidate, tries: int, clock: Clock, command: str, folder: Path
) -> dict[str, Any]:
    return {
        "command": command,
        "folder": str(folder),
        "seconds": {part: round(spent, 3) for part, spent in clock.seconds.items()},
        "passes": found.passes,
        "searches for the smallest": tries,
        "reference": scene.backbone.reference or "",
        "fingerprint": scene.backbone.fingerprint,
        "device": str(scene.backbone.device),
        "picture": hashlib.sha256(scene.pixels.tobytes()).hexdigest(),
        "environment": environment(),
    }


def _notes(asked: Asked) -> tuple[str, ...]:
    notes = []
    if asked.norm == "linf" and abs(asked.budget.value * 255 - asked.levels) > 1e-3:
        notes.append(
            f"Eps {asked.budget.text} allows an 8-bit picture {asked.levels} whole grey levels."
        )
    return tuple(notes)
