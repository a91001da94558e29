"""Options that several commands share, and the tracking that they name."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tasks.tracking_settings import Tracking

Set = Annotated[list[str], typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the config.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else.")]
Uri = Annotated[str | None, typer.Option("--tracking-uri", help="MLflow's store: a server, or sqlite:///PATH.")]
Experiment = Annotated[str | None, typer.Option("--experiment", help="MLflow experiment.")]
Offline = Annotated[bool, typer.Option("--offline", help="Leave MLflow for later: `minigpt sync` sends the run.")]
RunName = Annotated[str | None, typer.Option("--run-name", help="Name of the MLflow run.")]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, the beginning of it, its name, or latest.")
]


def tracking_of(
    uri: str | None, experiment: str | None, run_name: str | None = None, offline: bool = False
) -> "Tracking":
    from tasks.tracking_settings import Tracking, check_reachable

    tracking = Tracking(tracking_uri=uri, experiment=experiment, run_name=run_name, offline=offline).resolved()
    check_reachable(tracking)
    return tracking
