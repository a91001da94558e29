"""How often the flow and its tasks run again is ours to say, and not a default of the user's Prefect settings."""

import json
import os
import subprocess
import sys

import pytest

RETRIES = """
import json
from importlib import import_module
from pathlib import Path
from prefect import Flow, Task
import flows.pretraining, tasks.steps

found = {"pretrain": flows.pretraining.pretrain.retries}
for path in Path(tasks.steps.__path__[0]).glob("*.py"):
    module = import_module(f"tasks.steps.{path.stem}")
    found |= {value.name: value.retries for value in vars(module).values() if isinstance(value, Task | Flow)}
print(json.dumps(found))
"""


@pytest.mark.parametrize("setting", ["PREFECT_FLOWS_DEFAULT_RETRIES", "PREFECT_TASKS_DEFAULT_RETRIES"])
def test_only_the_network_is_asked_again(setting: str) -> None:
    """A training that diverged, run again by such a default, ended in a state that is not final."""
    environment = {**os.environ, setting: "2"}
    done = subprocess.run([sys.executable, "-c", RETRIES], env=environment, capture_output=True, text=True, check=True)
    retries = json.loads(done.stdout)
    assert len(retries) == 10
    assert {name: number for name, number in retries.items() if number} == {"corpus download": 3}
