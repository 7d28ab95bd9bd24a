"""Every class as a target: what can one picture be made into?

The lectures' panda becomes a vulture. Here it is driven at each of the other classes in turn, and
what is kept is which of them are reached at which budget, on the 8-bit pixels of a PNG.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.adversarial.aimed import Aimed
from robustlab.adversarial.found import Found
from robustlab.adversarial.images import load_pixels
from robustlab.adversarial.verification import Judge
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.errors import BadRequest, choices
from robustlab.outcome import Metric, Outcome, Picture
from robustlab.randomness import SampleRandom
from robustlab.registry import probe, resolve
from robustlab.units import parse_budgets

__all__ = ["reach"]


def refuse(
    backbone: Backbone,
    data: Data,
    *,
    eps: Sequence[str],
    images: int,
    only: Sequence[str],
    targets: int,
    batch: int,
    **params: Any,
) -> None:
    """Images that are not the network's or not there, budgets and counts out of range."""
    backbone.accepts(data)
    parse_budgets(list(eps), "linf")
    for name, number, least in (
        ("images", images, 0),
        ("targets", targets, 0),
        ("batch", batch, 1),
    ):
        if number < least:
            raise BadRequest(f"{name}={number} of 'reach' is below {least}")
    for name in only:
        if name not in data.ids:
            raise BadRequest(f"only of 'reach': {data.name} has no {name!r}{_near(name, data)}")
    _attack(eps, **{name: params[name] for name in ("steps", "restarts")})


@probe("reach", scope="set", version=1, check=refuse, uses=("ensemble", "pgd"))
def reach(
    backbone: Backbone,
    data: Data,
    *,
    eps: tuple[str, ...] = ("1/255", "2/255", "4/255"),
    steps: int = 40,
    restarts: int = 1,
    images: int = 1,
    only: tuple[str, ...] = (),
    targets: int = 0,
    batch: int = 16,
    seed: int = 0,
) -> Outcome:
    """How many classes one picture can be made into, by targeted PGD at each eps (Linf).

    All classes are targets but the one that the network sees in the clean picture. A target counts
    as reached at an eps where the lab verified an image of 8-bit pixels within it that the network
    takes for the target; what is reached at a smaller eps is reached at a larger one, and is not
    searched again. At each eps eight long steps from the clean picture come first, then the whole
    search. A class that was not reached may still be reachable: a lower bound.

    Columns: ``measured``; ``prediction``; ``reached[eps=...]``, the share of the targets, NaN
    where the image was not measured. Arrays, of m measured images and K classes: ``rows`` int64
    [m]; ``budgets`` text; ``smallest`` int16 [m, K], the place of the smallest budget that reached
    the class in ``budgets`` as they ascend, -1 where none did, -2 for the class seen, -3 for what
    was no target; ``probability`` float32 [m, K], of the target in the pixels that reached it, NaN
    where none did. Pictures: the clean ones.

    eps: budgets
    steps: gradient steps of the whole search, at each budget and target
    restarts: random starts of each
    images: the first so many images are measured; 0: all
    only: ids of the images to measure instead
    targets: so many of the other classes, drawn for each image, are targets; 0: all
    batch: targets at a time
    seed: with each image's id and the target it decides the random starts
    """
    rows = [data.ids.index(one) for one in only] or list(range(len(data)))[: images or None]
    aimed = Aimed(_attack(eps, steps=steps, restarts=restarts), backbone, seed)
    texts = [b.text for b in sorted(aimed.budgets, key=lambda b: b.value)]
    classes, cost = len(backbone.classes), {"forward": 0.0, "backward": 0.0}
    smallest = np.full((len(rows), classes), -3, np.int16)
    probability = np.full((len(rows), classes), np.nan, np.float32)
    prediction = np.full(len(data), -1, np.int64)
    for place, row in enumerate(rows):
        prediction[row] = seen = _seen(aimed.judge, backbone, data, row)
        smallest[place, seen] = -2
        for part in _parts(_targets(classes, seen, targets, seed, data.ids[row]), batch):
            found = aimed(_copies(data, row, seen, part), part)
            smallest[place, part], probability[place, part] = _reached(found)
            cost["forward"] += float(found.forward.sum())
            cost["backward"] += float(found.backward.sum())
    samples: dict[str, Any] = {
        "measured": np.isin(np.arange(len(data)), rows),
        "prediction": prediction,
    }
    for index, text in enumerate(texts):
        share = np.full(len(data), np.nan)
        hits = ((smallest >= 0) & (smallest <= index)).sum(axis=1)
        share[rows] = hits / (smallest >= -1).sum(axis=1)
        samples[f"reached[eps={text}]"] = share
    return Outcome(
        samples,
        {
            "rows": np.array(rows, np.int64),
            "budgets": np.array(texts, dtype=str),
            "smallest": smallest,
            "probability": probability,
        },
        [Picture(str(data.ids[row]), _pixels(data, row)) for row in rows[:_PICTURES]],
        {name: Metric(name, "measured", share=True) for name in samples if "[" in name},
        [
            f"Targeted PGD at each target and budget, 8 long steps and then {steps} from "
            f"{restarts} random start{'s' * (restarts > 1)}; verified on 8-bit pixels. A class "
            "that was not reached may be reachable by a longer search."
        ],
        cost,
    )


QUICK = {"use": "pgd", "steps": 8, "step_size": 0.34, "random_start": False}
_PICTURES = 8  # clean images that are kept for the page


def _attack(eps: Sequence[str], *, steps: int, restarts: int) -> Any:
    """PGD at some class: at which is said image by image. A few long steps from the clean picture
    come first; on SqueezeNet they reach so many that half of all passes are saved.
    """
    registered = resolve("ensemble")
    asked = {
        "eps": list(eps),
        "target": "random",
        "attacks": [QUICK, {"use": "pgd", "steps": steps, "restarts": restarts}],
        "cheapest_first": False,
    }
    return registered.obj(**bind(registered, asked))


def _seen(judge: Judge, backbone: Backbone, data: Data, row: int) -> int:
    """The class that the network sees in the clean image."""
    return int(judge.logits(load_pixels(data, [row], backbone)[0]).argmax())


def _targets(classes: int, seen: int, many: int, seed: int, image: str) -> NDArray[np.int64]:
    """All classes but the one seen, or as many as asked for, drawn for the image; ascending."""
    others = np.delete(np.arange(classes), seen)
    if not 0 < many < len(others):
        return others
    drawn = SampleRandom(seed, [image], "reach").uniform((classes,))[0]
    return np.sort(others[np.argsort(drawn[others], kind="stable")[:many]])


def _parts(targets: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for first in range(0, len(targets), size):
        yield targets[first : first + size]


def _copies(data: Data, row: int, seen: int, targets: NDArray[np.int64]) -> Data:
    """The image once a target. Its id tells the target, so that each has random numbers of its own
    whichever others it is searched with; its label is the class seen.
    """
    many = len(targets)
    return Data(
        np.repeat(data.images[row : row + 1], many, axis=0),
        np.full(many, seen, np.int64),
        data.classes,
        data.name,
        [f"{data.ids[row]} as {target}" for target in targets.tolist()],
    )


def _reached(found: Found) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Place of the smallest budget at which each image reached its target, -1: none; and the
    target's probability there.
    """
    order = np.argsort(list(map(_value, found.eps)))
    hits, sure = found.verified_8bit[order], found.confidence_8bit[order]
    first = hits.argmax(axis=0)
    any_ = hits.any(axis=0)
    columns = np.arange(hits.shape[1])
    return (
        np.where(any_, first, -1).astype(np.int16),
        np.where(any_, sure[first, columns], np.nan).astype(np.float32),
    )


def _value(text: str) -> float:
    return parse_budgets(text, "linf")[0].value


def _pixels(data: Data, row: int) -> NDArray[np.uint8]:
    pixels = data.batch_8bit([row])[0]
    return np.asarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


def _near(name: str, data: Data) -> str:
    """A near miss, or the first few ids where there are many."""
    return choices(name, data.ids if len(data) <= 24 else data.ids[:12])
