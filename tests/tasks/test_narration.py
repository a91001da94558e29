"""What a person who watches is told."""

import logging
from pathlib import Path

import pytest

from tasks.narration import Narrator
from tests.faults.tiny import tiny_job

FACTS = {"cpu_class": "A", "torch_capability": "AVX512", "torch_threads": 2, "system": "Linux", "parameters": 1}


@pytest.mark.parametrize(("cpu_class", "warnings"), [("A", 0), ("B", 1)])
def test_a_resume_on_another_machine_class_is_told(
    cpu_class: str, warnings: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    resume = {"kind": "resume", **FACTS, "cpu_class": cpu_class, "after_step": 3, "damaged": []}
    with caplog.at_level(logging.WARNING):
        Narrator(tiny_job(tmp_path)).tell([{"kind": "start", **FACTS}, resume])
    assert len(caplog.records) == warnings
    assert not warnings or "cpu_class: was A, is B" in caplog.text
