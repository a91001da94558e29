"""What MLflow has: how runs stand there, their points and their files."""

import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from minigpt.errors import InputError
from tasks.home.folders import runs_folder
from tasks.home.settings import TrackingSettings
from tasks.runs.files import RESULT_FILE
from tasks.runs.run import RERUN_OF_TAG, Run, way_out
from tasks.tracking.client import StoreError, client_of, is_made, known_experiment_id, local_path, store_errors
from tasks.tracking.write import OUR_ID_TAG, STATUS_TAG, Point

# What a run says of itself that has a result.
ENDS = ("completed", "stopped_early", "diverged")


@dataclass(frozen=True)
class TrackedRun:
    """A run as MLflow has it."""

    mlflow_id: str
    name: str
    start_time_ms: int
    mlflow_status: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    experiment_id: str
    artifact_uri: str

    @property
    def has_ended(self) -> bool:
        """Whether it came to a result; what its folder has MLflow may have missed."""
        ended = self.tags.get(STATUS_TAG, "completed") in ENDS and self.mlflow_status != "running"
        return ended or (runs_folder() / self.run_id / RESULT_FILE).exists()

    @property
    def is_rerun(self) -> bool:
        return RERUN_OF_TAG in self.tags

    @property
    def run_id(self) -> str:
        """The id that it has here; a tag that is none, which others may have set, is not followed."""
        tagged = self.tags.get(OUR_ID_TAG, "")
        return tagged if re.fullmatch("[0-9a-f]{32}", tagged) else self.mlflow_id


def tracked_runs(tracking: TrackingSettings) -> list[TrackedRun]:
    """Every run of the experiment, newest first; nothing is made by asking."""
    try:
        with store_errors(tracking):
            if not is_made(tracking):
                return []
            client = client_of(tracking)
            experiment_id = known_experiment_id(client, tracking)
            entities = client.search_runs([experiment_id], max_results=10_000) if experiment_id else []
    except StoreError as error:
        raise InputError(f"{error}; see that it runs, or give another address with --tracking-uri") from error
    return [
        TrackedRun(
            mlflow_id=entity.info.run_id,
            name=entity.info.run_name,
            start_time_ms=entity.info.start_time,
            mlflow_status=entity.info.status.lower(),
            params=entity.data.params,
            metrics=entity.data.metrics,
            tags=entity.data.tags,
            experiment_id=entity.info.experiment_id,
            artifact_uri=entity.info.artifact_uri,
        )
        for entity in entities
    ]


def status_in_mlflow(run: Run) -> str:
    """RUNNING, FINISHED, FAILED or KILLED, as MLflow takes the run to be."""
    with store_errors(run.tracking):
        return str(client_of(run.tracking).get_run(run.mlflow_id).info.status)


def stored_points(run: Run, keys: Iterable[str]) -> list[Point]:
    """Every point that MLflow has of these curves."""
    with store_errors(run.tracking):
        client = client_of(run.tracking)
        histories = [client.get_metric_history(run.mlflow_id, key) for key in keys]
    return [Point(m.key, m.value, m.timestamp, m.step) for history in histories for m in history]


def stored_files(run: Run) -> set[str]:
    """Files that MLflow keeps of the run, at the top of its artifacts."""
    with store_errors(run.tracking):
        return {entry.path for entry in client_of(run.tracking).list_artifacts(run.mlflow_id)}


def fetch_artifact(run: Run, name: str) -> Path:
    """A file or folder of the run: from its folder here, or fetched from MLflow."""
    kept = local_path(run.artifact_uri)
    here = kept or run.folder / "artifacts"
    for place in (run.folder / name, here / name):
        if place.exists():
            return place
    if not run.is_asked_of_mlflow:
        raise InputError(f"run {run.run_id} has no {name} here, and MLflow is not asked for it; {way_out(run)}")
    if kept is not None:  # where MLflow would look
        raise InputError(f"run {run.run_id} has no {name}, neither in {run.folder} nor in {kept}; {way_out(run)}")
    here.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=here, prefix=".") as arriving, store_errors(run.tracking):
            arrived = Path(client_of(run.tracking).download_artifacts(run.mlflow_id, name, arriving))
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            return arrived.rename(here / name)  # whole or not there
    except StoreError as error:
        raise InputError(
            f"run {run.run_id} has no {name} here, and MLflow gave none ({error}); {way_out(run)}"
        ) from error
