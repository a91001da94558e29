"""A run tracked to a real MLflow server, read back from another directory by a client that knows only its address."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from minigpt.checkpoints.format import load_checkpoint
from minigpt.generation.generate import complete_prompt
from minigpt.generation.sampling import Sampler
from minigpt.io.journal import read_journal
from minigpt.io.records import EvaluationRecord, StepRecord, of_kind


@pytest.fixture(scope="module")
def server(mlflow_server: Any) -> str:
    url: str = mlflow_server.url
    return url


@pytest.fixture(scope="module")
def result(server: str, workplace: Any) -> dict[str, Any]:
    found: dict[str, Any] = workplace.json("run", "smoke", "--tracking-uri", server)
    return found


@pytest.fixture(scope="module")
def client(
    server: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch_module: pytest.MonkeyPatch
) -> MlflowClient:
    monkeypatch_module.chdir(tmp_path_factory.mktemp("elsewhere"))
    return MlflowClient(server)


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def test_params_tags_and_dataset_are_there(client: MlflowClient, result: dict[str, Any]) -> None:
    run = client.get_run(result["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["training.learning_rate"] == "0.003"
    assert run.data.params["corpus.sha256"] == result["corpus_sha256"]
    assert run.data.params["environment.threads"] == "1"
    assert run.data.tags["prefect.flow_run_id"] == result["flow_run_id"]
    assert run.data.tags["minigpt.weights_sha256"] == result["weights_sha256"]
    assert {"mlflow.source.git.commit", "minigpt.git_dirty", "minigpt.packages"} <= set(run.data.tags)
    (dataset,) = run.inputs.dataset_inputs
    assert result["corpus_sha256"].startswith(dataset.dataset.digest)


def test_every_point_of_the_journal_is_there_once(client: MlflowClient, result: dict[str, Any]) -> None:
    records = read_journal(Path(result["run_dir"]) / "journal.jsonl")
    for key, kind, field in [
        ("loss/train_step", StepRecord, "loss"),
        ("optimizer/gradient_norm", StepRecord, "gradient_norm"),
        ("optimizer/learning_rate", StepRecord, "learning_rate"),
        ("throughput/tokens_per_second", StepRecord, "tokens_per_second"),
        ("loss/train", EvaluationRecord, "train_loss"),
        ("loss/val", EvaluationRecord, "val_loss"),
        ("bits_per_byte/val", EvaluationRecord, "val_bits_per_byte"),
    ]:
        history = [(m.step, m.value, m.timestamp) for m in client.get_metric_history(result["run_id"], key)]
        expected = [(r.step, getattr(r, field), r.time_ms) for r in of_kind(records, kind)]
        assert sorted(history) == expected, key


def test_results_quote_and_bill_are_there(client: MlflowClient, result: dict[str, Any]) -> None:
    metrics = client.get_run(result["run_id"]).data.metrics
    assert metrics["final/perplexity"] == result["perplexity"]
    assert metrics["best/val_loss"] == result["best_val_loss"]
    assert metrics["best/step"] == result["best_step"]
    for part, keys in {"quote": result["cost"]["quoted"]["bill"], "bill": result["cost"]["actual"]}.items():
        for key in ("seconds", "usd", "kwh", "co2_kg"):
            assert metrics[f"{part}/{key}"] == pytest.approx(keys[key])


def test_files_are_there_and_the_best_checkpoint_writes(
    client: MlflowClient, result: dict[str, Any], tmp_path: Path
) -> None:
    names = {entry.path for entry in client.list_artifacts(result["run_id"])}
    assert names >= {"config.yaml", "facts.json", "corpus.txt", "journal.jsonl", "loss.png", "perplexity.png"}
    assert names >= {"report.md", "result.json", "checkpoints"}
    folder = Path(client.download_artifacts(result["run_id"], "checkpoints/best", str(tmp_path)))
    model, tokenizer = load_checkpoint(folder)
    [text] = complete_prompt(model, tokenizer, "The ", [Sampler()], 5)
    assert text.startswith("The ")


def test_each_checkpoint_is_a_logged_model_with_its_metrics(client: MlflowClient, result: dict[str, Any]) -> None:
    experiment = client.get_run(result["run_id"]).info.experiment_id
    models = [m for m in client.search_logged_models([experiment]) if m.source_run_id == result["run_id"]]
    assert sorted(model.name.partition("-")[0] for model in models) == ["best", "last"]
    assert all(any(metric.key.endswith("val_loss") for metric in model.metrics) for model in models)


def test_a_rerun_needs_nothing_but_the_server(
    server: str, result: dict[str, Any], new_workplace: Callable[[], Any]
) -> None:
    again = new_workplace().json("rerun", result["run_id"], "--tracking-uri", server)
    assert again["rerun"]["identical"]
