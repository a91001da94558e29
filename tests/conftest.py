"""What all tests share: the folder of test data, and the command line as a user calls it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, settings

from minigpt.io.journal import loss_curve, read_journal
from minigpt.runtime.startup import FEW_SPINS, SPINS
from tasks.servers.databases import copy_empty_database

ROOT = Path(__file__).parents[1]
# As the command line has it; torch, which is imported later, reads it.
os.environ.setdefault(SPINS, FEW_SPINS)
# An example's time by the clock says something of the machine alone.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# Prose that no run of the tests trains on: Edith Wharton, "The Verdict" (1908), in the public domain.
HELD_OUT = Path(__file__).with_name("held_out.txt")

SHARED = os.environ.get("MINIGPT_SHARED")
if SHARED:
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(Path(SHARED) / "tiktoken-cache"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with corpora/ and tiktoken-cache/."""
    if not SHARED:
        pytest.skip("MINIGPT_SHARED does not name the folder with the test data")
    return Path(SHARED)


def edit_record(run_folder: Path, kind: str, step: int, change: Callable[[dict[str, Any]], None]) -> None:
    """Change one record of a run's journal, or take it out by leaving nothing in it."""
    path = run_folder / "journal.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    [found] = [record for record in records if (record["kind"], record.get("step")) == (kind, step)]
    change(found)
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records if record))


@dataclass(frozen=True)
class Workplace:
    """A working directory with a home of its own, where `minigpt` is called."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / ".minigpt"

    def environment(self) -> dict[str, str]:
        ours = ("PREFECT_", "MLFLOW_", "MINIGPT_HOME")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {**kept, "MINIGPT_HOME": str(self.home), "HOME": str(self.folder), "PYTHONPATH": str(ROOT)}

    def command(self, *arguments: str) -> list[str]:
        """Of this checkout, also where another one is installed."""
        return [sys.executable, "-P", "-m", "flows.cli", *arguments]

    def run(self, *arguments: str, timeout_seconds: float = 280) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
        )

    def run_together(self, *commands: Sequence[str]) -> list[subprocess.CompletedProcess[str]]:
        """Several commands that do not hinder each other, two at a time."""
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda command: self.run(*command), commands))

    def json(self, *arguments: str, code: int = 0, timeout_seconds: float = 280) -> dict[str, Any]:
        """The one object that a command with --json prints."""
        done = self.run(*arguments, "--json", timeout_seconds=timeout_seconds)
        assert done.returncode == code, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def processes(self) -> list[psutil.Process]:
        """Every process that works for this home."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("MINIGPT_HOME") == str(self.home):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """The command in the background; what it says goes to ARGUMENT.log."""
        with self.log(arguments[0]).open("wb") as log:
            return subprocess.Popen(
                self.command(*arguments), cwd=self.folder, env=self.environment(), stdout=log, stderr=log
            )

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def start_run(self, *arguments: str, step: int) -> subprocess.Popen[bytes]:
        """`minigpt run` in the background, when it has come at least to this step."""
        process = self.start("run", *arguments)
        self.wait_for_steps(process, "run", step)
        return process

    def wait_for_steps(self, process: subprocess.Popen[bytes], log: str, step: int, runs: int = 1) -> None:
        """Return when so many runs of this home have come at least to this step."""
        deadline = time.monotonic() + 120
        while (
            sum(len(loss_curve(read_journal(path))) >= step for path in self.home.glob("runs/*/journal.jsonl")) < runs
        ):
            assert process.poll() is None, self.log(log).read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    @contextmanager
    def serving(self, *arguments: str, pattern: str) -> Iterator[list[str]]:
        """A command that runs until Ctrl-C; the value is what the pattern finds in what it says."""
        process = self.start(*arguments)
        try:
            deadline = time.monotonic() + 120
            while not (found := re.findall(pattern, self.log(arguments[0]).read_text())):
                assert process.poll() is None, self.log(arguments[0]).read_text()
                assert time.monotonic() < deadline, self.log(arguments[0]).read_text()
                time.sleep(0.3)
            yield found
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0

    @contextmanager
    def prefect_server(self) -> Iterator[None]:
        """Keep a server for the commands of this place, which otherwise start and end one each."""
        code = (
            "from tasks.servers.prefect_server import prefect_server, set_up_prefect\n"
            "set_up_prefect()\n"
            "with prefect_server() as server: server.wait(); input()"
        )
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, cwd=self.folder, env=self.environment(), stdin=subprocess.PIPE) as process:
            yield
            process.communicate(b"\n")


@pytest.fixture(scope="session")
def new_workplace(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Workplace]:
    return lambda: Workplace(tmp_path_factory.mktemp("workplace"))


@pytest.fixture(scope="session")
def workplace(new_workplace: Callable[[], Workplace]) -> Iterator[Workplace]:
    """One for tests that may see each other's runs, so that the text is cut only once."""
    place = new_workplace()
    with place.prefect_server():
        yield place


@pytest.fixture(scope="session")
def smoke(workplace: Workplace) -> dict[str, Any]:
    """The result of one smoke run."""
    return workplace.json("run", "smoke")


@dataclass
class MlflowServer:
    """A real tracking server that keeps and serves artifacts itself, and that can go away and come back."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        copy_empty_database("mlflow", self.folder / "store.db")
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder}/store.db"]
        command += ["--artifacts-destination", str(self.folder / "files")]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self.process = subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while not self.answers():
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            for process in [*psutil.Process(self.process.pid).children(recursive=True), self.process]:
                process.kill()
            self.process.wait()


@pytest.fixture(scope="session")
def new_mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], MlflowServer]]:
    servers = []

    def start() -> MlflowServer:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            server = MlflowServer(tmp_path_factory.mktemp("mlflow"), probe.getsockname()[1])
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def mlflow_server(new_mlflow_server: Callable[[], MlflowServer]) -> MlflowServer:
    """One for tests that may see each other's experiments, and that leave it running."""
    return new_mlflow_server()
