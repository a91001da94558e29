"""All of MLflow: how a run, its curves, its files and its checkpoints are written there, and how they are read back.

Every call names its run; nothing here is global, and nothing is logged at any time but the journal's.
"""

import contextlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.entities
import mlflow.exceptions
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag

from minigpt.corpus import Corpus
from minigpt.errors import InputError
from minigpt.evaluation import perplexity
from minigpt.journal import Record
from minigpt.store import MANIFEST, link_or_copy
from tasks.home import runs_folder
from tasks.ownership import is_owned, own
from tasks.tracking_settings import Tracking, public

log = logging.getLogger(__name__)

# Limits of one call, and how many points of a curve the UI shows without slowing down.
METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
CURVE_POINTS = 2000
DIGEST_CHARACTERS = 36

# What minigpt.status says of a run that can be resumed.
UNFINISHED = ("dead", "interrupted", "failed")

# MLflow's metric for each field of a journal's record. One section of the UI for each prefix.
STEP_METRICS = {
    "loss/train_step": "loss",
    "optimizer/learning_rate": "learning_rate",
    "optimizer/gradient_norm": "gradient_norm",
    "throughput/tokens_seen": "tokens_seen",
    "throughput/tokens_per_second": "tokens_per_second",
}
EVALUATION_METRICS = {
    "loss/train": "train_loss",
    "loss/val": "val_loss",
    "bits_per_byte/train": "train_bits_per_byte",
    "bits_per_byte/val": "val_bits_per_byte",
}


@dataclass(frozen=True)
class Run:
    """A tracked run: its id, its folder here, and where MLflow keeps it."""

    run_id: str
    name: str
    folder: Path
    experiment_id: str
    artifact_uri: str
    tracking: Tracking


def client_of(tracking: Tracking) -> MlflowClient:
    """A client that gives up on a dead server within seconds instead of minutes, and prints nothing."""
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    if tracking.is_local:
        Path((tracking.tracking_uri or "").removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    return MlflowClient(tracking.tracking_uri)


def experiment_id_of(client: MlflowClient, tracking: Tracking) -> str:
    """The experiment by name, made if it is not there; a local one keeps its files in the runs' own folders."""
    name = tracking.experiment or "minigpt"
    if (experiment := client.get_experiment_by_name(name)) is None:
        location = runs_folder().as_uri() if tracking.is_local else None
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except mlflow.exceptions.MlflowException:  # another run was faster
            experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage != "active":
        raise InputError(f"the MLflow experiment {name!r} is deleted; restore it or choose another with --experiment")
    return str(experiment.experiment_id)


def create_run(tracking: Tracking, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> Run:
    """Open a run with its hyperparameters and tags, and its folder beside the others."""
    client = client_of(tracking)
    created = client.create_run(experiment_id_of(client, tracking), tags={**tags, "mlflow.runName": name})
    run_id = created.info.run_id
    entries = [
        Param(key, json.dumps(value) if isinstance(value, list) else str(value)) for key, value in params.items()
    ]
    for start in range(0, len(entries), PARAMS_PER_BATCH):
        client.log_batch(run_id, params=entries[start : start + PARAMS_PER_BATCH])
    folder = runs_folder() / run_id
    folder.mkdir(parents=True, exist_ok=True)
    own(folder)
    return Run(run_id, name, folder, created.info.experiment_id, created.info.artifact_uri, tracking)


def log_dataset(run: Run, corpus: Corpus, counts: Mapping[str, int]) -> None:
    dataset = Dataset(
        name="corpus",
        digest=corpus.sha256[:DIGEST_CHARACTERS],
        source_type="text",
        source=json.dumps({"address": corpus.source, "sha256": corpus.sha256}),
        profile=json.dumps({"size_bytes": corpus.size_bytes, **counts}),
    )
    tags = [InputTag("mlflow.data.context", "train and validation")]
    client_of(run.tracking).log_inputs(run.run_id, [DatasetInput(dataset, tags)])


def keeps_step(step: int, max_steps: int) -> bool:
    """Whether MLflow gets this step's point: a pure function, so that sending again sends the same."""
    stride = -(-max_steps // CURVE_POINTS)
    return step % stride == 0 or step in (1, max_steps)


class Follower:
    """Sends a journal's records to MLflow, in batches, each point with the time that the journal gives it."""

    def __init__(self, run: Run, max_steps: int) -> None:
        self._run = run
        self._client = client_of(run.tracking)
        self._max_steps = max_steps
        self._best = float("inf")

    def send(self, records: Iterable[Record]) -> None:
        metrics = [metric for record in records for metric in self._metrics(record)]
        for start in range(0, len(metrics), METRICS_PER_BATCH):
            self._client.log_batch(self._run.run_id, metrics=metrics[start : start + METRICS_PER_BATCH])

    def _metrics(self, record: Record) -> Iterator[Metric]:
        values: dict[str, float] = {}
        if record["kind"] == "step" and keeps_step(record["step"], self._max_steps):
            values = {key: record[field] for key, field in STEP_METRICS.items()}
        elif record["kind"] == "evaluation":
            values = {key: record[field] for key, field in EVALUATION_METRICS.items()}
            values |= {f"perplexity/{side}": perplexity(record[f"{side}_loss"]) for side in ("train", "val")}
            if record["val_loss"] < self._best:
                self._best = record["val_loss"]
                values |= {
                    "best/val_loss": record["val_loss"],
                    "best/perplexity": perplexity(record["val_loss"]),
                    "best/bits_per_byte": record["val_bits_per_byte"],
                    "best/step": record["step"],
                }
        return (Metric(key, value, record["time_ms"], record["step"]) for key, value in values.items())


def log_values(run: Run, values: Mapping[str, float], step: int, time_ms: int) -> None:
    """Single numbers, such as the quote's and the bill's."""
    metrics = [Metric(key, value, time_ms, step) for key, value in values.items()]
    client_of(run.tracking).log_batch(run.run_id, metrics=metrics)


def set_tags(run: Run, tags: Mapping[str, str]) -> None:
    client_of(run.tracking).log_batch(run.run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def keep_file(run: Run, path: Path, folder: str = "") -> None:
    """Give a file that will not change to MLflow; on the same disk that costs no second copy."""
    if (place := local_artifacts(run)) is not None:
        (place / folder).mkdir(parents=True, exist_ok=True)
        link_or_copy(path, place / folder / path.name)
    else:
        client_of(run.tracking).log_artifact(run.run_id, str(path), folder or None)


def local_artifacts(run: Run) -> Path | None:
    """The run's artifact folder, if it lies on this machine."""
    prefix = "file://"
    uri = run.artifact_uri
    return Path(uri.removeprefix(prefix)) if uri.startswith((prefix, "/")) else None


def keep_checkpoint(run: Run, folder: Path, role: str, metrics: Mapping[str, float]) -> None:
    """Give a checkpoint to MLflow as checkpoints/ROLE, with a LoggedModel entry that carries its metrics."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    for name in (*manifest["files"], MANIFEST):
        keep_file(run, folder / name, f"checkpoints/{role}")
    client, name = client_of(run.tracking), f"{role}-{manifest['state']['step']}"
    filter_string = f"source_run_id = '{run.run_id}' AND name = '{name}'"
    if client.search_logged_models([run.experiment_id], filter_string=filter_string):
        return  # a run that was resumed behind this point
    model = client.create_logged_model(
        run.experiment_id,
        name=name,
        source_run_id=run.run_id,
        model_type="minigpt checkpoint",
        params={key: str(value) for key, value in manifest["model"].items()},
        tags={
            "minigpt.step": str(manifest["state"]["step"]),
            "minigpt.path": str(folder),
            "minigpt.artifact": f"{run.artifact_uri}/checkpoints/{role}",
            "minigpt.weights_file_sha256": manifest["files"]["weights.safetensors"],
        },
    )
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run.run_id, [LoggedModelOutput(model.model_id, manifest["state"]["step"])])
    for key, value in metrics.items():
        client.log_metric(run.run_id, key, value, step=manifest["state"]["step"], model_id=model.model_id)


def reopen(run: Run, tags: Mapping[str, str]) -> None:
    """Let a run that did not end go on."""
    client_of(run.tracking).update_run(run.run_id, status="RUNNING")
    set_tags(run, tags)


def finish(run: Run, mlflow_status: str, tags: Mapping[str, str]) -> None:
    """Close the run as FINISHED, FAILED or KILLED."""
    set_tags(run, tags)
    client_of(run.tracking).set_terminated(run.run_id, mlflow_status)


@contextlib.contextmanager
def closing(run: Run) -> Iterator[None]:
    """Leave no run open that is not running: an error fails it, an interruption kills it."""
    try:
        yield
    except Exception as error:
        finish(run, "FAILED", {"minigpt.status": "failed", "minigpt.error": str(error)[:500]})
        raise
    except BaseException:
        finish(run, "KILLED", {"minigpt.status": "interrupted"})
        raise


def find_run(tracking: Tracking, text: str) -> Run:
    """The run with this id, the beginning of an id, or this name; the newest of several with one name."""
    client = client_of(tracking)
    found = [
        entity
        for entity in client.search_runs([experiment_id_of(client, tracking)], max_results=10_000)
        if text == "latest" or entity.info.run_id.startswith(text) or entity.info.run_name == text
    ]
    ids = {entity.info.run_id for entity in found}
    if not found or (len(ids) > 1 and all(entity.info.run_name != text for entity in found) and text != "latest"):
        many = f"{len(ids)} runs have ids that begin with" if found else "there is no run with the id or name"
        raise InputError(
            f"{many} {text!r} in the experiment {tracking.experiment!r} at {public(tracking.tracking_uri or '')}; "
            "`minigpt runs` lists them"
        )
    return _run(found[0], tracking)


def _run(entity: mlflow.entities.Run, tracking: Tracking) -> Run:
    info = entity.info
    return Run(info.run_id, info.run_name, runs_folder() / info.run_id, info.experiment_id, info.artifact_uri, tracking)


def artifact(run: Run, name: str) -> Path:
    """A file or folder of the run: from its folder here, or fetched from MLflow."""
    here = local_artifacts(run) or run.folder / "artifacts"
    if (here / name).exists():
        return here / name
    here.mkdir(parents=True, exist_ok=True)
    try:
        return Path(client_of(run.tracking).download_artifacts(run.run_id, name, str(here)))
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise InputError(f"run {run.run_id} has no {name}; it ended too early, or its files were deleted") from error


def status_of(entity: mlflow.entities.Run) -> str:
    """What the run says of itself; `dead` where it says `running` and no process writes it."""
    status = str(entity.data.tags.get("minigpt.status", entity.info.status.lower()))
    folder = runs_folder() / entity.info.run_id
    return "dead" if status == "running" and folder.is_dir() and not is_owned(folder) else status


def unfinished(tracking: Tracking) -> list[tuple[Run, str, str | None]]:
    """Runs of this home that did not end and that no process writes, newest first: run, status, flow run."""
    client = client_of(tracking)
    found = []
    for entity in client.search_runs([experiment_id_of(client, tracking)], max_results=10_000):
        run = _run(entity, tracking)
        status = status_of(entity)
        if status in UNFINISHED and run.folder.is_dir():
            found.append((run, status, entity.data.tags.get("prefect.flow_run_id")))
    return found


def runs_table(tracking: Tracking, run_ids: Iterable[str] | None = None) -> pd.DataFrame:
    """A row a run, newest first: what MLflow's own search gives (params.*, metrics.*, tags.*)."""
    client = client_of(tracking)
    entities = client.search_runs([experiment_id_of(client, tracking)], max_results=10_000)
    wanted = None if run_ids is None else list(run_ids)
    rows = [
        {
            "run_id": entity.info.run_id,
            "name": entity.info.run_name,
            "status": status_of(entity),
            "started": pd.Timestamp(entity.info.start_time, unit="ms").round("s"),
            **{f"params.{key}": value for key, value in entity.data.params.items()},
            **{f"metrics.{key}": value for key, value in entity.data.metrics.items()},
        }
        for entity in entities
        if wanted is None or entity.info.run_id in wanted
    ]
    table = pd.DataFrame(rows)
    return table if wanted is None or table.empty else table.set_index("run_id").loc[wanted].reset_index()
