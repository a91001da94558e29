"""The commands that do not train. Each imports what it needs, so that --help is quick."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Checkpoint, Experiment, Here, Json, RunArgument, Set, Uri, tracker_of, unescaped
from minigpt.errors import FAILED

queries = typer.Typer()


@queries.command("verify")
def verify_command(run: RunArgument, as_json: Json = False, offline: Here = False) -> None:
    """Check a run of this home: files intact, curve and weights of one training, every point in MLflow once."""
    from dataclasses import asdict

    from tasks.commands.verify import verify_run
    from tasks.runs.names import find_local_run
    from tasks.tracking.tracker import tracker_at

    found = find_local_run(run)
    tracker = tracker_at(found.tracking, offline=offline)
    if found.mlflow_id is not None:
        tracker.check()
    checks = list(verify_run(found, tracker))
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks]))
    else:
        typer.echo("\n".join(f"{'ok' if c.holds else 'WRONG':<6}{c.name:<14}{c.found}" for c in checks))
    sys.exit(0 if all(check.holds for check in checks) else FAILED)


@queries.command("runs")
def runs_command(uri: Uri = None, experiment: Experiment = None, as_json: Json = False, offline: Here = False) -> None:
    """List the tracked runs, newest first."""
    from tasks.commands.compare import list_runs

    typer.echo(list_runs(tracker_of(uri, experiment, offline), as_json))


@queries.command("compare")
def compare_command(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN ...", help="Two or more runs.")],
    uri: Uri = None,
    experiment: Experiment = None,
    as_json: Json = False,
    offline: Here = False,
) -> None:
    """Show two or more runs side by side: the hyperparameters and facts that differ, and the results."""
    from tasks.commands.compare import compare_runs

    typer.echo(compare_runs(tracker_of(uri, experiment, offline), runs, as_json))


@queries.command("evaluate")
def evaluate_command(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN ...", help="One or more runs.")],
    on: Annotated[
        Path,
        typer.Option(metavar="FILE", exists=True, help="A text that no run was trained on, or a folder of .txt files."),
    ],
    checkpoint: Checkpoint = "best",
    uri: Uri = None,
    experiment: Experiment = None,
    as_json: Json = False,
    offline: Here = False,
) -> None:
    """Evaluate the models of runs on one text, and report which differences are hardly chance."""
    from flows.console import show_log
    from tasks.commands.evaluate import evaluate_runs

    show_log(as_json)
    tracker = tracker_of(uri, experiment, offline)
    typer.echo(evaluate_runs(tracker, runs, on, checkpoint, as_json))


@queries.command("sample")
def sample_command(
    run: RunArgument,
    prompt: Annotated[str, typer.Option(help="Text to continue.")],
    samples: Annotated[int, typer.Option(min=1, max=1000, help="Number of texts.")] = 1,
    temperature: Annotated[float, typer.Option(min=0.0, max=100.0, help="Sampling temperature; 0 is greedy.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(min=1, help="Draw only from this many of the likeliest tokens.")] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Draw only from the fewest likeliest tokens whose probabilities sum to this."
        ),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, max=100_000, help="Largest number of tokens to generate.")
    ] = 100,
    stop: Annotated[
        str | None,
        typer.Option(help=r"End a text just before this string; \n is a line end, \t a tab, \\ a backslash."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed generates the same text.")] = 123,
    checkpoint: Checkpoint = "best",
    uri: Uri = None,
    experiment: Experiment = None,
    as_json: Json = False,
    offline: Here = False,
) -> None:
    """Generate text with the model of a run."""
    from flows.console import show_log
    from tasks.commands.sample import sample_texts

    show_log(quiet=True)
    pieces = sample_texts(
        tracker_of(uri, experiment, offline),
        run,
        checkpoint,
        prompt,
        samples,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        stop=stop and unescaped(stop),
        seed=seed,
    )
    if samples == 1 and not as_json:
        for [piece] in pieces:
            typer.echo(piece, nl=False)
        typer.echo()
        return
    texts = ["".join(text) for text in zip(*pieces, strict=True)]
    if as_json:
        typer.echo(json.dumps({"prompt": prompt, "texts": texts}))
        return
    for number, text in enumerate(texts, 1):
        typer.echo(f"--- {number} of {samples}\n{text}")


@queries.command("estimate")
def estimate_command(
    preset: Annotated[
        str | None,
        typer.Argument(metavar="[PRESET|FILE|PUBLISHED]", help="A preset, a YAML file or a published model."),
    ] = None,
    overrides: Set = [],  # noqa: B006
    parameters: Annotated[float | None, typer.Option(help="Parameters of the model, such as 124e6.")] = None,
    tokens: Annotated[float | None, typer.Option(help="Tokens to train on, such as 2e12.")] = None,
    mfu: Annotated[
        float | None,
        typer.Option(min=0.001, max=1.0, help="Share of the hardware's peak that is used; 0.4 if omitted."),
    ] = None,
    hardware: Annotated[list[str], typer.Option(help="Kind of hardware; may be repeated. All kinds if omitted.")] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Estimate the cost of a training without running it, for a config, a published model or given sizes."""
    from flows.estimate import estimate_training

    typer.echo(estimate_training(preset, overrides, parameters, tokens, mfu, hardware, as_json))


@queries.command("config")
def config_command(
    preset: Annotated[
        str, typer.Argument(metavar="[PRESET|FILE]", help="A preset's name, or the path of a YAML file.")
    ] = "quickstart",
    overrides: Set = [],  # noqa: B006
) -> None:
    """Print a complete config as YAML: every field with its meaning."""
    from flows.config import load_config

    text = load_config(preset, overrides).explained()
    # Config files are read as UTF-8, so the output is UTF-8 in any locale.
    typer.echo(text if sys.stdout.isatty() else text.encode(), nl=False)
