"""`minigpt run`, `rerun`, `compare`, `runs` and `sample` as a user calls them, on real servers and stores."""

import json
import math
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minigpt.checkpoints.folders import newest_intact, step_of
from minigpt.checkpoints.format import load_checkpoint, weights_of, weights_sha256
from minigpt.io.journal import curve_sha256, loss_curve, read_journal
from minigpt.io.records import EvaluationRecord, of_kind
from minigpt.io.store import MANIFEST
from tests.conftest import HELD_OUT

ROOT = Path(__file__).parents[2]
KEYS = {
    "run_id", "flow_run_id", "status", "steps", "training_seconds", "tokens_per_second", "train_loss", "val_loss",
    "perplexity", "bits_per_byte", "best_step", "best_val_loss", "overfitting_since_step", "parameters",
    "corpus_sha256", "weights_sha256", "curve_sha256", "cost", "samples", "run_dir",
}  # fmt: skip
TASKS = ["corpus download", "evaluation", "report", "run opening", "sample generation", "tokenization", "train/val split", "training"]  # fmt: skip  # noqa: E501


def test_the_result_holds_what_scripts_rely_on(smoke: dict[str, Any]) -> None:
    assert set(smoke) >= KEYS
    assert smoke["status"] == "completed"
    assert smoke["steps"] == 60
    assert smoke["perplexity"] == pytest.approx(math.exp(smoke["val_loss"]))
    assert set(smoke["cost"]) == {"quoted", "actual"}
    assert 0 < smoke["training_seconds"] < 60


def test_the_digests_are_those_of_the_files(smoke: dict[str, Any]) -> None:
    folder = Path(smoke["run_dir"])
    records = read_journal(folder / "journal.jsonl")
    assert [step for step, _ in loss_curve(records)] == list(range(1, 61))
    assert curve_sha256(loss_curve(records)) == smoke["curve_sha256"]
    model, _ = load_checkpoint(folder / "checkpoints" / "last-0000060")
    assert weights_sha256(weights_of(model)) == smoke["weights_sha256"]


def test_every_step_of_the_card_is_a_final_task_of_one_flow_run(smoke: dict[str, Any], workplace: Any) -> None:
    with sqlite3.connect(workplace.home / "prefect" / "prefect.db") as database:
        rows = database.execute(
            "select name, state_type from task_run where replace(flow_run_id, '-', '') = ?",
            [smoke["flow_run_id"].replace("-", "")],
        ).fetchall()
        flow_state = database.execute(
            "select state_type from flow_run where replace(id, '-', '') = ?", [smoke["flow_run_id"].replace("-", "")]
        ).fetchone()
    assert sorted(name.rpartition("-")[0] for name, _ in rows) == TASKS
    assert {state for _, state in rows} == {"COMPLETED"}
    assert flow_state == ("COMPLETED",)


def test_a_rerun_is_identical_and_reuses_all_but_the_training(smoke: dict[str, Any], workplace: Any) -> None:
    cache = workplace.home / "cache"

    def made() -> dict[Path, int]:
        """Each entry with what changes when it is filled again."""
        return {path: path.stat().st_ino for path in cache.glob(f"*/[!.]*/{MANIFEST}")}

    before = made()
    again = workplace.json("rerun", smoke["run_id"])
    assert {path.parts[-3] for path in before} >= {"corpus", "tokens", "windows"}
    assert made() == before
    assert again["run_id"] != smoke["run_id"]
    assert again["rerun"]["identical"]
    assert again["curve_sha256"] == smoke["curve_sha256"]
    assert again["weights_sha256"] == smoke["weights_sha256"]
    [listed] = [run for run in workplace.json("runs") if run["run_id"] == again["run_id"]]
    assert listed["name"].endswith("-rerun")
    assert len(list((workplace.home / "cache" / "tokens").glob("[!.]*"))) == 1
    assert len(list((workplace.home / "cache" / "windows").glob("[!.]*"))) == 1


@pytest.fixture(scope="module")
def differing_rerun(
    smoke: dict[str, Any], workplace: Any, tmp_path_factory: pytest.TempPathFactory
) -> subprocess.CompletedProcess[str]:
    """With another seed, an edited minigpt, another lock and other threads."""
    edited = tmp_path_factory.mktemp("edited")
    for package in ("minigpt", "tasks", "flows"):
        shutil.copytree(ROOT / package, edited / package)
    with (edited / "minigpt" / "model.py").open("a") as file:
        file.write("# edited\n")
    (edited / "requirements.lock").write_text("# another lock\n")
    return subprocess.run(
        workplace.command("rerun", smoke["run_id"], "--set", "seed=7", "--set", "environment.threads=2"),
        cwd=workplace.folder,
        env={**workplace.environment(), "PYTHONPATH": str(edited)},
        capture_output=True,
        text=True,
        timeout=280,
    )


def test_a_rerun_with_another_seed_says_where_it_differs(
    smoke: dict[str, Any], workplace: Any, differing_rerun: subprocess.CompletedProcess[str]
) -> None:
    done = differing_rerun
    assert done.returncode == 3
    assert "from step 1" in done.stdout
    assert "config.seed: was 123, is 7" in done.stdout
    compared, measured = workplace.run_together(
        ("compare", smoke["run_id"], "latest"),
        ("evaluate", smoke["run_id"], "latest", "--on", str(HELD_OUT)),
    )
    assert "seed" in compared.stdout
    assert "learning_rate" not in compared.stdout
    assert {line.split()[0] for line in measured.stdout.splitlines()[2:4]} >= {smoke["run_id"][:12]}
    [told] = [line for line in measured.stdout.splitlines() if "standard error" in line]
    assert "bits per byte less than" in told


def test_a_rerun_names_every_fact_that_is_not_the_same(differing_rerun: subprocess.CompletedProcess[str]) -> None:
    for fact in ("code_and_data.code_sha256", "code_and_data.lock_sha256", "config.environment.threads: was 1, is 2"):
        assert fact in differing_rerun.stdout


def test_evaluating_and_sampling_more_often_change_no_weight(smoke: dict[str, Any], workplace: Any) -> None:
    settings = ("evaluation.every_steps=10", "sampling.every_steps=7", "training.checkpoint_every_steps=null")
    again = workplace.json("run", "smoke", *(word for setting in settings for word in ("--set", setting)))
    assert again["weights_sha256"] == smoke["weights_sha256"]
    assert again["curve_sha256"] == smoke["curve_sha256"]


def test_the_best_checkpoint_writes(smoke: dict[str, Any], workplace: Any) -> None:
    arguments = ("sample", smoke["run_id"], "--prompt", "The ", "--max-new-tokens", "20", "--seed", "5")
    first, second = workplace.run_together(arguments, arguments)
    assert first.returncode == 0
    assert first.stdout.startswith("The ")
    assert first.stdout == second.stdout
    assert workplace.json(*arguments) == {"prompt": "The ", "texts": [first.stdout.removesuffix("\n")]}


@pytest.fixture(scope="module")
def place_without_runs(new_workplace: Callable[[], Any]) -> Iterator[Any]:
    """A workplace with texts that no run can use."""
    place = new_workplace()
    texts = {
        "empty.txt": b"",
        "latin1.txt": b"caf\xe9",
        "short.txt": b"short\ntext\n" * 9,
        "same.txt": b"the same line\n" * 500,
    }
    for name, data in texts.items():
        (place.folder / name).write_bytes(data)
    with place.prefect_server():
        yield place


@pytest.fixture(scope="module")
def refused(
    request: pytest.FixtureRequest, place_without_runs: Any
) -> dict[tuple[str, ...], subprocess.CompletedProcess[str]]:
    """What each command that is asked about says, two at a time."""
    items = [item for item in request.session.items if "refused" in getattr(item, "fixturenames", ())]
    commands = [tuple(item.callspec.params["arguments"]) for item in items]  # type: ignore[attr-defined]
    return dict(zip(commands, place_without_runs.run_together(*commands), strict=True))


def slow(arguments: list[str], words: str) -> Any:
    """Of one sort with those that are not."""
    return pytest.param(arguments, words, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nothing"], "neither a file nor one of the presets"),
        (["run", "smoke", "--set", "model.heads=3"], "heads 3 does not divide width 32"),
        (["run", "smoke", "--set", "corpus.source=missing.txt"], "missing.txt does not exist"),
        (["run", "smoke", "--set", "corpus.source=empty.txt"], "is empty"),
        slow(["run", "smoke", "--set", "corpus.source=latin1.txt"], "not UTF-8 from byte 3 on"),
        slow(["run", "smoke", "--set", "corpus.source=short.txt"], "leaves one side of 99 characters empty"),
        (["run", "smoke", "--set", "corpus.source=same.txt"], "vocabulary_size asks for 300"),
        slow(["run", "verdict", "--set", "corpus.source=short.txt"], "corpus.sha256=null"),
        (["run", "smoke", "--set", "model.context_length=7000"], "context_length 7000 exceeds"),
        (["run", "smoke", "--set", "sampling.prompt=" + "word " * 99], "the context holds 1 to 32"),
        (["run", "smoke", "--tracking-uri", "http://127.0.0.1:9"], "no MLflow server answers"),
        (["rerun", "0000"], "there is no run"),
        (["sample", "0000", "--prompt", "x"], "there is no run"),
        (["estimate"], "estimate needs"),
        (["schedule", "smoke", "--cron", "every day"], "is not a cron expression"),
        (["schedule", "smoke", "--cron", "0 0 3 * * *"], "is not a cron expression"),
        slow(["schedule", "smoke", "--cron", "0 0 31 2 *"], "is not a cron expression, or matches no day"),
        (["schedule", "smoke", "--cron", "0 3 * * *", "--tracking-uri", "htp://host"], "is neither sqlite:///PATH"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
@pytest.mark.timeout(900)  # of the first, which waits for all
def test_bad_input_is_one_sentence_and_exit_2(
    arguments: list[str],
    words: str,
    refused: dict[tuple[str, ...], subprocess.CompletedProcess[str]],
    place_without_runs: Any,
) -> None:
    place, done = place_without_runs, refused[tuple(arguments)]
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not list(place.home.glob("runs/*"))
    commands = [process.cmdline() for process in place.processes()]
    assert not [words for words in commands if any(word.endswith(("/minigpt", "minigpt.training")) for word in words)]


def test_a_run_that_gets_no_better_stops_early(workplace: Any) -> None:
    settings = ("training.early_stopping_evaluations=1", "training.learning_rate=2", "evaluation.every_steps=5")
    result = workplace.json("run", "smoke", *(word for setting in settings for word in ("--set", setting)))
    evaluations = list(of_kind(read_journal(Path(result["run_dir"]) / "journal.jsonl"), EvaluationRecord))
    assert result["status"] == "stopped_early"
    assert result["steps"] == result["best_step"] + 5 < 60
    assert evaluations[-1].val_loss >= result["best_val_loss"]


@pytest.mark.slow
def test_a_divergence_that_an_evaluation_finds_first_is_one_as_well(workplace: Any) -> None:
    every_step = ("evaluation.every_steps=1", "training.checkpoint_every_steps=1")
    settings = ("training.learning_rate=10", "training.weight_decay=10", "training.max_steps=200", *every_step)
    result = workplace.json("run", "smoke", *(word for setting in settings for word in ("--set", setting)), code=1)
    assert result["status"] == "diverged"


def test_a_run_that_diverges_says_so_and_keeps_its_last_good_weights(workplace: Any) -> None:
    settings = ("training.learning_rate=10", "training.weight_decay=10", "training.max_steps=200")
    result = workplace.json("run", "smoke", *(word for setting in settings for word in ("--set", setting)), code=1)
    assert result["status"] == "diverged"
    assert result["steps"] < 200
    assert any("diverged" in sentence for sentence in result["words"])
    kept = max(map(step_of, (Path(result["run_dir"]) / "checkpoints").iterdir()))
    assert any(f"weights of step {kept} were kept" in sentence for sentence in result["words"])
    listed = json.loads(workplace.run("runs", "--json").stdout)
    assert [run["status"] for run in listed if run["run_id"] == result["run_id"]] == ["diverged"]
    with sqlite3.connect(workplace.home / "prefect" / "prefect.db") as database:
        [(state,)] = database.execute(
            "select state_type from flow_run where replace(id, '-', '') = ?", [result["flow_run_id"].replace("-", "")]
        )
    assert state == "FAILED", "who is told of failures by Prefect hears of it"
    assert newest_intact(Path(result["run_dir"]) / "checkpoints", "best") is not None
