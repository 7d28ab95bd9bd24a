"""``python:FILE:FUNCTION``: the user's own file, imported by its path. It runs with the user's
rights, as ``python FILE`` would; the function takes no arguments and returns a `Backbone`."""

from __future__ import annotations

import hashlib
import importlib.util
import linecache
import sys
from pathlib import Path
from types import ModuleType

from torch import nn

from robustlab.backbones.backbone import Backbone
from robustlab.backbones.references import Reference
from robustlab.errors import BadRequest, RobustlabError, choices

__all__ = ["load_from_python"]


def load_from_python(reference: Reference) -> Backbone:
    """Import the file, call the function, check what it returns.

    Raises:
        BadRequest: no such file or function, the file or the function fails, or something other
            than a `Backbone` comes back.
    """
    where = f"network {reference.text!r}"
    path = Path(reference.path).expanduser()
    if not path.is_file():
        raise BadRequest(f"{where}: there is no file {path}")
    module = _import(path, where)
    function = getattr(module, reference.function, None)
    if not callable(function):
        public = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise BadRequest(
            f"{where}: {path} has no function {reference.function!r}"
            f"{choices(reference.function, public)}"
        )
    try:
        found = function()
    except RobustlabError as error:
        raise error.inside(where) from error
    except Exception as error:  # whatever the user's code raises
        raise BadRequest(
            f"{where}: {reference.function}() failed: {type(error).__name__}: {error}"
        ) from error
    if isinstance(found, Backbone):
        renamed = found.renamed(reference.text if found.name == "own" else found.name)
        renamed.reference = reference.text
        return renamed
    hint = ""
    if isinstance(found, nn.Module):
        hint = "; wrap it: return robustlab.Backbone(module, input_shape=(C, H, W), classes=...)"
    raise BadRequest(
        f"{where}: {reference.function}() returned a {type(found).__name__}, not a Backbone{hint}"
    )


def _import(path: Path, where: str) -> ModuleType:
    tag = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"robustlab_user_{tag}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise BadRequest(f"{where}: {path} is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    linecache.checkcache()  # an edited file must be fingerprinted by its new source
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses and inspect.getsource look the module up here
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's code raises while it is imported
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise BadRequest(f"{where}: {path} fails: {type(error).__name__}: {error}") from error
    return module
