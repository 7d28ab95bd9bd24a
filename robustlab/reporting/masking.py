"""Signs that an attack failed for reasons other than robustness (Athalye et al. 2018).

Noise must not beat an attack; an attack that sees gradients should not lose to one that does not,
nor an expensive search to a cheap one. Comparisons are paired on the same images: a loss by any
count is amber, by more than two images and 1 % of them red. What is fooled at a smaller eps is
counted at a larger one here (not of noise, nor of what was learned or made elsewhere), so that no
curve can rise; the clean probe looks for curves that do, on a sample of raw runs. An attack that
learns one perturbation for all images is asked for more than one that fits each, and that it breaks
fewer says nothing; it must beat noise all the same. In L0 it is in one piece, and noise of as many
pixels, scattered over the image, is no noise of its size: sound squares of few pixels lose to that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from robustlab import statistics
from robustlab.evidence import Eps, Evidence, column, eps_of, is_spatial, within
from robustlab.reporting.doubts import Line
from robustlab.reporting.section import Story
from robustlab.results import Group
from robustlab.verdict import code, norm_name, p_text

__all__ = ["BLIND", "beats_noise", "costly_wins", "gradient_wins"]

# What attacks know that do not see the network's own gradients.
BLIND = ("score", "decision", "transfer")
FEW, SHARE = 2, 0.01  # a loss by more than both, images and share of all images, is red
Loss = tuple[Eps, int, int, float, int]


def _loses(group: Group, other: Group, eps: Eps) -> tuple[int, int, float, int] | None:
    """Images only the other broke, only the group broke, the p-value and the number of images;
    None: no comparison.
    """
    mine, theirs = within(group, eps), within(other, eps)
    if mine is None or theirs is None or mine.shape != theirs.shape:
        return None
    paired = statistics.mcnemar(mine, theirs)
    return paired.only_second, paired.only_first, paired.p, paired.n


def _worst_loss(group: Group, other: Group) -> Loss | None:
    """The eps at which ``group`` loses most to ``other``, None where it never does."""
    losses = [(e, *found) for e in eps_of(group) if (found := _loses(group, other, e))]
    losses = [loss for loss in losses if loss[1] > loss[2]]
    return max(losses, key=lambda loss: (loss[1] - loss[2], -loss[0].value), default=None)


def beats_noise(story: Story) -> Iterator[Line]:
    """Noise of the same size against every attack."""
    evidence, fine, compared = story.evidence, True, False
    for backbone in evidence.backbones:
        for norm in evidence.norms:
            for control in evidence.controls(backbone, norm):
                for group in evidence.attacks(backbone, norm):
                    if norm == "l0" and group.plan.get("learns", False):
                        continue
                    compared = True
                    loss = _worst_loss(group, control)
                    if loss is not None:
                        fine = False
                        yield _loss_line(group, control, loss, "Noise")
                alone = _noise_alone(evidence, backbone, norm, control)
                if alone:
                    fine = False
                    yield alone
    if compared and fine:
        yield Line("green", "No attack breaks fewer images than noise of the same size.")
    elif not compared and not all(map(is_spatial, evidence.norms)):
        yield Line("amber", "No noise of the same size was run beside the attacks as a control.")


def _noise_alone(
    evidence: Evidence, backbone: str, norm: str | None, control: Group
) -> Line | None:
    missed = {}
    for e in eps_of(control):
        broken = evidence.broken(backbone, norm, e)
        if broken is not None:
            noise = column(control, f"verified[eps={e.text}]")
            missed[e] = int((noise & ~broken).sum())
    if not any(missed.values()):
        return None
    e = max(missed, key=lambda k: (missed[k], -k.value))
    return Line(
        "amber",
        f"On {code(backbone)} noise of eps {e.text} ({norm_name(norm)}) broke {missed[e]} of the "
        "images that every attack left right: the attacks can be improved.",
    )


def _loss_line(group: Group, other: Group, loss: Loss, who: str) -> Line:
    eps, theirs, mine, p, n = loss
    return Line(
        "red" if theirs - mine > max(FEW, SHARE * n) else "amber",
        f"{who} ({code(other.label)}) beats {code(group.label)} on {code(group.backbone)} at eps "
        f"{eps.text}: {theirs} images against {mine} (exact McNemar, {p_text(p)}). The attack may "
        "be failing, not the backbone holding.",
    )


def gradient_wins(story: Story) -> Iterator[Line]:
    """Attacks without gradients against those with them."""
    evidence, compared, fine = story.evidence, False, True
    for backbone in evidence.backbones:
        for norm in evidence.norms:
            groups = evidence.attacks(backbone, norm)
            blind = [g for g in groups if g.plan["knowledge"] in BLIND]
            seeing = _seeing(groups)
            for other in blind:
                losses = [_worst_loss(group, other) for group in seeing]
                compared = compared or bool(losses)
                found = [(x, g) for x, g in zip(losses, seeing, strict=True) if x is not None]
                if losses and len(found) == len(losses) and found:
                    fine = False
                    least = min(found, key=lambda pair: pair[0][1] - pair[0][2])
                    yield _loss_line(least[1], other, least[0], _who(other))
    if compared and fine:
        yield Line("green", "Attacks with gradients are not beaten by attacks without them.")


def _seeing(groups: Iterable[Group]) -> list[Group]:
    """Attacks that follow the network's own gradients, image by image."""
    seeing = [g for g in groups if g.plan["knowledge"] == "gradient"]
    return [g for g in seeing if not g.plan.get("learns", False)]


def _who(other: Group) -> str:
    transfer = other.plan["knowledge"] == "transfer"
    return "An attack made on another network" if transfer else "An attack without gradients"


def costly_wins(story: Story) -> Iterator[Line]:
    """Cheap searches against costly ones of the same knowledge and norm.

    Searches with gradients; and those for rotations and translations, where a few poses drawn at
    random are the control that a grid must beat: there is no noise of the same size.
    """
    evidence, compared, fine = story.evidence, False, True
    for backbone in evidence.backbones:
        for norm in evidence.norms:
            groups = list(evidence.attacks(backbone, norm))
            groups = groups if is_spatial(norm) else _seeing(groups)
            for costly in groups:
                for cheap in groups:
                    if _passes(cheap) * 4 > _passes(costly):
                        continue
                    compared = True
                    loss = _worst_loss(costly, cheap)
                    if loss is not None:
                        fine = False
                        yield _loss_line(costly, cheap, loss, "The cheaper attack")
    if compared and fine:
        yield Line("green", "Longer searches are not beaten by shorter ones.")


def _passes(group: Group) -> float:
    assert group.outcome is not None
    return sum(float(group.outcome.cost.get(k, 0.0)) for k in ("forward", "backward"))
