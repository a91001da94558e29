"""Tokens: the same in pieces as in one, text like any other for special words, panics foreseen."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt import tokenizer
from minigpt.errors import InputError
from minigpt.tokenizer import Tokenizer

TEXT = "\n".join(f"Line {n} of a text with some words, numbers {n * n} and signs (é, ü, \u0301)." for n in range(300))


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return tokenizer.train(TEXT, 400)


@pytest.mark.parametrize("seed", range(20))
def test_pieces_encode_as_the_whole(trained: Tokenizer, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "PIECE_CHARACTERS", 7)
    source = random.Random(seed)  # noqa: S311  (text, not secrets)
    text = "".join(
        source.choice([" ", "  ", "\n", "\t", "a", "Ab", "'s", "1", "é", "\u0301", ",", "\r\n", "\0"])
        for _ in range(500)
    )
    assert trained.encode(text).tolist() == trained.encoding.encode_ordinary(text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_decoding_gives_the_text_back(text: str) -> None:
    trained = tokenizer.train("a b c d e f " * 20, 260)
    assert trained.decode(trained.encode(text).tolist()) == text


def test_a_special_word_is_text(trained: Tokenizer) -> None:
    assert trained.decode(trained.encode("a<|endoftext|>b").tolist()) == "a<|endoftext|>b"
    assert len(trained.encode("<|endoftext|>")) > 1


def test_a_saved_vocabulary_is_the_same(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path / "tokenizer.txt")
    again = tokenizer.load(tmp_path / "tokenizer.txt")
    assert np.array_equal(again.encode(TEXT), trained.encode(TEXT))
    assert np.array_equal(again.token_bytes(), trained.token_bytes())
    assert again.vocabulary_size == trained.vocabulary_size == 400


def test_training_a_vocabulary_again_gives_the_same(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path / "first")
    tokenizer.train(TEXT, 400).save(tmp_path / "second")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_endless_white_space_is_refused_with_its_place() -> None:
    with pytest.raises(InputError, match="from byte 3 on"):
        tokenizer.check_white_space("é." + " " * 10**6 + "x")
    tokenizer.check_white_space(" " * 99_999 + "x")


def test_a_long_line_is_text(trained: Tokenizer) -> None:
    line = "word" * 50_000
    assert trained.decode(trained.encode(line).tolist()) == line
