"""Runs an attack over a data set: batches, the eps list, restarts, verification, counting.

Memory on the device is one batch's, whatever the number of images. Budgets are worked through in
ascending order: what is fooled at a smaller eps stays fooled at a larger one and is not searched
again; what was fooled as floats but not as 8-bit pixels is. An attack whose budgets are apart (see
`Attack.apart`) begins afresh at each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robustlab.adversarial.attacker import Attacker
from robustlab.adversarial.batch import Batch, Images
from robustlab.adversarial.belief import Case, examine_attack
from robustlab.adversarial.borrowed import Borrowed, borrow, check_surrogates
from robustlab.adversarial.found import Found, allocate
from robustlab.adversarial.images import exact_kernels, load_pixels, working_dtype
from robustlab.adversarial.learning import Course, Learned
from robustlab.adversarial.lessons import learn_all
from robustlab.adversarial.losses import TOP5_FROM
from robustlab.adversarial.threats import choose_targets
from robustlab.adversarial.verification import Judge
from robustlab.adversarial.ways import told, ways_of
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.randomness import SampleRandom
from robustlab.seeding import seeded
from robustlab.units import SPATIAL, Budget

__all__ = ["BATCH", "blank", "evaluate", "load_batch"]

BATCH = 128

Array = NDArray[Any]


def evaluate(
    attack: Attacker,
    backbone: Backbone,
    data: Data,
    *,
    seed: int = 0,
    batch: int = BATCH,
    fast: bool = True,
    precision: str = "float32",
    borrowed: Borrowed | None = None,
) -> Found:
    """Run ``attack`` on every image of ``data`` and verify what it finds.

    Args:
        seed: with the image's id it decides all randomness.
        batch: images on the device at a time; decides speed and memory, not outcomes.
        fast: search on the fast copy (batch norm folded, channels-last) instead of a plain one.
        precision: "bfloat16" searches with gradients in it first, and then again, from the same
            starts, in float32 what stands: no image is left that float32 alone would have broken.
        borrowed: the other networks and images that the attack names, if they are loaded.
    """
    backbone.accepts(data)
    budgets = attack.budgets(backbone.input_shape)
    borrowed = borrowed or borrow(attack, seed, backbone.device)
    check_surrogates(attack, backbone, borrowed)
    judge = Judge(backbone.network, backbone.dtype, attack.eot)
    ways = ways_of(attack.stages(), backbone, borrowed, fast=fast, precision=precision)
    found = blank(attack, budgets, backbone, data)
    if any(way.first for stage in ways for way in stage):
        found.quick = np.zeros(found.verified.shape, bool)
    with exact_kernels(), seeded(seed):  # a random network draws from the global generator
        learned: list[Learned] = []
        if attack.learns:
            way = ways[0][-1]
            goal = (attack.target, attack.eot, seed)
            course = Course(way.network, way.dtype, backbone, judge, *goal)
            learned = learn_all(attack, budgets, course, data, borrowed, found)
        for first in range(0, len(data), batch):
            rows = np.arange(first, min(first + batch, len(data)))
            images = load_batch(attack, backbone, judge, data, rows, seed)
            Batch(attack, budgets, ways, judge, images, seed, found, rows, learned).run()
        case = Case(attack, found, backbone, data, judge, tuple(b.value for b in budgets))
        found.findings = examine_attack(case)
    found.notes.extend([*attack.notes(), *told(found)])
    return found


def blank(attack: Attacker, budgets: Sequence[Budget], backbone: Backbone, data: Data) -> Found:
    """A result in which nothing is found yet."""
    n, k, stages = len(data), len(budgets), attack.stages()
    dtype = np.float64 if working_dtype(backbone) == torch.float64 else np.float32
    turned, ranked = attack.norm == SPATIAL, len(backbone.classes) >= TOP5_FROM
    return Found(
        norm=attack.norm,
        eps=tuple(budget.text for budget in budgets),
        ids=tuple(data.ids),
        labels=np.asarray(data.labels),
        clean=allocate((n, *data.shape), np.uint8),
        clean_prediction=np.zeros(n, np.int64),
        clean_confidence=np.zeros(n),
        clean_correct=np.zeros(n, bool),
        target=None if attack.target is None else np.zeros(n, np.int64),
        claimed=np.zeros((k, n), bool),
        verified=np.zeros((k, n), bool),
        verified_8bit=np.zeros((k, n), bool),
        distance=np.full((k, n), np.inf),
        prediction=np.full((k, n), -1, np.int64),
        confidence=np.full((k, n), np.nan),
        prediction_8bit=np.full((k, n), -1, np.int64),
        confidence_8bit=np.full((k, n), np.nan),
        fragile=np.zeros((k, n), bool),
        images=allocate((k, n, *data.shape), dtype),
        images_8bit=allocate((k, n, *data.shape), np.uint8),
        forward=np.zeros((k, n)),
        backward=np.zeros((k, n)),
        stages=tuple(label for label, _ in stages),
        quick=None,
        radius=np.zeros(n) if attack.minimum_norm else None,
        stage_seconds=np.zeros(len(stages)),
        stage_forward=np.zeros((len(stages), n)),
        stage_backward=np.zeros((len(stages), n)),
        broken_by=np.full((k, n), -1, np.int64),
        gradients=np.zeros((k, n), np.int64),
        zero_gradients=np.zeros((k, n), np.int64),
        broken_gradients=np.zeros((k, n), np.int64),
        searched=np.zeros((k, n), bool),
        moved=np.zeros((k, n), bool),
        invalid=np.zeros(n, bool),
        pose=np.full((k, n, 3), np.nan) if turned else None,
        pose_8bit=np.full((k, n, 3), np.nan) if turned else None,
        clean_top5=np.zeros(n, bool) if ranked else None,
        top5=np.zeros((k, n), bool) if ranked else None,
        top5_8bit=np.zeros((k, n), bool) if ranked else None,
    )


def load_batch(
    attack: Attacker,
    backbone: Backbone,
    judge: Judge,
    data: Data,
    rows: Array,
    seed: int,
    targets: Array | None = None,
) -> Images:
    """Some rows on the device. ``targets``, int [rows]: a class for each, instead of the rule."""
    x, pixels = load_pixels(data, rows, backbone)
    y = torch.from_numpy(data.labels[rows]).to(backbone.device)
    ids = tuple(data.ids[row] for row in rows)
    logits = judge.logits(x)
    target = None
    if targets is not None:
        target = torch.from_numpy(targets).to(backbone.device)
    elif attack.target is not None:
        random = SampleRandom(seed, ids, "target")
        target = choose_targets(attack.target, y, logits, backbone.classes, random)
    return Images(ids, x, pixels, y, logits, target)
