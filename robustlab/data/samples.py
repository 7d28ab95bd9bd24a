"""Labelled ImageNet pictures that an installed package ships, for a look that needs no download.

``samples:imagenet`` are foolbox's twenty, each with torchvision's class index in its name. They are
read where the package lies, prepared as torchvision evaluates: ``?resize=256&size=224``,
``&interpolation=bilinear|bicubic``. Twenty pictures show what an attack does; they rank nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from importlib import util
from pathlib import Path

import numpy as np

from robustlab.data.categories import class_names
from robustlab.data.folder import crop_of
from robustlab.data.listing import Listing
from robustlab.data.pictures import read_picture
from robustlab.data.query import known_options, pixels
from robustlab.errors import BadRequest, choices

__all__ = ["SETS", "list_samples"]

SETS = ("imagenet",)
_NAMED = re.compile(r"imagenet_(\d+)_(\d+)\.jpg")  # number of the sample, class index


def list_samples(name: str, options: Mapping[str, str]) -> Listing:
    """The pictures of one set in the order of their numbers; an id is ``samples/imagenet/FILE``.

    Raises:
        BadRequest: no such set or option, or the package does not hold the pictures.
    """
    if name not in SETS:
        raise BadRequest(f"samples: there is no set {name!r}{choices(name, SETS)}")
    where = f"samples:{name}"
    known_options(where, options, ("interpolation", "resize", "size"))
    size = pixels(where, options, "size") or 224
    resize = pixels(where, options, "resize") or round(size * 256 / 224)
    crop = crop_of(where, options, resize, size)
    folder = _folder()
    found = sorted(
        (int(match[1]), int(match[2]), file)
        for file in (folder.iterdir() if folder.is_dir() else ())
        if (match := _NAMED.fullmatch(file.name))
    )
    if not found:
        raise BadRequest(
            f"{where}: the installed foolbox holds none of its sample pictures ({folder}); "
            "reinstall it (pip install --force-reinstall foolbox), or give 'folder:PATH"
            "?classes=imagenet'"
        )
    return Listing(
        where,
        class_names(),
        tuple(file for *_, file in found),
        np.array([label for _, label, _ in found], dtype=np.int64),
        tuple(f"samples/imagenet/{file.stem}" for *_, file in found),
        partial(read_picture, mode="RGB", crop=crop),
    )


def _folder() -> Path:
    """Where foolbox keeps its pictures; it is found, not imported."""
    spec = util.find_spec("foolbox")
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places), "foolbox") if places else "foolbox") / "data"
