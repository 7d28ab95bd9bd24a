"""One image of a data set by its place: ``digits:test#12``."""

from __future__ import annotations

from pathlib import Path

from robustlab.data.dataset import Data
from robustlab.data.pictures import is_image
from robustlab.data.sources import load_data
from robustlab.errors import BadRequest, nearest

__all__ = ["image_at"]


def image_at(text: str) -> tuple[Data, int]:
    """The one image, with its label and id, and its place in the source from 0.

    Args:
        text: a data source and, behind the last ``#``, the place or the id, as pages tell it.

    Raises:
        BadRequest: no such source, a place that is not there, or a file that is not there.
    """
    source, mark, place = text.rpartition("#")
    if not mark:
        beside = Path(text).parent
        # A hidden file, or one of another kind, is not what a picture's name was meant to be.
        around = [o.name for o in beside.iterdir() if is_image(o)] if beside.is_dir() else []
        raise BadRequest(
            f"there is no file {text!r}{nearest(Path(text).name, around)}; an image of a data set "
            "is written with its place, as digits:test#12"
        )
    data = load_data(source)
    if place in data.ids:
        place = str(data.ids.index(place))
    if not place.isdecimal() or int(place) >= len(data):
        raise BadRequest(
            f"image {text!r}: {source} has {len(data)} images; write {source}#0 to "
            f"{source}#{len(data) - 1}, or an id as {source}#{data.ids[0]}"
        )
    return data.subset([int(place)]), int(place)
