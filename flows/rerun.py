"""Rerun: train again with the recorded config, data and seed, and compare the result to the bit."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flows.config import check_given_source, validate_config
from minigpt.errors import InputError
from minigpt.io.journal import JOURNAL, has_ended, loss_curve, read_journal
from minigpt.io.records import Record, ResumeRecord, StartRecord, of_kind
from minigpt.recipe import CONFIG_FILE, RunConfig, read_config
from tasks.home.settings import RunIdentity
from tasks.runs.files import A_COPY, CORPUS_FILE, FACTS_FILE, RESULT_FILE, read_stored
from tasks.runs.names import find_local_run
from tasks.runs.provenance import Facts, fact_differences
from tasks.runs.result import Result
from tasks.runs.run import Run
from tasks.steps.corpus import restore_corpus
from tasks.tracking.tracker import OfflineTracker, Tracker

# Largest accepted difference, in nats per token, between the final validation losses of one config on two machine
# classes: five times the difference that AVX2 and AVX-512 kernels make on quickstart.
RERUN_TOLERANCE = 0.05
SUFFIX = "-rerun"


@dataclass(frozen=True)
class Comparison:
    """A rerun against its original: identical or not, the first step that differs, and the facts that differ."""

    of_run: str
    steps: int
    identical: bool
    first_differing_step: int | None
    differing_facts: list[str]
    another_class: bool
    """True if the machine classes differ, so that equal bits are not guaranteed."""
    val_loss_difference: float
    """Difference between the losses of the final weights on the complete validation text, in nats per token."""
    curve_sha256: str
    weights_sha256: str

    @property
    def sentence(self) -> str:
        if self.identical:
            also = f"; although these differ: {'; '.join(self.differing_facts)}" if self.differing_facts else ""
            return (
                f"identical to {self.of_run}, {self.steps} steps, sha256 {self.curve_sha256} (curve), "
                f"{self.weights_sha256} (weights){also}"
            )
        where = f"from step {self.first_differing_step}" if self.first_differing_step else "in the weights alone"
        facts = "; ".join(self.differing_facts) or "none of the recorded facts"
        if self.another_class:
            agrees = "agrees with" if self.val_loss_difference <= RERUN_TOLERANCE else "differs from"
            return (
                f"another machine class, which need not give the same bits: {agrees} {self.of_run}, "
                f"{self.val_loss_difference:.2g} nats apart in validation (tolerance {RERUN_TOLERANCE:g}); "
                f"what differs: {facts}"
            )
        return f"different from {self.of_run} {where}; what differs: {facts}"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "sentence": self.sentence}


@dataclass(frozen=True)
class RecordedRun:
    """What a run recorded, for a rerun. `corpus` is the text that the run kept, if any."""

    run_id: str
    name: str
    recorded: RunConfig
    corpus: Path | None
    facts: Facts
    records: list[Record]
    result: Result

    def config(self, overrides: Sequence[str]) -> RunConfig:
        """The recorded config with overrides. The kept text is restored into the cache, where its digest finds it."""
        if self.corpus is not None:
            restore_corpus(self.corpus, self.facts.corpus.sha256)
        config = validate_config(self.recorded.model_dump(mode="json"), overrides, f"the config of run {self.run_id}")
        check_given_source(config, overrides)
        return config

    def rerun_identity(self) -> RunIdentity:
        """The name of a rerun of this run, and the id of this run."""
        return RunIdentity(name=f"{self.name.removesuffix(SUFFIX)}{SUFFIX}", rerun_of=self.run_id)

    def compare(self, result: Result) -> Comparison:
        """Compare with a run of this home, which is read from its folder even if the tracking store is gone."""
        again = _read_here(find_local_run(result.run_id))
        step = first_difference(loss_curve(self.records), loss_curve(again.records))
        same = step is None and self.result.weights_sha256 == result.weights_sha256
        before, now = self.all_facts(), again.all_facts()
        return Comparison(
            of_run=self.run_id,
            steps=result.steps,
            identical=same,
            first_differing_step=step,
            differing_facts=fact_differences(before, now),
            another_class=before["process"]["cpu_class"] != now["process"]["cpu_class"],
            val_loss_difference=abs(self.result.val_loss - result.val_loss),
            curve_sha256=result.curve_sha256,
            weights_sha256=result.weights_sha256,
        )

    def all_facts(self) -> dict[str, Any]:
        """Config, code, data and process as one value. A process fact of a resumed run lists all values that it had."""
        begun = [record.process_facts() for record in of_kind(self.records, StartRecord, ResumeRecord)]
        process = {key: ", then ".join(dict.fromkeys(str(facts[key]) for facts in begun)) for key in begun[0]}
        config, facts = self.recorded.model_dump(mode="json"), self.facts.model_dump()
        return {"config": config, "code_and_data": facts, "process": process}


def first_difference(before: Sequence[tuple[int, float]], now: Sequence[tuple[int, float]]) -> int | None:
    """The first step at which two curves of (step, loss) differ in a bit or one has ended; None if they are equal."""
    for (step, loss), (other_step, other_loss) in zip(before, now, strict=False):
        if step != other_step or loss.hex() != other_loss.hex():
            return min(step, other_step)
    if len(before) == len(now):
        return None
    return min(len(before), len(now)) + 1


def recorded_run(tracker: Tracker, text: str) -> RecordedRun:
    """Read a run that the user names, from its folder, or from MLflow if this home does not have it."""
    return read_recorded(tracker.find(text), tracker)


def _read_here(run: Run) -> RecordedRun:
    return read_recorded(run, OfflineTracker(run.tracking))


def read_recorded(run: Run, tracker: Tracker) -> RecordedRun:
    """Read a run that has ended. Raises InputError if a file is missing or damaged."""
    names = (CONFIG_FILE, FACTS_FILE, JOURNAL, RESULT_FILE)
    config, facts, curve, result = (tracker.fetch(run, name) for name in names)
    try:
        corpus = tracker.fetch(run, CORPUS_FILE)
    except InputError:
        corpus = None
    records = read_journal(curve)
    if not (has_ended(records) and any(of_kind(records, StartRecord, ResumeRecord))):
        raise InputError(f"{curve} is damaged (its first or last record is missing); {A_COPY}")
    return RecordedRun(
        run_id=run.run_id,
        name=run.name,
        recorded=read_config(config),
        corpus=corpus,
        facts=read_stored(Facts, facts),
        records=records,
        result=read_stored(Result, result),
    )
