"""Addresses of tracking stores: what stands in them, and what reaches the server."""

import base64
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from minigpt.errors import InputError
from tasks.home.settings import (
    RunIdentity,
    TrackingAddress,
    TrackingSettings,
    check_reachable,
    read_settings_file,
    recall_password,
)
from tasks.servers.databases import copy_empty_database

EXPECTED = "Basic " + base64.b64encode(b"user:p@ss").decode()


class Guarded(BaseHTTPRequestHandler):
    """Answers those alone who say who they are, as a proxy in front of MLflow does."""

    def do_GET(self) -> None:
        self.send_response(200 if self.headers.get("Authorization") == EXPECTED else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    for name in ("URI", "USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}")
    with HTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_store_behind_a_password_is_reached_with_it(guarded: int) -> None:
    with pytest.raises(InputError, match="no MLflow server answers"):
        check_reachable(TrackingSettings(tracking_uri=f"http://127.0.0.1:{guarded}").address())
    tracking = TrackingSettings(tracking_uri=f"http://user:p%40ss@127.0.0.1:{guarded}").address()
    assert tracking.tracking_uri == f"http://127.0.0.1:{guarded}"
    check_reachable(tracking)


def test_a_run_that_recorded_the_address_alone_finds_its_password(
    guarded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"http://127.0.0.1:{guarded}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:p%40ss@127.0.0.1:{guarded}")
    recall_password("http://127.0.0.1:1")
    with pytest.raises(InputError):
        check_reachable(TrackingAddress(tracking_uri=address, experiment="minigpt"))
    recall_password(address)
    check_reachable(TrackingAddress(tracking_uri=address, experiment="minigpt"))


def test_a_password_of_the_command_line_is_kept_for_its_own_address(guarded: int) -> None:
    tracking = TrackingSettings(tracking_uri=f"http://user:p%40ss@127.0.0.1:{guarded}").address()
    recall_password(tracking.tracking_uri)  # as for a run of that server that was left behind
    check_reachable(tracking)


def test_no_store_is_told_the_password_of_another(guarded: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:p%40ss@127.0.0.1:{guarded}")
    recall_password(f"http://127.0.0.1:{guarded}")
    assert "MLFLOW_TRACKING_PASSWORD" in os.environ
    recall_password("http://127.0.0.1:1")
    assert "MLFLOW_TRACKING_PASSWORD" not in os.environ
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "set by hand")
    recall_password("http://127.0.0.1:1")
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "set by hand"


def test_a_flag_comes_before_the_environment_before_the_file_before_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path / "home"))
    variables = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_NAME")
    for variable in variables:
        monkeypatch.delenv(variable, raising=False)

    def found(run_name: str | None = None, **flags: str) -> tuple[str, str, str]:
        address = TrackingSettings.model_validate(flags).address()
        return address.tracking_uri, address.experiment, RunIdentity(name=run_name).name_or("built in")

    assert found() == (f"sqlite:///{tmp_path}/home/mlflow.db", "minigpt", "built in")
    file = "server: {mlflow_tracking_uri: http://file}\ntracking: {experiment: {name: filed}, run: {name: file's}}\n"
    (tmp_path / "mlflow.yaml").write_text(file)
    assert found() == ("http://file", "filed", "file's")
    for variable, value in zip(variables, ("http://environment", "set", "environment's"), strict=True):
        monkeypatch.setenv(variable, value)
    assert found() == ("http://environment", "set", "environment's")
    flags = {"tracking_uri": "http://flag", "experiment": "given", "run_name": "flag's"}
    assert found(**flags) == ("http://flag", "given", "flag's")


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("server: http://user:hunter2@host\n", "server: Input should be"),
        ("server: {mlflow_tracking_uri: http://user:hunter2@host: y}\n", "in line 1"),
        ("tracking: {run: {name: 2026-02-30}}\n", "day"),
    ],
)
def test_what_is_wrong_with_the_file_is_told_without_a_password(
    file: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.yaml").write_text(file)
    with pytest.raises(InputError, match=r"is not a valid mlflow.yaml: [^\n]+$") as error:
        read_settings_file()
    assert words in str(error.value)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("address", ["http://localhost:abc", "http://[::1", "http://"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InputError, match=r"^[^\n]+$"):
        check_reachable(TrackingSettings(tracking_uri=address).address())


def half(path: Path) -> None:
    copy_empty_database("mlflow", path)
    os.truncate(path, path.stat().st_size // 2)


def beginning(path: Path) -> None:
    copy_empty_database("mlflow", path)
    os.truncate(path, 20)


SPOILT: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: path.write_bytes(b"\x89PNG\r\n" * 100), "is not an SQLite database"),
    (lambda path: path.write_bytes(b"SQL"), "is not an SQLite database"),
    (beginning, "is cut short after 20 bytes"),
    (half, r"is cut short: it has [\d,]+ of its [\d,]+ bytes"),
    (Path.mkdir, "is a folder"),
    (os.mkfifo, "is not a file"),
]


@pytest.mark.parametrize(("spoil", "words"), SPOILT, ids=[words for _, words in SPOILT])
def test_a_store_that_cannot_be_a_database_is_refused_at_once(
    spoil: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    spoil(tmp_path / "x.db")
    with pytest.raises(InputError, match=rf"^the tracking store {tmp_path}/x\.db {words}; give another with [^\n]*$"):
        check_reachable(TrackingSettings(tracking_uri=f"sqlite:///{tmp_path}/x.db").address())


def test_a_store_that_may_be_one_is_left_to_mlflow(tmp_path: Path) -> None:
    copy_empty_database("mlflow", tmp_path / "whole.db")
    (tmp_path / "new.db").touch()
    for name in ("whole", "new", "none"):
        check_reachable(TrackingSettings(tracking_uri=f"sqlite:///{tmp_path}/{name}.db").address())
