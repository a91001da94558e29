"""Text: the same with and without the cache, alone and in a batch; draws that keep to their limits; stop text."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from minigpt.data.tokenizer import Tokenizer, train_bpe
from minigpt.errors import InputError
from minigpt.generation.generate import Continuation, complete_prompt, generate, stream_texts
from minigpt.generation.sampling import Sampler
from minigpt.model.config import ModelConfig
from minigpt.model.gpt import GPT
from minigpt.model.init import build_model
from minigpt.randomness import stream

CONFIG = ModelConfig(context_length=16, width=24, heads=3, layers=2)
TEXT = "A text with some words, signs (é, ü, \u0301), \U0001f642 and numbers. " * 20


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return train_bpe([TEXT], 300)


@pytest.fixture(params=["gpt2", "modern"])
def model(request: pytest.FixtureRequest, trained: Tokenizer) -> GPT:
    gpt = build_model(CONFIG.model_copy(update={"architecture": request.param}), trained.vocabulary_size, seed=1)
    with torch.no_grad():
        for weight in gpt.parameters():
            weight.add_(torch.randn(weight.shape, generator=stream(1, "noise")) * 0.3)
    return gpt


@torch.no_grad()
def test_the_cache_changes_no_token_within_or_past_the_context(model: GPT) -> None:
    prompts = [[3, 1, 4], [1, 5, 9]]
    for prompt, *cached in zip(prompts, *generate(model, prompts, [Sampler(), Sampler()], 40), strict=True):
        tokens = list(prompt)
        for _ in range(40):
            tokens.append(int(model(torch.tensor([tokens[-16:]]))[0, -1].argmax()))
        assert cached == tokens[3:]


def test_each_text_of_a_batch_is_the_one_that_is_written_alone(model: GPT, trained: Tokenizer) -> None:
    def draws() -> list[Sampler]:
        return [Sampler(), *(Sampler(1.0, top_k, generator=stream(1, "sample", top_k)) for top_k in (2, 5))]

    together = complete_prompt(model, trained, "A text", draws(), 30)
    assert together == [complete_prompt(model, trained, "A text", [draw], 30)[0] for draw in draws()]
    assert len(set(together)) == 3


@pytest.mark.parametrize("temperature", [0.0, 1e-300, 1e-40, 1e-7])
def test_next_to_no_temperature_is_greedy(temperature: float) -> None:
    assert Sampler(temperature, top_k=2).choose(torch.tensor([1.0, 3.0, 2.0])) == 1


def test_top_p_keeps_the_fewest_tokens_that_are_enough() -> None:
    logits = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15]).log()
    kept = [
        Sampler(1.0, top_p=p).probabilities(logits).count_nonzero().item() for p in (0.0, 0.39, 0.41, 0.75, 0.9, 1.0)
    ]
    assert kept == [1, 1, 2, 3, 4, 5]
    shares = Sampler(1.0, top_p=0.6).probabilities(logits)
    torch.testing.assert_close(shares, torch.tensor([0.0, 0.4, 0.0, 0.3, 0.0]) / 0.7)


@example(logits=[0.0, 0.0, 0.0], top_k=2, top_p=1.0)
@example(logits=[0.0, 0.0, 0.0, 0.0], top_k=1, top_p=1.0)
@example(logits=[0.0, 7.756552079628126e-41], top_k=2, top_p=0.5)
@given(st.lists(st.floats(-20, 20), min_size=1, max_size=20), st.integers(1, 20), st.floats(0.01, 1.0))
def test_what_is_drawn_keeps_to_both_limits(logits: list[float], top_k: int, top_p: float) -> None:
    row = torch.tensor(logits)
    shares = Sampler(0.8, top_k, top_p).probabilities(row)
    assert shares.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert shares[row.argmax()] > 0
    assert shares.count_nonzero() <= top_k
    assert not (shares > 0)[row < row.topk(min(top_k, len(row))).values[-1]].any()


@pytest.mark.parametrize("spread", [0.01, 1.0, 4.0, 30.0])
@pytest.mark.parametrize("top_k", [None, 3, 1000])
@pytest.mark.parametrize("top_p", [1e-9, 0.3, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("ties", [False, True])
def test_top_p_of_many_tokens_is_that_of_all_in_order(
    spread: float, top_k: int | None, top_p: float, ties: bool
) -> None:
    """Whether they are among the first 256, the first 4,096, or neither; to the last bit."""
    logits = torch.randn(9000, generator=stream(1, f"{spread}")) * spread
    logits = (logits * 2).round() / 2 if ties else logits
    shares = Sampler(1.0, top_k).probabilities(logits)
    order = logits.masked_fill(shares == 0, -torch.inf).argsort(descending=True, stable=True)
    spare = shares[order].cumsum(-1) - shares[order] >= top_p
    spare[0] = False
    expected = shares.clone()
    expected[order[spare]] = 0.0
    assert torch.equal(Sampler(1.0, top_k, top_p).probabilities(logits), expected / expected.sum())


BYTES = train_bpe(["a"], 256)


@given(st.text(max_size=60), st.one_of(st.none(), st.text(min_size=1, max_size=4)))
def test_pieces_are_the_text_up_to_its_stop_text(text: str, stop: str | None) -> None:
    """Byte by byte, so that most characters come in parts."""
    continuation = Continuation(BYTES, stop)
    token_of = continuation.tokenizer.encoding.encode_single_token
    shown = ""
    for number in text.encode():
        shown += continuation.add(token_of(bytes([number])))
        assert text.startswith(shown)
    assert shown + continuation.end() == (text.partition(stop)[0] if stop else text)


def test_writing_ends_when_every_text_has_stopped(model: GPT, trained: Tokenizer) -> None:
    [whole] = complete_prompt(model, trained, "A text", [Sampler()], 12)
    stop = whole[len("A text") + 4 :][:2]
    pieces = list(stream_texts(model, trained, "A text", [Sampler()], 10_000, stop))
    assert "A text" + "".join(piece for [piece] in pieces) == "A text" + whole[len("A text") :].partition(stop)[0]
    assert len(pieces) <= 13


@pytest.mark.parametrize("prompt", ["", "A text " * 100])
def test_a_prompt_that_the_context_cannot_hold_is_refused(model: GPT, trained: Tokenizer, prompt: str) -> None:
    with pytest.raises(InputError, match="the context holds 1 to 16"):
        complete_prompt(model, trained, prompt, [Sampler()], 5)
