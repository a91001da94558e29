#!/usr/bin/env bash
# Package: mlflow 3.17.2 (pyfunc models, sqlite store)
#
# Behaviour: a type hint on a pyfunc model's predict throws away the params part of
# an explicitly given signature, although hint and signature agree on inputs and
# outputs. log_model warns that the signature of the hint is used instead; the loaded
# model then ignores the caller's params, and predict gets no defaults either.
#
# Expected instead: the hint, which says nothing about params, leaves the params of
# the given signature alone, as they stay when predict has no hint. They also stay
# when the same hint comes with an input example that carries the params.
#
# Output seen on 2026-11-30:
#   mlflow 3.17.2
#   no hint, signature: inputs and outputs as given: True; params of the model: ['count': long (default: 3)]; predict gets {'count': 3}, and with count=7 {'count': 7}
#   hint, signature: inputs and outputs as given: True; params of the model: None; predict gets None, and with count=7 {}
#   hint, input example: inputs and outputs as given: True; params of the model: ['count': long (default: 3)]; predict gets {'count': 3}, and with count=7 {'count': 7}
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export DO_NOT_TRACK=true MLFLOW_DISABLE_TELEMETRY=true

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mlflow==3.17.2 sqlalchemy==2.0.58 pandas==3.1.1

cat > hint.py <<'PY'
import logging
import os
import sys
import warnings

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
import mlflow
from mlflow.models import infer_signature

MODEL = """import mlflow

class Echo(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input{hint}, params=None){returns}:
        return [str(params)] * len(model_input)

mlflow.models.set_model(Echo())
"""
mlflow.set_tracking_uri(f"sqlite:///{os.getcwd()}/store.db")
mlflow.create_experiment("hint", artifact_location=os.path.join(os.getcwd(), "artifacts"))
mlflow.set_experiment("hint")
signature = infer_signature(["a"], ["b"], params={"count": 3})


def answers(file, hinted, **how):
    hint, returns = (": list[str]", " -> list[str]") if hinted else ("", "")
    with open(file, "w") as out:
        out.write(MODEL.format(hint=hint, returns=returns))
    with mlflow.start_run():
        logged = mlflow.pyfunc.log_model(name="echo", python_model=file, pip_requirements=[], **how)
    loaded = mlflow.pyfunc.load_model(logged.model_uri)
    kept = loaded.metadata.signature
    same = kept.inputs == signature.inputs and kept.outputs == signature.outputs
    return same, str(kept.params), loaded.predict(["a"])[0], loaded.predict(["a"], params={"count": 7})[0]


seen = {
    "no hint, signature": answers("plain.py", False, signature=signature),
    "hint, signature": answers("hinted.py", True, signature=signature),
    "hint, input example": answers("example.py", True, input_example=(["a"], {"count": 3})),
}
print("mlflow", mlflow.__version__)
for what, (same, params, by_default, by_call) in seen.items():
    print(f"{what}: inputs and outputs as given: {same}; params of the model: {params}; "
          f"predict gets {by_default}, and with count=7 {by_call}")
good = (True, "['count': long (default: 3)]", "{'count': 3}", "{'count': 7}")
if list(seen.values()) != [good, (True, "None", "None", "{}"), good]:
    sys.exit("The behaviour is gone: a type hint on predict no longer removes the params of a given signature.")
PY
venv/bin/python hint.py
