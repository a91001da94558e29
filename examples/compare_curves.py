"""Read the validation curves of two runs from MLflow into one pandas table.

python examples/compare_curves.py RUN_ID RUN_ID    the store is MLFLOW_TRACKING_URI, or .minigpt/mlflow.db
"""

import os
import sys

import pandas as pd
from mlflow import MlflowClient

METRIC = "loss/val"  # `minigpt ui` lists the others

client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///.minigpt/mlflow.db"))


def curve(run_id: str) -> pd.Series:
    """One metric of a run over its steps."""
    history = client.get_metric_history(run_id, METRIC)
    return pd.Series({point.step: point.value for point in history}, name=run_id[:12]).rename_axis("step")


first, second = (curve(run_id) for run_id in sys.argv[1:3])
table = pd.concat([first, second], axis="columns").sort_index()
table["difference"] = table.iloc[:, 1] - table.iloc[:, 0]
print(table.to_string(float_format="{:.4f}".format))
