"""What a resumed run makes of the records of the process before it."""

from minigpt.io.journal import read_journal
from minigpt.io.records import RepeatedRecord, StepRecord, of_kind
from tests.conftest import edit_record
from tests.faults.tiny import Template, TinyRun
from tests.faults.victim import Signal

KILLED = -9


def test_bill(run: TinyRun) -> None:
    """The bill covers what follows the last step, and what is done again"""
    assert run.live(at=Signal("step", "after", 8)) == KILLED
    edit_record(run.folder, "step", 8, lambda record: record.update(training_seconds=1000.0))
    run.finish()
    records = read_journal(run.folder / "journal.jsonl")
    last = list(of_kind(records, StepRecord))[-1]
    assert 1000 < last.training_seconds < records[-1].training_seconds


def test_bill_of_a_repetition(run: TinyRun) -> None:
    """What is done again is paid for as well where that process is killed before it comes to anything new"""
    assert run.live(at=Signal("step", "after", 8)) == KILLED
    assert run.live(at=Signal("step", "after", 1)) == KILLED
    [again] = of_kind(read_journal(run.folder / "journal.jsonl"), RepeatedRecord)
    assert again.step == 7
    run.finish()
    steps = list(of_kind(read_journal(run.folder / "journal.jsonl"), StepRecord))
    assert steps[7].training_seconds < again.training_seconds < steps[8].training_seconds


def test_other_untrained_model(run: TinyRun, template: Template) -> None:
    """A resume whose untrained model is another says so, at once and for good"""
    assert run.live(at=Signal("step", "after", 1)) == KILLED
    edit_record(run.folder, "evaluation", 0, lambda record: record.update(val_loss=1.0))
    run.finish()
    end = read_journal(run.folder / "journal.jsonl")[-1]
    assert (end.status, end.step) == ("differs", 0)
    assert "step 0 repeated gives val_loss" in end.error
