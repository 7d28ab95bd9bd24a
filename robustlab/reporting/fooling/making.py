"""How it was made, what was checked, and what is not claimed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustlab.fooled import Fooled, Size
from robustlab.reporting.fooling.verdict import Finding
from robustlab.reporting.fooling.words import NOTHING, budget, count, number, plain_name, quoted

__all__ = ["belief", "caveats", "facts", "sizes"]

_TOLD = ("command", "way")  # facts with a place of their own
_NAMES = {"picture": "SHA-256 of the original's pixels"}


def belief(found: Finding) -> dict[str, Any]:
    """Every check as a line, and a title that says how many hold."""
    checks, failed = found.checks, found.failed
    if not found.fooled.checks:
        title = "Nothing was checked of the file: this page proves nothing"
    elif failed:
        title = f"{number(len(failed))} of {count(len(checks), 'check')} failed"
    else:
        title = f"All {count(len(checks), 'check')} hold"
    if not found.reached and found.fooled.checks:
        title = (
            f"{title}, and the network was not brought to what was asked"
            if failed
            else "The checks say yes, the reading says no: do not believe this page"
        )
    levels = [("green", "✓", "holds") if one.passed else ("red", "✕", "failed") for one in checks]
    lines = [
        {"level": level, "sign": sign, "word": word, "question": c.question, "found": c.found}
        for (level, sign, word), c in zip(levels, checks, strict=True)
    ]
    if not found.fooled.checks:
        lines.insert(0, _line("red", "✕", "missing", "Was the file read back?", "nobody looked"))
    elif not found.reached and not failed:
        what = "every check is said to hold, but the reading is not what was asked for"
        lines.insert(0, _line("red", "✕", "failed", "Do checks and reading agree?", what))
    return {"title": title, "lines": lines}


def _line(level: str, sign: str, word: str, question: str, found: str) -> dict[str, str]:
    return {"level": level, "sign": sign, "word": word, "question": question, "found": found}


def caveats(fooled: Fooled) -> list[str]:
    """What the page does not say, and what was not tried."""
    said = []
    if fooled.picture in NOTHING:
        said.append(
            "The picture shows nothing, so there is no right answer: the finding is that the "
            "network is sure, not that it is wrong."
        )
    else:
        said.append(
            f"{quoted(fooled.label)} is what the network says of the original; nobody told which "
            "class is right."
        )
    said.append(
        "One picture and one network: how often it works is the question of a suite over many "
        "pictures."
    )
    if fooled.on == "crop":
        said.append(
            "The picture is the network's own crop. Its file is to be given to the network as it "
            "is, without resize."
        )
    missing = {
        "random changes of the same size": fooled.controls,
        "the smallest perturbation": fooled.smallest,
        "what it survives": fooled.survival,
        "other networks": fooled.transfer,
    }
    absent = [name for name, held in missing.items() if not held]
    if absent:
        said.append(f"Not looked at: {', '.join(absent)}.")
    return said


def facts(fooled: Fooled) -> list[tuple[str, str]]:
    """Pairs for the list of facts; whatever the search recorded is shown."""
    told = [
        ("picture", fooled.picture),
        ("where it comes from", fooled.source),
        ("network", fooled.network),
        ("how it looks at a picture", fooled.sight),
        ("changed was", "the network's crop" if fooled.on == "crop" else "the whole picture"),
        ("attack", fooled.attack),
        ("its parameters", _told(fooled.params)),
        ("budget", budget(fooled)),
        ("seed", str(fooled.seed)),
        ("asked for", fooled.target if fooled.target is not None else "any other class"),
    ]
    for key, value in fooled.facts.items():
        if key not in _TOLD:
            unit = " s" if key == "seconds" and not isinstance(value, Mapping) else ""
            told.append((_NAMES.get(key, str(key).replace("_", " ")), f"{_told(value)}{unit}"))
    return [(key, value) for key, value in told if value]


def _told(value: Any) -> str:
    """A value of the facts on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_told(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_told, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return number(value)


def sizes(found: Finding) -> dict[str, Any]:
    """The norms of the perturbation, and of the smallest that was found."""
    fooled = found.fooled
    rows = [("this picture", fooled.size)]
    if fooled.smallest is not None:
        rows.append(("the smallest found", fooled.smallest))
    return {
        "title": _title(fooled),
        "rows": [{"name": name, **_norms(size)} for name, size in rows],
        "file": "sizes.csv",
        "head": ["picture", "linf", "l2", "l1", "l0", "pixels", "mean"],
        "data": [[n, s.linf, s.l2, s.l1, s.l0, s.pixels, s.mean] for n, s in rows],
    }


def _title(fooled: Fooled) -> str:
    size, smallest = fooled.size, fooled.smallest
    if smallest is None:
        return f"The largest change of a value is {count(size.linf, 'grey level')} of 255"
    if fooled.norm == "l0":
        return f"The smallest found changes {count(smallest.l0, 'pixel')} of {number(size.pixels)}"
    if fooled.norm == "linf":
        return (
            f"The smallest found moves no value by more than {count(smallest.linf, 'grey level')}"
        )
    value = smallest.l1 if fooled.norm == "l1" else smallest.l2
    return f"The smallest found measures {number(value)} grey levels ({plain_name(fooled.norm)})"


def _norms(size: Size) -> dict[str, str]:
    share = f"{100 * size.l0 / max(size.pixels, 1):.3g}"
    return {
        "linf": number(size.linf),
        "eps": f"{size.linf}/255",
        "l2": number(size.l2),
        "l1": number(size.l1),
        "l0": f"{number(size.l0)} ({share} %)",
        "mean": number(size.mean),
    }
