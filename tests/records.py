"""Records for tests: each function fills in the fields that its test does not look at."""

from typing import Any

from minigpt.io.records import EvaluationRecord, ResumeRecord, StartRecord, StepRecord

PROCESS = {
    "python": "3.11.7",
    "system": "Linux",
    "libc": "glibc 2.36",
    "cpu_class": "A",
    "torch_capability": "AVX512",
    "torch_threads": 2,
    "parameters": 1,
    "multiplied_parameters": 1,
}


def start(**fields: Any) -> StartRecord:
    return StartRecord(**PROCESS | fields)


def resume(**fields: Any) -> ResumeRecord:
    return ResumeRecord(**PROCESS | {"after_step": 3, "damaged": []} | fields)


def step(number: int, loss: float = 1.0, **fields: Any) -> StepRecord:
    others = {
        "learning_rate": 0.1,
        "gradient_norm": 1.0,
        "tokens_seen": 32 * number,
        "tokens_per_second": 100.0,
        "training_seconds": 0.5 * number,
    }
    return StepRecord(step=number, loss=loss, **others | fields)


def evaluation(number: int, train_loss: float = 2.0, val_loss: float = 2.5) -> EvaluationRecord:
    bits = {"train_bits_per_byte": train_loss / 2, "val_bits_per_byte": val_loss / 2}
    return EvaluationRecord(step=number, train_loss=train_loss, val_loss=val_loss, **bits)
