"""Too little memory, told as such: torch says it in RuntimeErrors like any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from robustlab.errors import BadRequest

__all__ = ["enough_memory"]

_WORDS = ("can't allocate memory", "not enough memory", "out of memory")


@contextmanager
def enough_memory(network: str, parameters: Callable[[], int]) -> Iterator[None]:
    """Around what allocates.

    Args:
        network: what errors call it.
        parameters: gives their number; called only where memory is too little.

    Raises:
        BadRequest: in place of an error of allocation; others pass.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not any(
            words in str(error) for words in _WORDS
        ):
            raise
        raise BadRequest(
            f"{network}: too little memory for a network of {parameters():,} parameters; lower its "
            "size or its width, or take another device"
        ) from None
