"""Numbers of the reference job, The Verdict (shared/ORACLES.md), to the digit or within the tolerance given there."""

import hashlib
import io
from collections import Counter
from pathlib import Path

import pytest
import torch

from minigpt.data.config import GPT2_VOCABULARY_SIZE, SplitConfig
from minigpt.data.sources import check_text
from minigpt.data.split import split_byte
from minigpt.data.tokenizer import Tokenizer
from minigpt.data.tokens import Side
from minigpt.data.windows import Windows, cut_windows
from minigpt.evaluation.loss import evaluate
from minigpt.generation.sampling import Sampler
from minigpt.model.config import ModelConfig
from minigpt.model.gpt import count_parameters
from minigpt.model.init import build_model

CORPUS_SHA256 = "b41e41a68f0398a3154ae69e2e4c0e2694e17fe0d66730536837f1b01935b31f"
TOKENS_SHA256 = "4a851caad4ae111f78954808e5fa54dec820e588b0aa4d847154fcd43bfaabb6"
WINDOWS = {
    "train": (
        4612,
        18,
        "da256a8f43f191649f9520430d04c631dd64a6ce5959045224ecfdbb3986fd29",
        "eb3b1b17f593527c7d319070a8540082777e9afdeccc980b2e3fd480892b5715",
    ),
    "val": (
        534,
        2,
        "fb06487d0507678484879fd3f8a87a40704cb4720473a55b24c4053b05543ade",
        "88489bf36416978a23a61e23fe2fcbe01c47d7f98fd2518e3e72debcb4d15fad",
    ),
}
SPLIT = SplitConfig(validation_fraction=0.1, boundary="character")
MODEL = ModelConfig(context_length=256, width=768, heads=12, layers=12, dropout=0.1, initialisation="pytorch")


@pytest.fixture(scope="module")
def text(shared: Path) -> str:
    data = (shared / "corpora" / "the-verdict.txt").read_bytes()
    assert hashlib.sha256(data).hexdigest() == CORPUS_SHA256
    check_text(io.BytesIO(data), "The Verdict")
    return data.decode("ascii")  # so that bytes are characters


@pytest.fixture(scope="module")
def windows(text: str, gpt2: Tokenizer) -> dict[str, Windows]:
    cut = split_byte(io.BytesIO(text.encode()), SPLIT)
    sides: dict[Side, str] = {"train": text[:cut], "val": text[cut:]}
    return {side: cut_windows(gpt2.encode(part), side, 256, SPLIT) for side, part in sides.items()}


def test_the_text_splits_inside_a_word(text: str) -> None:
    cut = split_byte(io.BytesIO(text.encode()), SPLIT)
    assert (len(text), cut) == (20_479, 18_431)
    assert text[cut - 8 : cut + 2] == "'techniq" + "ue"


def test_the_whole_text_has_the_published_tokens(text: str, gpt2: Tokenizer) -> None:
    tokens = gpt2.encode(text)
    assert len(tokens) == 5145
    assert hashlib.sha256(tokens.tobytes()).hexdigest() == TOKENS_SHA256


@pytest.mark.parametrize("side", ["train", "val"])
def test_windows_have_the_reference_digests(windows: dict[str, Windows], side: str) -> None:
    tokens, count, inputs, targets = WINDOWS[side]
    assert len(windows[side].tokens) == tokens
    assert len(windows[side]) == count
    assert windows[side].digests() == {"inputs": inputs, "targets": targets}


def test_the_untrained_model_has_the_published_size_and_losses(windows: dict[str, Windows], gpt2: Tokenizer) -> None:
    gpt = build_model(MODEL, GPT2_VOCABULARY_SIZE, seed=123)
    assert count_parameters(gpt) == 162_419_712
    token_bytes = torch.from_numpy(gpt2.token_bytes())
    losses = {side: evaluate(gpt, cut.in_order(2), token_bytes).loss for side, cut in windows.items()}
    assert losses["train"] == pytest.approx(10.988, abs=0.05)
    assert losses["val"] == pytest.approx(10.981, abs=0.05)


LOGITS = torch.tensor([4.51, 0.89, -1.90, 6.75, 1.63, -1.62, -1.89, 6.28, 1.79])
CLOSER, FORWARD, INCHES, TOWARD = 0, 3, 4, 7


@pytest.mark.parametrize(
    ("temperature", "counts"),
    [
        (1.0, {CLOSER: 73, FORWARD: 582, INCHES: 2, TOWARD: 343}),
        (0.1, {FORWARD: 985, TOWARD: 15}),
        (5.0, dict(enumerate([165, 75, 42, 239, 71, 46, 32, 227, 103]))),
    ],
)
def test_a_thousand_draws_fall_as_in_the_book(temperature: float, counts: dict[int, int]) -> None:
    generator = torch.Generator().manual_seed(123)
    drawn = Counter(Sampler(temperature, generator=generator).choose(LOGITS) for _ in range(1000))
    assert drawn == counts


def test_top_k_leaves_three_words() -> None:
    left = Sampler(1.0, top_k=3).probabilities(LOGITS)
    assert left[[CLOSER, FORWARD, TOWARD]].tolist() == pytest.approx([0.0615, 0.5775, 0.3610], abs=5e-5)
    assert left.count_nonzero() == 3
