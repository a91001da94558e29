"""Runs side by side, as pandas tables."""

import pandas as pd

from tasks.lookup import find_run, runs_table
from tasks.tracking_settings import Tracking

RESULTS = {
    "metrics.final/train_loss": "train_loss",
    "metrics.final/val_loss": "val_loss",
    "metrics.final/perplexity": "perplexity",
    "metrics.final/bits_per_byte": "bits_per_byte",
    "metrics.best/val_loss": "best_val_loss",
    "metrics.best/step": "best_step",
    "metrics.bill/seconds": "training_seconds",
    "metrics.bill/usd": "usd",
}
LISTED = ("run_id", "name", "status", "started")


def list_runs(settings: Tracking, as_json: bool) -> str:
    """Every run, newest first, with its most telling results."""
    table = runs_table(settings)
    if table.empty:
        return "[]" if as_json else "no runs yet; `minigpt run` makes one"
    shown = table[[*LISTED, *(column for column in RESULTS if column in table)]].rename(columns=RESULTS)
    return _text(shown, as_json)


def compare_runs(settings: Tracking, names: list[str], as_json: bool) -> str:
    """The hyperparameters that differ between the runs, and all results, a column a run."""
    ids = list(dict.fromkeys(find_run(settings, name).run_id for name in names))
    table = runs_table(settings, ids)
    params = table[[column for column in table if str(column).startswith("params.")]]
    differing = [column for column in params if params[column].nunique(dropna=False) > 1]
    results = [column for column in RESULTS if column in table]
    shown = table[["name", "status", *differing, *results]].rename(columns=RESULTS)
    shown.index = pd.Index([run_id[:12] for run_id in table["run_id"]])
    if as_json:
        return str(shown.to_json(orient="index"))
    return str(shown.rename(columns=lambda column: column.removeprefix("params.")).T.to_string())


def _text(table: pd.DataFrame, as_json: bool) -> str:
    if as_json:
        return str(table.to_json(orient="records", date_format="iso"))
    shown = table.assign(run_id=table["run_id"].str[:12])
    return str(shown.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.4g}"))
