"""Options that several commands share, and the tracking that they name."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from tasks.home.settings import TrackingSettings

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


def tracking_of(
    uri: str | None, experiment: str | None, run_name: str | None = None, offline: bool = False
) -> "TrackingSettings":
    """Where the options say; refused if it does not answer."""
    from tasks.home.settings import check_reachable

    tracking = named_tracking(uri, experiment, run_name, offline)
    check_reachable(tracking)
    return tracking


def named_tracking(
    uri: str | None, experiment: str | None, run_name: str | None = None, offline: bool = False
) -> "TrackingSettings":
    from tasks.home.settings import TrackingSettings

    return TrackingSettings(tracking_uri=uri, experiment=experiment, run_name=run_name, offline=offline).resolved()
