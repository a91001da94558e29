"""Options that several commands share, and the tracking settings that they give."""

import re
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from tasks.home.settings import TrackingSettings
    from tasks.tracking.tracker import Tracker

Set = Annotated[
    list[str], typer.Option("--set", metavar="FIELD=VALUE", help="Set a field of the config; may be repeated.")
]
Json = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")]
Uri = Annotated[
    str | None, typer.Option("--tracking-uri", help="MLflow store: the address of a server, or sqlite:///PATH.")
]
Experiment = Annotated[str | None, typer.Option("--experiment", help="Name of the MLflow experiment.")]
Offline = Annotated[bool, typer.Option("--offline", help="Train without MLflow; `minigpt sync` sends the run later.")]
Here = Annotated[bool, typer.Option("--offline", help="Use only this home, without MLflow.")]
RunName = Annotated[str | None, typer.Option("--run-name", help="Name of the MLflow run.")]
Checkpoint = Annotated[
    Literal["best", "last"], typer.Option(help="Checkpoint to use: best (lowest validation loss) or last.")
]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id or its beginning, a run's name, a config's name, or latest.")
]


ESCAPES = {r"\n": "\n", r"\r": "\r", r"\t": "\t", r"\\": "\\"}


def unescaped(text: str) -> str:
    """Replace backslash escapes of line ends, tabs and backslashes, which are hard to type in a shell."""
    return re.sub(r"\\[nrt\\]", lambda found: ESCAPES[found[0]], text)


def settings_of(uri: str | None, experiment: str | None, offline: bool) -> "TrackingSettings":
    """Tracking settings from the options, then the environment, then mlflow.yaml, then the defaults."""
    from tasks.home.settings import TrackingSettings

    return TrackingSettings(tracking_uri=uri, experiment=experiment, offline=offline).resolved()


def tracker_of(uri: str | None, experiment: str | None, offline: bool) -> "Tracker":
    """Open the tracker of these options. Raises InputError if its store does not answer."""
    from tasks.tracking.tracker import open_tracker

    tracker = open_tracker(settings_of(uri, experiment, offline))
    tracker.check()
    return tracker
