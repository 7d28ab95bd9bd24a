"""`train`: from a recipe to weights and a card, the same weights on every run on one machine.

Works on the CPU with one thread unless told otherwise: sums split over threads differ in their last
bits, and small networks gain little from more. The validation split alone chooses the weights; the
test split is looked at once, at the end. An interrupted training leaves a checkpoint, from which
the same command goes on; weights and card are written when all is done.

Neither Lightning nor Accelerate: the epochs and batches that they would take over are twenty lines
here, and neither of them resumes to the bit with generators of one's own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from robustlab.adversarial.images import exact_kernels
from robustlab.atomic import make_folder
from robustlab.backbones import Backbone
from robustlab.backbones.checks import as_device
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.seeding import seeded
from robustlab.training.adversarial import CHECK_STEPS, robust_hits
from robustlab.training.card import adversarial_figures, card_of, is_done, write_network
from robustlab.training.checkpoint import Checkpoint
from robustlab.training.epoch import Epoch
from robustlab.training.learner import Diverged, Learner, logits_of
from robustlab.training.network import Start, check_data, start
from robustlab.training.parts import check_apart, load_parts, pixel_statistics
from robustlab.training.recipe import Recipe, load_recipe
from robustlab.training.stopping import enough

__all__ = ["train"]

Tell = Callable[[Epoch], None]
Say = Callable[[str], None]


def train(
    recipe: str | Path | Recipe,
    out: str | Path,
    *,
    progress: Tell | None = None,
    tick: Callable[[float], None] | None = None,
    say: Say | None = None,
    epochs: int | None = None,
    threads: int = 1,
    device: str | torch.device = "cpu",
    again: bool = False,
) -> Path:
    """Train a network and write ``NAME.safetensors`` and its card ``NAME.json`` into ``out``.

    Kept are the weights of the epoch with the highest validation accuracy (robust accuracy in
    adversarial training); of equal ones that with the lowest validation loss, then the earliest.
    ``NAME.training.npz`` holds what the page of the training draws (see `Trace.arrays`). Where all
    of this is there already, made from the same recipe and data, nothing is done.

    Args:
        recipe: name of a shipped recipe, path of a TOML file, or a `Recipe`.
        out: folder; it is made if need be.
        progress: called after every epoch.
        tick: called after every batch with the share of the training that is done, in [0, 1].
        say: called with a sentence where something is out of the ordinary.
        epochs: instead of the recipe's (schedule and warm-up are fitted to it).
        threads: of the CPU; another number gives other last bits.
        device: where to, as ``"cuda"``.
        again: train even if it has been done.

    Returns:
        The path of the weights; ``file:PATH`` loads them. The card's ``stopped`` says why training
        ended.

    Raises:
        BadRequest: an invalid recipe, a folder that cannot be written, or a network or a
            checkpoint of another training in it.
        RobustlabError: the training diverges in the first epoch already.
    """
    say = say or (lambda text: None)
    recipe = _fitted(recipe if isinstance(recipe, Recipe) else load_recipe(recipe), epochs)
    if threads < 1:
        raise BadRequest(f"threads {threads} must be at least 1")
    place, begun = as_device(device), start(recipe)
    parts = load_parts(recipe)
    for data in parts.values():
        check_data(recipe, begun.built, data)
    check_apart(recipe, parts)
    folder = Path(out).expanduser()
    make_folder(folder)
    identity = _identity(recipe, begun, parts)
    path = folder / f"{recipe.name}.safetensors"
    if not again and is_done(path, identity):
        say(f"{path} is there already, from the same recipe and data; --again trains it anew")
        return path
    if not again and path.exists() and path.with_suffix(".json").exists():
        raise BadRequest(
            f"{path} is there already, from another recipe or other data; give another folder "
            "with -o, or --again to replace it"
        )
    how = {"threads": threads, "device": place.type}
    kept = Checkpoint(folder / f"{recipe.name}.checkpoint.pt", identity | how)
    with _surroundings(threads, recipe.seed):
        learner, stopped, seconds = _fit(recipe, begun, parts, place, kept, progress, tick, say)
        backbone, figures, hits = _judged(recipe, begun, learner, parts)
    facts = {**figures, **identity, **how, "stopped": stopped, "seconds": round(seconds, 1)}
    facts.pop("recipe")
    card = card_of(recipe, begun.built, backbone, learner.curve, hits, facts)
    write_network(folder, card, backbone, learner.trace.packed())
    kept.remove()
    return path


def _fitted(recipe: Recipe, epochs: int | None) -> Recipe:
    if epochs is None:
        return recipe
    if epochs < 1:
        raise BadRequest(f"epochs {epochs} must be at least 1")
    share = epochs / recipe.train.epochs
    fitted = replace(recipe.train, epochs=epochs, warmup=recipe.train.warmup * share)
    hard = recipe.adversarial
    hard = hard and replace(hard, warmup=hard.warmup * share)
    return replace(recipe, train=fitted, adversarial=hard)


def _identity(recipe: Recipe, begun: Start, parts: dict[str, Data]) -> dict[str, Any]:
    """What decides the weights; keys of the card."""
    weights = {"weights": begun.weights} if begun.weights else {}
    data = {part: one.fingerprint for part, one in parts.items()}
    return {"recipe": recipe.as_dict(), "data": data, **weights}


@contextlib.contextmanager
def _surroundings(threads: int, seed: int) -> Iterator[None]:
    """Threads, kernels and global generators (dropout draws from them), put back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with exact_kernels(), seeded(seed % 2**32):
            yield
    finally:
        torch.set_num_threads(before)


def _fit(
    recipe: Recipe,
    begun: Start,
    parts: dict[str, Data],
    device: torch.device,
    kept: Checkpoint,
    progress: Tell | None,
    tick: Callable[[float], None] | None,
    say: Say,
) -> tuple[Learner, str, float]:
    """The learner after its last epoch with the best weights in it, why it stopped, and seconds."""
    built = begun.built
    statistics = (built.mean, built.std)
    if recipe.data.normalise:
        statistics = pixel_statistics(parts["train"])
    learner = Learner(recipe, begun, statistics, parts["train"], parts["val"], device)
    clock = time.perf_counter()
    state = kept.load()
    if state is not None:
        learner.restore(state)
        clock -= state["seconds"]
        say(f"going on after epoch {len(learner.curve)}, kept in {kept.path}")
    while not (stopped := enough(recipe, learner.curve, len(learner.watched))):
        try:
            epoch = learner.epoch(tick or (lambda share: None))
        except Diverged as error:
            if not learner.curve:
                raise
            best = max(learner.curve, key=lambda one: one.better).epoch
            say(f"{error}; kept are the weights of epoch {best}")
            stopped = f"diverged in epoch {len(learner.curve) + 1}"
            break
        kept.save({**learner.state(), "seconds": time.perf_counter() - clock})
        if progress is not None:
            progress(epoch)
    learner.trace.end(len(learner.curve))
    learner.module.load_state_dict(learner.best)
    return learner, stopped, time.perf_counter() - clock


def _judged(
    recipe: Recipe, begun: Start, learner: Learner, parts: dict[str, Data]
) -> tuple[Backbone, dict[str, Any], dict[str, Any]]:
    """The trained backbone, the figures of adversarial training, and the hits of val and test."""
    learner.network.eval()
    mean, std = learner.statistics
    backbone = Backbone(
        learner.module.eval(),
        input_shape=begun.built.input_shape,
        classes=parts["test"].classes,
        mean=mean,
        std=std,
        name=recipe.name,
    )
    hits = {}
    for part in ("val", "test"):
        logits = logits_of(backbone.network, parts[part], learner.device)
        hits[part] = logits.argmax(1).numpy() == parts[part].labels
    if recipe.adversarial is None:
        return backbone, {}, hits
    robust = {
        part: robust_hits(backbone.network, parts[part], recipe.adversarial, recipe.seed)
        for part in ("val", "test")
    }
    figures = adversarial_figures(recipe.adversarial, CHECK_STEPS, robust)
    return backbone, {"adversarial": figures}, hits
