"""Networks without numbers: names and shapes alone, whatever their size."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["Unfilled"]


class Unfilled(TorchFunctionMode):
    """Every tensor on the meta device, whatever device is named, and no number drawn."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("generator") is not None:
            return args[0] if args else kwargs["tensor"]
        if func is functional.batch_norm:  # keeps the shape, and is slow to say so
            return args[0]
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("meta")
        return func(*args, **kwargs)
