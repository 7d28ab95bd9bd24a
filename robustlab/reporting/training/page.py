"""The page of a training: one HTML file beside the card, which asks the network for nothing.

Reads ``NAME.json`` and, where it is there, ``NAME.training.npz``; neither is trusted, and what is
missing is said. Works without JavaScript.
"""

from __future__ import annotations

from pathlib import Path

from robustlab import atomic
from robustlab.reporting.frame import frame
from robustlab.reporting.section import environment
from robustlab.reporting.training import curves, layers, making
from robustlab.reporting.training.outcome import figure_sentences, kept_sentence, stopped_sentence
from robustlab.reporting.training.record import Training, read_training
from robustlab.reporting.training.verdict import judge

__all__ = ["write_training_page"]


def write_training_page(card_path: Path) -> Path:
    """Write the page of a trained network beside its card, whole or not at all.

    Args:
        card_path: ``NAME.json``; the page is ``NAME.html``.

    Returns:
        The path of the page.

    Raises:
        BadRequest: the file is no card.
        NoVerdict: the page cannot be written.
    """
    card_path = Path(card_path)
    page = _page(read_training(card_path))
    path = card_path.with_suffix(".html")
    atomic.write(path, page.encode("utf-8", "replace"))
    return path


def _page(training: Training) -> str:
    """The whole page as text; the same files give the same bytes."""
    judgement = judge(training)
    lines, cut = making.recipe_lines(training)
    page = (
        environment()
        .get_template("training.html")
        .render(
            name=training.name,
            judgement=judgement,
            lead=[*figure_sentences(training), *judgement.sentences[:1]],
            details=[
                *judgement.sentences[1:],
                stopped_sentence(training),
                *filter(None, [kept_sentence(training)]),
            ],
            facts=making.facts(training),
            caveats=making.caveats(training),
            epochs=training.epochs,
            kept=training.kept,
            curves_title=curves.title(training),
            figures=curves.figures(training),
            filters=layers.filters(training.snapshots),
            norms=layers.norms(training),
            commands=making.commands(training),
            machine=making.machine(training),
            recipe=lines,
            recipe_cut=cut,
            **frame(),
        )
    )
    return page + "\n"
