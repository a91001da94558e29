"""The cost of tracking in the training loop: the loop of a tracked run against the bare loop, in alternating slices.

`python -m bench.overhead PRESET ...` is the bare loop. For each line of standard input, a number of seconds, it takes
steps for that long and prints the seconds of each step.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.measure import OURS, ROOT, Spread, as_training, environment, overriding, say, spread
from bench.results import Outcome, Row
from bench.texts import the_verdict

PAIRS = 24
# Seconds that each side of a pair runs. Timers that expire while the run is stopped fire in its next slice, so a slice
# shorter than the interval between two batches of points (5 s) would send more of them than a run does.
SLICE_SECONDS = {"verdict": 7.0, "quickstart": 5.0}
LEAST_STEPS = 3
ENDLESS = 100_000
TARGETS = {"verdict": 1.01, "quickstart": 1.03}


def preset_arguments(preset: str, text: Path | None) -> list[str]:
    """Arguments for the preset with no evaluation, sample or checkpoint between its steps."""
    overrides = {
        "training.max_steps": ENDLESS,
        "training.checkpoint_every_steps": "null",
        "evaluation.every_steps": ENDLESS,
        "evaluation.offset_steps": 0,
        "evaluation.train_batches": 1,
        "evaluation.validation_batches": 1,
        "sampling.every_steps": "null",
        "sampling.max_new_tokens": 1,
    }
    if text is not None:
        overrides["corpus.source"] = text
    return [preset, *overriding(overrides)]


class Tracked:
    """An endless `minigpt run`, whose processes are stopped except during the measured slices."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.home = folder / ".minigpt"
        self.process = subprocess.Popen(
            [str(OURS), "-P", "-m", "flows.cli", "run", *arguments, "--json"],
            cwd=folder,
            env={**environment(), "MINIGPT_HOME": str(self.home), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while len(list(self._steps())) < 2:
            if self.process.poll() is not None:
                raise RuntimeError(f"minigpt run {' '.join(arguments)} ended with {self.process.returncode}")
            time.sleep(0.2)
        self._signal(signal.SIGSTOP)

    def _steps(self) -> Iterator[dict[str, Any]]:
        for path in self.home.glob("runs/*/journal.jsonl"):
            for line in path.read_text().splitlines(keepends=True):
                if line.startswith('{"kind": "step"') and line.endswith("\n"):
                    yield json.loads(line)

    def _signal(self, number: signal.Signals) -> None:
        import psutil

        for process in [*psutil.Process(self.process.pid).children(recursive=True), self.process]:
            os.kill(process.pid, number)

    def seconds_a_step(self, seconds: float) -> float:
        """Mean seconds of the complete steps of a slice, with the work between them; the first one is cut off."""
        known = len(list(self._steps()))
        self._signal(signal.SIGCONT)
        time.sleep(seconds)
        while len(list(self._steps())) < known + LEAST_STEPS:
            time.sleep(0.2)
        self._signal(signal.SIGSTOP)
        new = list(self._steps())[known:]
        return (new[-1]["training_seconds"] - new[0]["training_seconds"]) / (len(new) - 1)

    def close(self) -> None:
        self._signal(signal.SIGCONT)
        for _ in range(2):  # the second one confirms the first
            self.process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        self.process.wait(120)


class Bare:
    """Bare training steps in a process `python -m MODULE ARGUMENTS`, slice by slice."""

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            [str(OURS), "-m", module, *arguments],
            cwd=ROOT,
            env=environment(as_training()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.step_seconds(0.0)

    def step_seconds(self, seconds: float) -> list[float]:
        """Seconds of each step in a slice of this length, which has at least one step."""
        assert self.process.stdin and self.process.stdout
        print(seconds, file=self.process.stdin, flush=True)
        taken: list[float] = json.loads(self.process.stdout.readline())
        return taken

    def close(self) -> None:
        self.process.communicate()


def bare_job(preset: str, overrides: Sequence[str]) -> tuple[Any, Any, Any]:
    """The resolved config of a run, its tokens and its training windows, made by the functions of the tasks."""
    from flows.config import load_config
    from minigpt.data.tokens import open_tokens
    from minigpt.data.windows import cut_windows
    from minigpt.runtime.environment import apply_environment
    from tasks.steps.corpus import download_corpus
    from tasks.steps.tokenization import tokenize

    config = load_config(preset, overrides)
    corpus = download_corpus.fn(config.corpus)
    tokens = tokenize.fn(corpus, config.split, config.tokenizer)
    windows = cut_windows(open_tokens(tokens.folder / "train.bin"), "train", config.model.context_length, config.split)
    config = config.resolved(corpus.sha256, len(windows))
    apply_environment(config.environment)
    return config, tokens, windows


def loop(arguments: list[str]) -> None:
    from minigpt.model.init import build_model
    from minigpt.training.loop import train
    from minigpt.training.optimizers import make_optimizers

    with tempfile.TemporaryDirectory() as home:
        os.environ["MINIGPT_HOME"] = home
        config, _, windows = bare_job(arguments[0], arguments[2::2])
        model = build_model(config.model, config.tokenizer.vocabulary_size, config.seed)
        answer(train(model, make_optimizers(model, config.training), windows, config.training, config.seed))


def answer(steps: Iterator[Any]) -> None:
    """For each line of standard input, take steps for that number of seconds and print the seconds of each."""
    next(steps), next(steps)
    for line in sys.stdin:
        next(steps)  # not counted, like the first step of a tracked slice, which began before it
        taken: list[float] = []
        while not taken or sum(taken) < float(line):
            started = time.perf_counter()
            next(steps)
            taken.append(time.perf_counter() - started)
        print(json.dumps(taken), flush=True)


def loop_overhead(preset: str, text: Path | None) -> tuple[Spread, list[dict[str, float]]]:
    """The ratio of seconds per step of the tracked loop to the bare loop, and the pairs that it is taken over."""
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        arguments = preset_arguments(preset, text)
        tracked, bare = Tracked(arguments, Path(folder)), Bare("bench.overhead", arguments)
        try:
            for _ in range(PAIRS):
                seconds = SLICE_SECONDS[preset]
                pairs.append({"bare": fmean(bare.step_seconds(seconds)), "tracked": tracked.seconds_a_step(seconds)})
        finally:
            bare.close()
            tracked.close()
    ratios = spread([pair["tracked"] / pair["bare"] for pair in pairs])
    say(f"{preset}: tracked over bare loop {ratios}")
    return ratios, pairs


def run() -> Outcome:
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(the_verdict().parents[1] / "tiktoken-cache"))
    texts = {"verdict": the_verdict(), "quickstart": None}
    measured = {preset: loop_overhead(preset, text) for preset, text in texts.items()}
    rows = [
        Row.at_most(f"loop of a tracked {preset} run over the bare loop", ratios, TARGETS[preset], f"{PAIRS} pairs")
        for preset, (ratios, _) in measured.items()
    ]
    table = [
        {
            "loop": preset,
            "bare, s per step": str(spread([pair["bare"] for pair in pairs])),
            "tracked, s per step": str(spread([pair["tracked"] for pair in pairs])),
        }
        for preset, (_, pairs) in measured.items()
    ]
    return Outcome(rows, table, {preset: pairs for preset, (_, pairs) in measured.items()})


if __name__ == "__main__":
    loop(sys.argv[1:])
