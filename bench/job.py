"""The complete verdict job against the book's gpt_train.py: wall time, and peak memory of the training process.

Needs MINIGPT_SHARED. `python -m bench.job book TEXT` is the book's job, in a process of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from bench import shape
from bench.measure import OURS, PEERS, ROOT, Contender, environment, overriding, peak_bytes, say, spread, take
from bench.results import Outcome, Row
from bench.texts import the_verdict

# The settings of gpt_train.py. The preset has the learning rate of the book's chapter, 4e-4.
BOOK_LEARNING_RATE = 5e-4
EPOCHS = 10
EVALUATE_EVERY = 5
EVALUATED_BATCHES = 1

# Limits that the book's author gives for the final losses of his job.
TRAIN_LOSS_LIMIT, VAL_LOSS_LIMIT = 1.0, 7.0

POLL_SECONDS = 0.1


def book(text: Path) -> None:
    """Do what gpt_train.py does, with the functions of its package: train, evaluate, sample, plot, save and load."""
    import matplotlib
    import tiktoken
    import torch
    from llms_from_scratch.ch02 import create_dataloader_v1
    from llms_from_scratch.ch05 import plot_losses, train_model_simple

    from bench import peers

    matplotlib.use("agg")
    torch.manual_seed(123)
    words = text.read_text(encoding="utf-8")
    model, _ = peers.book()
    optimizer = torch.optim.AdamW(model.parameters(), lr=BOOK_LEARNING_RATE, weight_decay=shape.WEIGHT_DECAY)
    cut = int(0.9 * len(words))
    sizes = {"batch_size": shape.BATCH_SIZE, "max_length": shape.CONTEXT_LENGTH, "stride": shape.CONTEXT_LENGTH}
    train_loader = create_dataloader_v1(words[:cut], **sizes, drop_last=True, shuffle=True)
    val_loader = create_dataloader_v1(words[cut:], **sizes, drop_last=False, shuffle=False)
    train_losses, val_losses, tokens_seen = train_model_simple(
        model,
        train_loader,
        val_loader,
        optimizer,
        torch.device("cpu"),
        EPOCHS,
        EVALUATE_EVERY,
        EVALUATED_BATCHES,
        "Every effort moves you",
        tiktoken.get_encoding("gpt2"),
    )
    plot_losses(torch.linspace(0, EPOCHS, len(train_losses)), tokens_seen, train_losses, val_losses)
    torch.save(model.state_dict(), "model.pth")
    model, _ = peers.book()
    model.load_state_dict(torch.load("model.pth"))
    print(json.dumps({"train_loss": train_losses[-1], "val_loss": val_losses[-1], "peak_bytes": peak_bytes()}))


class PeakWatcher(threading.Thread):
    """Record the peak resident memory of a process and its descendants, by the module that each runs."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.peaks: dict[str, int] = {}

    def run(self) -> None:
        import psutil

        while psutil.pid_exists(self.pid):
            for process in [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]:
                try:
                    command = process.cmdline()
                    name = command[command.index("-m") + 1] if "-m" in command else "minigpt run"
                    self.peaks[name] = max(self.peaks.get(name, 0), peak_bytes(process.pid))
                except (psutil.Error, OSError):
                    continue
            time.sleep(POLL_SECONDS)


def our_job(*arguments: str, folder: Path) -> dict[str, Any]:
    """Run `minigpt run ARGUMENTS --json` in a home of its own; return result, wall time and peak memory by process."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(OURS), "-P", "-m", "flows.cli", "run", *arguments, "--json"],
        cwd=folder,
        env={**environment(), "MINIGPT_HOME": str(folder / ".minigpt"), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watcher = PeakWatcher(process.pid)
    watcher.start()
    output, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"minigpt run {' '.join(arguments)} ended with {process.returncode}:\n{errors[-3000:]}")
    seconds = time.perf_counter() - started
    return {"result": json.loads(output), "wall_seconds": seconds, "peaks": watcher.peaks}


def main(name: str, text: str) -> None:
    if name != "book":
        raise ValueError(name)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        book(Path(text))


def verdict(text: Path, precision: str) -> dict[str, Any]:
    """Run `minigpt run verdict` with the number of evaluated batches of the book's script, and all its other work."""
    say(f"ours: minigpt run verdict in {precision}")
    fields = {
        "corpus.source": text,
        "evaluation.train_batches": EVALUATED_BATCHES,
        "evaluation.validation_batches": EVALUATED_BATCHES,
        "training.precision": precision,
    }
    with tempfile.TemporaryDirectory() as folder:
        return our_job("verdict", *overriding(fields), folder=Path(folder))


def described(job: dict[str, Any]) -> dict[str, str]:
    """A run of ours as a row of the table."""
    result = job["result"]
    return {
        "wall": f"{job['wall_seconds']:.0f} s",
        "training": f"{result['training_seconds']:.0f} s",
        "peak memory": ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in sorted(job["peaks"].items())),
        "losses": f"{result['train_loss']:.3f}, {result['val_loss']:.3f} on every window",
    }


def run() -> Outcome:
    """Run ours in fp32 before and after the book's job, because the speed of the machine varies."""
    text = the_verdict()
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(text.parents[1] / "tiktoken-cache"))
    before = verdict(text, "fp32")
    say("the book's gpt_train.py")
    started = time.perf_counter()
    theirs = take(Contender("book", PEERS, "bench.job", ("book", str(text))))
    theirs["wall_seconds"] = time.perf_counter() - started
    ours = {"fp32": [before, verdict(text, "fp32")], "bf16": [verdict(text, "bf16")]}
    result = before["result"]
    peak = max(job["peaks"]["minigpt.training"] for job in ours["fp32"])
    wall = {
        precision: spread([job["wall_seconds"] / theirs["wall_seconds"] for job in jobs])
        for precision, jobs in ours.items()
    }
    rows = [
        Row.at_most("wall time of the verdict job over the book's", wall["fp32"], 0.6),
        Row.at_most("peak memory of its training process over the book's", peak / theirs["peak_bytes"], 0.8),
        Row.at_most("train loss at the end, nats per token", result["train_loss"], TRAIN_LOSS_LIMIT),
        Row.at_most("validation loss at the end, nats per token", result["val_loss"], VAL_LOSS_LIMIT),
        Row.at_most("wall time of the verdict job in bf16 over the book's", wall["bf16"].median, None),
    ]
    table = [
        {"job": f"minigpt run verdict, {precision}", **described(job)}
        for precision, jobs in ours.items()
        for job in jobs
    ]
    table.append(
        {
            "job": "gpt_train.py of the book, fp32",
            "wall": f"{theirs['wall_seconds']:.0f} s",
            "training": "",
            "peak memory": f"{theirs['peak_bytes'] / 1e9:.2f} GB",
            "losses": f"{theirs['train_loss']:.3f}, {theirs['val_loss']:.3f} on a batch each",
        }
    )
    kept_jobs = {precision: [kept(job) for job in jobs] for precision, jobs in ours.items()}
    return Outcome(rows, table, {"ours": kept_jobs, "book": theirs})


def kept(job: dict[str, Any]) -> dict[str, Any]:
    """The job with only those fields of its result that results.json keeps."""
    names = ("training_seconds", "best_step", "best_val_loss", "train_loss", "val_loss")
    return {**job, "result": {name: job["result"][name] for name in names}}


if __name__ == "__main__":
    main(*sys.argv[1:])
