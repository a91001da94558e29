"""The page of the files in a run's folder. A test compares its names with the folder of a real run."""

from docs.reference.tables import code, table
from tasks.runs import files

HEAD = """# Files of a run

A run's folder is `runs/RUN_ID` in the home. It is the truth about the run: MLflow gets a copy. No run is ever deleted
automatically; remove its folder to remove it.

A file is either complete or absent: it is written under a temporary name, flushed, and renamed.
"""
FILES = {
    "tracking.json": "The run's id and name, its tags, its params, and where MLflow keeps it.",
    "config.yaml": "The config with every decision of the machine and the corpus filled in. `minigpt run` accepts "
    "this file.",
    "facts.json": "Provenance: versions of all packages, digests of the code and the lock, the commit, the "
    "environment switches, and digests of corpus, tokenizer and windows. A rerun compares them.",
    "corpus.txt": "The text, if it has at most 50 MB.",
    "code.diff": "The difference between the code and its commit, for `git apply`. Absent if there is none.",
    "job.json": "The order for the training process: the config, and the folder of the tokens.",
    "journal.jsonl": "Every step, evaluation, sample and checkpoint ([journal records](journal.md)).",
    "training.log": "Standard output and standard error of the training process; usually empty.",
    "checkpoints/best-STEP": "The weights with the lowest validation loss.",
    "checkpoints/last-STEP": "Full checkpoints: weights and optimizer state. The newest two are kept by default.",
    "result.json": "What `--json` prints: losses, bill, samples, diagnosis, digests. Written last, so a run with "
    "this file has ended.",
    "report.md": "The same as a page, with a table of samples by temperature and top-k.",
    "loss.png": "Training and validation loss by step.",
    "perplexity.png": "The same as perplexity.",
    "published": "Empty. MLflow has all that the run will ever have.",
    "owner.json": "The process that writes the run. Absent while nobody does.",
    "artifacts": "MLflow's copy, if the home keeps MLflow's store: hard links, which take no space.",
}
CHECKPOINT_FILES = {
    "weights.safetensors": "The weights, by the names of torch's `state_dict`.",
    "optimizer.safetensors": "The optimizer state; only in full checkpoints.",
    "tokenizer.txt": "The vocabulary.",
    "manifest.json": "Digest of each file, the model's shape, the step, and the best validation loss so far. Written "
    "last: a folder without it is no checkpoint.",
}
HOME_FILES = {
    "mlflow.db": "MLflow's store, unless another one is configured.",
    "prefect/": "Prefect's database.",
    "cache/": "Corpora, tokens and windows by content. It is filled again when it is needed.",
    "runs/": "One folder for each run.",
    "shipped-NAME.json": "The champion of this name: the run that later ones have to beat.",
    "failed-NAME.json": "How a scheduled run failed before it had a folder; deleted when the schedule works again.",
}


def page() -> str:
    named = {name for constant in _constants() for name in ([constant] if isinstance(constant, str) else constant)}
    if missing := named - set(FILES):
        raise ValueError(f"docs/reference/run_folder.py has no sentence on {', '.join(sorted(missing))}")
    return "\n".join(
        [
            HEAD,
            _table(FILES),
            "Files that end in `.lock` are empty and guard the folder against a second writer.\n",
            "## A checkpoint\n",
            _table(CHECKPOINT_FILES),
            "## The home\n",
            _table(HOME_FILES),
        ]
    )


def _constants() -> list[str | tuple[str, ...]]:
    return [value for name, value in vars(files).items() if name.endswith(("_FILE", "_FILES"))]


def _table(names: dict[str, str]) -> str:
    return table(("name", "what it holds"), ((code(name), sentence) for name, sentence in names.items()))
