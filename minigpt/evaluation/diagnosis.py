"""What a run's curve means, in plain words. Pure functions of what the journal holds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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


FindingKind = Literal[
    "diverged",
    "nothing_learnt",
    "over_fitting",
    "worse",
    "may_be_chance",
    "still_falling",
    "level",
    "gap",
    "passing_gap",
]
Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One thing that a curve shows."""

    kind: FindingKind
    severity: Severity
    """error: the run has nothing to ship; warning: look before the last weights are shipped; info: all else."""
    sentence: str
    step: int
    """Where it begins; of a trend the last evaluation, after a divergence the step of the weights that were kept."""


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


def diagnosis_findings(evaluations: Sequence[EvaluationRecord], status: str, kept_step: int) -> list[Finding]:
    """What a run's evaluations show, for someone who has not seen a loss curve before.

    `kept_step` is that of the weights that are measured at the end; after a divergence they are older than the end.
    """
    found, last = diagnose(evaluations), evaluations[-1]
    shipped = "" if found.learnt_nothing else "; ship the best checkpoint, not the last"
    findings = []
    if status == "diverged":
        sentence = (
            "The training diverged: the loss stopped being a number; lower the learning rate or clip gradients. The "
            f"weights of step {kept_step} were kept, and what is measured at the end is theirs."
        )
        findings.append(Finding("diverged", "error", sentence, kept_step))
    if found.learnt_nothing:
        sentence = (
            "Nothing was learnt that helps with new text: at every evaluation the validation loss was above that of "
            f"the untrained weights ({found.best_val_loss:.3f}), so there is nothing to ship; try another learning "
            "rate, most likely a lower one."
        )
        findings.append(Finding("nothing_learnt", "error", sentence, found.best_step))
    if found.overfitting_since_step is not None:
        sentence = (
            f"Over-fitting since step {found.overfitting_since_step}: from there on the model learns its training text "
            f"by heart, and the validation loss rose from {found.best_val_loss:.3f} to {last.val_loss:.3f}{shipped}."
        )
        findings.append(Finding("over_fitting", "warning", sentence, found.overfitting_since_step))
    elif found.worse_since_step is not None:
        sentence = (
            f"Worse since step {found.worse_since_step}: from there on the validation loss rose from "
            f"{found.best_val_loss:.3f} to {last.val_loss:.3f}, and the loss on the training text rose with it, so "
            f"the steps are too large; lower the learning rate{shipped}."
        )
        findings.append(Finding("worse", "warning", sentence, found.worse_since_step))
    if found.may_be_chance and not found.learnt_nothing:
        sentence = (
            f"That rise may be chance: by {found.noise:.3f} the validation loss differs from one evaluation to the "
            "next without any trend."
        )
        findings.append(Finding("may_be_chance", "info", sentence, found.best_step))
    has_risen = found.overfitting_since_step is not None or found.worse_since_step is not None
    if not has_risen and len(evaluations) > 1 and status != "diverged":
        findings.append(_trend(evaluations))
    if found.gap_since_step is not None:
        findings.append(_gap(evaluations, found.gap_since_step))
    return findings


def _trend(evaluations: Sequence[EvaluationRecord]) -> Finding:
    """Where the validation loss of at least two evaluations goes at the end."""
    last = evaluations[-1]
    earlier = [e for e in evaluations[:-1] if e.step <= TREND_SHARE * last.step] or evaluations[:1]
    falls = earlier[-1].val_loss - last.val_loss > LOSS_TOLERANCE
    trend = "still falling: more steps may help" if falls else "level at the end"
    sentence = f"No over-fitting so far: the validation loss ({last.val_loss:.3f}) is {trend}."
    return Finding("still_falling" if falls else "level", "info", sentence, last.step)


def _gap(evaluations: Sequence[EvaluationRecord], since_step: int) -> Finding:
    last, apart = evaluations[-1], f"the validation loss is more than {LOSS_GAP:g} nat above the training loss"
    if not all(_is_apart(e) for e in evaluations if e.step >= since_step):
        sentence = f"At step {since_step}, though not at every later evaluation, {apart}."
        return Finding("passing_gap", "info", sentence, since_step)
    gap = last.val_loss - last.train_loss
    sentence = (
        f"From step {since_step} on {apart}, at the end by {gap:.2f}: on average the model gives a "
        f"token of text that it has read {math.exp(gap):.1f} times the probability of one of new text."
    )
    return Finding("gap", "warning", sentence, since_step)
