"""Write to MLflow: runs, curves, files and checkpoints.

Every call names its run and uses no global state. Every call is idempotent.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mlflow.entities
from filelock import FileLock
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag

from minigpt.io.store import MANIFEST, link_or_copy
from tasks.home.process import this_process
from tasks.runs.provenance import Facts
from tasks.runs.run import Run, load_run
from tasks.tracking.client import (
    StoreClient,
    check_files_are_there,
    experiment_id_of,
    local_path,
    patience_for,
    store_errors,
)

# MLflow's limits for one request.
METRICS_PER_BATCH, PARAMS_PER_BATCH = 1000, 100
DIGEST_CHARACTERS, TAG_CHARACTERS = 36, 5000
# Set on a run that was started offline: its id in the home that made it.
OUR_ID_TAG = "minigpt.run_id"
STATUS_TAG = "minigpt.status"
ERROR_TAG = "minigpt.error"
DIAGNOSIS_TAG = "minigpt.diagnosis"
DECISION_TAG = "minigpt.decision"
# The process that writes the run, as JSON.
OWNER_TAG = "minigpt.owner"
# Held while a run that was started offline is created in MLflow.
ATTACH_LOCK = ".attaching.lock"


@dataclass(frozen=True)
class Point:
    """One value of a curve. `time_ms` is the Unix time from the journal."""

    key: str
    value: float
    time_ms: int
    step: int


def create_in_mlflow(run: Run) -> Run:
    """Create a run with its hyperparameters in MLflow, and return it with MLflow's id as its run_id."""
    created = _create(run, {})
    _log_params(created)
    return replace(created, run_id=str(created.mlflow_id))


def attach_to_mlflow(run: Run) -> Run:
    """Return the run with its MLflow ids; create it in MLflow if it was started offline.

    An entry that a killed process created earlier is found and used again.
    """
    if run.mlflow_id is not None:
        return run
    with FileLock(run.folder / ATTACH_LOCK):  # two commands may attach it at the same time
        known = load_run(run.folder)
        if known.mlflow_id is not None:
            return replace(known, tracking=run.tracking, tags=run.tags)
        client = StoreClient(run.tracking)
        wanted = f"tags.`{OUR_ID_TAG}` = '{run.run_id}'"
        found = client.search_runs([experiment_id_of(client, run.tracking)], wanted, max_results=1)
        attached = _with_entity(run, found[0]) if found else _create(run, {OUR_ID_TAG: run.run_id})
        _log_params(attached)
        attached.save()
    return attached


def _create(run: Run, tags: Mapping[str, str]) -> Run:
    client = StoreClient(run.tracking)
    entity = client.create_run(
        experiment_id_of(client, run.tracking),
        start_time=run.start_time_ms,
        tags={**run.tags, **tags, "mlflow.runName": run.name, OWNER_TAG: json.dumps(this_process())},
    )
    return _with_entity(run, entity)


def _log_params(run: Run) -> None:
    """Log the hyperparameters; MLflow accepts equal values again."""
    entries = [Param(key, value) for key, value in run.params.items()]
    for start in range(0, len(entries), PARAMS_PER_BATCH):
        StoreClient(run.tracking).log_batch(run.mlflow_id, params=entries[start : start + PARAMS_PER_BATCH])


def _with_entity(run: Run, entity: mlflow.entities.Run) -> Run:
    info = entity.info
    return replace(run, mlflow_id=info.run_id, experiment_id=info.experiment_id, artifact_uri=info.artifact_uri)


def log_dataset(run: Run, facts: Facts) -> None:
    """Log the corpus, its source and its token counts as the run's dataset."""
    dataset = Dataset(
        name="corpus",
        digest=facts.corpus.sha256[:DIGEST_CHARACTERS],
        source_type="text",
        source=json.dumps(asdict(facts.corpus)),
        profile=json.dumps(asdict(facts.tokens)),
    )
    used = DatasetInput(dataset, [InputTag("mlflow.data.context", "train and validation")])
    StoreClient(run.tracking).log_inputs(run.mlflow_id, [used])


def send_points(run: Run, points: Sequence[Point]) -> None:
    """Log points in batches. MLflow stores a point with the same key, value, step and time only once."""
    metrics = [Metric(point.key, point.value, point.time_ms, point.step) for point in points]
    for start in range(0, len(metrics), METRICS_PER_BATCH):
        StoreClient(run.tracking).log_batch(run.mlflow_id, metrics=metrics[start : start + METRICS_PER_BATCH])


def set_tags(run: Run, tags: Mapping[str, str]) -> None:
    entries = [RunTag(key, value[:TAG_CHARACTERS]) for key, value in tags.items()]
    StoreClient(run.tracking).log_batch(run.mlflow_id, tags=entries)


def keep_file(run: Run, path: Path, folder: str = "") -> None:
    """Log a file that will not change as an artifact, in a subfolder if given.

    A local store links it where the disk allows, which needs no second copy.
    """
    with store_errors(run.tracking):
        if (place := local_path(run.artifact_uri)) is not None:
            check_files_are_there(place.parent.parent)
            (place / folder).mkdir(parents=True, exist_ok=True)
            link_or_copy(path, place / folder / path.name)
            return
        with patience_for(path.stat().st_size):
            StoreClient(run.tracking).log_artifact(run.mlflow_id, str(path), folder or None)


def keep_checkpoint(run: Run, folder: Path, role: str, metrics: Mapping[str, float]) -> None:
    """Log a checkpoint as artifact checkpoints/ROLE, and as a LoggedModel with its metrics."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    step = manifest["state"]["step"]
    for name in (*manifest["files"], MANIFEST):
        keep_file(run, folder / name, f"checkpoints/{role}")
    client = StoreClient(run.tracking)
    wanted = f"source_run_id = '{run.mlflow_id}' AND name = '{role}-{step}'"
    found = client.search_logged_models([run.experiment_id], filter_string=wanted)
    model = found[0] if found else _create_logged_model(run, folder, role, manifest)
    client.finalize_logged_model(model.model_id, "READY")
    outputs = client.get_run(run.mlflow_id).outputs  # MLflow refuses the same output twice
    if model.model_id not in {output.model_id for output in (outputs.model_outputs if outputs else ())}:
        client.log_outputs(run.mlflow_id, [LoggedModelOutput(model.model_id, step)])
    for key, value in metrics.items():
        client.log_metric(run.mlflow_id, key, value, run.start_time_ms, step, model_id=model.model_id)


def _create_logged_model(run: Run, folder: Path, role: str, manifest: Mapping[str, Any]) -> mlflow.entities.LoggedModel:
    return StoreClient(run.tracking).create_logged_model(
        run.experiment_id,
        name=f"{role}-{manifest['state']['step']}",
        source_run_id=run.mlflow_id,
        model_type="minigpt checkpoint",
        params={key: str(value) for key, value in manifest["model"].items()},
        tags={
            "minigpt.step": str(manifest["state"]["step"]),
            "minigpt.path": str(folder),
            "minigpt.artifact": f"{run.artifact_uri}/checkpoints/{role}",
            "minigpt.weights_file_sha256": manifest["files"]["weights.safetensors"],
        },
    )


def set_status(run: Run, mlflow_status: str, status: str, tags: Mapping[str, str], ended_ms: int | None = None) -> None:
    """Set MLflow's status (RUNNING, FINISHED, FAILED or KILLED), our status tag and further tags.

    `ended_ms` is Unix time; None means now.
    """
    set_tags(run, {STATUS_TAG: status, **tags})
    client = StoreClient(run.tracking)
    if mlflow_status == "RUNNING":
        set_tags(run, {OWNER_TAG: json.dumps(this_process())})
        if ERROR_TAG in client.get_run(run.mlflow_id).data.tags:
            client.delete_tag(run.mlflow_id, ERROR_TAG)
        client.update_run(run.mlflow_id, status=mlflow_status)
    else:
        client.set_terminated(run.mlflow_id, mlflow_status, ended_ms)
