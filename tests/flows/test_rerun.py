"""What a rerun says."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.config import load_config
from flows.rerun import RERUN_TOLERANCE, Comparison, RecordedRun, first_difference, read_recorded
from minigpt.errors import InputError
from minigpt.io.journal import JOURNAL
from minigpt.runtime.environment import process_facts
from tasks.runs.files import FACTS_FILE, RESULT_FILE
from tasks.runs.names import find_local_run
from tasks.tracking.tracker import OfflineTracker
from tests import records
from tests.values import FACTS, RESULT

SAME = Comparison(
    of_run="a" * 32,
    steps=60,
    identical=True,
    first_differing_step=None,
    differing_facts=[],
    another_class=False,
    val_loss_difference=0.0,
    curve_sha256="c" * 64,
    weights_sha256="d" * 64,
)

OTHER_SEED = replace(SAME, identical=False, first_differing_step=1, differing_facts=["config.seed: was 123, is 7"])
OTHER_CLASS = replace(OTHER_SEED, another_class=True, differing_facts=["process.cpu_class: was A, is B"])


@pytest.mark.parametrize(
    ("comparison", "words"),
    [
        (SAME, f"identical to {'a' * 32}, 60 steps, sha256 {'c' * 64}"),
        (replace(SAME, differing_facts=["x: was 1, is 2"]), "although these differ: x: was 1, is 2"),
        (OTHER_SEED, "from step 1; what differs: config.seed: was 123, is 7"),
        (replace(OTHER_SEED, first_differing_step=None), "in the weights alone"),
        (replace(OTHER_SEED, differing_facts=[]), "none of the recorded facts"),
        (OTHER_CLASS, f"another machine class, which need not give the same bits: agrees with {'a' * 32}"),
        (replace(OTHER_CLASS, val_loss_difference=2 * RERUN_TOLERANCE), "differs from"),
    ],
)
def test_a_rerun_says_in_one_sentence_how_it_went(comparison: Comparison, words: str) -> None:
    assert words in comparison.sentence
    assert "\n" not in comparison.sentence


@pytest.mark.parametrize(
    ("before", "now", "step"),
    [
        ([(1, 0.5), (2, 0.25)], [(1, 0.5), (2, 0.25)], None),
        ([(1, 0.5), (2, 0.25)], [(1, 0.5), (2, 0.25 + 2**-54)], 2),
        ([(1, 0.5), (2, 0.25)], [(1, 0.5)], 2),
        ([], [(1, 0.5)], 1),
    ],
)
def test_the_first_step_that_differs_in_a_bit(
    before: list[tuple[int, float]], now: list[tuple[int, float]], step: int | None
) -> None:
    assert first_difference(before, now) == step


def test_a_run_that_was_resumed_elsewhere_has_every_fact_that_it_had() -> None:
    journal = [records.start(cpu_class="A"), records.resume(cpu_class="B")]
    run = RecordedRun("a" * 32, "name", load_config("smoke"), None, FACTS, journal, RESULT)
    process = run.all_facts()["process"]
    assert (process["cpu_class"], process["torch_threads"]) == ("A, then B", "2")
    assert process.keys() == process_facts().keys()


@pytest.mark.parametrize(("name", "kept_lines"), [(FACTS_FILE, 1), (RESULT_FILE, 3), (JOURNAL, 0), (JOURNAL, -1)])
def test_a_damaged_run_is_refused_before_its_rerun_trains(
    name: str, kept_lines: int, smoke: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path))
    shutil.copytree(smoke["run_dir"], tmp_path / "runs" / smoke["run_id"])
    run = find_local_run("latest")
    assert read_recorded(run, OfflineTracker(run.tracking)).result.curve_sha256 == smoke["curve_sha256"]
    path = run.folder / name
    lines = path.read_bytes().splitlines(keepends=True)[:kept_lines]
    path.unlink()  # MLflow's copy may be the same file
    path.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match=f"{path} is damaged .*; put it back from a copy"):
        read_recorded(run, OfflineTracker(run.tracking))
