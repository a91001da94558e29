"""The cost of the proof of curve and weights in the verdict job, in seconds and against its training time.

`python -m bench.proof FOLDER` measures in a process of its own, on the disk of the folder.
"""

import json
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from bench.measure import OURS, ROOT, Contender, in_turns, ratio
from bench.results import Outcome, Row

ROUNDS = 3
WARM_UP_STEPS, STEPS = 3, 5
CHECKPOINTS = 4
STEPS_BESIDE = 4

# Records that a verdict run writes into its journal, and how often it waits until they are on the disk.
VERDICT_STEPS = 90
VERDICT_RECORDS = VERDICT_STEPS + 19 + 11 + 13
VERDICT_SYNCS = 14

# Names of the measured seconds, and their labels in the table.
MEASURED = {
    "appending": f"{VERDICT_RECORDS} records",
    "syncing": f"{VERDICT_SYNCS} flushes of the journal",
    "digest": "digest of the last weights",
    "begun": "a best checkpoint, until the next step begins",
    "beside": "the same, delay of the steps during its flush and digests",
}


def main(folder: str) -> None:
    from bench.step import our_training
    from minigpt.checkpoints.format import weights_of, weights_sha256
    from minigpt.checkpoints.manager import CheckpointManager
    from minigpt.io.journal import Journal
    from minigpt.io.records import StepRecord

    place = Path(folder)
    (place / "vocabulary").write_bytes(b"")
    (place / "checkpoints").mkdir()
    model, steps = our_training("ours")
    list(islice(steps, WARM_UP_STEPS))
    step = median(seconds_of(lambda: next(steps)) for _ in range(STEPS))

    journal = Journal(place / "journal.jsonl")

    def append_step() -> None:
        journal.append(
            StepRecord(
                step=1,
                loss=10.987654321,
                learning_rate=4e-4,
                gradient_norm=1.23456789,
                tokens_seen=512,
                tokens_per_second=1234.56789,
                training_seconds=12.3456789,
            )
        )

    appending = seconds_of(lambda: [append_step() for _ in range(VERDICT_RECORDS)])
    syncing = 0.0
    for _ in range(VERDICT_SYNCS):
        append_step()
        syncing += seconds_of(journal.sync)
    digest = seconds_of(lambda: weights_sha256(weights_of(model)))

    saver = CheckpointManager(place / "checkpoints", place / "vocabulary", journal, [])
    begun, beside = [], []
    for number in range(CHECKPOINTS):
        begun.append(seconds_of(lambda number=number: saver.save("best", model, {"step": number})))
        beside.append(sum(seconds_of(lambda: next(steps)) for _ in range(STEPS_BESIDE)) - STEPS_BESIDE * step)
        saver.note()
    saver.finish()
    result = {
        "training": [VERDICT_STEPS * step],
        "proof": [appending + syncing + digest],
        "appending": [appending],
        "syncing": [syncing],
        "digest": [digest],
        "begun": begun,
        "beside": beside,
    }
    print(json.dumps(result))


def seconds_of(action: Any) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def middle(results: list[dict[str, Any]], name: str) -> float:
    """The median over all rounds, without the first checkpoint of a round, because it replaces no other."""
    return median(seconds for result in results for seconds in result[name][len(result[name]) > 1 :])


def run() -> Outcome:
    results = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(dir=ROOT) as folder:
            results += in_turns([Contender("proof", OURS, "bench.proof", (folder,))], rounds=1)["proof"]
    share = ratio([result["proof"] for result in results], [result["training"] for result in results])
    rows = [Row.at_most("journal and digest of the weights over verdict's training time", share, 0.01)]
    table = [{"what": what, "seconds": f"{middle(results, name):.3g}"} for name, what in MEASURED.items()]
    return Outcome(rows, table, {"rounds": results})


if __name__ == "__main__":
    main(*sys.argv[1:])
