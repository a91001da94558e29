#!/usr/bin/env bash
# Package: mlflow 3.17.2 (sqlite store)
#
# Behaviour: MLflow refuses to record a logged model as the output of a run a second
# time, also at another step, with a raw database error about a unique constraint.
# The same logged model recorded twice as an input of the run is accepted.
#
# Expected instead: an output at step 2 stands beside the output at step 1, since the
# record has a step of its own; or at least inputs and outputs behave alike.
#
# Output seen on 2026-11-30:
#   mlflow 3.17.2
#   model as output, step 1: accepted
#   model as output, step 2: refused: (sqlite3.IntegrityError) UNIQUE constraint failed: inputs.source_type, inputs.source_id, inputs.destination_type, inputs.destination_id
#   model as input, first time: accepted
#   model as input, second time: accepted
#   steps of the stored outputs: [1]
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export DO_NOT_TRACK=true MLFLOW_DISABLE_TELEMETRY=true MLFLOW_LOGGING_LEVEL=ERROR

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mlflow==3.17.2 sqlalchemy==2.0.58 pandas==3.1.1

cat > outputs.py <<'PY'
import logging
import os
import sys

logging.disable(logging.WARNING)
import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModelInput, LoggedModelOutput

mlflow.set_tracking_uri(f"sqlite:///{os.getcwd()}/store.db")
client = MlflowClient()
experiment = client.create_experiment("outputs", artifact_location=os.path.join(os.getcwd(), "artifacts"))
run_id = client.create_run(experiment).info.run_id


def model(name):
    return mlflow.create_external_model(name=name, experiment_id=experiment, source_run_id=run_id).model_id


def attempt(call):
    try:
        call()
    except mlflow.exceptions.MlflowException as error:
        return "refused: " + str(error).splitlines()[0]
    return "accepted"


produced, consumed = model("produced"), model("consumed")
seen = []
for step in (1, 2):
    seen.append(attempt(lambda: client.log_outputs(run_id, [LoggedModelOutput(produced, step)])))
for _ in range(2):
    seen.append(attempt(lambda: client.log_inputs(run_id, models=[LoggedModelInput(consumed)])))
steps = [output.step for output in client.get_run(run_id).outputs.model_outputs]

print("mlflow", mlflow.__version__)
print("model as output, step 1:", seen[0])
print("model as output, step 2:", seen[1])
print("model as input, first time:", seen[2])
print("model as input, second time:", seen[3])
print("steps of the stored outputs:", steps)
refused = seen[1].startswith("refused") and "UNIQUE constraint" in seen[1]
if not refused or [seen[0], seen[2], seen[3]] != ["accepted"] * 3 or steps != [1]:
    sys.exit("The behaviour is gone: MLflow no longer refuses the second output while it accepts the second input.")
PY
venv/bin/python outputs.py
