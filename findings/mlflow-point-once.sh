#!/usr/bin/env bash
# Package: mlflow 3.17.2 (sqlite store)
#
# Behaviour: MLflow stores a metric point that is logged again with the same key,
# timestamp, step and value only once, and no call reports it. The same point with
# a timestamp one millisecond later, or with another value, is stored again.
#
# Expected instead: the history of a metric has one point for each logged point,
# or a repeated step is treated the same way whatever the clock says.
#
# Output seen on 2026-11-30:
#   mlflow 3.17.2
#   same point in two calls: 1 stored
#   same point five times in one call: 1 stored
#   timestamp 1 ms later: 2 stored
#   another value: 2 stored
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export DO_NOT_TRACK=true MLFLOW_DISABLE_TELEMETRY=true MLFLOW_LOGGING_LEVEL=ERROR

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mlflow==3.17.2 sqlalchemy==2.0.58 pandas==3.1.1

cat > points.py <<'PY'
import logging
import os
import sys

logging.disable(logging.WARNING)
import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric

client = MlflowClient(tracking_uri=f"sqlite:///{os.getcwd()}/store.db")
experiment = client.create_experiment("points", artifact_location=os.path.join(os.getcwd(), "artifacts"))


def stored(*batches):
    run_id = client.create_run(experiment).info.run_id
    for batch in batches:
        client.log_batch(run_id, metrics=batch)
    return len(client.get_metric_history(run_id, "loss"))


point = Metric("loss", 1.5, 1000, 7)
seen = {
    "same point in two calls": stored([point], [point]),
    "same point five times in one call": stored([point] * 5),
    "timestamp 1 ms later": stored([point], [Metric("loss", 1.5, 1001, 7)]),
    "another value": stored([point], [Metric("loss", 1.6, 1000, 7)]),
}
print("mlflow", mlflow.__version__)
for what, count in seen.items():
    print(f"{what}: {count} stored")
if list(seen.values()) != [1, 1, 2, 2]:
    sys.exit("The behaviour is gone: MLflow no longer folds repeated metric points together in this way.")
PY
venv/bin/python points.py
