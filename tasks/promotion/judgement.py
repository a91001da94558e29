"""The judgement of a run: its best weights compared with the champion's on a held-out text."""

from collections.abc import Iterator
from pathlib import Path

from minigpt.evaluation.difference import PairedDifference
from minigpt.evaluation.paired import paired_difference
from minigpt.io.records import now_ms
from minigpt.io.store import sha256_of_file
from tasks.promotion.champion import way_out_without
from tasks.promotion.measure import UNFAIR_SHARE, Measured, copy_of_text, measure_run
from tasks.promotion.weights import intact_best
from tasks.runs.result import Decision, Judgement
from tasks.runs.run import Run
from tasks.tracking.tracker import OfflineTracker

# A challenger that has read this much more of the text than the champion may be better by memory alone.
UNFAIR_LEAD = 0.05
# A smaller share of the text in a training text is not reported.
MIN_REPORTED_SHARE = 0.01

NOT_JUDGED = "not judged"
UNFAIR = "no fair test"
GIVE_ANOTHER = f"; {UNFAIR}: measure on a text that no run was trained on"


def judge_run(run: Run, other: Run | None, status: str, source: str) -> Judgement:
    """Measure the run and the champion `other` on the text at `source`; `status` is how the run's training ended.

    Raises InputError if the text or one of the checkpoints cannot be used.
    """
    with copy_of_text(Path(source)) as text:
        sha256 = sha256_of_file(text)
        ours = _measured(run, text)
        theirs = _measured(other, text, way_out_without(other)) if other else None
    beside = (theirs, paired_difference(ours.reading, theirs.reading)) if theirs else None
    finding, objection = _finding(ours, beside, status)
    need, size_bytes = ours.reading.bits_per_byte, ours.reading.text_bytes
    first = f"On the held-out text {source} ({size_bytes:,} bytes) {ours.checkpoint} needs {need:.3f} bits per byte"
    return Judgement(
        time_ms=now_ms(),
        sentences=(f"{first}{finding}.", *_who_has_read(ours, theirs)),
        objection=objection,
        decision=_decision(objection, beside is not None),
        source=source,
        sha256=sha256,
        size_bytes=size_bytes,
        checkpoint=ours.checkpoint,
        bits_per_byte=need,
        read_share=ours.read_share,
        to_beat=theirs.run_id if theirs else None,
        saved=beside[1] if beside else None,
    )


def _measured(run: Run, text: Path, other_way_out: str = "") -> Measured:
    """Measure the run's best checkpoint without MLflow: a run must be able to end while it is unreachable."""
    return measure_run(run, intact_best(run, other_way_out), text, OfflineTracker(run.tracking))


def _finding(ours: Measured, beside: tuple[Measured, PairedDifference] | None, status: str) -> tuple[str, str]:
    """Return the end of the sentence that reports the run's loss, and the objection ("" if there is none)."""
    if status == "diverged":
        return ", but the training diverged: fix that first", "diverged"
    if ours.steps == 0:
        return ", but these weights are untrained: there is nothing to ship", "nothing learnt"
    read = ours.read_share or 0.0
    if beside is None:
        nothing_to_beat = "; this home has no earlier run of this name to beat"
        return (GIVE_ANOTHER, UNFAIR) if read >= UNFAIR_SHARE else (nothing_to_beat, "")
    theirs, saved = beside
    read_there = theirs.read_share or 0.0
    if max(read, read_there) >= UNFAIR_SHARE or read - read_there >= UNFAIR_LEAD:
        return GIVE_ANOTHER, UNFAIR
    other, better = theirs.short_id, saved.bits_per_byte > 0
    if saved.bits_per_byte == 0:
        return f", exactly as many as {theirs.checkpoint} of {other}: keep {other}", f"no better than {other}"
    apart = f", {abs(saved.bits_per_byte):.2g} {'less' if better else 'more'} than {theirs.checkpoint} of {other}"
    error = f" (standard error {saved.standard_error:.2g})"
    if saved.may_be_chance:
        return f"{apart}, which may be chance{error}: keep {other}", f"no better than {other}"
    if better:
        return f"{apart}, which is hardly chance{error}: ship it", ""
    return f"{apart}, which is hardly chance{error}: keep {other}", f"worse than {other}"


def _decision(objection: str, compared: bool) -> Decision:
    if objection == UNFAIR or not compared:
        return "undecided"
    return "keep" if objection else "ship"


def _who_has_read(*models: Measured | None) -> Iterator[str]:
    for measured in models:
        if measured and (measured.read_share is None or measured.read_share >= MIN_REPORTED_SHARE):
            yield measured.about_reading
