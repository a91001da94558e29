"""Byte-level BPE: GPT-2's published vocabulary, or one trained on the training text; both run by tiktoken."""

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import rustbpe
import tiktoken
from numpy.typing import NDArray
from pydantic import Field, model_validator
from tiktoken_ext.openai_public import gpt2, r50k_pat_str

from minigpt.config import Part
from minigpt.dataset import TOKEN_DTYPE
from minigpt.errors import InputError

GPT2_VOCABULARY_SIZE = 50_257

# The name of a vocabulary's file, beside tokens and in every checkpoint.
TOKENIZER = "tokenizer.txt"

# The two files of GPT-2's vocabulary, with the digests that tiktoken pins.
GPT2_FILES = {
    "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/vocab.bpe": (
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
    ),
    "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/encoder.json": (
        "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"
    ),
}

# tiktoken's regular expression gives up, with a panic, on a run of white space of about a million characters.
LONGEST_WHITE_SPACE = 100_000

# Text goes to tiktoken in pieces of about this many characters, so that memory stays bounded.
PIECE_CHARACTERS = 1 << 20


class TokenizerConfig(Part):
    """Which vocabulary turns text into tokens."""

    kind: Literal["gpt2", "bpe"] = "bpe"
    """gpt2: the published one; bpe: trained on the training side of this corpus, never on the validation side."""
    vocabulary_size: int = Field(1024, ge=257, le=65_536)
    """Number of different tokens; 50257 for gpt2."""

    @model_validator(mode="after")
    def gpt2_has_one_size(self) -> "TokenizerConfig":
        if self.kind == "gpt2" and self.vocabulary_size != GPT2_VOCABULARY_SIZE:
            raise ValueError(
                f"vocabulary_size {self.vocabulary_size} does not go with kind gpt2, which has {GPT2_VOCABULARY_SIZE}; "
                "set vocabulary_size to it, or kind to bpe"
            )
        return self


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary that can encode and decode, and that fits into one file."""

    encoding: tiktoken.Encoding

    @property
    def vocabulary_size(self) -> int:
        return self.encoding.n_vocab

    def encode(self, text: str) -> NDArray[np.uint16]:
        """Tokens of a text as little-endian uint16; `<|endoftext|>` in it is text like any other."""
        pieces = [self._encode_piece(text[start:end], text, start) for start, end in pieces_of(text)]
        return np.concatenate(pieces) if pieces else np.empty(0, TOKEN_DTYPE)

    def _encode_piece(self, piece: str, text: str, start: int) -> NDArray[np.uint16]:
        try:
            return np.array(self.encoding.encode_ordinary(piece), dtype=TOKEN_DTYPE)
        except BaseException as error:  # a Rust panic is no Exception
            if type(error).__name__ != "PanicException":
                raise
            raise InputError(
                f"the tokenizer cannot split the text from byte {len(text[:start].encode())} on; "
                "break up long runs of one kind of character there"
            ) from None

    def decode(self, tokens: list[int]) -> str:
        return self.encoding.decode(tokens)

    def token_bytes(self) -> NDArray[np.int64]:
        """UTF-8 bytes of each token, shape (vocabulary_size,)."""
        return np.array([len(self.encoding.decode_single_token_bytes(i)) for i in range(self.vocabulary_size)])

    def save(self, path: Path) -> None:
        """One line for the pattern, one for the special tokens, then tiktoken's own format: bytes in base64, rank."""
        specials = " ".join(f"{name} {rank}" for name, rank in sorted(self.encoding._special_tokens.items()))
        ranks = sorted(self.encoding._mergeable_ranks.items(), key=lambda item: item[1])
        lines = [self.encoding._pat_str, specials, *(f"{base64.b64encode(b).decode()} {rank}" for b, rank in ranks)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def load(path: Path) -> Tokenizer:
    pattern, specials, *ranks = path.read_text(encoding="utf-8").splitlines()
    words = specials.split()
    return Tokenizer(
        tiktoken.Encoding(
            name=hashlib.sha256(path.read_bytes()).hexdigest()[:16],
            pat_str=pattern,
            mergeable_ranks={base64.b64decode(token): int(rank) for token, rank in (line.split() for line in ranks)},
            special_tokens={name: int(rank) for name, rank in zip(words[::2], words[1::2], strict=True)},
        )
    )


def published_gpt2() -> Tokenizer:
    """GPT-2's vocabulary; both files have to lie in tiktoken's cache folder, or tiktoken goes to the network."""
    return Tokenizer(tiktoken.Encoding(**gpt2()))


def train(text: str, vocabulary_size: int) -> Tokenizer:
    """A byte-level BPE of at most `vocabulary_size` tokens, split into words as GPT-2's is, merged by count."""
    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(
        (text[start:end] for start, end in pieces_of(text)), vocab_size=vocabulary_size, pattern=r50k_pat_str
    )
    ranks = {bytes(token): rank for token, rank in trainer.get_mergeable_ranks()}
    return Tokenizer(tiktoken.Encoding(name="trained", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={}))


def check_white_space(text: str) -> None:
    """Refuse a run of white space on which the tokenizer would panic."""
    if run := re.search(rf"\s{{{LONGEST_WHITE_SPACE}}}", text):
        raise InputError(
            f"more than {LONGEST_WHITE_SPACE} white space characters in a row from byte "
            f"{len(text[: run.start()].encode())} on are more than the tokenizer can split; shorten them"
        )


def pieces_of(text: str) -> Iterator[tuple[int, int]]:
    """Ranges of about PIECE_CHARACTERS that encode as the whole does.

    GPT-2's pattern ends a word wherever white space follows something else, and looks no further back than the word
    it is in, so a cut there changes no token. Python counts four separators as white space that the pattern does not.
    """
    start = 0
    safe = re.compile(r"(?<=[\S\x1c-\x1f])(?=[^\S\x1c-\x1f])")
    while start < len(text):
        cut = safe.search(text, start + PIECE_CHARACTERS)
        end = cut.start() if cut else len(text)
        yield start, end
        start = end


def tiktoken_cache_name(address: str) -> str:
    """The name under which tiktoken looks for an address in its cache folder."""
    return hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()
