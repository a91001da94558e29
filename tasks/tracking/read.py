"""Read from MLflow: the runs and their status, points and files."""

import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from minigpt.errors import InputError
from tasks.home.folders import runs_folder
from tasks.home.settings import TrackingAddress
from tasks.runs.files import RESULT_FILE
from tasks.runs.run import Run, way_out
from tasks.tracking.client import StoreClient, StoreError, is_made, known_experiment_id, local_path, store_errors
from tasks.tracking.write import OUR_ID_TAG, STATUS_TAG, Point

# Values of STATUS_TAG for a run that has a result.
ENDS = ("completed", "stopped_early", "diverged")


@dataclass(frozen=True, kw_only=True)
class TrackedRun(Run):
    """A run as MLflow has it; its folder may be elsewhere."""

    mlflow_status: str
    metrics: dict[str, float]

    @property
    def has_ended(self) -> bool:
        """True if the run has a result, in MLflow or in its folder, which may know more than MLflow."""
        ended = self.tags.get(STATUS_TAG, "completed") in ENDS and self.mlflow_status != "running"
        return ended or (runs_folder() / self.run_id / RESULT_FILE).exists()


def tracked_runs(address: TrackingAddress) -> list[TrackedRun]:
    """Every run of the experiment, newest first. Creates neither a store nor an experiment.

    Raises InputError if the store fails.
    """
    try:
        if not is_made(address):
            return []
        client = StoreClient(address)
        experiment_id = known_experiment_id(client, address)
        entities = client.search_runs([experiment_id], max_results=10_000) if experiment_id else []
    except StoreError as error:
        raise InputError(f"{error}; check that it runs, or give another address with --tracking-uri") from error
    return [
        TrackedRun(
            run_id=_our_id(entity.info.run_id, entity.data.tags),
            mlflow_id=entity.info.run_id,
            tracking=address,
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


def _our_id(mlflow_id: str, tags: Mapping[str, str]) -> str:
    """The run's id in this home. A tag that is not a run id, which others may have set, is ignored."""
    tagged = tags.get(OUR_ID_TAG, "")
    return tagged if re.fullmatch("[0-9a-f]{32}", tagged) else mlflow_id


def status_in_mlflow(run: Run) -> str:
    """The run's status in MLflow: RUNNING, FINISHED, FAILED or KILLED."""
    return str(StoreClient(run.tracking).get_run(run.mlflow_id).info.status)


def stored_points(run: Run, keys: Iterable[str]) -> list[Point]:
    """Every point of these metrics in MLflow."""
    client = StoreClient(run.tracking)
    histories = [client.get_metric_history(run.mlflow_id, key) for key in keys]
    return [Point(m.key, m.value, m.timestamp, m.step) for history in histories for m in history]


def stored_files(run: Run) -> set[str]:
    """Names of the files and folders at the top level of the run's artifacts in MLflow."""
    return {entry.path for entry in StoreClient(run.tracking).list_artifacts(run.mlflow_id)}


def local_artifact(run: Run, name: str) -> Path:
    """The path of a run's file or folder on this machine; raise InputError if it is not here."""
    if (found := _on_this_machine(run, name)) is None:
        raise InputError(f"run {run.run_id} has no {name} here, and MLflow is not asked for it; {way_out(run)}")
    return found


def fetch_artifact(run: Run, name: str) -> Path:
    """The path of a run's file or folder, downloaded from MLflow into the run's folder if it is not on this machine.

    Raises InputError if neither has it.
    """
    if found := _on_this_machine(run, name):
        return found
    if run.mlflow_id is None:
        return local_artifact(run, name)
    if (kept := local_path(run.artifact_uri)) is not None:  # MLflow would look in the same place
        raise InputError(f"run {run.run_id} has no {name}, neither in {run.folder} nor in {kept}; {way_out(run)}")
    here = run.folder / "artifacts"
    here.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=here, prefix=".") as arriving, store_errors(run.tracking):
            arrived = Path(StoreClient(run.tracking).download_artifacts(run.mlflow_id, name, arriving))
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            return arrived.rename(here / name)  # complete or not there
    except StoreError as error:
        raise InputError(
            f"run {run.run_id} has no {name} here, and MLflow did not provide it ({error}); {way_out(run)}"
        ) from error


def _on_this_machine(run: Run, name: str) -> Path | None:
    kept = local_path(run.artifact_uri) or run.folder / "artifacts"
    return next((place for place in (run.folder / name, kept / name) if place.exists()), None)
