"""One cell: what was asked (its identity) and the record of what was found.

A cell is probe x backbone x shard of images. Its identity is the hash of everything that decides
its numbers and of nothing else: device, worker and wall time are recorded but are not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from robustlab.identity import identity
from robustlab.outcome import Finding, Metric

__all__ = ["SCHEMA", "Asked", "Record"]

SCHEMA = 1  # raised whenever the meaning of a field below changes: old cells are then recomputed


@dataclass(frozen=True)
class Asked:
    """What decides the numbers of a cell.

    Attributes:
        backbone: fingerprint of the weights, architecture and preprocessing.
        data: fingerprint of the shard's pixels, labels and ids.
        probe: registered name.
        version: version the probe declares.
        source: fingerprint of the probe's source and of the machinery it runs on.
        params: bound parameters, defaults included, sweep resolved.
        seed: seed of the suite.
        classes: class names, where a parameter names one of them.
        borrowed: fingerprints of other networks and data that the probe uses.
    """

    backbone: str
    data: str
    probe: str
    version: int
    source: str
    params: Mapping[str, Any]
    seed: int
    classes: tuple[str, ...] = ()
    borrowed: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Cell id: 24 hex digits of the hash of the fields and the schema."""
        return identity({"schema": SCHEMA, **asdict(self)})[:24]


@dataclass
class Record:
    """What is written beside a cell's arrays; it lands last, and only a landed record counts.

    Attributes:
        id: cell id.
        asked: the fields of `Asked`.
        n: images in the cell.
        status: ``"done"`` or ``"failed"``; a failed cell enters no table and is tried again.
        error: message of a failure.
        metrics, notes, cost, findings: from the outcome.
        pictures: names and captions of the pictures in the arrays file.
        seconds: wall time; started: ISO 8601, UTC.
        device, threads, torch: where it ran, and torch's version.
        arrays: SHA-256 of the arrays file; a damaged one is told from a whole one by it.
    """

    id: str
    asked: Mapping[str, Any]
    n: int
    status: str = "done"
    error: str = ""
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    cost: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    pictures: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0
    started: str = ""
    device: str = ""
    threads: int = 0
    torch: str = ""
    arrays: str = ""
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Record:
        """Read what `to_json` wrote; unknown fields of newer versions are an error of the file."""
        fields = dict(data)
        fields["metrics"] = {k: Metric(**v) for k, v in fields.get("metrics", {}).items()}
        fields["pictures"] = tuple((a, b) for a, b in fields.get("pictures", ()))
        fields["notes"] = tuple(fields.get("notes", ()))
        fields["findings"] = tuple(
            Finding(**{**one, "names": tuple(one["names"])}) for one in fields.get("findings", ())
        )
        return cls(**fields)
