"""Timings in fresh processes that take turns (A B C A B C), each with the same number of threads."""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigpt.runtime.config import EnvironmentConfig
from minigpt.runtime.startup import COMMAND_VARIABLES

ROOT = Path(__file__).parents[1]
OURS = ROOT / ".venv" / "bin" / "python"
PEERS = ROOT / ".venv-bench" / "bin" / "python"
THREADS = len(os.sched_getaffinity(0))
# A measurement is repeated once if other processes used more than this share of the CPU.
BUSY_SHARE = 0.1


@dataclass(frozen=True)
class Contender:
    """`python -m MODULE ARGUMENTS` in a fresh process, which prints one JSON object as its last line."""

    name: str
    python: Path
    module: str
    arguments: tuple[str, ...]
    trains: bool = True
    """True if our process starts as the pipeline's training process does, False if as a `minigpt` command."""

    @property
    def start(self) -> Mapping[str, str]:
        if self.python != OURS:
            return {}
        return as_training() if self.trains else COMMAND_VARIABLES


def as_training() -> Mapping[str, str]:
    """The environment variables with which the pipeline starts its training process."""
    return EnvironmentConfig().variables(os.environ)


def environment(started: Mapping[str, str] | None = None) -> dict[str, str]:
    """The caller's environment with `started` added, threads set, and no variable that would redirect a run."""
    ours = ("PREFECT_", "MLFLOW_", "MINIGPT_HOME")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    threads = str(THREADS)
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    counts = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads}
    return {**kept, **quiet, **(started or {}), **counts}


def overriding(fields: Mapping[str, object]) -> list[str]:
    """The options of `minigpt run` that set these fields of the config."""
    return [part for name, value in fields.items() for part in ("--set", f"{name}={value}")]


def take(contender: Contender) -> dict[str, Any]:
    """Run the contender; return the JSON that it printed and the share of all cores that other processes used."""
    command = [str(contender.python), "-m", contender.module, *contender.arguments]
    with Others() as others:
        done = subprocess.run(command, cwd=ROOT, env=environment(contender.start), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**result, "others_cpu_share": others.share}


class Others:
    """The share of all cores that other processes used in the block; children that ended inside it are not counted."""

    def __enter__(self) -> "Others":
        self._before = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        busy, children, wall = (now - before for now, before in zip(self._now(), self._before, strict=True))
        self.share = max(0.0, (busy - children) / wall / (os.cpu_count() or 1))

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """Busy core seconds of the machine (Linux), CPU seconds of ended children, and the wall-clock time."""
        user, nice, system, _, _, irq, soft, stolen = map(int, Path("/proc/stat").read_text().split()[1:9])
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = (user + nice + system + irq + soft + stolen) / os.sysconf("SC_CLK_TCK")
        return busy, used.ru_utime + used.ru_stime, time.perf_counter()


def in_turns(contenders: Sequence[Contender], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Run the contenders in turns; return one result of each per round."""
    results: dict[str, list[dict[str, Any]]] = {contender.name: [] for contender in contenders}
    for number in range(1, rounds + 1):
        for contender in contenders:
            result = take(contender)
            if result["others_cpu_share"] > BUSY_SHARE:
                say(f"{contender.name} again, because others used {result['others_cpu_share']:.0%} of the CPU")
                result = take(contender)
            results[contender.name].append(result)
            say(f"round {number} of {rounds}: {contender.name} (others: {result['others_cpu_share']:.0%} of the CPU)")
    return results


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def peak_bytes(pid: int | str = "self") -> int:
    """Peak resident memory of a process so far, in bytes (Linux)."""
    return _memory_bytes("VmHWM", pid)


def resident_bytes() -> int:
    return _memory_bytes("VmRSS", "self")


def _memory_bytes(field: str, pid: int | str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)


def peak_memory(results: Sequence[dict[str, Any]]) -> str:
    """The highest peak of all rounds, or an empty text if none was measured."""
    peaks = [result["peak_bytes"] for result in results if "peak_bytes" in result]
    return f"{max(peaks) / 1e9:.2f} GB" if peaks else ""


@dataclass(frozen=True)
class Spread:
    """A median, and the lowest and highest of its values."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def ratio(above: Sequence[Sequence[float]], below: Sequence[Sequence[float]]) -> Spread:
    """The ratio of the medians over all rounds; its spread is that of the ratios of single rounds."""
    each = [statistics.median(a) / statistics.median(b) for a, b in zip(above, below, strict=True)]
    overall = statistics.median(flat(above)) / statistics.median(flat(below))
    return Spread(overall, min(each), max(each))


def flat(rounds: Sequence[Sequence[float]]) -> list[float]:
    return [value for values in rounds for value in values]
