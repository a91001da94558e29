"""The time of `minigpt run` without its job, against an empty Prefect flow and an empty MLflow run; and of `--help`.

`python -m bench.startup NAME HOME` times one command from start to end. The homes are warm: each command has already
run once in its home.
"""

import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.measure import OURS, ROOT, Contender, environment, in_turns, spread, take
from bench.results import Outcome, Row

ROUNDS = 4
HELP_SECONDS = 0.5
# The exit code of `minigpt rerun` if the result is not the same to the bit.
RERUN_DIFFERS = 3
EMPTY = "in an empty home"

EMPTY_FLOW = """
from prefect import flow

@flow
def empty():
    pass

empty()
"""
EMPTY_RUN = """
import mlflow

mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.set_experiment("empty")
with mlflow.start_run():
    pass
"""
QUIET = {"DO_NOT_TRACK": "true", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
MINIGPT = (str(OURS), "-P", "-m", "flows.cli")


def commands(home: Path) -> dict[str, Sequence[str]]:
    return {
        "run": (*MINIGPT, "run", "smoke", "--json"),
        "rerun": (*MINIGPT, "rerun", "latest", "--json"),
        "help": (*MINIGPT, "--help"),
        "job": (str(OURS), "-m", "bench.startup", "bare", str(home)),
        "empty flow": (str(OURS), "-c", EMPTY_FLOW),
        "empty run": (str(OURS), "-c", EMPTY_RUN),
    }


def timed(name: str, home: Path) -> dict[str, Any]:
    own = {"MINIGPT_HOME": str(home), "PREFECT_HOME": str(home / "prefect"), "PYTHONPATH": str(ROOT)}
    began, started = time.time(), time.perf_counter()
    done = subprocess.run(
        commands(home)[name], cwd=home, env={**environment(), **QUIET, **own}, capture_output=True, text=True
    )
    seconds = time.perf_counter() - started
    if done.returncode not in ((0, RERUN_DIFFERS) if name == "rerun" else (0,)):
        raise RuntimeError(f"{name} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    found = parts(home, began, time.time()) if name == "run" else []
    return {"seconds": seconds, "code": done.returncode, "parts": found}


def parts(home: Path, began: float, ended: float) -> list[tuple[str, float]]:
    """The time of a run by part, from the start and end of its flow and its tasks in Prefect's database."""
    with sqlite3.connect(home / "prefect" / "prefect.db") as database:
        flow_id, flow_start, flow_end = database.execute(
            "select id, start_time, end_time from flow_run order by start_time desc limit 1"
        ).fetchone()
        tasks = database.execute(
            "select name, start_time, end_time from task_run where flow_run_id = ? order by start_time", (flow_id,)
        ).fetchall()
    found = [("before the flow: imports, server", unix(flow_start) - began)]
    found += [(name.rpartition("-")[0], unix(end) - unix(start)) for name, start, end in tasks]
    found.append(("between the tasks", unix(flow_end) - unix(flow_start) - sum(seconds for _, seconds in found[1:])))
    found.append(("after the flow: flush, end of the server", ended - unix(flow_end)))
    return found


def unix(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def bare(home: Path) -> None:
    """The same training, evaluation and samples by minigpt alone, in one process, on the tokens of an earlier run."""
    import torch

    from minigpt.checkpoints.folders import newest_intact
    from minigpt.checkpoints.format import load_checkpoint
    from minigpt.data.tokens import SIDES
    from minigpt.evaluation.loss import evaluate
    from minigpt.generation.generate import complete_prompt
    from minigpt.generation.sampling import Sampler, table_samplers
    from minigpt.training.job import CHECKPOINTS, JOB
    from minigpt.training.trainer import Trainer

    recorded = next(home.glob(f"runs/*/{JOB}"))
    folder = home / "bare"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(recorded, folder)
    worker = Trainer(folder)
    worker.run()
    last = newest_intact(folder / CHECKPOINTS, "last")
    assert last is not None
    model, tokenizer = load_checkpoint(last)
    config, token_bytes = worker.config, torch.from_numpy(tokenizer.token_bytes())
    train_windows, val_windows = (worker.windows[side] for side in SIDES)
    batches = config.training.max_steps * config.training.gradient_accumulation_steps
    read, _ = train_windows.read(batches, config.training.batch_size, config.seed, config.evaluation.batch_size)
    evaluate(model, read, token_bytes)
    evaluate(model, val_windows.in_order(config.evaluation.batch_size), token_bytes)
    wanted = config.sampling
    complete_prompt(model, tokenizer, wanted.prompt, [Sampler()], wanted.last_new_tokens)
    complete_prompt(model, tokenizer, wanted.prompt, table_samplers(wanted, config.seed), wanted.max_new_tokens)


def main(name: str, home: str) -> None:
    if name == "bare":
        bare(Path(home))
    else:
        print(json.dumps(timed(name, Path(home))))


def run() -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        homes = {name: Path(folder) / name.replace(" ", "-") for name in ("run", "empty flow", "empty run")}
        homes |= {"job": homes["run"], "help": homes["run"], "rerun": homes["run"]}
        for home in homes.values():
            home.mkdir(exist_ok=True)
        contenders = {
            name: Contender(name, OURS, "bench.startup", (name, str(home)), trains=name == "job")
            for name, home in homes.items()
        }
        first = {name: take(contenders[name])["seconds"] for name in ("run", "empty flow", "empty run")}
        again = take(contenders["rerun"])
        results = in_turns([contenders[name] for name in ("run", "job", "empty flow", "empty run", "help")], ROUNDS)
    seconds = {name: spread([result["seconds"] for result in rounds]) for name, rounds in results.items()}
    ours = seconds["run"].median - seconds["job"].median
    empty = seconds["empty flow"].median + seconds["empty run"].median
    rows = [
        Row.at_most("minigpt run without its job over an empty flow and an empty MLflow run", ours / empty, 1.2),
        Row.at_most("minigpt --help, seconds", seconds["help"], HELP_SECONDS),
        Row.at_most("reruns, of one, that differ in a bit", float(again["code"] == RERUN_DIFFERS), 0.0),
    ]
    names = {"run": "minigpt run smoke", "job": "the same job by minigpt alone", "empty run": "an empty MLflow run"}
    names |= {"empty flow": "an empty Prefect flow", "help": "minigpt --help"}
    table = [
        {
            "what": names[name],
            "seconds": str(seconds[name]),
            EMPTY: f"{first[name]:.1f}" if name in first else "",
        }
        for name in seconds
    ]
    for place, (what, _) in enumerate(results["run"][0]["parts"]):
        each = [result["parts"][place][1] for result in results["run"]]
        table.append({"what": f"minigpt run: {what}", "seconds": str(spread(each)), EMPTY: ""})
    return Outcome(rows, table, {"warm": results, "first": first, "rerun": again})


if __name__ == "__main__":
    main(*sys.argv[1:])
