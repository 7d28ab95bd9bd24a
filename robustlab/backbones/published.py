"""The lectures' networks as they were published: a table. Needs no torch.

A network is a function in ``robustlab/backbones/lectures/``; this table says which, and what it is
with its default options. A test holds every row against the network itself.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PUBLISHED", "Published"]


@dataclass(frozen=True)
class Published:
    """One network.

    Attributes:
        name: what references call it.
        home: the file in ``lectures/`` that builds it.
        function: the function there.
        input_shape: (C, H, W) of the default options.
        classes: number of logits of the default options.
        parameters: number of parameters of the default options, shared ones counted once.
        source: the paper.
        arguments: what the function is given first, as the depth.
    """

    name: str
    home: str
    function: str
    input_shape: tuple[int, int, int]
    classes: int
    parameters: int
    source: str
    arguments: tuple[int, ...] = ()


_DIGITS = ((1, 32, 32), 10)

_ROWS = (
    Published("mlp", "mlp", "mlp", *_DIGITS, 140_106, "Rumelhart et al. 1986"),
    Published("lenet5", "lenet", "lenet5", *_DIGITS, 61_706, "LeCun et al. 1998, as taught"),
)

PUBLISHED: dict[str, Published] = {row.name: row for row in _ROWS}
