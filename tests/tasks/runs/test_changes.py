"""What is told of a night's text and of the nights that failed."""

import time
from pathlib import Path
from typing import Any

import pytest

from flows.console import scheduled_run_log
from minigpt.data.sources import Corpus
from minigpt.io.store import sha256_of_file
from tasks.commands.compare import list_runs
from tasks.home.folders import home
from tasks.runs.changes import since_last_run
from tasks.runs.failures import forget_failures, record_failure
from tasks.runs.files import CORPUS_FILE, FACTS_FILE, RESULT_FILE
from tasks.runs.run import RERUN_OF_TAG
from tasks.tracking.live import create_run
from tasks.tracking.tracker import OfflineTracker, Tracker
from tests.values import facts_of, result_with

PARAMS = {"name": "nightly", "seed": 1, "corpus.source": "night.txt"}
LINES = [f"Line {number * 7919 % 1000} of the text, which is none of the others: {number}.\n" for number in range(400)]


def text(path: Path, lines: list[str]) -> Corpus:
    path.write_text("".join(lines))
    return Corpus(path, sha256_of_file(path), path.stat().st_size, str(path))


@pytest.fixture
def last(here: Tracker, tmp_path: Path) -> Corpus:
    """The text of a run that has ended."""
    return trained(here, LINES)


def trained(here: Tracker, lines: list[str], **tags: str) -> Corpus:
    run = create_run(OfflineTracker(here.address), "nightly-1", PARAMS, tags)
    corpus = text(run.folder / CORPUS_FILE, lines)
    facts_of(corpus.sha256, corpus.size_bytes).write(run.folder / FACTS_FILE)
    result_with(run_id=run.run_id).write(run.folder / RESULT_FILE)
    time.sleep(0.002)  # each has a start of its own
    return corpus


def told(corpus: Corpus, code_sha256: str = "c", **params: Any) -> str:
    values = {key: str(value) for key, value in {**PARAMS, **params}.items()}
    return since_last_run(values, facts_of(corpus.sha256, corpus.size_bytes, code_sha256=code_sha256), corpus)


def test_a_text_that_grew_and_one_that_was_cut_short_are_told_apart(last: Corpus, tmp_path: Path) -> None:
    grown = told(text(tmp_path / "grown", [*LINES, *(f"{line[::-1]}\n" for line in LINES[:40])]))
    assert f"{last.size_bytes:,} -> " in grown
    assert ", 0.0% of the old one gone." in grown
    assert "cut short" not in grown
    short = told(text(tmp_path / "short", LINES[:300]))
    assert ", 0.0% of it new, 25." in short
    assert short.endswith("was it cut short?")
    assert told(text(tmp_path / "rewritten", [line[::-1] for line in LINES[:300]])).endswith(
        "100.0% of the old one gone."
    )


def test_a_little_is_not_nothing(here: Tracker, tmp_path: Path) -> None:
    lines = [f"{line.strip()} And {number}.\n" for number in range(40) for line in LINES]
    trained(here, lines)
    changed = told(text(tmp_path / "changed", [*lines[:-1], lines[-1].replace("And", "and")]))
    assert changed.endswith(", less than 0.1% of it new, less than 0.1% of the old one gone.")


def test_a_night_on_which_nothing_is_new_is_told(here: Tracker, last: Corpus, tmp_path: Path) -> None:
    same = text(tmp_path / "same", LINES)
    assert told(same).startswith("Nothing has changed since run ")
    assert told(same, seed=2) == ""
    assert told(same, name="another") == ""
    assert told(text(tmp_path / "other", LINES[:9]), **{"corpus.source": "other.txt"}) == ""
    trained(here, LINES[:9], **{RERUN_OF_TAG: "0" * 32})
    assert told(same).startswith("Nothing has changed"), "a rerun of an older night is no night"
    assert told(same, code_sha256="d") == ""


def test_nights_that_failed_are_told_where_the_runs_are_listed(here: Tracker) -> None:
    assert "no runs in" in list_runs(here, as_json=False)
    for _ in range(3):
        record_failure("nightly", ValueError("the text is not there"))
    [_, said] = list_runs(here, as_json=False).splitlines()
    assert said.startswith("The last 3 scheduled runs of nightly failed, at ")
    assert said.endswith(": the text is not there")
    assert list_runs(here, as_json=True) == "[]"
    (damaged,) = Path(home()).glob("failed-*.json")
    damaged.write_text('{"count": 1}')
    assert "scheduled" not in list_runs(here, as_json=False)
    record_failure("nightly", ValueError("once\nmore"))
    assert list_runs(here, as_json=False).endswith(": once more")
    forget_failures("nightly")
    assert "scheduled" not in list_runs(here, as_json=False)


def test_only_a_run_of_the_schedule_shows_that_it_works_again(here: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person's own run, or a rerun of one that kept its text, does not."""
    record_failure("nightly", ValueError("the text is not there"))
    with scheduled_run_log("nightly"):
        pass
    assert "scheduled" in list_runs(here, as_json=False)
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "a-schedule")
    with scheduled_run_log("nightly"):
        pass
    assert "scheduled" not in list_runs(here, as_json=False)
