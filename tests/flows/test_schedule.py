"""A schedule on a real Prefect server: its run is in Prefect and in MLflow, and each names the other."""

import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from flows.schedule import _local_zone
from minigpt.errors import InputError

TIME_DOWN_SECONDS = 200


@dataclass(frozen=True)
class Outage:
    """A machine that went down with runs scheduled."""

    place: Any
    command: list[str]
    done: int
    """Runs that were completed before."""
    began_seconds: float
    """By the monotonic clock."""


@pytest.fixture(scope="module")
def outage(new_workplace: Callable[[], Any]) -> Outage:
    place = new_workplace()
    command = place.command("schedule", "smoke", "--cron", "* * * * *")
    database = place.home / "prefect" / "prefect.db"
    log = (place.folder / "schedule.log").open("wb")
    with log, subprocess.Popen(command, cwd=place.folder, env=place.environment(), stdout=log, stderr=log) as process:
        try:
            wait_for(lambda: count(database, "SCHEDULED") >= 5, process)
        finally:
            for ours in place.processes():
                ours.kill()
    return Outage(place, command, count(database, "COMPLETED"), time.monotonic())


def test_a_text_that_is_not_there_yet_is_told_at_once(
    new_workplace: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not at three in the morning."""
    place = new_workplace()
    (place.folder / "temporary").mkdir()
    sources = [f"--set={field}" for field in ("corpus.source=soon.txt", "corpus.sha256=null", "held_out.source=later")]
    monkeypatch.setenv("TMPDIR", str(place.folder / "temporary"))
    process = place.start("schedule", "smoke", "--cron", "0 3 * * *", *sources)
    try:
        wait_for(lambda: count(place.home / "prefect" / "prefect.db", "SCHEDULED") > 0, process)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    told = place.log("schedule").read_text()
    assert "corpus.source: soon.txt does not exist; each run fails until it does" in told
    assert "held_out.source: later does not exist; each run fails until it does" in told
    assert place.processes() == []
    assert list((place.folder / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("given", "zone"),
    [
        ("CST6CDT", "CST6CDT"),
        (":Asia/Tokyo", "Asia/Tokyo"),
        ("/usr/share/zoneinfo/America/Argentina/Salta", "America/Argentina/Salta"),
    ],
)
def test_a_zone_that_has_a_name_is_taken(given: str, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.server.schemas.schedules import CronSchedule

    monkeypatch.setenv("TZ", given)
    assert CronSchedule(cron="0 3 * * *", timezone=_local_zone()).timezone == zone


@pytest.mark.parametrize("given", ["Europe/Berln", "MEZ-1MESZ,M3.5.0,M10.5.0/3", "<+05>-5", "Europe", "/etc/hostname"])
def test_a_zone_that_has_none_is_refused_and_not_taken_for_utc(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", given)
    with pytest.raises(InputError, match=f"^TZ is '{re.escape(given)}', .* set it to one, such as TZ=Europe/Berlin"):
        _local_zone()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("outage")  # the other machine is down meanwhile
def test_a_cron_of_every_minute_fires(new_workplace: Callable[[], Any]) -> None:
    place = new_workplace()
    command = place.command("schedule", "smoke", "--cron", "* * * * *")
    log = (place.folder / "schedule.log").open("wb")
    with log, subprocess.Popen(command, cwd=place.folder, env=place.environment(), stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + 240
            while not (results := list(place.home.glob("runs/*/result.json"))):
                assert process.poll() is None, (place.folder / "schedule.log").read_text()
                assert time.monotonic() < deadline, (place.folder / "schedule.log").read_text()
                time.sleep(0.5)
            database = place.home / "prefect" / "prefect.db"
            wait_for(lambda: count(database, "COMPLETED") > 0, process)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    run_id = results[0].parent.name
    client = MlflowClient(f"sqlite:///{place.home}/mlflow.db")
    flow_run_id = client.get_run(run_id).data.tags["prefect.flow_run_id"]
    with sqlite3.connect(place.home / "prefect" / "prefect.db") as database:
        state, created_by = database.execute(
            "select state_type, auto_scheduled from flow_run where replace(id, '-', '') = ?",
            [flow_run_id.replace("-", "")],
        ).fetchone()
        artifacts = database.execute("select key from artifact where key = ?", [f"report-{run_id}"]).fetchall()
    assert (state, created_by) == ("COMPLETED", 1)
    assert artifacts == [(f"report-{run_id}",)]
    assert f"smoke: run {run_id} completed after 60 steps" in (place.folder / "schedule.log").read_text()
    assert left_over(place) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_of_the_nights_that_were_missed_one_is_made_up_for(outage: Outage) -> None:
    """The machine comes back when three are due."""
    place, database = outage.place, outage.place.home / "prefect" / "prefect.db"
    time.sleep(max(0.0, outage.began_seconds + TIME_DOWN_SECONDS - time.monotonic()))
    log = (place.folder / "schedule.log").open("ab")
    with (
        log,
        subprocess.Popen(outage.command, cwd=place.folder, env=place.environment(), stdout=log, stderr=log) as process,
    ):
        wait_for(lambda: count(database, "COMPLETED") > outage.done, process)
        process.send_signal(signal.SIGINT)
        process.wait(60)
    assert count(database, "CANCELLED") >= 2
    assert count(database, "COMPLETED") == outage.done + 1
    assert left_over(place) == []


def left_over(place: Any) -> list[psutil.Process]:
    """What is alive after the schedule; a run that was just due has a moment to end with it."""
    return psutil.wait_procs(place.processes(), timeout=30)[1]


def count(database: Path, state: str) -> int:
    """Flow runs in that state."""
    if not database.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            (found,) = connection.execute("select count(*) from flow_run where state_type = ?", [state]).fetchone()
    except sqlite3.OperationalError:  # its tables are being made
        return 0
    return int(found)


def wait_for(holds: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 240
    while not holds():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.5)
