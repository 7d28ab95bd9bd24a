"""`load_data`: a source by its text. ``digits:test``, ``mnist:train?pad=2``, ``folder:PATH``."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from robustlab.data.dataset import Data
from robustlab.data.digits import SPLITS, digits
from robustlab.data.folder import list_folder
from robustlab.data.imagenet import list_imagenet
from robustlab.data.listing import Listing
from robustlab.data.npz import load_npz
from robustlab.data.published import PARTS, PUBLISHED, load_published
from robustlab.data.query import split_query
from robustlab.data.samples import list_samples
from robustlab.data.table import list_table
from robustlab.errors import BadRequest, choices

__all__ = ["SOURCES", "load_data", "on_the_test_part", "with_split"]

SOURCES: tuple[tuple[str, str], ...] = (
    ("digits:SPLIT", "1,797 handwritten digits on 32x32; SPLIT: train, val, test"),
    ("mnist:SPLIT", "MNIST, 70,000 handwritten digits; downloaded; ?pad=2 makes 32x32 of 28x28"),
    ("fashion-mnist:SPLIT", "Fashion-MNIST, 70,000 pieces of clothing, 28x28; downloaded"),
    ("cifar10:SPLIT", "CIFAR-10, 60,000 colour images 32x32 of 10 classes; downloaded"),
    ("cifar100:SPLIT", "CIFAR-100, 60,000 colour images 32x32 of 100 classes; downloaded"),
    ("imagenet:PATH", "a folder of ImageNet, cropped to 224x224; ?split=val&size=224&resize=256"),
    ("npz:PATH", "images and labels of a NumPy archive"),
    ("folder:PATH", "one folder of pictures a class; ?size=32, ?resize=256&size=224, ?mode=L"),
    ("csv:PATH", "pictures named in a table, a row each; ?file=COLUMN&label=COLUMN&size=224"),
    (
        "samples:imagenet",
        "20 labelled pictures of ImageNet classes, shipped with foolbox; no download",
    ),
)
_FOLDERS: dict[str, Callable[[Path, Mapping[str, str]], Listing]] = {
    "csv": list_table,
    "folder": list_folder,
    "imagenet": list_imagenet,
}
_QUICK = 200  # images that the suite `quick` takes
_SPLIT = ("digits", *PUBLISHED)
_KNOWN = (*_SPLIT, *(f"{name}:{part}" for name in _SPLIT for part in PARTS))
_KNOWN += ("imagenet:PATH", "npz:PATH", "folder:PATH", "csv:PATH", "samples:imagenet")


def load_data(source: str | Data, take: int | None = None, seed: int = 0) -> Data:
    """Images with labels, by the name of their source.

    Args:
        source: ``digits`` (all 1,797), ``digits:train|val|test``,
            ``mnist|fashion-mnist|cifar10|cifar100:train|val|test?root=PATH&download=false&pad=2``,
            ``imagenet:PATH?split=val``, ``npz:PATH``, ``folder:PATH?size=32&mode=L|RGB``,
            ``csv:PATH?file=COLUMN&label=COLUMN``, ``samples:imagenet`` (for a network of ImageNet's
            classes; so is a folder or table with ``classes=imagenet``), or a `Data`, which is
            passed through.
        take: choose as many, stratified by class, and decode no other; see `Data.take`.
        seed: which of them.

    Raises:
        BadRequest: unknown source, or one that cannot be read.
    """
    found = source if isinstance(source, Data) else _load(str(source))
    if take is not None:
        found = found.take(take, seed)
    return found.read() if isinstance(found, Listing) else found


def _load(source: str) -> Data | Listing:
    kind, colon, rest = source.partition(":")
    if kind == "npz" and rest:
        return load_npz(Path(rest).expanduser())
    if kind in _FOLDERS:
        _check_mark(source, rest)
    path, options = split_query(rest)
    if kind in ("npz", *_FOLDERS):
        if not path:
            raise BadRequest(f"data source {source!r} has no path; write '{kind}:PATH'")
        return _FOLDERS[kind](Path(path).expanduser(), options)
    if kind == "samples":
        return list_samples(path, options)
    name, more = split_query(kind)  # "mnist?pad=2": the split is what is missing
    if name == "digits":
        if (colon and not path) or options or more:
            raise BadRequest(
                f"data source {source!r}: digits takes no options; write 'digits' or name a split, "
                f"{', '.join(SPLITS)}"
            )
        return digits(path)
    if name in PUBLISHED:
        return load_published(name, path, options | more)
    raise BadRequest(f"unknown data source {source!r}{choices(source, _KNOWN)}")


def _check_mark(source: str, rest: str) -> None:
    """What stands in front of the options is there, or the ``?`` was meant as part of a name."""
    path, mark, _ = rest.partition("?")
    place, what = Path(path).expanduser(), "file" if source.startswith("csv:") else "folder"
    if path and mark and not (place.is_file() if what == "file" else place.is_dir()):
        raise BadRequest(
            f"{source!r}: there is no such {what} as {path!r}; the first '?' starts the options "
            f"(name=value), so a {what} with a '?' in its name has to be renamed"
        )


def with_split(source: str, part: str) -> str:
    """The source of one split of a set: ``("mnist?pad=2", "train")`` -> ``"mnist:train?pad=2"``.

    Raises:
        BadRequest: no such set or split, a set that has a split already, or a source without
            splits of its own.
    """
    head, mark, query = source.partition("?")
    name, colon, _ = head.partition(":")
    if name in ("npz", "samples", *_FOLDERS):
        raise BadRequest(
            f"{source!r} has no splits of its own; give train, val and test a source each"
        )
    if name not in _SPLIT:
        raise BadRequest(f"unknown data source {source!r}{choices(source, _SPLIT)}")
    if colon:
        raise BadRequest(f"{source!r} names a split already; write {name + mark + query!r}")
    if part not in PARTS:
        raise BadRequest(f"{name} has no split {part!r}{choices(part, PARTS)}")
    return f"{name}:{part}{mark}{query}"


def on_the_test_part(table: Mapping[str, Any], n: object = None) -> str:
    """What `robustlab run quick` needs besides a network trained on ``[data]`` of a recipe:
    ``" --data mnist:test"``, quoted for a shell; nothing for digits, which `quick` takes anyway.
    ``n``: how many images it has, where fewer than the 200 that `quick` takes.
    """
    source, test = table.get("source"), table.get("test")
    if source == "digits" or not isinstance(source or test, str):
        return ""
    try:
        found = str(test or with_split(str(source), "test"))
    except BadRequest:  # an old or foreign card: better no advice than a wrong one
        return ""
    few = f" --take {n}" if isinstance(n, int) and n < _QUICK else ""
    return f" --data {shlex.quote(found)}{few}"
