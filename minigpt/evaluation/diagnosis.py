"""What a run's curve means, in plain words. Pure functions of what the journal holds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minigpt.io.records import EvaluationRecord

# Validation losses closer than this (nats per token) are the same.
LOSS_TOLERANCE = 0.01
# A rise of so many standard deviations of one evaluation is hardly chance: of level curves with noise every fourth of
# 10 evaluations ends so far above its least one, every twentieth of 40; two thirds and more are above LOSS_TOLERANCE.
CHANCE_DEVIATIONS = 5.0
# Fewer evaluations tell nothing about noise.
NOISE_EVALUATIONS = 5
# The standard deviation of a normal distribution over its median absolute deviation.
NORMAL_DEVIATIONS = 1.4826
# A trend is told from an evaluation no later than this share of the steps, for the last two may be a step apart.
TREND_SHARE = 0.9
# Validation above train by more than this (nats per token) is told.
LOSS_GAP = 1.0


@dataclass(frozen=True)
class Diagnosis:
    """Where a curve was best, and what it has done since."""

    best_step: int
    best_val_loss: float
    overfitting_since_step: int | None
    """Since when it has only learnt its training text by heart."""
    worse_since_step: int | None
    """Since when it has unlearnt both texts."""
    gap_since_step: int | None
    """When the validation loss was more than LOSS_GAP above the training loss for the first time."""
    learnt_nothing: bool
    """Whether no weights that were measured are better on the validation text than the untrained ones."""
    noise: float
    """Standard deviation of one validation loss without its trend, from the later evaluations."""
    may_be_chance: bool
    """Whether the curve has left its lowest validation loss by no more than such noise makes of a level one."""

    @property
    def in_short(self) -> str:
        """What keeps the last weights from being shipped, as far as the curve tells; empty if nothing does."""
        if self.learnt_nothing:
            return "nothing learnt"
        doubt = " (may be chance)" if self.may_be_chance else ""
        if self.overfitting_since_step is not None:
            return f"over-fitting since {self.overfitting_since_step}{doubt}"
        return "" if self.worse_since_step is None else f"worse since {self.worse_since_step}{doubt}"


def diagnose(evaluations: Sequence[EvaluationRecord]) -> Diagnosis:
    """Read the evaluations (step, train_loss, val_loss), in order of their steps; there is at least one.

    Over-fitting begins at the lowest validation loss if the curve has left it again by more than LOSS_TOLERANCE, and
    the training loss has not risen as well.
    """
    best, last = min(evaluations, key=lambda e: e.val_loss), evaluations[-1]
    since = best.step if last.val_loss > best.val_loss + LOSS_TOLERANCE else None
    unlearnt = last.train_loss > best.train_loss + LOSS_TOLERANCE
    gap = next((e.step for e in evaluations if _is_apart(e)), None)
    noise = _noise([e.val_loss for e in evaluations])
    return Diagnosis(
        best_step=best.step,
        best_val_loss=best.val_loss,
        overfitting_since_step=None if unlearnt else since,
        worse_since_step=since if unlearnt else None,
        gap_since_step=gap,
        learnt_nothing=best.step == 0 < last.step,
        noise=noise,
        may_be_chance=since is not None and last.val_loss - best.val_loss <= CHANCE_DEVIATIONS * noise,
    )


def _noise(losses: Sequence[float]) -> float:
    """Of the second half, or of the last few, but not the untrained one; 0 where there are too few to tell.

    From second differences, in which neither a slope nor a bend counts, and by their median, nor does one jump.
    """
    trained = losses[1:]
    later = trained[-max(NOISE_EVALUATIONS, len(trained) - len(trained) // 2) :]
    if len(later) < NOISE_EVALUATIONS:
        return 0.0
    bends = np.diff(later, 2)
    return float(NORMAL_DEVIATIONS * np.median(np.abs(bends - np.median(bends))) / math.sqrt(6))


def _is_apart(evaluation: EvaluationRecord) -> bool:
    return bool(evaluation.val_loss - evaluation.train_loss > LOSS_GAP)


def diagnosis_sentences(evaluations: Sequence[EvaluationRecord], status: str, kept_step: int) -> list[str]:
    """Sentences about a run's evaluations, for someone who has not seen a loss curve before.

    `kept_step` is that of the weights that are measured at the end; after a divergence they are older than the end.
    """
    found, last = diagnose(evaluations), evaluations[-1]
    since = found.worse_since_step if found.overfitting_since_step is None else found.overfitting_since_step
    sentences = []
    if status == "diverged":
        sentences.append(
            "The training diverged: the loss stopped being a number; lower the learning rate or clip gradients. The "
            f"weights of step {kept_step} were kept, and what is measured at the end is theirs."
        )
    if found.learnt_nothing:
        sentences.append(
            "Nothing was learnt that helps with new text: at every evaluation the validation loss was above that of "
            f"the untrained weights ({found.best_val_loss:.3f}), so there is nothing to ship; try another learning "
            "rate, most likely a lower one."
        )
    shipped = "" if found.learnt_nothing else "; ship the best checkpoint, not the last"
    if found.overfitting_since_step is not None:
        sentences.append(
            f"Over-fitting since step {found.overfitting_since_step}: from there on the model learns its training text "
            f"by heart, and the validation loss rose from {found.best_val_loss:.3f} to {last.val_loss:.3f}{shipped}."
        )
    elif found.worse_since_step is not None:
        sentences.append(
            f"Worse since step {found.worse_since_step}: from there on the validation loss rose from "
            f"{found.best_val_loss:.3f} to {last.val_loss:.3f}, and the loss on the training text rose with it, so "
            f"the steps are too large; lower the learning rate{shipped}."
        )
    if found.may_be_chance and not found.learnt_nothing:
        sentences.append(
            f"That rise may be chance: by {found.noise:.3f} the validation loss differs from one evaluation to the "
            "next without any trend."
        )
    if since is None and len(evaluations) > 1 and status != "diverged":
        earlier = [e for e in evaluations[:-1] if e.step <= TREND_SHARE * last.step] or evaluations[:1]
        fell = earlier[-1].val_loss - last.val_loss > LOSS_TOLERANCE
        trend = "still falling: more steps may help" if fell else "level at the end"
        sentences.append(f"No over-fitting so far: the validation loss ({last.val_loss:.3f}) is {trend}.")
    if found.gap_since_step is not None:
        apart = f"the validation loss is more than {LOSS_GAP:g} nat above the training loss"
        if all(_is_apart(e) for e in evaluations if e.step >= found.gap_since_step):
            gap = last.val_loss - last.train_loss
            sentences.append(
                f"From step {found.gap_since_step} on {apart}, at the end by {gap:.2f}: on average the model gives a "
                f"token of text that it has read {math.exp(gap):.1f} times the probability of one of new text."
            )
        else:
            sentences.append(f"At step {found.gap_since_step}, though not at every later evaluation, {apart}.")
    return sentences
