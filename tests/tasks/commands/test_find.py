"""Which run a person means, and how a run of this home comes into MLflow."""

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from minigpt.errors import InputError
from minigpt.io.journal import JOURNAL
from minigpt.io.store import write_atomically
from tasks.commands.compare import list_runs
from tasks.commands.find import runs_table
from tasks.home.settings import TrackingAddress
from tasks.runs.files import FACTS_FILE, PUBLISHED_FILE, RESULT_FILE
from tasks.runs.lease import LEASE_FILE, no_owner, take_lease
from tasks.runs.names import find_local_run, match_run
from tasks.runs.run import RERUN_OF_TAG, Run
from tasks.tracking.live import create_run, report_status
from tasks.tracking.read import tracked_runs
from tasks.tracking.recovery import settle_dead_runs
from tasks.tracking.sync import sync_runs
from tasks.tracking.tracker import MlflowTracker, OfflineTracker, Tracker
from tasks.tracking.write import DIAGNOSIS_TAG, OUR_ID_TAG, _create, attach_to_mlflow, set_tags
from tests.values import FACTS, result_with

ADDRESS = TrackingAddress(tracking_uri="sqlite:///mlflow.db", experiment="minigpt")


def offline_at(tracker: Tracker, **changes: str) -> OfflineTracker:
    return OfflineTracker(tracker.address.model_copy(update=changes))


def made(tracker: Tracker, name: str, *, offline: bool = False) -> Run:
    time.sleep(0.002)  # each has a start of its own
    params = {"seed": 1, "name": name}
    return create_run(offline_at(tracker) if offline else tracker, name, params, {})


def ended(val_loss: float) -> bytes:
    """The result of a run that completed."""
    return result_with(val_loss=val_loss).model_dump_json().encode()


def test_a_name_is_meant_before_the_beginning_of_an_id() -> None:
    runs = [Run(run_id, name, ADDRESS, 0, {}, {}) for run_id, name in (("12", "x"), ("34", "1"), ("15", "y"))]
    found = {
        text: run and run.run_id for text in ("latest", "1", "3", "15", "y", "z") for run in [match_run(text, runs)]
    }
    assert found == {"latest": "12", "1": "34", "3": "34", "15": "15", "y": "15", "z": None}
    with pytest.raises(InputError, match="2 runs have ids that begin with '1'"):
        match_run("1", [run for run in runs if run.name != "1"])


def test_a_configs_name_means_its_newest_run_that_has_ended_and_repeats_no_other(here: Tracker) -> None:
    old, new, again, running = (made(here, name, offline=True) for name in ("night-1", "night-2", "night-3", "night-4"))
    for run in (old, new, again, running):
        replace(run, params={**run.params, "name": "night"}, tags={RERUN_OF_TAG: "0"} if run == again else {}).save()
    assert find_local_run("night").name == "night-4"
    for run in (old, new, again):
        write_atomically(run.folder / RESULT_FILE, ended(val_loss=2.5))
    assert find_local_run("night").name == "night-2"
    assert find_local_run("night-1").run_id == old.run_id


def test_who_was_written_down_by_an_earlier_version_lives_as_well(here: Tracker) -> None:
    run = made(here, "trains")
    owner = json.loads((run.folder / LEASE_FILE).read_bytes())
    for born, status in ((psutil.Process().create_time(), "running"), (1.0, "dead")):
        (run.folder / LEASE_FILE).write_text(json.dumps({**owner, "born": born}))
        assert list(runs_table(here)["status"]) == [status]


@pytest.mark.parametrize("offline", [True, False])
def test_the_latest_run_is_the_newest_that_has_ended_and_repeats_none(here: Tracker, offline: bool) -> None:
    where = offline_at(here) if offline else here
    finished = made(where, "finished", offline=offline)
    write_atomically(finished.folder / RESULT_FILE, ended(val_loss=2.5))
    again = create_run(where, "finished-rerun", {"seed": 1}, {RERUN_OF_TAG: finished.run_id})
    write_atomically(again.folder / RESULT_FILE, ended(val_loss=2.5))
    made(where, "trains", offline=offline)
    assert where.find("latest").run_id == finished.run_id
    assert where.find("trains").name == "trains"


def test_the_latest_run_is_one_that_mlflow_has_yet_to_get(here: Tracker) -> None:
    first = made(here, "first")
    later = made(here, "later", offline=True)
    elsewhere = made(offline_at(here, experiment="another"), "elsewhere")
    assert here.find("latest").run_id == later.run_id
    assert here.find("first").run_id == first.run_id
    assert here.find("elsewhere").run_id == elsewhere.run_id
    assert list(runs_table(here)["name"]) == ["elsewhere", "later", "first"]


def test_a_run_that_breaks_off_on_its_way_into_mlflow_gets_its_hyperparameters_later(here: Tracker) -> None:
    run = made(here, "sent", offline=True)
    _create(run, {OUR_ID_TAG: run.run_id})  # and not its params
    assert list(runs_table(here)["run_id"]) == [run.run_id]
    attached = attach_to_mlflow(run)
    client = MlflowClient(here.address.tracking_uri)
    assert client.get_run(attached.mlflow_id).data.params == {"seed": "1", "name": "sent"}
    assert len(client.search_runs([attached.experiment_id])) == 1
    assert find_local_run("sent").mlflow_id == attached.mlflow_id


def test_two_commands_that_send_one_run_make_one_of_it(here: Tracker) -> None:
    run = made(here, "sent", offline=True)
    with ThreadPoolExecutor(4) as pool:
        attached = list(pool.map(attach_to_mlflow, [run] * 4))
    assert len({run.mlflow_id for run in attached}) == 1
    assert [sent.run_id for sent in tracked_runs(here.address)] == [run.run_id]


def test_a_run_that_died_is_nobodys_until_another_process_takes_it_over(here: Tracker) -> None:
    run = made(here, "died")
    owner = json.loads((run.folder / LEASE_FILE).read_bytes())
    (run.folder / LEASE_FILE).write_text(json.dumps({**owner, "pid": 2**22 + 1}))
    with no_owner(run.folder) as free:
        assert free
    take_lease(run.folder)
    with no_owner(run.folder) as free:
        assert not free
    assert json.loads((run.folder / LEASE_FILE).read_bytes())["pid"] == os.getpid()


def test_runs_that_died_are_told_from_those_that_train(here: Tracker) -> None:
    run = made(here, "trains")
    assert list(runs_table(here)["status"]) == ["running"]
    owner = json.loads((run.folder / LEASE_FILE).read_bytes())
    (run.folder / LEASE_FILE).write_text(json.dumps({**owner, "pid": 2**22 + 1}))
    assert list(runs_table(here)["status"]) == ["dead"]


def test_a_run_of_another_host_is_said_to_be_and_how_to_take_it_over(here: Tracker) -> None:
    run = made(here, "elsewhere")
    owner = json.loads((run.folder / LEASE_FILE).read_bytes())
    (run.folder / LEASE_FILE).write_text(json.dumps({**owner, "host": "pod-7"}))
    with pytest.raises(InputError, match=f"on pod-7; .*if that machine is gone, delete {run.folder / LEASE_FILE}"):
        take_lease(run.folder)
    (run.folder / LEASE_FILE).unlink()
    take_lease(run.folder)


@pytest.mark.parametrize("offline", [True, False])
def test_one_damaged_run_keeps_no_other_from_being_listed(
    offline: bool, here: Tracker, caplog: pytest.LogCaptureFixture
) -> None:
    damaged, whole = made(here, "damaged", offline=offline), made(here, "whole", offline=offline)
    write_atomically(whole.folder / RESULT_FILE, ended(val_loss=2.5)[:-7])
    assert "whole" in list(runs_table(here)["name"])
    assert f"{whole.folder / RESULT_FILE} is damaged" in caplog.text
    (damaged.folder / "tracking.json").write_bytes(b"{}")
    assert list(runs_table(here)["name"]) == (["whole"] if offline else ["whole", "damaged"])
    assert find_local_run("latest").run_id == whole.run_id
    assert f"{damaged.folder / 'tracking.json'} is damaged" in caplog.text


def test_a_dead_run_with_a_damaged_journal_keeps_nobody_from_training(here: Tracker) -> None:
    run = made(here, "died")
    (run.folder / JOURNAL).write_bytes(b"no record\n")
    owner = json.loads((run.folder / LEASE_FILE).read_bytes())
    (run.folder / LEASE_FILE).write_text(json.dumps({**owner, "pid": 2**22 + 1}))
    settle_dead_runs(here, None)
    assert [sent.mlflow_status for sent in tracked_runs(here.address)] == ["killed"]


def test_a_run_outlives_a_change_of_the_clock(here: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    made(here, "trains")
    monkeypatch.setattr(psutil, "boot_time", lambda: time.time() - 60)
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: time.time() - 60)
    assert list(runs_table(here)["status"]) == ["running"]


def test_asking_makes_nothing(here: Tracker, tmp_path: Path) -> None:
    assert runs_table(here).empty
    assert not list(tmp_path.iterdir())
    made(here, "first")
    assert runs_table(MlflowTracker(here.address.model_copy(update={"experiment": "mistyped"}))).empty
    assert {e.name for e in MlflowClient(here.address.tracking_uri).search_experiments()} == {"Default", "minigpt"}


@pytest.mark.parametrize(("said", "status"), [("failed", "FAILED"), ("interrupted", "KILLED")])
def test_how_a_run_ended_offline_is_told_when_it_is_sent(here: Tracker, said: str, status: str) -> None:
    run = made(here, "ended", offline=True)
    FACTS.write(run.folder / FACTS_FILE)
    report_status(run, offline_at(here), status, said, {"minigpt.error": "why"})
    (run.folder / LEASE_FILE).unlink()
    [sentence] = sync_runs("ended")
    assert "`minigpt resume" in sentence
    [sent] = tracked_runs(here.address)
    assert (sent.mlflow_status, sent.tags["minigpt.status"], sent.tags["minigpt.error"]) == (
        status.lower(),
        said,
        "why",
    )


def test_an_id_that_others_wrote_into_a_tag_leads_nowhere(here: Tracker, tmp_path: Path) -> None:
    run = made(here, "theirs")
    set_tags(run, {OUR_ID_TAG: str(tmp_path / "elsewhere")})
    shutil.rmtree(run.folder)
    assert here.find("theirs").folder == run.folder


def test_how_a_run_was_stopped_stands_in_its_folder_as_well(here: Tracker) -> None:
    run = made(here, "stopped")
    report_status(run, here, "KILLED", "interrupted", {})
    (run.folder / LEASE_FILE).unlink()
    for tracker in (here, offline_at(here)):
        assert list(runs_table(tracker)["status"]) == ["interrupted"]


def test_offline_a_run_is_what_its_folder_says(here: Tracker) -> None:
    run, offline = made(here, "here", offline=True), offline_at(here)
    (run.folder / LEASE_FILE).unlink()
    assert list(runs_table(offline)["status"]) == ["dead"]
    report_status(run, offline, "FAILED", "failed", {})
    assert list(runs_table(offline)["status"]) == ["failed"]
    write_atomically(run.folder / RESULT_FILE, ended(val_loss=2.5))
    assert list(runs_table(offline)["status"]) == ["completed, not synced"]
    write_atomically(run.folder / PUBLISHED_FILE, b"")
    assert list(runs_table(offline)["status"]) == ["completed"]


@pytest.mark.parametrize("offline", [True, False])
def test_a_run_that_has_yet_to_be_sent_has_results(here: Tracker, offline: bool) -> None:
    """Be it that MLflow knows nothing of it, or that it missed the end alone."""
    run = made(here, "unsent", offline=offline)
    write_atomically(run.folder / RESULT_FILE, ended(val_loss=2.5))
    [shown] = runs_table(here).to_dict("records")
    assert shown["metrics.final/val_loss"] == 2.5
    assert (shown["metrics.best/step"], shown["metrics.bill/usd"]) == (7, 0.5)


def test_a_run_of_the_hour_that_comes_twice_is_listed(here: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    started = datetime(2026, 10, 25, 0, 30, 0, 600_000, tzinfo=UTC)
    replace(made(here, "nightly", offline=True), start_time_ms=int(started.timestamp() * 1000)).save()
    [shown] = runs_table(here)["started"]
    monkeypatch.undo()
    time.tzset()
    assert shown.isoformat() == "2026-10-25T02:30:01+02:00"


def test_what_is_missing_of_a_run_is_told_with_the_reason(here: Tracker) -> None:
    """At each stage of its life; a local store's files lie in the run's own folder."""
    run = made(here, "lives")

    def told() -> str:
        with pytest.raises(InputError, match=r"has no config\.yaml, neither in") as error:
            here.fetch(here.find("lives"), "config.yaml")
        return str(error.value)

    assert "still being written" in told()
    (run.folder / LEASE_FILE).unlink()
    assert "`minigpt resume" in told()
    write_atomically(run.folder / RESULT_FILE, ended(val_loss=2.5))
    assert told().endswith("put the file back from a copy")
    report_status(run, here, "FINISHED", "completed", {DIAGNOSIS_TAG: "over-fitting since 5"})
    shutil.rmtree(run.folder)
    assert f"its folder is gone from {run.folder.parent}" in told()
    [row] = runs_table(here).to_dict("records")
    assert (row["status"], row["diagnosis"]) == ("completed, folder gone", "over-fitting since 5")
    assert "over-fitting since 5" in list_runs(here, as_json=False)


@pytest.mark.parametrize(
    ("noted", "said"),
    [
        ({}, ""),
        ({"overfitting_since_step": 7, "diagnosis": "over-fitting since 7"}, "over-fitting since 7"),
        ({"diagnosis": "memorisation"}, "memorisation"),
    ],
)
def test_what_was_found_wrong_with_a_run_is_listed(noted: dict[str, object], said: str, here: Tracker) -> None:
    run = made(here, "old", offline=True)
    write_atomically(run.folder / RESULT_FILE, json.dumps(json.loads(ended(val_loss=2.5)) | noted).encode())
    assert list(runs_table(here)["diagnosis"]) == [said]
