"""Writing text: one prompt, 200 tokens, fp32, greedy, within the context.

`python -m bench.generation NAME` writes in a process of its own; `equality` compares with and without the cache.
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

# Many, for memory is faster or slower by a third from one minute to the next.
ROUNDS = 7
PROMPT_TOKENS = 16
NEW_TOKENS = 200
# So many are written between two readings of memory, for the speed of it may change within the second.
TURN_TOKENS, TURN_READS = 20, 2
PEER_NAMES = ("book", "transformers")
# Ours reads its head in 8 bits first where the few likeliest tokens are enough; this one never does.
WHOLE_HEAD = "ours, the whole head"

EQUAL_PROMPTS = 50
EQUAL_NEW_TOKENS = 48
# Two logits nearer than this may change places when the sums are done in another order.
SAME_LOGIT = 1e-4


def prompt(length: int, number: int = 0) -> list[int]:
    import torch

    generator = torch.Generator().manual_seed(number)
    drawn: list[int] = torch.randint(shape.VOCABULARY_SIZE, (length,), generator=generator).tolist()
    return drawn


def our_model() -> Any:
    """As `minigpt sample` has it when it has read a checkpoint to write one text."""
    from minigpt.generation.prepare import prepare_for_generation
    from minigpt.model.init import build_model
    from minigpt.runtime.config import EnvironmentConfig
    from minigpt.runtime.environment import apply_environment

    apply_environment(EnvironmentConfig())
    model = build_model(shape.verdict_model_config(shape.DROPOUT), shape.VOCABULARY_SIZE, seed=123)
    prepare_for_generation(model)
    return model


def greedy(model: Any, start: list[int], count: int) -> Iterator[int]:
    """What ours writes by its cache."""
    from minigpt.generation.generate import generate
    from minigpt.generation.sampling import Sampler

    return (token for [token] in generate(model, [start], [Sampler()], count))


def writer(name: str) -> Any:
    """A function of the prompt and the number of new tokens, that gives these, ours one by one."""
    import torch

    if name in ("ours", WHOLE_HEAD):
        model = our_model()
        if name == WHOLE_HEAD:
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
    """How many prompts go on as they do without a cache.

    One pass over a whole text gives what is likeliest after each of its prefixes without any cache; the text is the
    uncached one if it holds just these tokens. At the first that differs, the gap of the two best logits is told.
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
    """Tokens a second, some at a time, each with the bytes a second of the faster reading just before or behind it."""
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
        raise RuntimeError(f"{name} wrote {len(moments) - 1} tokens")
    found = {"tokens_per_second": [NEW_TOKENS / (moments[-1] - moments[0])], "peak_bytes": peak_bytes()}
    if name == "ours":
        each = [after - before for before, after in pairwise(moments)]
        found["undisturbed_tokens_per_second"] = [1 / statistics.quantiles(each, n=10)[0]]
        found["in_turns"] = in_turns_with_reading(write)  # behind the peak of memory, which it raises
    print(json.dumps(found))


def weight_bytes() -> int:
    """What has to be read for a token: every weight but the tables that are only looked up."""
    from minigpt.model.gpt import count_multiplied_parameters, empty_model

    return 4 * count_multiplied_parameters(empty_model(shape.verdict_model_config(0.0), shape.VOCABULARY_SIZE))


def bytes_read(size: int) -> float:
    """What ours reads of so many: the head in 8 bits with two numbers for each 384; the few rows in full aside."""
    from minigpt.cpu.weight_layouts import BLOCK_WIDTH

    head_numbers = shape.VOCABULARY_SIZE * shape.WIDTH
    return size - 4 * head_numbers + (1 + 8 / BLOCK_WIDTH) * head_numbers


def run() -> Outcome:
    names = ("ours", WHOLE_HEAD, *PEER_NAMES)
    results = in_turns(
        [
            Contender("limit", OURS, "bench.limit", ("reading",)),
            *(Contender(name, OURS, "bench.generation", (name,), trains=False) for name in ("ours", WHOLE_HEAD)),
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
    say(f"{EQUAL_PROMPTS} prompts with and without the cache")
    equal = take(Contender("equality", OURS, "bench.generation", ("equality",), trains=False))
    rows = [
        Row.at_least(
            "generation over the bandwidth limit, which reads every weight once",
            ratio(speeds["ours"], speeds["limit"]),
            0.85,
            "ours reads the head in 8 bits, then the few tokens in full that can be the likeliest",
        ),
        Row.at_least(
            f"the same where each {TURN_TOKENS} tokens have a limit of their own, read just before or behind them",
            spread(turns),
            0.85,
        ),
        Row.at_least(
            "and over what reading in their turn only what ours reads would allow",
            spread([share * bytes_read(size) / size for share in turns]),
            None,
        ),
        Row.at_least(
            "generation over the bandwidth limit where ours reads the whole head",
            ratio(speeds[WHOLE_HEAD], speeds["limit"]),
            None,
        ),
        Row.at_least(
            "the fastest tenth of these tokens over the limit, which is the best of 20 reads", undisturbed, None
        ),
        Row.at_least("generation over the book's", ratio(speeds["ours"], speeds["book"]), 4.0),
        Row.at_least("generation over transformers'", ratio(speeds["ours"], speeds["transformers"]), 1.0),
        Row.at_most(
            f"prompts of {EQUAL_PROMPTS} that go on otherwise than without the cache",
            float(equal["different"]),
            0.0,
            f"{len(equal['gaps'])} differ where the two best logits are less than {SAME_LOGIT:g} apart"
            if equal["gaps"] and not equal["different"]
            else "",
        ),
    ]
    table = [
        {
            "writing": name,
            "tokens/s": str(spread(flat(speeds[name]))),
            "peak memory": peak_memory(results[name]),
        }
        for name in ("limit", *names)
    ]
    return Outcome(rows, table, {**results, "equality": equal, "weight_bytes": size})


if __name__ == "__main__":
    main(*sys.argv[1:])
