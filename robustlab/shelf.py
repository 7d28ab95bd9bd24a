"""Where the shipped things lie, as paths. Importing nothing but the standard library keeps
`robustlab list` and `robustlab --help` fast.
"""

from __future__ import annotations

from importlib import util
from pathlib import Path

__all__ = ["HOME", "attacks", "probe_files", "recipes", "reports", "suites", "twins", "weights"]

HOME = Path(__file__).resolve().parent

# Rooms whose files may register probes with the `probe` decorator.
_ROOMS = ("adversarial", "arithmetic", "filters", "fooling", "invariance")


def _private(name: str) -> Path:
    """The folder of ``robustlab._attacks`` or ``robustlab._reports``, installed or editable."""
    spec = util.find_spec(f"robustlab.{name}")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"robustlab.{name} is not installed; reinstall with `make report`")
    return Path(next(iter(spec.submodule_search_locations)))


def attacks() -> Path:
    """The catalogue of attack modules."""
    return _private("_attacks")


def reports() -> Path:
    """Page templates, style and script."""
    return _private("_reports")


def suites() -> Path:
    """The shipped suites, one TOML file each."""
    return attacks() / "suites"


def weights() -> Path:
    """The shipped weights (safetensors) and their cards (JSON)."""
    return HOME / "backbones" / "weights"


def recipes() -> Path:
    """The training recipes of the shipped weights."""
    return HOME / "training" / "recipes"


def twins() -> Path:
    """The shipped specs of twins."""
    return HOME / "training" / "twin_specs"


def probe_files() -> dict[str, Path]:
    """Module name -> file, for every shipped file that may hold a probe or an attack."""
    found = {f"robustlab._attacks.{p.stem}": p for p in sorted(attacks().glob("*.py"))}
    for room in _ROOMS:
        files = sorted((HOME / room).glob("*.py"))
        found |= {f"robustlab.{room}.{p.stem}": p for p in files}
    return {name: path for name, path in found.items() if not path.stem.startswith("_")}
