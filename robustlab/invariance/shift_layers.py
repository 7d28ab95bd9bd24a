"""What all that sharing between windows rests on knows of a network's layers."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

__all__ = ["POINTWISE", "LeafTracer", "is_convolution", "square"]

POINTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Tanh, nn.Sigmoid),
    *(nn.Softplus, nn.Hardswish, nn.Identity, nn.Dropout, nn.BatchNorm2d),
)


class LeafTracer(fx.Tracer):  # type: ignore[misc, unused-ignore]
    """Looks into no module without children: a layer is a layer, whoever wrote it."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return next(module.children(), None) is None


def square(value: Any) -> int | None:
    """The one number of a size that is equal in both directions; None of any other."""
    both = (value, value) if isinstance(value, int) else tuple(value)
    return int(both[0]) if len(both) == 2 and both[0] == both[1] else None


def is_convolution(module: nn.Module) -> bool:
    """Whether it computes as `torch.nn.Conv2d` does. A subclass may not, but for the lab's own that
    gives gradients a shorter way.
    """
    return type(module) is nn.Conv2d or type(module).__name__ == "ImageConv2d"
