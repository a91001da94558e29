"""Diagnosis of a run's loss curve, in plain words; pure functions of the journal's evaluations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from minigpt.io.records import EvaluationRecord

# Losses closer than this (nats per token) count as equal.
LOSS_TOLERANCE = 0.01
# A rise of at most this many standard deviations of one evaluation may be chance. Simulated level curves with noise end
# above LOSS_TOLERANCE in most cases, but above this limit in few; with few evaluations they do so more often.
CHANCE_DEVIATIONS = 5.0
# Noise is not estimated from fewer evaluations.
NOISE_EVALUATIONS = 5
# Ratio of a normal distribution's standard deviation to its median absolute deviation.
NORMAL_DEVIATIONS = 1.4826
# A trend starts at an evaluation no later than this share of the steps, because the last two may be one step apart.
TREND_SHARE = 0.9
# A validation loss that exceeds the training loss by more than this (nats per token) is reported.
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
    """One thing that a loss curve shows."""

    kind: FindingKind
    severity: Severity
    """error: the run has nothing to ship; warning: look before you ship the last weights; info: all else."""
    sentence: str
    step: int
    """The step at which it begins; the last evaluation for a trend, the step of the kept weights for a divergence."""


@dataclass(frozen=True)
class Diagnosis:
    """The best step of a loss curve, and its course since then; losses are in nats per token."""

    best_step: int
    best_val_loss: float
    overfitting_since_step: int | None
    """The best step, if the validation loss has risen since and the training loss has not."""
    worse_since_step: int | None
    """The best step, if both losses have risen since."""
    gap_since_step: int | None
    """The first step at which the validation loss exceeds the training loss by more than LOSS_GAP."""
    learnt_nothing: bool
    """True if no evaluated weights have a lower validation loss than the untrained ones."""
    noise: float
    """Standard deviation of one validation loss around the trend, estimated from the later evaluations."""
    may_be_chance: bool
    """True if the rise since the best step is no larger than noise makes it on a level curve."""

    @property
    def in_short(self) -> str:
        """The objection of the curve to shipping the last weights, in a few words; empty if it has none."""
        if self.learnt_nothing:
            return "nothing learnt"
        doubt = " (may be chance)" if self.may_be_chance else ""
        if self.overfitting_since_step is not None:
            return f"over-fitting since {self.overfitting_since_step}{doubt}"
        return "" if self.worse_since_step is None else f"worse since {self.worse_since_step}{doubt}"


def diagnose(evaluations: Sequence[EvaluationRecord]) -> Diagnosis:
    """Diagnose at least one evaluation, in the order of their steps.

    Over-fitting begins at the lowest validation loss if the last one is higher by more than LOSS_TOLERANCE, and the
    training loss has not risen with it.
    """
    best, last = min(evaluations, key=lambda e: e.val_loss), evaluations[-1]
    since = best.step if last.val_loss > best.val_loss + LOSS_TOLERANCE else None
    unlearnt = last.train_loss > best.train_loss + LOSS_TOLERANCE
    gap = next((e.step for e in evaluations if _has_gap(e)), None)
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
    """Standard deviation of the noise in the later half of the losses, without the untrained one; 0 for too few losses.

    Second differences cancel a slope, and their deviation from the median cancels a steady bend; the median of these
    deviations ignores a single jump.
    """
    trained = losses[1:]
    later = trained[-max(NOISE_EVALUATIONS, len(trained) - len(trained) // 2) :]
    if len(later) < NOISE_EVALUATIONS:
        return 0.0
    bends = np.diff(later, 2)
    return float(NORMAL_DEVIATIONS * np.median(np.abs(bends - np.median(bends))) / math.sqrt(6))


def _has_gap(evaluation: EvaluationRecord) -> bool:
    return bool(evaluation.val_loss - evaluation.train_loss > LOSS_GAP)


def diagnosis_findings(evaluations: Sequence[EvaluationRecord], status: str, kept_step: int) -> list[Finding]:
    """Findings about a run's evaluations, for readers who have not seen a loss curve before.

    `kept_step` is the step of the weights that are measured at the end; after a divergence it precedes the last step.
    """
    found, last = diagnose(evaluations), evaluations[-1]
    shipped = "" if found.learnt_nothing else "; ship the best checkpoint, not the last"
    findings = []
    if status == "diverged":
        sentence = (
            "The training diverged: the loss or the gradients became infinite or NaN; lower the learning rate or clip "
            f"gradients. The weights of step {kept_step} were kept, and the final measurements are of those."
        )
        findings.append(Finding("diverged", "error", sentence, kept_step))
    if found.learnt_nothing:
        sentence = (
            "The model learnt nothing that helps with new text: its validation loss was never below that of the "
            f"untrained weights ({found.best_val_loss:.3f}), so there is nothing to ship; try another learning rate, "
            "most likely a lower one."
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
            f"Worse since step {found.worse_since_step}: the validation loss rose from {found.best_val_loss:.3f} to "
            f"{last.val_loss:.3f}, and the training loss rose with it, so the updates are too large; lower the "
            f"learning rate{shipped}."
        )
        findings.append(Finding("worse", "warning", sentence, found.worse_since_step))
    if found.may_be_chance and not found.learnt_nothing:
        sentence = (
            f"That rise may be chance: from one evaluation to the next, the validation loss varies by "
            f"{found.noise:.3f} around its trend."
        )
        findings.append(Finding("may_be_chance", "info", sentence, found.best_step))
    has_risen = found.overfitting_since_step is not None or found.worse_since_step is not None
    if not has_risen and len(evaluations) > 1 and status != "diverged":
        findings.append(_trend(evaluations))
    if found.gap_since_step is not None:
        findings.append(_gap(evaluations, found.gap_since_step))
    return findings


def _trend(evaluations: Sequence[EvaluationRecord]) -> Finding:
    """The trend of the validation loss at the end of at least two evaluations."""
    last = evaluations[-1]
    earlier = [e for e in evaluations[:-1] if e.step <= TREND_SHARE * last.step] or evaluations[:1]
    falls = earlier[-1].val_loss - last.val_loss > LOSS_TOLERANCE
    trend = "still falling: more steps may help" if falls else "level at the end"
    sentence = f"No over-fitting so far: the validation loss ({last.val_loss:.3f}) is {trend}."
    return Finding("still_falling" if falls else "level", "info", sentence, last.step)


def _gap(evaluations: Sequence[EvaluationRecord], since_step: int) -> Finding:
    last, apart = evaluations[-1], f"the validation loss is more than {LOSS_GAP:g} nat above the training loss"
    if not all(_has_gap(e) for e in evaluations if e.step >= since_step):
        sentence = f"At step {since_step}, though not at every later evaluation, {apart}."
        return Finding("passing_gap", "info", sentence, since_step)
    gap = last.val_loss - last.train_loss
    sentence = (
        f"From step {since_step} on, {apart}, at the end by {gap:.2f}: on average, the model gives a token of its "
        f"training text {math.exp(gap):.1f} times the probability of a token of new text."
    )
    return Finding("gap", "warning", sentence, since_step)
