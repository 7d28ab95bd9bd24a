"""`load_data`: a source by its text. ``digits:test``, ``npz:PATH``, ``folder:PATH?size=32``."""

from __future__ import annotations

from pathlib import Path

from robustlab.data.dataset import Data
from robustlab.data.digits import SPLITS, digits
from robustlab.data.folder import load_folder
from robustlab.data.npz import load_npz
from robustlab.data.query import split_query
from robustlab.errors import BadRequest, choices

__all__ = ["load_data"]

_LATER = ("mnist", "fashion-mnist", "cifar10", "cifar100", "imagenet")
_KNOWN = ("digits", *(f"digits:{split}" for split in SPLITS), "npz:PATH", "folder:PATH")


def load_data(source: str | Data, take: int | None = None, seed: int = 0) -> Data:
    """Images with labels, by the name of their source.

    Args:
        source: ``digits`` (all 1,797), ``digits:train|val|test``, ``npz:PATH``,
            ``folder:PATH?size=32&mode=L|RGB``, or a `Data`, which is passed through.
        take: choose as many, stratified by class; see `Data.take`.
        seed: which of them.

    Raises:
        BadRequest: unknown source, or one that cannot be read.
    """
    data = source if isinstance(source, Data) else _load(str(source))
    return data if take is None else data.take(take, seed)


def _load(source: str) -> Data:
    kind, _, rest = source.partition(":")
    if kind == "digits":
        if source == "digits:":
            raise BadRequest(f"data source {source!r}: name a split, {', '.join(SPLITS)}")
        return digits(rest)
    if kind in ("npz", "folder"):
        if not rest:
            raise BadRequest(f"data source {source!r} has no path; write '{kind}:PATH'")
        if kind == "npz":
            return load_npz(Path(rest).expanduser())
        path, options = split_query(rest)
        return load_folder(Path(path).expanduser(), options)
    if kind.lower() in _LATER:
        raise BadRequest(
            f"data source {source!r} is not built yet; until then save it with "
            "numpy.savez(path, images=..., labels=...) and use 'npz:PATH'"
        )
    raise BadRequest(f"unknown data source {source!r}{choices(source, _KNOWN)}")
