"""Tokenize 500 MB into token files, against tiktoken alone with the same threads. Needs GPT-2's vocabulary.

`python -m bench.tokenization NAME TEXT` encodes in a process of its own.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.measure import OURS, THREADS, Contender, flat, in_turns, peak_bytes, ratio, resident_bytes, spread
from bench.results import Outcome, Row
from bench.shape import VOCABULARY_SIZE
from bench.texts import the_verdict, write_long
from minigpt.io.store import fsync

ROUNDS = 2
TEXT_BYTES = 500_000_000
PIECE_BYTES = 1 << 20
PIECES_AT_ONCE = 64


def ours(text: Path) -> dict[str, Any]:
    """The task of the flow: from a text in the cache to a folder of token files with digests."""
    from minigpt.data.config import SplitConfig, TokenizerConfig
    from minigpt.data.sources import Corpus
    from minigpt.data.tokenizer import published_gpt2
    from minigpt.io.store import sha256_of_file
    from tasks.steps.tokenization import tokenize

    corpus = Corpus(text, sha256_of_file(text), text.stat().st_size, str(text))
    published_gpt2()
    before, started = resident_bytes(), time.perf_counter()
    tokens = tokenize.fn(corpus, SplitConfig(), TokenizerConfig(kind="gpt2", vocabulary_size=VOCABULARY_SIZE))
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "tokens": tokens.train_tokens + tokens.val_tokens, "memory": peak_bytes() - before}


def raw(text: Path) -> dict[str, Any]:
    """tiktoken alone: encode pieces of the text that are already in memory, and discard the tokens."""
    import tiktoken

    encoding = tiktoken.get_encoding("gpt2")
    encoding.encode_ordinary("warm up")
    seconds, tokens = 0.0, 0
    with text.open("rb") as file:
        while pieces := [piece for _ in range(PIECES_AT_ONCE) if (piece := file.read(PIECE_BYTES).decode())]:
            started = time.perf_counter()
            encoded = encoding.encode_ordinary_batch(pieces, num_threads=THREADS)
            seconds += time.perf_counter() - started
            tokens += sum(map(len, encoded))
    return {"seconds": seconds, "tokens": tokens}


def main(name: str, text: str) -> None:
    with tempfile.TemporaryDirectory(dir=Path(text).parent) as home:
        os.environ["MINIGPT_HOME"] = home
        result = (ours if name == "ours" else raw)(Path(text))
    speed = Path(text).stat().st_size / 1e6 / result["seconds"]
    print(json.dumps({**result, "megabytes_per_second": [speed]}))


def run() -> Outcome:
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(the_verdict().parents[1] / "tiktoken-cache"))
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "long.txt"
        write_long(text, TEXT_BYTES)
        fsync(text)  # else the disk writes it during the first measurement
        contenders = [
            Contender(name, OURS, "bench.tokenization", (name, str(text)), trains=False)
            for name in ("ours", "tiktoken")
        ]
        results = in_turns(contenders, ROUNDS)
    speeds = {name: [result["megabytes_per_second"] for result in rounds] for name, rounds in results.items()}
    memory = max(result["memory"] for result in results["ours"])
    rows = [
        Row.at_least("tokenization into files over tiktoken alone", ratio(speeds["ours"], speeds["tiktoken"]), 0.8),
        Row.at_most(f"memory above that at the start for {TEXT_BYTES / 1e6:.0f} MB of text, MB", memory / 1e6, 300),
    ]
    table = [
        {"tokenizing": name, "MB/s": str(spread(flat(speeds[name]))), "tokens": f"{results[name][0]['tokens']:,}"}
        for name in results
    ]
    return Outcome(rows, table, results)


if __name__ == "__main__":
    main(*sys.argv[1:])
