"""The page of MLflow's metrics and tags. A test compares its names with the store of a real run, both ways."""

from types import ModuleType

from docs.reference.tables import code, table
from tasks.runs import run as run_module
from tasks.tracking import metrics, write

HEAD = f"""# Metrics and tags in MLflow

The journal holds every step; MLflow holds at most about {metrics.CURVE_POINTS:,} points of each curve, because
more make its pages slow. Of a longer training every n-th step is sent, and always the first and the last one. The time
of a point is the time of its journal record, so that `minigpt sync` sends equal points, which MLflow stores once.

## Params

Every [config field](config.md) is a param, named `section.field`, with the value that the run decided on.

## Metrics
"""
# Every metric and what it measures. The part of the name before the slash is a section of MLflow's page.
METRICS = {
    "loss/train_step": "Loss of the step's own batch, in nats per token.",
    "loss/train": "Loss on the first training windows (`evaluation.train_batches`), without dropout.",
    "loss/val": "Loss on the validation text (`evaluation.validation_batches`), without dropout.",
    "perplexity/train": "exp of `loss/train`.",
    "perplexity/val": "exp of `loss/val`.",
    "bits_per_byte/train": "`loss/train` in bits per byte of text.",
    "bits_per_byte/val": "`loss/val` in bits per byte of text.",
    "best/val_loss": "Lowest validation loss so far.",
    "best/perplexity": "exp of `best/val_loss`.",
    "best/bits_per_byte": "The bits per byte of that evaluation.",
    "best/step": "Step of that evaluation.",
    "optimizer/learning_rate": "AdamW's learning rate in this step.",
    "optimizer/gradient_norm": "2-norm of the gradient before clipping.",
    "throughput/tokens_seen": "Tokens that the training has read so far.",
    "throughput/tokens_per_second": "Tokens of this step over its seconds.",
    "quote/seconds": "Predicted seconds of the training.",
    "quote/seconds_low": "Low end of that prediction.",
    "quote/seconds_high": "High end of that prediction.",
    "quote/flops": "Predicted floating-point operations, by PaLM's formula.",
    "quote/usd": "Predicted price in dollars.",
    "quote/kwh": "Predicted energy.",
    "quote/co2_kg": "Predicted carbon dioxide.",
    "bill/seconds": "Seconds that the training took, repeated steps included.",
    "bill/usd": "Its price in dollars.",
    "bill/kwh": "Its energy.",
    "bill/co2_kg": "Its carbon dioxide.",
    "bill/quote_error_fraction": "Quoted seconds over actual seconds, less 1.",
    "final/epochs": "How often the training windows were read.",
    "final/train_loss": "Training loss of the last weights, each window read so far measured once.",
    "final/val_loss": "Validation loss of the last weights on the complete validation text.",
    "final/perplexity": "exp of `final/val_loss`.",
    "final/bits_per_byte": "`final/val_loss` in bits per byte.",
    "final/xz_bits_per_byte": "What `xz -9e` needs for the validation text alone.",
    "final/xz_after_training_bits_per_byte": "The same after the training text. Long texts have none.",
    "held_out/bits_per_byte": "The best weights on the held-out text, if the config names one.",
    "checkpoint/best_train_loss": "Training loss of the best checkpoint.",
    "checkpoint/best_val_loss": "Validation loss of the best checkpoint.",
    "checkpoint/best_perplexity": "Perplexity of the best checkpoint.",
    "checkpoint/last_train_loss": "Training loss of the last checkpoint.",
    "checkpoint/last_val_loss": "Validation loss of the last checkpoint.",
    "checkpoint/last_perplexity": "Perplexity of the last checkpoint.",
}
TAGS = {
    "minigpt.status": "`running`, `completed`, `stopped_early`, `diverged`, `interrupted` or `failed`.",
    "minigpt.error": "The error of a run that failed.",
    "minigpt.diagnosis": "What may keep the run from being shipped, in a few words; empty if nothing does.",
    "minigpt.decision": "`ship`, `keep` or `undecided`, by the held-out text.",
    "minigpt.words": "The report's sentences.",
    "minigpt.change": "How the text differs from that of the last run of this name and source, or that nothing did.",
    "minigpt.rerun_of": "The run that this rerun repeats.",
    "minigpt.resumed": "`true` if a later process went on with the run.",
    "minigpt.run_id": "The id that a run started offline has in its home.",
    "minigpt.owner": "Host and process that write the run.",
    "minigpt.code_sha256": "Digest of minigpt's source files.",
    "minigpt.git_dirty": "`True` if the checkout differed from its commit.",
    "minigpt.packages": "Versions of the packages that decide bits, flow or curves, as JSON.",
    "minigpt.corpus_sha256": "Digest of the text.",
    "minigpt.corpus_bytes": "Its length.",
    "minigpt.cpu_class": "The machine class: CPU model and instruction sets.",
    "minigpt.weights_sha256": "Digest of the last weights.",
    "minigpt.curve_sha256": "Digest of every step's training loss.",
    "minigpt.overfitting_since_step": "The step at which over-fitting began, or `None`.",
    "mlflow.runName": "Name of the run: the config's name and the time of the start, unless `--run-name` gives one.",
    "mlflow.source.name": "`minigpt`.",
    "mlflow.source.git.commit": "The commit of the code.",
    "mlflow.user": "The system's user.",
    "prefect.flow_run_id": "The flow run in Prefect.",
    "prefect.flow_run_url": "Its page, while Prefect's UI runs.",
}
MODEL_TAGS = {
    "minigpt.step": "The checkpoint's step.",
    "minigpt.path": "Its folder in the home.",
    "minigpt.artifact": "Its address among the run's artifacts.",
    "minigpt.weights_file_sha256": "Digest of `weights.safetensors`.",
}
TAIL = """
## Files, dataset and models

The run's artifacts are the [files of its folder](run-folder.md) except `tracking.json`, `job.json` and `training.log`.
The dataset `corpus` has the digest, the source and the token counts of the text. The best and the last checkpoint lie
under `checkpoints/best` and `checkpoints/last`, and each is a logged model of the type `minigpt checkpoint`. Its params
are the fields of `model`, its metrics those of `checkpoint/`, and its tags these:
"""


def page() -> str:
    _check("metric", {*metrics.STEP_METRICS, *metrics.EVALUATION_METRICS}, METRICS)
    _check("tag", _tags_of(write) | _tags_of(run_module), TAGS)
    return "\n".join(
        [HEAD, _table("metric", METRICS), "## Tags\n", _table("tag", TAGS), TAIL, _table("tag", MODEL_TAGS)]
    )


def _tags_of(module: ModuleType) -> set[str]:
    return {value for name, value in vars(module).items() if name.endswith("_TAG")}


def _check(what: str, named: set[str], described: dict[str, str]) -> None:
    if missing := named - set(described):
        raise ValueError(f"docs/reference/mlflow.py has no sentence on the {what} {', '.join(sorted(missing))}")


def _table(what: str, names: dict[str, str]) -> str:
    return table((what, "meaning"), ((code(name), sentence) for name, sentence in names.items()))
