"""What all tests share: the folder of test data, and the command line as a user calls it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

SHARED = os.environ.get("MINIGPT_SHARED")
if SHARED:
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(Path(SHARED) / "tiktoken-cache"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with corpora/ and tiktoken-cache/."""
    if not SHARED:
        pytest.skip("MINIGPT_SHARED does not name the folder with the test data")
    return Path(SHARED)


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
        return {**kept, "MINIGPT_HOME": str(self.home), "HOME": str(self.folder)}

    def command(self, *arguments: str) -> list[str]:
        return [str(Path(sys.executable).with_name("minigpt")), *arguments]

    def run(self, *arguments: str, timeout_seconds: float = 280) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
        )

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


@pytest.fixture(scope="session")
def new_workplace(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Workplace]:
    return lambda: Workplace(tmp_path_factory.mktemp("workplace"))


@pytest.fixture(scope="session")
def workplace(new_workplace: Callable[[], Workplace]) -> Workplace:
    """One for tests that may see each other's runs, so that the text is cut only once."""
    return new_workplace()


@pytest.fixture(scope="session")
def smoke(workplace: Workplace) -> dict[str, Any]:
    """The result of one smoke run."""
    return workplace.json("run", "smoke")
