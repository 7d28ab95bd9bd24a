"""A run directory on disk.

::

    run.json         what was asked: suite, backbones, data, plan (rewritten when the suite changes)
    environment.json versions and machine of the first process
    resolved.json    what the lab chose by measuring; created by the first process, reused by all
    cells/ID.npz     per-image columns, arrays and pictures
    cells/ID.json    the record; it lands last and is what counts
    cells/ID.failed.json   why a cell broke off; never read into a table
    locks/ID.lock    held while a process computes the cell
    report.html      the page

A cell is landed when its record and its arrays are both whole; a kill between the two leaves arrays
without a record, which count as nothing and are overwritten.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from robustlab import atomic
from robustlab.errors import BadRequest, NoVerdict
from robustlab.identity import fingerprint
from robustlab.outcome import Outcome, Picture
from robustlab.record import SCHEMA, Record

__all__ = ["Store"]


class Store:
    """Reads and writes one run directory."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.cells = self.folder / "cells"
        self.locks = self.folder / "locks"

    @classmethod
    def create(cls, folder: Path | str) -> Store:
        """Open a run directory for writing, making it where it is missing."""
        store = cls(folder)
        for path in (store.folder, store.cells, store.locks):
            atomic.make_folder(path)
        return store

    @classmethod
    def open(cls, folder: Path | str) -> Store:
        """Open an existing run directory for reading."""
        store = cls(folder)
        if not (store.folder / "run.json").is_file():
            raise BadRequest(
                f"{folder} is not a run directory (it has no run.json); "
                "make one with `robustlab run quick`"
            )
        return store

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write ``name`` in the run directory, whole or not at all."""
        atomic.write(self.folder / name, _json_bytes(value))

    def read_json(self, name: str) -> dict[str, Any]:
        """Read ``name`` of the run directory."""
        return _read_json(self.folder / name)

    def create_json(self, name: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """Create ``name`` unless it exists; returns what it holds, ours or the first process's."""
        path = self.folder / name
        if path.exists():
            return _read_json(path)
        created = atomic.create_exclusively(path, _json_bytes(value))
        held: dict[str, Any] = json.loads(created)
        return held

    def record(self, cell: str) -> Record | None:
        """The record of a landed cell, None where it has not landed (or of an older schema)."""
        path = self.cells / f"{cell}.json"
        if not path.is_file() or not (self.cells / f"{cell}.npz").is_file():
            return None
        data = _read_json(path)
        return _as_record(path, data) if data.get("schema") == SCHEMA else None

    def failure(self, cell: str) -> Record | None:
        """Why a cell broke off when it was last tried, None where it did not."""
        path = self.cells / f"{cell}.failed.json"
        return _as_record(path, _read_json(path)) if path.is_file() else None

    def land(self, record: Record, outcome: Outcome) -> None:
        """Write a finished cell: arrays first, the record last."""
        blocks = {f"sample:{name}": column for name, column in outcome.samples.items()}
        blocks |= {f"array:{name}": array for name, array in outcome.arrays.items()}
        blocks |= {f"picture:{p.name}": p.pixels for p in outcome.pictures}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **blocks)
        arrays = buffer.getvalue()
        landed = replace(record, arrays=fingerprint([arrays]))
        for name, content in (
            (f"{record.id}.npz", arrays),
            (f"{record.id}.json", _json_bytes(landed.to_json())),
        ):
            atomic.sweep(self.cells / name)
            atomic.write(self.cells / name, content)
        with contextlib.suppress(FileNotFoundError):
            (self.cells / f"{record.id}.failed.json").unlink()

    def fail(self, record: Record) -> None:
        """Write down why a cell broke off."""
        atomic.write(self.cells / f"{record.id}.failed.json", _json_bytes(record.to_json()))

    def outcome(self, cell: str) -> Outcome:
        """Arrays and record of a landed cell.

        Raises:
            NoVerdict: the cell has not landed, or its file is damaged.
        """
        record = self.record(cell)
        if record is None:
            raise NoVerdict(f"cell {cell} of {self.folder} has not landed; run the suite again")
        arrays = (self.cells / f"{cell}.npz").read_bytes()
        if fingerprint([arrays]) != record.arrays:
            raise NoVerdict(
                f"{self.cells / cell}.npz is damaged; delete it and run the suite again"
            )
        with np.load(io.BytesIO(arrays), allow_pickle=False) as file:
            blocks = {name: file[name] for name in file.files}
        captions = dict(record.pictures)
        return Outcome(
            samples=_part(blocks, "sample:"),
            arrays=_part(blocks, "array:"),
            pictures=tuple(
                Picture(name, pixels, captions.get(name, ""))
                for name, pixels in _part(blocks, "picture:").items()
            ),
            metrics=record.metrics,
            notes=record.notes,
            cost=record.cost,
            findings=record.findings,
        )

    @contextlib.contextmanager
    def lock(self, cell: str) -> Iterator[bool]:
        """Hold a cell while it is computed; yields False where another process holds it."""
        with atomic.file_lock(self.locks / f"{cell}.lock") as held:
            yield held


def _part(blocks: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in blocks.items() if k.startswith(prefix)}


def _json_bytes(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return _as_object(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise NoVerdict(
            f"{path} cannot be read ({error}); delete it and run the suite again"
        ) from None


def _as_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("it holds no JSON object")
    return value


def _as_record(path: Path, data: Mapping[str, Any]) -> Record:
    try:
        return Record.from_json(data)
    except (TypeError, ValueError, AttributeError) as error:
        raise NoVerdict(
            f"{path} is no record ({error}); delete it and run the suite again"
        ) from None
