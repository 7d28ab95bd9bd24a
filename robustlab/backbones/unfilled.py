"""Networks without numbers: names and shapes alone, whatever their size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["Unfilled"]

# They keep the shape, and on the meta device they are slow to say so.
_SAME = {functional.batch_norm, functional.relu, Tensor.normal_, Tensor.uniform_}


class Unfilled(TorchFunctionMode):
    """Every tensor on the meta device, whatever device is named, and no number drawn."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        initial = getattr(func, "__module__", None) == "torch.nn.init"
        if initial or kwargs.get("generator") is not None:
            return args[0] if args else kwargs["tensor"]
        if func in _SAME:
            return args[0]
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("meta")
        return func(*args, **kwargs)
