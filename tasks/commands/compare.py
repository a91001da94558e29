"""Tables of runs for `minigpt runs` and `minigpt compare`."""

import shutil
import sys
from collections.abc import Iterator, Sequence

import pandas as pd

from minigpt.errors import InputError
from tasks.commands.find import runs_table
from tasks.home.folders import home
from tasks.promotion.champion import champion_sentences
from tasks.runs.failures import failure_sentences
from tasks.runs.ids import shortened
from tasks.tracking.tracker import Tracker

RESULTS = {
    "metrics.final/epochs": "epochs",
    "metrics.final/train_loss": "train_loss",
    "metrics.final/val_loss": "val_loss",
    "metrics.final/perplexity": "perplexity",
    "metrics.final/bits_per_byte": "bits_per_byte",
    "metrics.best/val_loss": "best_val_loss",
    "metrics.best/bits_per_byte": "best_bits_per_byte",
    "steps": "steps",
    "metrics.best/step": "best_step",
    "metrics.held_out/bits_per_byte": "held_out_bits_per_byte",
    "metrics.bill/seconds": "training_seconds",
    "metrics.bill/usd": "usd",
}
DIGESTS = ("params.corpus.sha256", "facts.code_sha256", "facts.git_commit")
# The settings that decide which text a run is validated on.
VALIDATION_TEXT = ("params.corpus.sha256", "params.split.validation_fraction", "params.split.boundary")
HELD_OUT = "params.held_out.source"
OTHER_TOKENIZERS = "The tokenizers are not the same: compare bits per byte, since loss and perplexity are per token."
LISTED = ("run_id", "name", "started", "status")
NAME_COLUMNS = 40
# Results that only --json shows.
UNLISTED = ["epochs", "perplexity", "best_bits_per_byte"]


def list_runs(tracker: Tracker, as_json: bool) -> str:
    """List every run, newest first, with its main results: as JSON, or as a table with the champions and failures."""
    table = runs_table(tracker)
    if not table.empty:
        table = _renamed(table[[*LISTED, *_results(table)]])
    if as_json:
        return str(table.to_json(orient="records", date_format="iso"))
    listed = f"no runs in {home()} yet; `minigpt run` starts one" if table.empty else _text(table)
    return "\n".join([listed, *champion_sentences(), *failure_sentences()])


def compare_runs(tracker: Tracker, names: list[str], as_json: bool) -> str:
    """Show the hyperparameters and provenance that differ between the runs, and all results, one column for each run.

    Raises InputError if the names mean fewer than two runs.
    """
    ids = list(dict.fromkeys(tracker.find(name).run_id for name in names))
    if len(ids) < 2:
        raise InputError(f"{' and '.join(names)}: that is one run, and two are needed for a comparison; name another")
    table = runs_table(tracker, ids).drop(columns="steps")  # the epochs of runs that ended say the same
    given = table[[column for column in table if str(column).startswith(("params.", "facts."))]]
    if "params.corpus.sha256" in given and given["params.corpus.sha256"].nunique(dropna=False) == 1:
        given = given.drop(columns="facts.corpus_bytes", errors="ignore")
    differing = [str(column) for column in given if given[column].nunique(dropna=False) > 1]
    shown = _renamed(table[["name", "status", *differing, *_results(table)]])
    shown.index = pd.Index([shortened(run_id) for run_id in table["run_id"]])
    if as_json:
        return str(shown.to_json(orient="index"))
    short = {column: shown[column].str[:12] for column in DIGESTS if column in differing}
    plain = {column: column.removeprefix("params.").removeprefix("facts.") for column in map(str, shown)}
    rows = shown.assign(**short).rename(columns=plain | {"params.name": "config"}).T.fillna("")
    return "\n".join([str(rows.to_string(line_width=_columns())), *_cautions(differing)])


def _results(table: pd.DataFrame) -> list[str]:
    """Return the result columns of the table, after decision and diagnosis if any run has them."""
    verdicts = [column for column in ("decision", "diagnosis") if table[column].any()]
    return [*verdicts, *(column for column in RESULTS if column in table)]


def _renamed(table: pd.DataFrame) -> pd.DataFrame:
    """Rename result columns for display; steps stay integers even if a run has none."""
    renamed = table.rename(columns=RESULTS)
    return renamed.astype({name: "Int64" for name in ("steps", "best_step") if name in renamed})


def _cautions(differing: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each reason why the results cannot be compared as they are."""
    if set(VALIDATION_TEXT) & set(differing):
        yield (
            "The validation texts are not the same: a lower loss may come from the text and not from the model; "
            "`minigpt evaluate` measures both models on one text."
        )
    measured = ("params.evaluation.validation_batches", "params.evaluation.batch_size", "params.model.context_length")
    if set(measured) & set(differing):
        yield (
            "The best losses may be of different parts of the validation text; those after the last step are of all "
            "its complete windows."
        )
    if HELD_OUT in differing:
        yield "The held-out texts are not the same: measurements on them cannot be compared."
    if any(column.startswith("params.tokenizer.") for column in differing):
        yield OTHER_TOKENIZERS


def _text(table: pd.DataFrame) -> str:
    started = [time.strftime("%Y-%m-%d %H:%M") for time in table["started"]]
    names = [
        name if len(name) <= NAME_COLUMNS else f"{name[: NAME_COLUMNS - 1]}…" for name in table["name"].astype(str)
    ]
    shown = table.assign(run_id=table["run_id"].map(shortened), name=names, started=started)
    shown = shown.drop(columns=UNLISTED, errors="ignore")
    blank = shown.astype(object).fillna("")  # to_string(na_rep="") does not apply to integers
    blank = blank.set_index("run_id").rename_axis(index=None, columns="run_id")
    return str(blank.to_string(float_format=lambda value: f"{value:.4g}", line_width=_columns()))


def _columns() -> int | None:
    """Return the terminal's width, at which pandas breaks tables between columns; None if the output is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
