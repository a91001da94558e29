"""`minigpt compare`: what was not the same, what came out, and what keeps the one from being told by the other."""

import fcntl
import json
import os
import struct
import subprocess
import termios
import time
from contextlib import suppress
from typing import Any

import pytest
from mlflow import MlflowClient

from minigpt.errors import InputError
from tasks.commands.compare import compare_runs, list_runs
from tasks.tracking.live import create_run
from tasks.tracking.tracker import Tracker
from tasks.tracking.write import DECISION_TAG
from tests.conftest import Workplace

PARAMS = {"seed": 1, "corpus.sha256": "a" * 64, "split.validation_fraction": 0.1, "tokenizer.kind": "bpe"}


def made(here: Tracker, name: str, params: dict[str, Any] | None = None, **facts: str) -> None:
    packages = {"torch": facts.pop("torch", "2.13.0"), "mlflow": "3.17.2"}
    time.sleep(0.002)  # each has a start of its own
    tags = {"minigpt.packages": json.dumps(packages), **{f"minigpt.{fact}": value for fact, value in facts.items()}}
    create_run(here, name, {**PARAMS, **(params or {})}, tags)


def rows(here: Tracker, *names: str) -> dict[str, list[str]]:
    _, *lines = compare_runs(here, list(names), as_json=False).splitlines()
    return {words[0]: words[1:] for words in map(str.split, lines)}


def test_facts_that_differ_are_told_beside_hyperparameters(here: Tracker) -> None:
    made(here, "before", code_sha256="a" * 64, cpu_class="GenuineIntel")
    made(here, "after", {"seed": 2}, code_sha256="b" * 64, cpu_class="GenuineIntel", torch="2.14.0")
    compared = rows(here, "before", "after")
    assert list(compared) == ["name", "status", "seed", "torch", "code_sha256"]
    assert compared["torch"] == ["2.13.0", "2.14.0"]
    assert compared["code_sha256"] == ["a" * 12, "b" * 12]
    whole = json.loads(compare_runs(here, ["before", "after"], as_json=True))
    assert {run["facts.code_sha256"] for run in whole.values()} == {"a" * 64, "b" * 64}


def test_a_run_is_not_compared_with_itself(here: Tracker) -> None:
    made(here, "alone")
    for names in (["alone"], ["alone", "alone"]):
        with pytest.raises(InputError, match="that is one run, and two are needed"):
            compare_runs(here, names, as_json=False)


def test_a_result_that_one_run_has_and_another_has_not_is_left_blank(here: Tracker) -> None:
    made(here, "stopped")
    ended = create_run(here, "ended", PARAMS, {})
    MlflowClient(here.address.tracking_uri).log_metric(str(ended.mlflow_id), "best/step", 300)
    compared = rows(here, "stopped", "ended")
    assert compared["best_step"] == ["300"]
    assert "NaN" not in compare_runs(here, ["stopped", "ended"], as_json=False)
    whole = json.loads(compare_runs(here, ["stopped", "ended"], as_json=True))
    assert sorted(str(run["best_step"]) for run in whole.values()) == ["300", "None"]


def test_a_list_begins_with_what_is_asked_first(here: Tracker) -> None:
    """A terminal may not be wide enough for all of it."""
    run = create_run(here, "ended", PARAMS, {})
    MlflowClient(here.address.tracking_uri).log_metric(str(run.mlflow_id), "final/val_loss", 2.0)
    MlflowClient(here.address.tracking_uri).set_tag(str(run.mlflow_id), DECISION_TAG, "ship")
    assert list_runs(here, as_json=False).split()[:6] == ["run_id", "name", "started", "status", "decision", "val_loss"]
    MlflowClient(here.address.tracking_uri).log_metric(str(run.mlflow_id), "best/step", 300)
    made(here, "running")
    listed = list_runs(here, as_json=False)
    assert listed.splitlines()[2].endswith(" 300")
    assert "NA" not in listed
    assert [each["best_step"] for each in json.loads(list_runs(here, as_json=True))] == [None, 300]


@pytest.mark.parametrize(
    ("params", "corpus", "sentence"),
    [
        ({"corpus.sha256": "b" * 64}, "b" * 64, "The validation texts are not the same"),
        ({"split.validation_fraction": 0.2}, "a" * 64, "The validation texts are not the same"),
        ({"tokenizer.kind": "gpt2"}, "a" * 64, "The tokenizers are not the same"),
    ],
)
def test_results_that_cannot_be_compared_are_said_not_to_be(
    here: Tracker, params: dict[str, Any], corpus: str, sentence: str
) -> None:
    made(here, "before", corpus_sha256="a" * 64)
    made(here, "same", corpus_sha256="a" * 64)
    made(here, "after", params, corpus_sha256=corpus)
    assert "not the same" not in compare_runs(here, ["before", "same"], as_json=False)
    [caution] = [
        line for line in compare_runs(here, ["before", "after"], as_json=False).splitlines() if "not the same" in line
    ]
    assert caution.startswith(sentence)


def test_no_line_is_longer_than_the_terminal_is_wide(smoke: dict[str, Any], workplace: Workplace) -> None:
    """In a terminal of 80 columns; nothing is left out, and elsewhere a run has a line of its own."""
    [header, *_] = workplace.run("runs").stdout.splitlines()
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {name: value for name, value in workplace.environment().items() if name != "COLUMNS"}
    process = subprocess.Popen(workplace.command("runs"), cwd=workplace.folder, env=environment, stdout=theirs)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # when the other end is closed
        while data := os.read(ours, 4096):
            shown += data
    os.close(ours)
    assert process.wait() == 0
    lines = shown.decode().splitlines()
    assert len(header) > 80
    assert max(len(line) for line in lines) <= 80
    assert {*header.split(), smoke["run_id"][:12]} <= {word for line in lines for word in line.split()}
