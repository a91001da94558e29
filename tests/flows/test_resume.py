"""`minigpt resume`: after a kill at any moment the same run, the same bits, nothing lost and nothing twice."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minigpt import checkpoint, journal

# Longer than smoke, so that there is something to kill.
SETTINGS = ("--set", "training.max_steps=400", "--set", "training.checkpoint_every_steps=50")
MEASURED = ("throughput/tokens_per_second", "quote/", "bill/")


@pytest.fixture(scope="module")
def undisturbed(workplace: Any) -> dict[str, Any]:
    result: dict[str, Any] = workplace.json("run", "smoke", *SETTINGS)
    return result


def kill_when(place: Any, command: list[str], moment: Callable[[], bool], how: signal.Signals) -> None:
    with subprocess.Popen(command, cwd=place.folder, env=place.environment(), stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not moment():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if how == signal.SIGKILL:  # the trainer as well, which would save otherwise
            for ours in place.processes():
                ours.kill()
        else:
            process.send_signal(how)
        process.wait(60)


def steps_of(place: Any) -> int:
    found = list(place.home.glob("runs/*/journal.jsonl"))
    return len(journal.curve(journal.read(found[0]))) if found else 0


def points(home: Path, run_id: str) -> list[tuple[str, int, float]]:
    with sqlite3.connect(home / "mlflow.db") as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
        rows = database.execute(
            "select key, step, value from metrics where run_uuid = ? order by 1, 2, 3", [run_id]
        ).fetchall()
    return [row for row in rows if not row[0].startswith(MEASURED)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_goes_on_to_the_same_bits(
    how: signal.Signals, seed: int, undisturbed: dict[str, Any], workplace: Any, new_workplace: Callable[[], Any]
) -> None:
    place = new_workplace()
    moment = random.Random(seed).randrange(1, 380)  # noqa: S311
    kill_when(place, place.command("run", "smoke", *SETTINGS), lambda: steps_of(place) >= moment, how)
    (folder,) = place.home.glob("runs/*")
    assert steps_of(place) < 400
    (listed,) = json.loads(place.run("runs", "--json").stdout)
    assert listed["status"] == ("dead" if how == signal.SIGKILL else "interrupted")
    again = place.json("resume")
    assert again["run_id"] == folder.name
    for key in ("weights_sha256", "curve_sha256", "steps", "val_loss", "best_step", "status"):
        assert again[key] == undisturbed[key]
    assert points(place.home, folder.name) == points(workplace.home, undisturbed["run_id"])
    curve = journal.curve(journal.read(folder / "journal.jsonl"))
    assert [step for step, _ in curve] == list(range(1, 401))
    assert not [path for path in place.home.rglob("*.tmp") if "prefect" not in path.parts]
    assert place.processes() == []
    with sqlite3.connect(place.home / "prefect" / "prefect.db") as database:
        states = [state for (state,) in database.execute("select state_type from flow_run order by created")]
    assert states[-1] == "COMPLETED"
    assert states[0] in ("CRASHED", "CANCELLED", "FAILED")
    done = place.run("resume")
    assert done.returncode == 2
    assert "there is no run that did not end" in done.stderr


def test_a_step_that_comes_out_otherwise_is_named(new_workplace: Callable[[], Any]) -> None:
    place = new_workplace()
    kill_when(place, place.command("run", "smoke", *SETTINGS), lambda: steps_of(place) >= 120, signal.SIGKILL)
    (folder,) = place.home.glob("runs/*")
    last = checkpoint.newest(folder / "checkpoints", "last")
    assert last is not None
    changed = checkpoint.step_of(last) + 1
    records = journal.read(folder / "journal.jsonl")
    for record in records:
        if record["kind"] == "step" and record["step"] == changed:
            record["loss"] += 1e-12
    (folder / "journal.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    done = place.run("resume")
    assert done.returncode == 1
    assert f"step {changed} done again gives loss" in done.stderr


def test_two_commands_never_write_one_run(new_workplace: Callable[[], Any]) -> None:
    place = new_workplace()
    command = place.command("run", "smoke", "--set", "training.max_steps=1000000")
    with subprocess.Popen(command, cwd=place.folder, env=place.environment(), stderr=subprocess.DEVNULL) as process:
        while steps_of(place) < 20:
            assert process.poll() is None
            time.sleep(0.1)
        (folder,) = place.home.glob("runs/*")
        done = place.run("resume", folder.name)
        assert done.returncode == 2
        assert "is being written" in done.stderr
        os.kill(process.pid, signal.SIGINT)
        process.wait(60)
