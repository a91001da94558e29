"""Write a complete checkpoint (162M parameters, optimizer state), against copying and against digesting its bytes.

`python -m bench.checkpoint FOLDER` writes in a process of its own.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import shape
from bench.measure import OURS, ROOT, Contender, flat, in_turns, peak_bytes, ratio, resident_bytes, spread
from bench.results import Outcome, Row

ROUNDS = 3
WRITES = 2


def main(folder: str) -> None:
    """Print bytes per second of each checkpoint write, and of `dd` with fsync and sha256 on one core over its bytes."""
    import torch

    from minigpt.checkpoints.format import begin_checkpoint
    from minigpt.io.store import finish_folder
    from minigpt.model.init import build_model
    from minigpt.runtime.config import EnvironmentConfig
    from minigpt.runtime.environment import apply_environment
    from minigpt.training.config import TrainingConfig
    from minigpt.training.optimizers import make_optimizers

    apply_environment(EnvironmentConfig())
    model = build_model(shape.verdict_model_config(0.0), shape.VOCABULARY_SIZE, seed=123)
    optimizers = make_optimizers(model, TrainingConfig())
    for weight in model.parameters():
        weight.grad = torch.randn_like(weight)
    for optimizer in optimizers:
        optimizer.step()
    model.zero_grad()
    place = Path(folder)
    vocabulary = place / "vocabulary"
    vocabulary.write_bytes(b"")
    before, writes = resident_bytes(), []
    for _ in range(WRITES):
        started = time.perf_counter()
        finish_folder(begin_checkpoint(place / "last", model, vocabulary, {}, optimizers))
        writes.append(time.perf_counter() - started)
    memory = peak_bytes() - before
    files = sorted(path for path in (place / "last").iterdir() if path.suffix == ".safetensors")
    size = sum(path.stat().st_size for path in files)
    started = time.perf_counter()
    for path in files:
        copy = ["dd", f"if={path}", f"of={place / 'copy'}", "bs=16M", "conv=fsync", "status=none"]
        subprocess.run(copy, check=True)
        (place / "copy").unlink()
    copied = time.perf_counter() - started
    started = time.perf_counter()
    for path in files:
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")
    digested = time.perf_counter() - started
    speeds = {"ours": [size / s for s in writes], "dd": [size / copied], "sha256": [size / digested]}
    print(json.dumps({"bytes_per_second": speeds, "bytes": size, "memory": memory}))


def run() -> Outcome:
    with tempfile.TemporaryDirectory(dir=ROOT) as folder:  # on the disk that runs write to
        results = in_turns([Contender("checkpoint", OURS, "bench.checkpoint", (folder,))], ROUNDS)["checkpoint"]
        shutil.rmtree(folder)
        Path(folder).mkdir()
    speeds = {name: [result["bytes_per_second"][name] for result in results] for name in ("ours", "dd", "sha256")}
    slower = min(("dd", "sha256"), key=lambda name: spread(flat(speeds[name])).median)
    rows = [
        Row.at_least(
            f"writing a checkpoint over {slower}, the slower of dd and sha256",
            ratio(speeds["ours"], speeds[slower]),
            0.7,
        )
    ]
    table = [{"writing": name, "GB/s": str(spread([speed / 1e9 for speed in flat(speeds[name])]))} for name in speeds]
    return Outcome(rows, table, {"rounds": results})


if __name__ == "__main__":
    main(*sys.argv[1:])
