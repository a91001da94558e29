"""The tiny run that is killed a thousand times: two layers of width 16, 12 steps, a second from start to end."""

import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
import tiktoken
from tiktoken_ext.openai_public import r50k_pat_str

from minigpt.cost.config import CostConfig
from minigpt.data.config import CorpusConfig
from minigpt.data.tokenizer import TOKENIZER_FILE, Tokenizer
from minigpt.evaluation.config import EvaluationConfig
from minigpt.generation.config import SamplingConfig
from minigpt.io.store import write_atomically
from minigpt.model.config import ModelConfig
from minigpt.recipe import RunConfig
from minigpt.runtime.config import EnvironmentConfig
from minigpt.training.config import TrainingConfig
from minigpt.training.job import JOB, TrainingJob
from tasks.home.settings import TrackingAddress
from tasks.runs.files import FACTS_FILE
from tasks.runs.run import Run
from tasks.tracking.live import create_run
from tasks.tracking.tracker import MlflowTracker
from tests.faults import checks, victim
from tests.values import FACTS

STEPS = 12
TEXT = "".join(f"{n} green bottles hanging on the wall, {n} of them\n" for n in range(60))

# Each process is forked from one that has imported everything, so that a trial costs no import.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.faults.warm"])


def tiny_job(tokens_folder: Path, **training: Any) -> TrainingJob:
    config = RunConfig(
        seed=1,
        corpus=CorpusConfig(source="green bottles"),
        model=ModelConfig(context_length=8, width=16, heads=2, layers=2, dropout=0.1),
        training=TrainingConfig(
            **{"batch_size": 4, "max_steps": STEPS, "checkpoint_every_steps": 3, "warmup_steps": 2, **training}
        ),
        evaluation=EvaluationConfig(every_steps=4, train_batches=2, validation_batches=2),
        sampling=SamplingConfig(prompt="1", max_new_tokens=4, every_steps=6),
        environment=EnvironmentConfig(threads=1),
        cost=CostConfig(usd_per_hour=0.1, watts=20.0),
    )
    return TrainingJob(config=config, tokens_folder=tokens_folder)


@dataclass(frozen=True)
class TinyRun:
    """One copy of the run: a home with its folder and an MLflow store."""

    home: Path
    run: Run
    processes: list[BaseProcess]

    @property
    def folder(self) -> Path:
        return self.home / "runs" / self.run.run_id

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def log(self) -> str:
        return (self.folder / "victim.log").read_text(errors="replace")

    def start(self, **how: Any) -> BaseProcess:
        process = FORKS.Process(target=victim.live, args=(self.run, self.home), kwargs=how)
        process.start()
        self.processes.append(process)
        return process

    def start_stopped(self, **how: Any) -> BaseProcess:
        """A process that waits for SIGCONT before it does anything."""
        process = self.start(stop_first=True, **how)
        wait_until_stopped(process)
        return process

    def live(self, **how: Any) -> int | None:
        """Start or resume; the exit code, negative for a signal."""
        process = self.start(**how)
        process.join(60)
        assert not process.is_alive(), "no end after 60 seconds"
        return process.exitcode

    def copy(self, home: Path) -> "TinyRun":
        """The same run as it is now, in another home."""
        shutil.copytree(self.home, home)
        return TinyRun(home, run_at(home, self.run), [])

    def finish(self) -> None:
        """Resume, undisturbed."""
        assert self.live() == 0, self.log

    def end_processes(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()

    def left_processes(self) -> Iterable[psutil.Process]:
        """Of the sessions of those that were started."""
        sessions = {process.pid for process in self.processes}
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE:
                    yield process
            except (psutil.Error, ProcessLookupError):
                continue


def wait_until_stopped(process: BaseProcess) -> None:
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        time.sleep(0.005)


@dataclass(frozen=True)
class Template:
    """A run that has not begun, and the outcome and the seconds of one that nothing disturbed."""

    home: Path
    run: Run
    outcome: checks.Outcome
    passings: dict[str, int]
    seconds: float

    def copy(self, home: Path) -> TinyRun:
        return copy(self.home, self.run, home)


def copy(source: Path, run: Run, home: Path) -> TinyRun:
    here = TinyRun(home, run_at(home, run), [])
    here.folder.mkdir(parents=True)
    for name in (JOB, FACTS_FILE):
        shutil.copyfile(source / "runs" / run.run_id / name, here.folder / name)
    shutil.copyfile(source / "mlflow.db", home / "mlflow.db")
    return here


def run_at(home: Path, run: Run) -> Run:
    """The same run with its folder and its store in another home."""
    return replace(
        run,
        tracking=TrackingAddress(tracking_uri=f"sqlite:///{home / 'mlflow.db'}", experiment="faults"),
        artifact_uri=f"file://{home}/runs/{run.run_id}/artifacts",
    )


def every_byte() -> Tokenizer:
    """One token for each byte; training a vocabulary would leave threads behind, which no fork can take along."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    return Tokenizer(tiktoken.Encoding(name="bytes", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={}))


def prepare(place: Path) -> Run:
    """Tokens, a job, and an MLflow store with an open run."""
    tokens = place / "tokens"
    tokens.mkdir()
    vocabulary = every_byte()
    vocabulary.save(tokens / TOKENIZER_FILE)
    cut = len(TEXT) * 3 // 4
    for side, text in (("train", TEXT[:cut]), ("val", TEXT[cut:])):
        (tokens / f"{side}.bin").write_bytes(vocabulary.encode(text).tobytes())
    there = TrackingAddress(tracking_uri=f"sqlite:///{place / 'mlflow.db'}", experiment="faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIGPT_HOME", str(place))
        run = create_run(MlflowTracker(there), "tiny", {"seed": 1}, {"minigpt.status": "running"})
        write_atomically(run.folder / JOB, tiny_job(tokens).model_dump_json().encode())
        FACTS.write(run.folder / FACTS_FILE)
    return run


def make_template(place: Path) -> Template:
    """A run that has not begun, and one that nothing disturbs."""
    run = prepare(place)
    copy(place, run, place / "first").live()  # which also waits for the imports
    undisturbed = copy(place, run, place / "undisturbed")
    started = time.monotonic()
    undisturbed.finish()
    seconds = time.monotonic() - started
    passings = json.loads((undisturbed.home / "passings.json").read_bytes())
    return Template(place, run, checks.outcome(undisturbed), passings, seconds)
