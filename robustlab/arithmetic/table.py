"""Rows of the layer table: what a watched forward pass says, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from torch import nn

from robustlab.arithmetic.geometry import Geometry
from robustlab.arithmetic.recorder import Call, Event, Record
from robustlab.arithmetic.seen import Seen

__all__ = ["COLUMNS", "layer_table"]

# Column -> pandas type; "object" holds texts and tuples of numbers. What each means: `Anatomy`.
COLUMNS: dict[str, str] = {
    "layer": "object",
    "call": "Int64",
    "kind": "object",
    "type": "object",
    "input_shape": "object",
    "output_shape": "object",
    "kernel": "object",
    "stride": "object",
    "padding": "object",
    "dilation": "object",
    "groups": "Int64",
    "exact_rows": "Float64",
    "exact_columns": "Float64",
    "rounding": "object",
    "fits": "boolean",
    "dropped_rows": "Int64",
    "dropped_columns": "Int64",
    "parameters": "Int64",
    "weights": "Int64",
    "multiply_adds": "Int64",
    "flops": "Int64",
    "other_operations": "Int64",
    "connections": "Int64",
    "units": "Int64",
    "activation_bytes": "Int64",
    "field_rows": "Int64",
    "field_columns": "Int64",
    "stride_rows": "Float64",
    "stride_columns": "Float64",
    "centre_row": "Float64",
    "centre_column": "Float64",
    "aligned": "boolean",
    "fully_connected_weights": "Int64",
    "locally_connected_weights": "Int64",
    "sources": "object",
    "status": "object",
    "note": "object",
}
# The gravest comes first: a layer is what the gravest of its operators is.
_KINDS = (
    "transposed convolution",
    "convolution",
    "attention",
    "locally connected",
    "fully connected",
    "matrix product",
    "normalisation",
    "pooling",
    "reduction",
    "resizing",
    "concatenation",
    "activation",
    "multiplication",
    "addition",
    "padding",
    "other",
)
Row = dict[str, Any]


def layer_table(module: nn.Module, found: Record) -> pd.DataFrame:
    """One row a layer, in the order in which they ran; then the parts that never ran."""
    owned = _owned(module)
    sizes = {name: one.numel() for name, one in module.named_parameters()}
    counted: set[str] = set()
    rows: list[Row] = []
    of_event: dict[int, int] = {}
    for events, call in _layers(found):
        names = {name for event in events.values() for name in event.parameters}
        names |= owned.get(call.path, set()) if call.inner == 0 else set()
        row = _row(list(events.values()), call)
        row["parameters"] = sum(sizes[name] for name in names - counted)
        counted |= names
        above = {of_event[s] for e in events.values() for s in e.sources if s in of_event}
        row["sources"] = tuple(sorted(above))
        of_event |= dict.fromkeys(events, len(rows))
        rows.append(row)
    _number(rows)
    rows += _idle(sizes, counted)
    # Column by column: pandas would take texts and missing texts for types of its own.
    columns = {
        name: pd.Series([row.get(name) for row in rows], dtype=kind)
        for name, kind in COLUMNS.items()
    }
    return pd.DataFrame(columns)


def _owned(module: nn.Module) -> dict[str, set[str]]:
    """Module's name -> its own parameters, under the first name of each."""
    first = {one: name for name, one in module.named_parameters()}
    return {
        path: {first[one] for one in part.parameters(recurse=False)}
        for path, part in module.named_modules()
    }


def _layers(found: Record) -> Iterator[tuple[dict[int, Event], Call]]:
    """Events of one layer with the call of the module they stand in.

    A module without modules of its own is one layer, unless it multiplies by weights several times;
    what another module does itself, between those inside of it, is a layer for each operator.
    """
    calls = {(call.path, call.number): call for call in found.calls}
    whole: dict[int, dict[int, Event]] = {}
    for call in found.calls:
        if call.inner == 0 and call.last > call.first:
            inside = range(call.first, call.last)
            own = {number: found.events[number] for number in inside}
            if sum(one.found.weights > 0 for one in own.values()) > 1:
                call.inner = 1  # several layers in one module: each operator is one
            else:
                whole[call.first] = own
    number = 0
    while number < len(found.events):
        event = found.events[number]
        call = calls.get((event.path, event.call)) or Call(event.path, event.call, "", number)
        events = whole.get(number) if call.inner == 0 else None
        events = events or {number: event}
        yield events, call
        number += len(events)


def _row(events: Sequence[Event], call: Call) -> Row:
    alone = call.inner > 0 or not call.kind
    last = events[-1]
    given = last.given if alone else (call.given or events[0].given)
    made = last.made if alone else (call.made or last.made)
    seen = last.found.seen[0] if alone else call.seen
    kind = min((e.found.kind for e in events), key=_KINDS.index)
    if "Norm" in call.kind and not alone:  # built of other operators, as response normalisation is
        kind = "normalisation"
    geometry = _geometry(events)
    if kind == "locally connected" and geometry is None and not alone:
        geometry = _unfolded(call)
    counts = [event.found.multiply_adds for event in events]
    known = None not in counts and not (call.untold and not alone)
    multiply_adds = sum(one or 0 for one in counts) if known else None
    weights = sum(event.found.weights for event in events)
    row: Row = {
        "layer": f"{call.path or 'network'}:{last.op}" if alone else call.path or "network",
        "call": call.number,
        "kind": kind,
        "type": last.op if alone else call.kind,
        "input_shape": given[1:],
        "output_shape": made[1:],
        "weights": weights,
        "multiply_adds": multiply_adds,
        "flops": None if multiply_adds is None else 2 * multiply_adds,
        "other_operations": sum(event.found.other for event in events),
        "connections": sum(event.found.connections for event in events) if known else None,
        "units": math.prod(made[1:]),
        "activation_bytes": last.bytes if alone else call.bytes,
    }
    notes = [event.found.note for event in events if event.found.note]
    row |= _sized(geometry) | _compared(kind, geometry, given, made, weights)
    row |= _field(seen, notes, untold=call.untold and not alone)
    unknown = [multiply_adds is None, "field_rows" not in row]
    row["status"] = ("complete", "partial", "unavailable")[sum(unknown)]
    row["note"] = "; ".join(dict.fromkeys([*_told(geometry), *notes]))
    return row


def _geometry(events: Sequence[Event]) -> Geometry | None:
    found = [event.found.geometry for event in events if event.found.geometry is not None]
    return found[0] if len(found) == 1 else None


def _unfolded(call: Call) -> Geometry | None:
    """Windows of a layer without an operator of its own, which unfolds rows and columns of what it
    is given and does nothing else to them.
    """
    if [one.dim for one in call.unfoldings] not in ([2, 3], [3, 2]):
        return None
    rows, columns = sorted(call.unfoldings, key=lambda one: one.dim)
    size, out = (call.given[2:], call.made[2:])
    first = call.unfoldings[0].shape
    if first != call.given or len(size) != 2 or (rows.out, columns.out) != (*out,):
        return None
    kernel, stride = (rows.size, columns.size), (rows.step, columns.step)
    return Geometry(kernel, stride, (0, 0), (1, 1), (size[0], size[1]), (out[0], out[1]))


def _sized(geometry: Geometry | None) -> Row:
    if geometry is None:
        return {}
    return {
        "kernel": geometry.kernel,
        "stride": geometry.stride,
        "padding": geometry.padding,
        "dilation": geometry.dilation,
        "groups": geometry.groups,
        "exact_rows": float(geometry.exact(0)),
        "exact_columns": float(geometry.exact(1)),
        "rounding": geometry.rounding,
        "fits": geometry.fits,
        "dropped_rows": geometry.dropped(0),
        "dropped_columns": geometry.dropped(1),
    }


def _told(geometry: Geometry | None) -> list[str]:
    """What an inexact size means, in words."""
    if geometry is None:
        return []
    notes = []
    for axis, word in ((0, "rows"), (1, "columns")):
        if dropped := geometry.dropped(axis):
            notes.append(f"{dropped} {word} dropped")
        if hangs := geometry.overhang(axis):
            notes.append(f"the last window hangs over by {hangs} {word}")
        if skipped := geometry.skipped(axis):
            notes.append(f"{skipped} of every {geometry.stride[axis]} {word} never looked at")
    if not geometry.fits and not notes:
        notes.append("only padding is left over")
    return notes


def _compared(
    kind: str, geometry: Geometry | None, given: Sequence[int], made: Sequence[int], weights: int
) -> Row:
    """Weights, without biases, of the same layer with other connections."""
    full = math.prod(given[1:]) * math.prod(made[1:])
    if kind == "fully connected" and len(given) == 2:
        return {"fully_connected_weights": full}
    if kind == "locally connected":
        return {"fully_connected_weights": full, "locally_connected_weights": weights}
    if kind != "convolution" or geometry is None:
        return {}
    places = math.prod(geometry.out)
    return {
        "fully_connected_weights": full,
        "locally_connected_weights": places * weights,
    }


def _field(seen: Seen | None, notes: list[str], untold: bool) -> Row:
    if untold:
        notes.append("torch was not asked what this layer computes")
        return {}
    if seen is None:
        notes.append("does not depend on the image")
        return {}
    if seen.lost:
        notes.append(f"receptive field not known: {seen.lost}")
        return {}
    if seen.pieces:
        notes.append("receptive field not known: tokens of one window look at different pixels")
        return {}
    rows, columns = seen.fields
    kept = [seen.where(axis) is not None for axis in (0, 1)]
    if any(kept) and (rows.everywhere or columns.everywhere):
        notes.append("every place sees the whole map")
    return {
        "field_rows": rows.size,
        "field_columns": columns.size,
        "stride_rows": float(rows.step) if kept[0] else None,
        "stride_columns": float(columns.step) if kept[1] else None,
        "centre_row": float(rows.centre),
        "centre_column": float(columns.centre),
        "aligned": rows.aligned and columns.aligned,
    }


def _number(rows: list[Row]) -> None:
    """Operators of one name in one module are told apart: ``layer1.0:add``, ``layer1.0:add#2``."""
    seen: dict[tuple[str, int], int] = {}
    for row in rows:
        key = (row["layer"], row["call"])
        seen[key] = seen.get(key, 0) + 1
        if seen[key] > 1:
            row["layer"] = f"{row['layer']}#{seen[key]}"


def _idle(sizes: dict[str, int], counted: set[str]) -> Iterator[Row]:
    """Parameters that no layer of the pass used, by the module they belong to."""
    idle: dict[str, int] = {}
    for name, size in sizes.items():
        if name not in counted:
            home = name.rpartition(".")[0] or "network"
            idle[home] = idle.get(home, 0) + size
    for home, size in idle.items():
        yield {
            "layer": home,
            "call": 0,
            "kind": "idle",
            "type": "",
            "parameters": size,
            "multiply_adds": 0,
            "flops": 0,
            "other_operations": 0,
            "connections": 0,
            "units": 0,
            "activation_bytes": 0,
            "weights": 0,
            "sources": (),
            "status": "complete",
            "note": "did not run: its parameters count, its work does not",
        }
