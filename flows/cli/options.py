"""Options that several commands share, and the tracking that they name."""

import re
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from tasks.home.settings import TrackingSettings
    from tasks.tracking.tracker import Tracker

Set = Annotated[
    list[str], typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the config; may be repeated.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output and nothing else.")]
Uri = Annotated[str | None, typer.Option("--tracking-uri", help="MLflow's store: a server, or sqlite:///PATH.")]
Experiment = Annotated[str | None, typer.Option("--experiment", help="MLflow experiment.")]
Offline = Annotated[bool, typer.Option("--offline", help="Leave MLflow for later: `minigpt sync` sends what was run.")]
Here = Annotated[bool, typer.Option("--offline", help="Do not ask MLflow; look at this home alone.")]
RunName = Annotated[str | None, typer.Option("--run-name", help="Name of the MLflow run.")]
Checkpoint = Annotated[Literal["best", "last"], typer.Option(help="best (lowest validation loss) or last.")]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, the beginning of it, its name, its config's name, or latest.")
]


ESCAPES = {r"\n": "\n", r"\r": "\r", r"\t": "\t", r"\\": "\\"}


def unescaped(text: str) -> str:
    """A text whose line ends, tabs and backslashes are written as a shell can hand them on."""
    return re.sub(r"\\[nrt\\]", lambda found: ESCAPES[found[0]], text)


def settings_of(uri: str | None, experiment: str | None, offline: bool) -> "TrackingSettings":
    """Where the options, the environment, mlflow.yaml and the defaults say that runs are tracked."""
    from tasks.home.settings import TrackingSettings

    return TrackingSettings(tracking_uri=uri, experiment=experiment, offline=offline).resolved()


def tracker_of(uri: str | None, experiment: str | None, offline: bool) -> "Tracker":
    """The tracker there; refused if its store does not answer."""
    from tasks.tracking.tracker import open_tracker

    tracker = open_tracker(settings_of(uri, experiment, offline))
    tracker.check()
    return tracker
