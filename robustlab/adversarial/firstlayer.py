"""The gradient by the image through a network's first convolution, the one that an attack pays for
and training never needs.

oneDNN's kernel for it works in blocks of 16 input channels, of which an image fills 1 or 3. The
kernel that PyTorch falls back on without oneDNN (one matrix product an image, summed into place)
is 2 to 11 times as fast there on a CPU; with more channels it is slower.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["ImageConv2d", "with_image_gradients"]

FEW = 4  # channels up to which the fallback was faster in every shape measured


def with_image_gradients(network: nn.Module) -> bool:
    """Let every convolution of few channels in ``network`` take its gradient the shorter way.

    Changes the network in place and says whether there was one. Logits stay as they are; gradients
    differ in rounding.
    """
    suited = [m for m in network.modules() if type(m) is nn.Conv2d and _suits(m)]
    for module in suited:
        module.__class__ = ImageConv2d
    return bool(suited)


def _suits(module: nn.Conv2d) -> bool:
    return (
        module.in_channels <= FEW
        and module.groups == 1
        and tuple(module.dilation) == (1, 1)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and module.weight.device.type == "cpu"
        and module.weight.dtype in (torch.float32, torch.float64)
    )


class ImageConv2d(nn.Conv2d):
    """A frozen `torch.nn.Conv2d` whose gradient by its input does not go through oneDNN."""

    def forward(self, x: Tensor) -> Tensor:
        """[n, C, H, W] to [n, K, H', W']."""
        there = self.weight.device.type == "cpu" and x.dtype == self.weight.dtype
        if not (there and x.requires_grad and not self.weight.requires_grad):
            return super().forward(x)
        settings = tuple(self.stride), tuple(self.padding)
        answer: Tensor = _Convolve.apply(x, self.weight, self.bias, *settings)
        return answer


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return torch.nn.functional.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        # In another layout the kernel turns every image by itself. A clone also straightens the
        # strides of a single channel, which say nothing and still make its products slow.
        straight = weight.clone(memory_format=torch.contiguous_format)
        parts = gradient.contiguous(), x.contiguous(), straight
        by_input: Tensor = torch.ops.aten._slow_conv2d_backward.output_mask(
            *parts, weight.shape[2:], ctx.stride, ctx.padding, [True, False, False]
        )[0]
        return by_input, None, None, None, None
