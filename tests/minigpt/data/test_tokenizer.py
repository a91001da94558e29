"""Tokens: pieces encode like the undivided text, special words are text, and text that cannot be split is refused."""

import hashlib
import io
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import tiktoken
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from minigpt.data import tokenizer
from minigpt.data.config import GPT2_VOCABULARY_SIZE, TokenizerConfig
from minigpt.data.tokenizer import (
    GPT2_FILES,
    Tokenizer,
    check_white_space,
    load_tokenizer,
    pieces_of,
    tiktoken_cache_name,
    train_bpe,
)
from minigpt.data.tokens import open_tokens
from minigpt.errors import InputError
from minigpt.io.text import BLOCK_BYTES

TEXT = "\n".join(f"Line {n} of a text with some words, numbers {n * n} and signs (é, ü, \u0301)." for n in range(300))


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return train_bpe([TEXT], 400)


def encode_file(vocabulary: Tokenizer, text: str, folder: Path, threads: int = 2) -> list[int]:
    """Tokens as `encode_file` writes them, which says how many."""
    data = text.encode()
    count = vocabulary.encode_file(io.BytesIO(data), 0, len(data), folder / "tokens", threads)
    tokens = open_tokens(folder / "tokens")
    assert len(tokens) == count
    return [int(token) for token in tokens]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_file_has_the_tokens_of_its_text(trained: Tokenizer, threads: int, tmp_path: Path) -> None:
    """More pieces than are in memory at a time, in the order of the text, for any number of threads."""
    text = f"{TEXT}\r\n漢字 {TEXT}" * 60
    assert len(text.encode()) > 5 * BLOCK_BYTES
    assert encode_file(trained, text, tmp_path, threads) == trained.encoding.encode_ordinary(text)


def test_a_part_of_a_file_is_encoded_by_itself(trained: Tokenizer, tmp_path: Path) -> None:
    text = io.BytesIO("é. A part, and what is behind".encode())
    assert trained.encode_file(text, 2, 9, tmp_path / "part", 1) == len(trained.encode(". A par"))
    assert trained.encode_file(text, 3, 3, tmp_path / "none", 1) == 0
    assert (tmp_path / "none").read_bytes() == b""


SMALL = train_bpe(["a b c d e f " * 20], 260)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_decoding_gives_the_text_back(text: str) -> None:
    assert SMALL.decode(SMALL.encode(text).tolist()) == text


def test_a_special_word_is_text(trained: Tokenizer) -> None:
    assert trained.decode(trained.encode("a<|endoftext|>b").tolist()) == "a<|endoftext|>b"
    assert len(trained.encode("<|endoftext|>")) > 1


def test_a_saved_vocabulary_is_the_same(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path / "tokenizer.txt")
    again = load_tokenizer(tmp_path / "tokenizer.txt")
    assert np.array_equal(again.encode(TEXT), trained.encode(TEXT))
    assert np.array_equal(again.token_bytes(), trained.token_bytes())
    assert again.vocabulary_size == trained.vocabulary_size == 400


def test_training_a_vocabulary_again_gives_the_same(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path / "first")
    train_bpe([TEXT], 400).save(tmp_path / "second")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@pytest.fixture
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short run of white space is refused."""
    monkeypatch.setattr(tokenizer, "LONGEST_WHITE_SPACE", 100)


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize("spaces", [100, 1000])
def test_a_long_run_of_white_space_is_refused_with_its_place(spaces: int) -> None:
    with pytest.raises(InputError, match="has 100 or more white space characters in a row from byte 10 on, which"):
        check_white_space("é." + " " * spaces + "x", 7)
    check_white_space((" " * 99 + "x") * 20, 0)


def test_a_long_line_is_text(trained: Tokenizer) -> None:
    line = "word" * 50_000
    assert trained.decode(trained.encode(line).tolist()) == line


# Words, white space of every kind that texts have, and letters of one to four bytes.
SNIPPETS = [
    "a",
    "Word",
    " ",
    "   ",
    "\n",
    "\r\n",
    "\t",
    "'s",
    "'",
    "12",
    "é",
    "e\u0301",
    "\u0301",
    "\0",
    "!?",
    "\u3000",
]
SNIPPETS += ["\u00a0", "\u2028", "\u0085", "漢字", "🙂", "<|endoftext|>", "\u200d", "\ufeff", "\x1c", "\x1f"]
TEXTS = st.lists(st.sampled_from(SNIPPETS) | st.characters(exclude_categories=["Cs", "Cc"])).map("".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, size=st.integers(1, 12))
def test_gpt2_encodes_pieces_as_the_whole(gpt2: Tokenizer, text: str, size: int, tmp_path: Path) -> None:
    blocks = [text[start : start + size] for start in range(0, len(text), size)]
    pieces = list(pieces_of(blocks, 3))
    assert "".join(piece for _, piece in pieces) == text
    places = [3 + len("".join(piece for _, piece in pieces[:n]).encode()) for n in range(len(pieces))]
    assert [place for place, _ in pieces] == places
    whole = gpt2.encoding.encode_ordinary(text)
    assert [token for _, piece in pieces for token in gpt2.encode(piece).tolist()] == whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minigpt.io.text.BLOCK_BYTES", size)
        assert encode_file(gpt2, text, tmp_path) == whole
    assert gpt2.encode(text).tolist() == whole
    assert gpt2.decode(whole) == text


@given(st.lists(TEXTS, max_size=20))
def test_a_vocabulary_does_not_depend_on_the_blocks_of_its_text(blocks: list[str]) -> None:
    text = "".join(blocks)
    assert train_bpe(blocks, 280).encode(text).tolist() == train_bpe([text], 280).encode(text).tolist()


@pytest.mark.parametrize("separator", ["\x1c", "\x1d", "\x1e", "\x1f"])
def test_pieces_end_at_no_information_separator(separator: str) -> None:
    trained = train_bpe([f"!{separator}! " * 200 + "a b "], 300)
    text = f"!!{separator}!!"
    tokens = [token for _, piece in pieces_of(text) for token in trained.encode(piece).tolist()]
    assert tokens == trained.encoding.encode_ordinary(text)


@pytest.mark.parametrize(
    "text", ["", "a\0b\0\0", "a\r\nb\r\n", "e\u0301" * 1000, "\u0301" * 1000, "\ufeffa", "🙂" * 99]
)
def test_odd_text_comes_back_as_it_was(gpt2: Tokenizer, trained: Tokenizer, text: str) -> None:
    for vocabulary in (gpt2, trained):
        tokens = vocabulary.encode(text)
        assert tokens.dtype == np.dtype("<u2")
        assert vocabulary.decode(tokens.tolist()) == text
        assert vocabulary.token_bytes()[tokens].sum() == len(text.encode())


def test_one_line_of_ten_megabytes_is_text(gpt2: Tokenizer, tmp_path: Path) -> None:
    line = "A word and another one, without an end; " * 260_000
    assert len(line) > 10**7
    assert encode_file(gpt2, line, tmp_path) == gpt2.encoding.encode_ordinary(line)


@pytest.mark.parametrize("letter", ["a", "\u0301", "7"])
def test_a_long_run_of_letters_is_text(trained: Tokenizer, letter: str) -> None:
    """A megabyte without a place to cut."""
    run = letter * 10**6
    assert trained.decode(trained.encode(run).tolist()) == run


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize("before", ["é", "é" + "word " * 1000])
def test_a_long_run_is_refused_wherever_blocks_end(
    trained: Tokenizer, before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For encoding and for training, also if the run is longer than a block."""
    monkeypatch.setattr("minigpt.io.text.BLOCK_BYTES", 40)
    text = before.rstrip() + " " * 150 + "x"
    place = len(before.rstrip().encode())
    with pytest.raises(InputError, match=f"white space characters in a row from byte {place} on"):
        encode_file(trained, text, tmp_path)
    with pytest.raises(InputError, match=f"white space characters in a row from byte {place} on"):
        train_bpe([text[start : start + 40] for start in range(0, len(text), 40)], 300)
    with pytest.raises(InputError, match=f"white space characters in a row from byte {place} on"):
        trained.encode(text)


class PanicException(BaseException):
    """A stand-in with the name of the exception that Rust extensions raise; it is not an Exception either."""


class RefusingEncoding:
    """An encoding that raises `error` for a piece with a ! in it, and encodes any other."""

    special_tokens_set = frozenset[str]()

    def __init__(self, encoding: tiktoken.Encoding, error: BaseException) -> None:
        self.encoding = encoding
        self.error = error

    def encode_ordinary(self, piece: str) -> list[int]:
        if "!" in piece:
            raise self.error
        return self.encoding.encode_ordinary(piece)


def refusing(vocabulary: Tokenizer, error: BaseException) -> Tokenizer:
    return Tokenizer(cast(tiktoken.Encoding, RefusingEncoding(vocabulary.encoding, error)))


def test_a_panic_of_the_tokenizer_becomes_an_error_with_its_place(
    trained: Tokenizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("minigpt.io.text.BLOCK_BYTES", 4)
    vocabulary = refusing(trained, PanicException("it panicked"))
    with pytest.raises(InputError, match="cannot split the text from byte 0 on; break up long runs"):
        vocabulary.encode("é!")
    with pytest.raises(InputError, match="cannot split the text from byte 5 on; break up long runs"):
        encode_file(vocabulary, "Wörd and! so on", tmp_path)
    assert encode_file(vocabulary, "Wörd and so on", tmp_path) == encode_file(trained, "Wörd and so on", tmp_path)


def test_any_other_exception_of_the_tokenizer_is_raised_unchanged(trained: Tokenizer) -> None:
    error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt) as raised:
        refusing(trained, error).encode("!")
    assert raised.value is error


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize("space", [" ", "\n", "\t", "\u3000", "\r\n"])
def test_any_white_space_is_counted(space: str) -> None:
    run = space * (100 // len(space))
    check_white_space("é" + run[1:] + "x", 0)
    with pytest.raises(InputError, match="from byte 2 on"):
        check_white_space("é" + run + "x", 0)


def test_gpt2_saves_and_loads_with_its_special_token(gpt2: Tokenizer, tmp_path: Path) -> None:
    gpt2.save(tmp_path / "tokenizer.txt")
    again = load_tokenizer(tmp_path / "tokenizer.txt")
    assert again.vocabulary_size == gpt2.vocabulary_size == GPT2_VOCABULARY_SIZE
    assert again.encode(TEXT).tolist() == gpt2.encode(TEXT).tolist()
    assert again.decode([50_256]) == "<|endoftext|>"
    again.save(tmp_path / "again.txt")
    assert (tmp_path / "again.txt").read_bytes() == (tmp_path / "tokenizer.txt").read_bytes()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS, TEXTS)
def test_a_trained_vocabulary_saves_and_loads(tmp_path: Path, text: str, other: str) -> None:
    trained = train_bpe([text], 300)
    assert 256 <= trained.vocabulary_size <= 300
    trained.save(tmp_path / "tokenizer.txt")
    again = load_tokenizer(tmp_path / "tokenizer.txt")
    assert again.encode(other).tolist() == trained.encode(other).tolist()
    assert again.decode(again.encode(other).tolist()) == other


def test_tiktokens_cache_holds_what_is_pinned(shared: Path) -> None:
    for address, sha256 in GPT2_FILES.items():
        data = (shared / "tiktoken-cache" / tiktoken_cache_name(address)).read_bytes()
        assert hashlib.sha256(data).hexdigest() == sha256


@pytest.mark.parametrize(
    "wrong", [{"vocabulary_size": 256}, {"vocabulary_size": 65_537}, {"kind": "gpt2", "vocabulary_size": 1024}]
)
def test_a_vocabulary_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="vocabulary_size"):
        TokenizerConfig.model_validate(wrong)
