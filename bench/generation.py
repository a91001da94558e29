"""Generation: one prompt, 200 tokens, fp32, greedy, within the context.

`python -m bench.generation NAME` generates in a process of its own; `equality` compares with and without the KV cache.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any

from bench import limit, shape
from bench.measure import OURS, PEERS, Contender, flat, in_turns, peak_bytes, peak_memory, ratio, say, spread, take
from bench.results import Outcome, Row

# Many, because memory bandwidth varies strongly from one minute to the next.
ROUNDS = 7
PROMPT_TOKENS = 16
NEW_TOKENS = 200
# Tokens between two bandwidth readings, and repeats of each reading. Bandwidth may change within a second.
TURN_TOKENS, TURN_READS = 20, 2
PEER_NAMES = ("book", "transformers")
# Where the few likeliest tokens are enough, ours uses the quantized head first; this contender never does.
FULL_HEAD = "ours, the full head"

EQUAL_PROMPTS = 50
EQUAL_NEW_TOKENS = 48
# Two logits closer than this may swap ranks if the sums run in another order.
SAME_LOGIT = 1e-4


def prompt(length: int, number: int = 0) -> list[int]:
    import torch

    generator = torch.Generator().manual_seed(number)
    drawn: list[int] = torch.randint(shape.VOCABULARY_SIZE, (length,), generator=generator).tolist()
    return drawn


def our_model() -> Any:
    """The model as `minigpt sample` prepares it to generate one text."""
    from minigpt.generation.prepare import prepare_for_generation
    from minigpt.model.init import build_model
    from minigpt.runtime.config import EnvironmentConfig
    from minigpt.runtime.environment import apply_environment

    apply_environment(EnvironmentConfig())
    model = build_model(shape.verdict_model_config(shape.DROPOUT), shape.VOCABULARY_SIZE, seed=123)
    prepare_for_generation(model)
    return model


def greedy(model: Any, start: list[int], count: int) -> Iterator[int]:
    """Greedy tokens of our model, with the KV cache."""
    from minigpt.generation.generate import generate
    from minigpt.generation.sampling import Sampler

    return (token for [token] in generate(model, [start], [Sampler()], count))


def writer(name: str) -> Any:
    """A function from a prompt and a number of new tokens to these tokens; ours yields them one by one."""
    import torch

    if name in ("ours", FULL_HEAD):
        model = our_model()
        if name == FULL_HEAD:
            model.__dict__["head"] = model.head.head
        return lambda start, count: greedy(model, start, count)
    from bench import peers

    torch.manual_seed(123)
    model, _ = peers.MODELS[name]()
    model.eval()
    if name == "book":
        from llms_from_scratch.ch05 import generate as book_generate

        def uncached(start: list[int], count: int) -> list[int]:
            text = book_generate(model, torch.tensor([start]), count, shape.CONTEXT_LENGTH)
            return text[0, len(start) :].tolist()

        return uncached

    def cached(start: list[int], count: int) -> list[int]:
        ids = torch.tensor([start])
        with torch.inference_mode():
            text = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=count,
                min_new_tokens=count,
                do_sample=False,
                use_cache=True,
                pad_token_id=0,
            )
        return text[0, len(start) :].tolist()

    return cached


def equality() -> dict[str, Any]:
    """Compare the continuations of prompts with those without a KV cache.

    One forward pass over a text gives the likeliest token after each of its prefixes, without a cache. If these are the
    tokens of the text, it is the uncached continuation. `gaps` has the distance of the two best logits at each first
    difference; `different` counts the gaps that are too large for rounding.
    """
    import torch

    model = our_model()
    gaps = []
    for number in range(EQUAL_PROMPTS):
        start = prompt(4 + 3 * number, number)
        new = list(greedy(model, start, EQUAL_NEW_TOKENS))
        with torch.inference_mode():
            logits = model(torch.tensor([start + new[:-1]]))[0, len(start) - 1 :]
        differs = (logits.argmax(-1) != torch.tensor(new)).nonzero()
        if len(differs):
            best = logits[differs[0]].topk(2).values.flatten()
            gaps.append(float(best[0] - best[1]))
    return {"prompts": EQUAL_PROMPTS, "gaps": gaps, "different": sum(gap >= SAME_LOGIT for gap in gaps)}


def in_turns_with_reading(write: Any) -> list[tuple[float, float]]:
    """Alternate between generating TURN_TOKENS tokens and reading memory.

    Each item is (tokens per second, bytes per second of the faster reading just before or after them).
    """
    ways = limit.ways_to_read()
    tokens = iter(write(prompt(PROMPT_TOKENS), NEW_TOKENS))
    found, before = [], limit.reading_bytes_per_second(ways, TURN_READS)
    for _ in range(NEW_TOKENS // TURN_TOKENS):
        started = time.perf_counter()
        for _ in islice(tokens, TURN_TOKENS):
            pass
        speed = TURN_TOKENS / (time.perf_counter() - started)
        after = limit.reading_bytes_per_second(ways, TURN_READS)
        found.append((speed, max(before, after)))
        before = after
    return found


def main(name: str) -> None:
    if name == "equality":
        print(json.dumps(equality()))
        return
    write = writer(name)
    list(write(prompt(PROMPT_TOKENS), 8))
    moments = [time.perf_counter()]
    for _ in write(prompt(PROMPT_TOKENS), NEW_TOKENS):
        moments.append(time.perf_counter())
    if len(moments) != NEW_TOKENS + 1:
        raise RuntimeError(f"{name} generated {len(moments) - 1} tokens instead of {NEW_TOKENS}")
    found = {"tokens_per_second": [NEW_TOKENS / (moments[-1] - moments[0])], "peak_bytes": peak_bytes()}
    if name == "ours":
        each = [after - before for before, after in pairwise(moments)]
        found["undisturbed_tokens_per_second"] = [1 / statistics.quantiles(each, n=10)[0]]
        found["in_turns"] = in_turns_with_reading(write)  # last, because it raises the memory peak
    print(json.dumps(found))


def weight_bytes() -> int:
    """Bytes of the weights that a token has to read: all but the tables that are only looked up."""
    from minigpt.model.gpt import count_multiplied_parameters, empty_model

    return 4 * count_multiplied_parameters(empty_model(shape.verdict_model_config(0.0), shape.VOCABULARY_SIZE))


def bytes_read(size: int) -> float:
    """Bytes that ours reads of `size`: the head in 8 bits with two numbers per block, without the rows read in full."""
    from minigpt.cpu.weight_layouts import BLOCK_WIDTH

    head_numbers = shape.VOCABULARY_SIZE * shape.WIDTH
    return size - 4 * head_numbers + (1 + 8 / BLOCK_WIDTH) * head_numbers


def run() -> Outcome:
    names = ("ours", FULL_HEAD, *PEER_NAMES)
    results = in_turns(
        [
            Contender("limit", OURS, "bench.limit", ("reading",)),
            *(Contender(name, OURS, "bench.generation", (name,), trains=False) for name in ("ours", FULL_HEAD)),
            *(Contender(name, PEERS, "bench.generation", (name,)) for name in PEER_NAMES),
        ],
        ROUNDS,
    )
    size = weight_bytes()
    speeds = {name: [result["tokens_per_second"] for result in results[name]] for name in names}
    speeds["limit"] = [[result["bytes_per_second"] / size] for result in results["limit"]]
    turns = [
        statistics.median(speed * size / reading for speed, reading in result["in_turns"]) for result in results["ours"]
    ]
    undisturbed = ratio([result["undisturbed_tokens_per_second"] for result in results["ours"]], speeds["limit"])
    say(f"{EQUAL_PROMPTS} prompts with and without the KV cache")
    equal = take(Contender("equality", OURS, "bench.generation", ("equality",), trains=False))
    rows = [
        Row.at_least(
            "generation over the bandwidth limit, which reads every weight once",
            ratio(speeds["ours"], speeds["limit"]),
            0.85,
            "ours reads the quantized head, then in full only the rows of tokens that can be the likeliest",
        ),
        Row.at_least(
            f"the same for each {TURN_TOKENS} tokens, over the bandwidth measured just before or after them",
            spread(turns),
            0.85,
        ),
        Row.at_least(
            "the same over a limit that reads only what ours reads",
            spread([share * bytes_read(size) / size for share in turns]),
            None,
        ),
        Row.at_least(
            "generation with the full head over the bandwidth limit",
            ratio(speeds[FULL_HEAD], speeds["limit"]),
            None,
        ),
        Row.at_least(
            "the fastest tenth of these tokens over the limit, which is the best of 20 reads", undisturbed, None
        ),
        Row.at_least("generation over the book's", ratio(speeds["ours"], speeds["book"]), 4.0),
        Row.at_least("generation over transformers'", ratio(speeds["ours"], speeds["transformers"]), 1.0),
        Row.at_most(
            f"prompts, of {EQUAL_PROMPTS}, whose text differs from that without the KV cache",
            float(equal["different"]),
            0.0,
            f"{len(equal['gaps'])} differ where the two best logits are less than {SAME_LOGIT:g} apart"
            if equal["gaps"] and not equal["different"]
            else "",
        ),
    ]
    table = [
        {
            "generating": name,
            "tokens/s": str(spread(flat(speeds[name]))),
            "peak memory": peak_memory(results[name]),
        }
        for name in ("limit", *names)
    ]
    return Outcome(rows, table, {**results, "equality": equal, "weight_bytes": size})


if __name__ == "__main__":
    main(*sys.argv[1:])
