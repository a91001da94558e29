"""A run that is killed, and one whose tracking server goes away: the same bits, and every point once."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

LONG = ("--set", "training.max_steps=400", "--set", "training.checkpoint_every_steps=50")


@pytest.fixture(scope="module")
def undisturbed(workplace: Any) -> dict[str, Any]:
    """What the runs of this file come to if nobody touches them."""
    result: dict[str, Any] = workplace.json("run", "smoke", *LONG)
    return result


def same_bits(one: dict[str, Any], other: dict[str, Any]) -> bool:
    keys = ("weights_sha256", "curve_sha256", "val_loss", "train_loss", "best_step", "steps", "samples")
    return all(one[key] == other[key] for key in keys)


@pytest.mark.parametrize(
    ("how", "status"),
    [
        (signal.SIGKILL, "dead"),
        pytest.param(signal.SIGINT, "interrupted", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "interrupted", marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, "interrupted", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_stopped_goes_on_to_the_same_bits(
    how: signal.Signals, status: str, undisturbed: dict[str, Any], new_workplace: Callable[[], Any]
) -> None:
    place = new_workplace()
    process = place.start_run("smoke", *LONG, step=130)
    process.send_signal(how)
    assert process.wait(60) == (-how if how == signal.SIGKILL else 1)
    _, alive = psutil.wait_procs(place.processes(), timeout=30)
    assert alive == []
    if how != signal.SIGKILL:
        [left] = (place.home / "runs").iterdir()
        told = place.log("run").read_text().splitlines()[-1]
        assert told.endswith(f"left running; `minigpt resume` continues run {left.name[:12]} of smoke")
    (run,) = place.json("runs")
    (offline,) = place.json("runs", "--offline")
    assert run["status"] == offline["status"] == status
    assert run["steps"] == offline["steps"] >= 130
    resumed = place.json("resume")
    assert run["steps"] < resumed["steps"] == place.json("runs")[0]["steps"]
    assert resumed["run_id"] == run["run_id"]
    assert same_bits(resumed, undisturbed)
    assert [check for check in place.json("verify", run["run_id"]) if not check["holds"]] == []
    again = place.run("resume")
    assert again.returncode == 2
    assert "no run waits to be resumed" in again.stderr
    assert place.processes() == []


@pytest.mark.slow
def test_a_worker_that_is_killed_fails_the_run_which_goes_on(
    undisturbed: dict[str, Any], new_workplace: Callable[[], Any]
) -> None:
    place = new_workplace()
    process = place.start_run("smoke", *LONG, step=130)
    (worker,) = [found for found in place.processes() if "minigpt.training" in found.cmdline()]
    worker.kill()
    assert process.wait(60) == 1
    (run,) = place.json("runs")
    assert run["status"] == "failed"
    assert same_bits(place.json("resume", run["run_id"]), undisturbed)
    (place.home / "runs" / run["run_id"] / "result.json").unlink()
    assert same_bits(place.json("resume", run["run_id"]), undisturbed), "a result that is gone is made anew"
    assert [known["status"] for known in place.json("runs")] == ["completed"]


@pytest.mark.slow
def test_a_run_without_mlflow_is_sent_later(undisturbed: dict[str, Any], workplace: Any) -> None:
    offline = workplace.json("run", "smoke", *LONG, "--offline")
    assert same_bits(offline, undisturbed)
    before = {run["run_id"]: run["status"] for run in workplace.json("runs")}
    assert before[offline["run_id"]] == "completed, not synced"
    assert workplace.run("sync", offline["run_id"]).returncode == 0
    assert workplace.run("sync").stdout.strip() == "every run of this home has been sent to MLflow"
    assert [check for check in workplace.json("verify", offline["run_id"]) if not check["holds"]] == []
    after = {run["run_id"]: run["status"] for run in workplace.json("runs")}
    assert after == before | {offline["run_id"]: "completed"}


@pytest.mark.slow
def test_a_run_that_is_stopped_without_mlflow_is_sent_as_stopped_and_goes_on(
    undisturbed: dict[str, Any], new_workplace: Callable[[], Any]
) -> None:
    place = new_workplace()
    process = place.start_run("smoke", *LONG, "--offline", step=130)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 1
    assert place.run("sample", "latest", "--prompt", "The ", "--max-new-tokens", "5").stdout.startswith("The ")
    assert "continues it" in place.run("sync").stdout
    (run,) = place.json("runs")
    assert run["status"] == "interrupted"
    [tracked] = MlflowClient(f"sqlite:///{place.home}/mlflow.db").search_runs(["1"])
    assert (tracked.info.status, tracked.data.tags["minigpt.run_id"]) == ("KILLED", run["run_id"])
    assert same_bits(place.json("resume"), undisturbed)
    (run,) = place.json("runs")
    assert run["status"] == "completed"


@pytest.mark.slow
def test_a_server_that_goes_away_costs_no_point(
    undisturbed: dict[str, Any], new_workplace: Callable[[], Any], new_mlflow_server: Callable[..., Any]
) -> None:
    place, server = new_workplace(), new_mlflow_server()
    process = place.start_run("smoke", *LONG, "--tracking-uri", server.url, step=200)
    server.stop()
    assert process.wait(200) == 0, place.log("run").read_text()
    (folder,) = place.home.glob("runs/*")
    assert f"minigpt sync {folder.name[:12]}" in place.log("run").read_text()
    server.start()
    lacking = [check["name"] for check in place.json("verify", folder.name, code=1) if not check["holds"]]
    assert lacking == ["MLflow"]
    for _ in range(2):  # sending twice changes nothing
        assert place.run("sync", folder.name).returncode == 0
        assert [check for check in place.json("verify", folder.name) if not check["holds"]] == []
    (run,) = place.json("runs", "--tracking-uri", server.url)
    assert (run["run_id"], run["status"]) == (folder.name, "completed")


@pytest.mark.slow
def test_a_rerun_has_its_verdict_although_the_server_went_away(
    undisturbed: dict[str, Any], new_workplace: Callable[[], Any], new_mlflow_server: Callable[..., Any]
) -> None:
    place, server = new_workplace(), new_mlflow_server()
    first = place.json("run", "smoke", *LONG, "--tracking-uri", server.url)
    process = place.start("rerun", first["run_id"], "--tracking-uri", server.url)
    place.wait_for_steps(process, "rerun", step=200, runs=2)
    server.stop()
    assert process.wait(200) == 0, place.log("rerun").read_text()
    assert f"identical to {first['run_id']}" in place.log("rerun").read_text()


@pytest.mark.slow
def test_ctrl_c_twice_ends_a_run_whose_training_process_hangs(
    undisturbed: dict[str, Any], new_workplace: Callable[[], Any]
) -> None:
    place = new_workplace()
    process = place.start_run("smoke", *LONG, step=130)
    (worker,) = [found for found in place.processes() if "minigpt.training" in found.cmdline()]
    worker.suspend()
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):  # it waits for the checkpoint
        process.wait(3)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 1
    _, alive = psutil.wait_procs(place.processes(), timeout=30)
    assert alive == []
    assert same_bits(place.json("resume"), undisturbed)


@pytest.mark.slow
def test_a_broken_checkpoint_is_found(workplace: Any) -> None:
    result = workplace.json("run", "smoke")
    (weights,) = Path(result["run_dir"]).glob("checkpoints/last-0000060/weights.safetensors")
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    wrong = [check["name"] for check in workplace.json("verify", result["run_id"], code=1) if not check["holds"]]
    assert wrong == ["last-0000060"]
