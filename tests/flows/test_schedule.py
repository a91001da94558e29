"""A schedule on a real Prefect server: its run is in Prefect and in MLflow, and each names the other."""

import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from mlflow import MlflowClient


@pytest.mark.timeout(400)
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
            time.sleep(5)  # the flow run ends after its report
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
    assert place.processes() == []
