"""The command line. Each command imports what it needs, so that --help is quick."""

import json
import os
import signal
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from flows.cli.options import Experiment, Json, Offline, RunArgument, RunName, Set, Uri, settings_of
from flows.cli.queries import queries
from minigpt.errors import FAILED, INPUT_IS_WRONG, FailedError, InputError, fault_of_the_disk
from minigpt.runtime.startup import COMMAND_VARIABLES, STEADY, collecting_rarely

if TYPE_CHECKING:
    from tasks.runs.result import Result

RERUN_DIFFERS = 3
INTERRUPTED = 130  # Typer's exit code after Ctrl-C
# No telemetry from Prefect and MLflow. Like torch's variables, these are read when the package is imported.
ENVIRONMENT = {**COMMAND_VARIABLES, "DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
# Plots go to files. A command in a notebook inherits the notebook's backend, which may not be installed here.
PICTURES = {"MPLBACKEND": "agg"}

app = typer.Typer(
    help="Pretrain small GPTs, and reproduce and verify every result.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line. An error that the user can solve is one sentence; only a bug shows a traceback."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.update(STEADY | PICTURES)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a character that the terminal cannot show must not fail
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a script's `&` made Ctrl-C ignored
        signal.signal(number, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # the terminal closes; nohup ignores the signal
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        with collecting_rarely():
            app()
    except InputError as error:
        exit_with(str(error), INPUT_IS_WRONG)
    except FailedError as error:
        exit_with(str(error), FAILED)
    except OSError as error:
        from tasks.home.folders import home

        if (fault := fault_of_the_disk(error, home())) is None:
            raise
        exit_with(f"{fault}; fix that; `minigpt resume` continues a run that it stopped", FAILED)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            for number in (signal.SIGINT, signal.SIGTERM):  # a second signal must not suppress the message
                signal.signal(number, signal.SIG_IGN)
            from tasks.runs.run import resume_hint

            exit_with(f"stopped, and no process is left running{resume_hint()}", FAILED)
        raise


def exit_with(message: str, code: int) -> NoReturn:
    typer.echo(f"minigpt: {message}", err=True)
    sys.exit(code)


def set_up_command(*, quiet: bool = False) -> None:
    """Create the home and show the log. Call it after the input is checked and before Prefect is imported."""
    from flows.console import show_log
    from tasks.servers.prefect_server import set_up_prefect

    set_up_prefect()
    show_log(quiet)


def print_result(result: "Result", as_json: bool) -> NoReturn:
    """Print the result and exit, with 0 if the run completed or stopped early."""
    from tasks.reporting.summary import summary_lines

    typer.echo(json.dumps(result.model_dump(mode="json")) if as_json else "\n".join(summary_lines(result)))
    sys.exit(0 if result.status in ("completed", "stopped_early") else FAILED)


@app.command("run")
def run_command(
    preset: Annotated[
        str, typer.Argument(metavar="[PRESET|FILE]", help="A preset's name, or the path of a YAML file.")
    ] = "quickstart",
    overrides: Set = [],  # noqa: B006  (typer reads it)
    as_json: Json = False,
    uri: Uri = None,
    experiment: Experiment = None,
    run_name: RunName = None,
    offline: Offline = False,
) -> None:
    """Pretrain a model: fetch the corpus, tokenize, split, train, evaluate, sample, report."""
    from flows.config import check_given_source, load_config

    config = load_config(preset, overrides)
    tracking = settings_of(uri, experiment, offline)
    tracking.check()
    set_up_command(quiet=as_json)
    from flows.run import run_flow
    from tasks.home.settings import RunIdentity

    check_given_source(config, overrides)
    result = run_flow(config, tracking, RunIdentity(name=run_name))
    print_result(result, as_json)


@app.command("rerun")
def rerun_command(
    run: RunArgument,
    overrides: Set = [],  # noqa: B006
    as_json: Json = False,
    uri: Uri = None,
    experiment: Experiment = None,
    offline: Offline = False,
) -> None:
    """Train again from what a run recorded, and check that the result is the same to the bit."""
    tracking = settings_of(uri, experiment, offline)
    tracking.check()
    set_up_command(quiet=as_json)
    from flows.rerun import recorded_run
    from flows.run import run_flow
    from tasks.tracking.tracker import open_tracker

    recorded = recorded_run(open_tracker(tracking), run)
    identity = None if overrides else recorded.rerun_identity()  # with overrides it is a new run
    result = run_flow(recorded.config(overrides), tracking, identity)
    comparison = recorded.compare(result)
    if as_json:
        typer.echo(json.dumps({**result.model_dump(mode="json"), "rerun": comparison.as_dict()}))
    else:
        typer.echo(comparison.sentence)
    sys.exit(0 if comparison.identical else RERUN_DIFFERS)


@app.command("resume")
def resume_command(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="The newest unfinished run if omitted.")] = None,
    as_json: Json = False,
    offline: Offline = False,
) -> None:
    """Continue a stopped or killed run. The result is the same to the bit as without the interruption."""
    set_up_command(quiet=as_json)
    from flows.resume import recorded_config, unfinished_run
    from tasks.home.settings import TrackingSettings

    found = unfinished_run(run)
    tracking = TrackingSettings(**dict(found.tracking), offline=offline)
    tracking.check()
    config = recorded_config(found)
    from flows.run import run_flow

    result = run_flow(config, tracking, resumed=found.run_id)
    print_result(result, as_json)


@app.command("sync")
def sync_command(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Every run that is incomplete in MLflow if omitted.")
    ] = None,
) -> None:
    """Send MLflow what it lacks of a run: curve points, files, checkpoints, final status."""
    from tasks.tracking.sync import sync_runs

    for sentence in sync_runs(run):
        typer.echo(sentence)


@app.command("ship")
def ship_command(run: RunArgument) -> None:
    """Make a run of this home the champion, which later runs of its name must beat on their held-out text."""
    from tasks.promotion.weights import ship_run
    from tasks.runs.names import find_local_run

    typer.echo(ship_run(find_local_run(run)))


@app.command("schedule")
def schedule_command(
    preset: Annotated[str, typer.Argument(metavar="PRESET|FILE", help="A preset's name, or the path of a YAML file.")],
    cron: Annotated[str, typer.Option(help="Five cron fields in local time, such as '0 3 * * *'.")],
    overrides: Set = [],  # noqa: B006
    uri: Uri = None,
    experiment: Experiment = None,
    offline: Offline = False,
) -> None:
    """Train on a schedule, for as long as this command runs."""
    from flows.config import check_given_source, load_config

    config = load_config(preset, overrides)
    tracking = settings_of(uri, experiment, offline)
    set_up_command()
    from flows.schedule import serve_schedule

    check_given_source(config, overrides)
    serve_schedule(config, cron, tracking)


@app.command("ui")
def ui_command() -> None:
    """Serve the UIs of MLflow and Prefect on the loopback interface until Ctrl-C."""
    set_up_command()
    from tasks.commands.ui import serve_uis

    serve_uis()


app.add_typer(queries)
