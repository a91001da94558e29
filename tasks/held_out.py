"""The step `held-out text`: the run's best weights and those to beat, on a text that neither is to have read."""

import logging
from dataclasses import dataclass
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from minigpt import checkpoint, environment
from minigpt.errors import InputError
from minigpt.job import CHECKPOINTS, TrainingJob
from minigpt.passages import Difference, difference
from minigpt.store import sha256_of_file
from tasks.reading import UNFAIR_SHARE, Measured, measure, text_copy
from tasks.runs import Run, ended_alike

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judgement:
    """What the held-out text says of a run; without a measurement if it could not be read."""

    sentence: str
    objection: str
    """Why the run is not to be shipped, in a few words; empty if it is."""
    source: str
    sha256: str | None = None
    size_bytes: int | None = None
    checkpoint: str | None = None
    bits_per_byte: float | None = None
    read_share: float | None = None
    """How much of the text stands in the run's training text."""
    to_beat: str | None = None
    """The other run, if there is one."""
    saved: Difference | None = None
    """What this run's weights need less than the other's."""


def check(source: str) -> None:
    """Refuse a text that cannot be measured on, before anything is trained."""
    try:
        with text_copy(Path(source)):
            pass
    except InputError as error:
        raise InputError(f"held_out.source: {error}") from error


@task(name="held-out text", cache_policy=NO_CACHE)
def judge(run: Run, job: TrainingJob, source: str) -> Judgement:
    """Whether the run is better than the one to beat, beyond chance; what goes wrong here does not fail the run."""
    environment.apply(job.environment)
    try:
        judgement = _judge(run, source)
    except InputError as error:
        judgement = Judgement(f"The held-out text {source} was of no use: {error}.", "not judged", source)
    log.info("%s", judgement.sentence)
    return judgement


def _judge(run: Run, source: str) -> Judgement:
    other = run_to_beat(run)
    with text_copy(Path(source)) as text:
        sha256 = sha256_of_file(text)
        ours = _measured(run, text)
        theirs = _measured(other, text) if other else None
    saved = difference(ours.reading, theirs.reading) if theirs else None
    finding, objection = _finding(ours, theirs, saved)
    need, size_bytes = ours.reading.bits_per_byte, ours.reading.text_bytes
    measured = f"On the held-out text {source} ({size_bytes:,} bytes) {ours.checkpoint} needs {need:.3f} bits per byte"
    return Judgement(
        sentence=f"{measured}{finding}.",
        objection=objection,
        source=source,
        sha256=sha256,
        size_bytes=size_bytes,
        checkpoint=ours.checkpoint,
        bits_per_byte=need,
        read_share=ours.read_share,
        to_beat=theirs.run_id if theirs else None,
        saved=saved,
    )


def run_to_beat(run: Run) -> Run | None:
    """Of the other runs like this one whose best weights are here the last that was to be shipped, else the last."""
    alike = [other for other in ended_alike(run.params) if other.run_id != run.run_id and _best(other)]
    return next((other for other in alike if _was_to_be_shipped(other)), alike[0] if alike else None)


def _was_to_be_shipped(run: Run) -> bool:
    judgement = (run.readable_result() or {}).get("held_out")
    return judgement is not None and not judgement["objection"]


def _best(run: Run) -> Path | None:
    return checkpoint.newest(run.folder / CHECKPOINTS, "best")


def _measured(run: Run, text: Path) -> Measured:
    if (folder := _best(run)) is None:
        raise InputError(f"run {run.run_id} has no whole best checkpoint")
    return measure(run, folder, text)


def _finding(ours: Measured, theirs: Measured | None, saved: Difference | None) -> tuple[str, str]:
    """The end of a sentence, and the objection."""
    readers = [measured for measured in (ours, theirs) if measured and (measured.read_share or 0) >= UNFAIR_SHARE]
    if readers:
        share, who = readers[0].read_share or 0, readers[0].run_id[:12]
        said = f", but {share:.0%} of it stands in the training text of {who}: give one that no run has read"
        return said, "no fair test"
    if ours.steps == 0:
        return ", untrained: there is nothing to ship", "nothing learnt"
    if theirs is None or saved is None:
        return "; there is no earlier run of this name and source here that it had to beat", ""
    other = theirs.run_id[:12]
    better = saved.bits_per_byte > 0
    beside = f", {abs(saved.bits_per_byte):.2g} {'less' if better else 'more'} than {theirs.checkpoint} of {other}"
    error = f" (standard error {saved.standard_error:.2g})"
    if saved.may_be_chance:
        return f"{beside}, which may be chance{error}: keep {other}", f"no better than {other}"
    if better:
        return f"{beside}, which is hardly chance{error}: ship it", ""
    return f"{beside}, which is hardly chance{error}: keep {other}", f"worse than {other}"
