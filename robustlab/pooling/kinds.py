"""The words for pooling kinds, as ``"max+blur3"``: a window and a sampler.

max, avg, lp2 (lp1, lp3, lpinf), lse10, mixed, stochastic, soft, median
    windows, at the plain stride
strided
    no window at all: the naive sub-sampling
blur3 (2 to 7 taps), lowpass, polyphase (-l1, -l2, -linf), learned, space2depth
    samplers behind the window or convolution that a site has, which becomes dense
blur3+polyphase, blur3+learned
    a blur, then the choice of a component
max+blur3, avg+polyphase, lp2+blur3+polyphase ...
    a window in place of the site's own, then a sampler
dense
    the costly control: no value is left out, later layers spread instead
own
    every site keeps what it has; only padding and head change
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from robustlab.errors import BadRequest, choices
from robustlab.pooling.average import Average
from robustlab.pooling.blur import Blur
from robustlab.pooling.dense import Every
from robustlab.pooling.depth import Merge
from robustlab.pooling.geometry import Pair
from robustlab.pooling.learned import Learned
from robustlab.pooling.logsumexp import LogSumExp
from robustlab.pooling.lowpass import LowPass
from robustlab.pooling.lp import Lp
from robustlab.pooling.maximum import Max
from robustlab.pooling.median import Median
from robustlab.pooling.mixed import Mixed
from robustlab.pooling.polyphase import Polyphase
from robustlab.pooling.soft import Soft
from robustlab.pooling.stochastic import Stochastic
from robustlab.pooling.strided import Middle, Sampler, Strided
from robustlab.pooling.window import Window

__all__ = ["KINDS", "Kind", "parse_kind"]

# What `swap_pooling` is tried with; each number may be another.
KINDS = (
    *("max", "avg", "strided", "dense", "lp2", "lp3", "lpinf", "lse10", "mixed", "stochastic"),
    *("soft", "median", "blur2", "blur3", "blur4", "blur5", "blur6", "blur7", "max+blur3"),
    *("lowpass", "polyphase", "polyphase-l1", "polyphase-linf", "learned", "blur3+polyphase"),
    *("max+polyphase", "space2depth", "own"),
)
_WINDOWS: dict[str, Callable[[str], Window]] = {
    r"max": lambda number: Max(),
    r"avg": lambda number: Average(),
    r"lp(\d+(?:\.\d+)?|inf)?": lambda number: Lp(
        math.inf if number == "inf" else _number(number, 2)
    ),
    r"lse(\d+(?:\.\d+)?)?": lambda number: LogSumExp(_number(number, 10)),
    r"mixed": lambda number: Mixed(),
    r"stochastic": lambda number: Stochastic(),
    r"soft": lambda number: Soft(),
    r"median": lambda number: Median(),
}
_BLUR = re.compile(r"blur(\d+)?")
_POLYPHASE = re.compile(r"polyphase(?:-(l1|l2|linf))?")


@dataclass(frozen=True)
class Kind:
    """A pooling kind, read.

    Attributes:
        text: as it was written.
        window: in place of a pooling site's own; None: the site keeps its own.
        sampler: gives the sampler for (channels, stride, seed).
        whole: it takes the place of the whole pooling, and behind a convolution of the stride's
            size, rather than thinning out what is there.
    """

    text: str
    window: Window | None
    sampler: Callable[[int, Pair, int], Sampler | nn.Module]
    whole: bool = False

    @property
    def naive(self) -> bool:
        """Whether a strided convolution is of that kind as it is."""
        return isinstance(self.window, Middle) or self.own

    @property
    def own(self) -> bool:
        """Whether all sites are of that kind as they are."""
        return self.text == "own"

    @property
    def dense(self) -> bool:
        return self.text == "dense"

    @property
    def chooses(self) -> bool:
        """Whether branches that meet must share what it chooses."""
        return self.text.endswith("learned") or "polyphase" in self.text


def parse_kind(text: str) -> Kind:
    """Read a kind.

    Raises:
        BadRequest: an unknown word, with the nearest, or words that do not go together.
    """
    if not isinstance(text, str):
        raise BadRequest(f"a pooling kind is text, as 'blur3', not {text!r}")
    words = text.split("+")
    window = _window(words[0])
    rest = words[1:] if window is not None else words
    if window is not None and not rest:
        return Kind(text, window, lambda channels, stride, seed: Strided(), whole=True)
    if text == "strided":
        return Kind(text, Middle(), lambda channels, stride, seed: Strided(), whole=True)
    if text == "own":
        return Kind(text, None, lambda channels, stride, seed: Strided(), whole=True)
    if text == "dense":
        return Kind(text, None, lambda channels, stride, seed: Every())
    return Kind(text, window, _sampler(text, rest))


def _window(word: str) -> Window | None:
    for pattern, window in _WINDOWS.items():
        found = re.fullmatch(pattern, word)
        if found:
            return window(found[1] if found.re.groups else "")
    return None


def _number(text: str | None, default: float) -> float:
    return float(text) if text else default


def _sampler(text: str, words: list[str]) -> Callable[[int, Pair, int], Sampler | nn.Module]:
    taps, found = 1, _BLUR.fullmatch(words[0])
    if found:
        taps = int(found[1] or 3)
        blur, words = Blur(taps), words[1:]
        if not words:
            return lambda channels, stride, seed: blur
    polyphase = _POLYPHASE.fullmatch(words[0])
    if len(words) == 1 and polyphase:
        chosen = Polyphase(polyphase[1] or "l2", taps)
        return lambda channels, stride, seed: chosen
    if words == ["learned"]:
        return lambda channels, stride, seed: Learned(channels, taps, seed)
    if words == ["lowpass"] and not found:
        return lambda channels, stride, seed: LowPass()
    if words == ["space2depth"] and not found:
        return lambda channels, stride, seed: Merge(channels, stride)
    raise BadRequest(
        f"unknown pooling kind {text!r}{choices(text, KINDS)} (a window, a sampler, or both, as "
        "'max+blur3')"
    )
