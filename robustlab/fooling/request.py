"""What is asked of one picture or of a folder of them: the options, the picture, the question."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustlab.backbones import Backbone
from robustlab.errors import BadRequest, choices
from robustlab.fooling.asked import Asked
from robustlab.fooling.keeping import Question
from robustlab.fooling.pictures import (
    FROM_NOTHING,
    Picture,
    at_hand,
    from_data,
    from_nothing,
    read_file,
)
from robustlab.fooling.search import Scene, check_size
from robustlab.fooling.sight import sight_of

__all__ = [
    "Request",
    "check_picture",
    "picture_named",
    "picture_of",
    "question_of",
    "question_of_folder",
]

ON = ("picture", "crop")


@dataclass(frozen=True)
class Request:
    """What is asked of every picture; see `robustlab.fool`."""

    target: str | int | None = None
    eps: str | float = "4/255"
    attack: str = "pgd"
    on: str = "picture"
    resize: str | int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.on not in ON:
            raise BadRequest(f"unknown --on {self.on!r}{choices(self.on, ON)}")
        if not 0 <= self.seed < 2**32:
            raise BadRequest(f"--seed {self.seed}: give a whole number from 0 to {2**32 - 1}")


def question_of(
    scene: Scene,
    asked: Asked,
    request: Request,
    others: Sequence[Backbone] | None,
    evidence: bool,
) -> Question:
    """All that decides the answer; where it is computed does not."""
    return {
        "eps": f"{asked.budget.value:.9g}",
        "attack": asked.name,
        "parameters": {name: str(value) for name, value in sorted(asked.params.items())},
        "target": None if scene.target is None else scene.backbone.classes[scene.target],
        "on": request.on,
        "resize": None if request.resize is None else str(request.resize),
        "seed": request.seed,
        "backbone": scene.backbone.name,
        "weights": scene.backbone.fingerprint,
        "others": None if others is None else [[o.name, o.fingerprint] for o in others],
        "evidence": evidence,
        "picture": hashlib.sha256(scene.pixels.tobytes()).hexdigest(),
    }


def question_of_folder(
    pictures: Sequence[Path], backbone: Backbone, asked: Mapping[str, Any]
) -> Question:
    """What is asked of a whole folder: the files as they are, the network, and all that was said.

    Args:
        asked: of `robustlab.fool`, by name.
    """
    told = {name: value for name, value in asked.items() if name not in ("command", "others")}
    others = [getattr(one, "name", one) for one in asked.get("others") or ()]
    return {
        **{name: None if value is None else str(value) for name, value in sorted(told.items())},
        "others": [str(one) for one in others],
        "backbone": backbone.name,
        "weights": backbone.fingerprint,
        "pictures": {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in pictures},
    }


def picture_of(asked: str | Path | None, backbone: Backbone, request: Request) -> Picture:
    """The picture that is meant: a file, a word, an image of a data set, or one at hand.

    Raises:
        BadRequest: none of these; a folder.
    """
    named = picture_named(asked)
    if named is not None:
        return named
    sight = sight_of(backbone, request.resize)
    side = (sight.height, sight.width)
    if sight.resize is not None and request.on == "picture":
        side = (sight.resize, sight.resize)  # so that nothing is resized
    return from_nothing(str(asked), sight.channels, side, request.seed)


def picture_named(asked: str | Path | None) -> Picture | None:
    """The same where no network is needed for it; None of a word, whose size the network decides.

    Raises:
        BadRequest: see `picture_of`.
    """
    if asked is None:
        return at_hand()
    text = str(asked)
    if not text.strip():
        raise BadRequest("the picture's name is empty; name a file, or give None for one at hand")
    if Path(text).is_dir():
        raise BadRequest(f"{text} is a folder; name a picture in it")
    if Path(text).is_file():
        return read_file(Path(text))
    return None if text in FROM_NOTHING else from_data(text)


def check_picture(picture: Picture, backbone: Backbone, request: Request) -> None:
    """Refuse what would be refused of this picture alone, without looking at it.

    Raises:
        BadRequest: channels, or a size before or after the resize, that cannot be.
    """
    pixels = picture.with_channels(backbone.input_shape[0], backbone.name).pixels
    sight_of(backbone, request.resize).resized(*pixels.shape[1:])
    if request.on == "picture":
        check_size(pixels)
