"""Byte-level BPE with tiktoken: GPT-2's published vocabulary, or one trained on the training text by rustbpe."""

import base64
import hashlib
import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import rustbpe
import tiktoken
from numpy.typing import NDArray
from tiktoken_ext.openai_public import gpt2, r50k_pat_str

from minigpt.data.tokens import TOKEN_DTYPE
from minigpt.errors import InputError
from minigpt.io.text import characters

# File name of a vocabulary, in the folder of tokens and in every checkpoint.
TOKENIZER_FILE = "tokenizer.txt"

# The two files of GPT-2's vocabulary, with the sha256 digests that tiktoken pins.
GPT2_FILES = {
    "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/vocab.bpe": (
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
    ),
    "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/encoder.json": (
        "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"
    ),
}

# Runs of white space of at least this many characters are refused: the tokenizer cannot split them.
LONGEST_WHITE_SPACE = 100_000

# White space in GPT-2's pattern: the same as in Python, except four information separators.
WHITE_SPACE = re.compile(r"[^\S\x1c-\x1f]+")
SAFE_CUT = re.compile(r"(?<=[\S\x1c-\x1f])(?=[^\S\x1c-\x1f])")

# Pieces of text in memory at a time: enough that no thread waits for its next piece.
PIECES_PER_THREAD = 4
# The first thread that uses a Rust regular expression owns its fast scratch space, and marks each use in memory that
# all other threads read (regex-automata, pool.rs), which slows them down. So the main thread encodes this text first,
# which uses every branch of the pattern, and the encoding threads then share the common pool.
OWNER_TEXT = "It's a text\n with 12 words,  of which\nevery part of the expression takes one.\n\n "
TRAINED_AT_ONCE = 64


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary that encodes and decodes, and is saved in one file."""

    encoding: tiktoken.Encoding

    @property
    def vocabulary_size(self) -> int:
        return self.encoding.n_vocab

    def encode(self, text: str) -> NDArray[np.uint16]:
        """Encode a text as little-endian uint16 tokens of shape (tokens,); `<|endoftext|>` is ordinary text.

        Raise InputError if the tokenizer cannot split the text.
        """
        check_white_space(text, 0)
        return self._encode_piece(0, text)

    def encode_file(self, text: BinaryIO, start: int, end: int, destination: Path, threads: int) -> int:
        """Write the tokens of the bytes from `start` to `end` to a file, and return their number.

        The tokens are the same as those of `encode`. Only a few pieces for each thread are in memory at a time.
        """
        written_bytes = 0
        self._encode_piece(0, OWNER_TEXT)
        with destination.open("wb") as file, ThreadPoolExecutor(threads) as pool:
            under_way: deque[Future[NDArray[np.uint16]]] = deque()
            for place, piece in pieces_of(characters(text, start, end), start):
                if len(under_way) == PIECES_PER_THREAD * threads:
                    written_bytes += file.write(under_way.popleft().result().data)
                under_way.append(pool.submit(self._encode_piece, place, piece))
            for tokens in under_way:
                written_bytes += file.write(tokens.result().data)
        return written_bytes // TOKEN_DTYPE.itemsize

    def _encode_piece(self, place: int, piece: str) -> NDArray[np.uint16]:
        """Encode a piece that begins at byte `place` of the corpus."""
        try:
            if self.encoding.special_tokens_set:
                return self.encoding.encode_to_numpy(piece, disallowed_special=()).astype(TOKEN_DTYPE)
            # Without special tokens, encode_to_numpy would search for an empty special token at each character.
            return np.array(self.encoding.encode_ordinary(piece), dtype=TOKEN_DTYPE)
        except BaseException as error:  # a Rust panic is not an Exception
            if type(error).__name__ != "PanicException":
                raise
            raise InputError(
                f"the tokenizer cannot split the text from byte {place} on; "
                "break up long runs of one kind of character there"
            ) from None

    def decode(self, tokens: list[int]) -> str:
        return self.encoding.decode(tokens)

    def token_bytes(self) -> NDArray[np.int64]:
        """UTF-8 bytes of each token, shape (vocabulary_size,)."""
        return np.array([len(self.encoding.decode_single_token_bytes(i)) for i in range(self.vocabulary_size)])

    def save(self, path: Path) -> None:
        """Write the pattern, the special tokens, and then one line for each token: its bytes in base64 and its rank."""
        specials = " ".join(f"{name} {rank}" for name, rank in sorted(self.encoding._special_tokens.items()))
        ranks = sorted(self.encoding._mergeable_ranks.items(), key=lambda item: item[1])
        lines = [self.encoding._pat_str, specials, *(f"{base64.b64encode(b).decode()} {rank}" for b, rank in ranks)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def load_tokenizer(path: Path) -> Tokenizer:
    """Load a vocabulary that `Tokenizer.save` wrote."""
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
    """GPT-2's vocabulary. tiktoken downloads its two files unless they are in tiktoken's cache folder."""
    return Tokenizer(tiktoken.Encoding(**gpt2()))


def train_bpe(text: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """Train a byte-level BPE of at most `vocabulary_size` tokens, with GPT-2's pattern for words.

    The text comes in blocks of any length, and only a few are in memory at a time. Raise InputError if the tokenizer
    cannot split the text.
    """
    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(
        (piece for _, piece in pieces_of(text)),
        vocab_size=vocabulary_size,
        buffer_size=TRAINED_AT_ONCE,
        pattern=r50k_pat_str,
    )
    ranks = {bytes(token): rank for token, rank in trainer.get_mergeable_ranks()}
    return Tokenizer(tiktoken.Encoding(name="trained", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={}))


def pieces_of(text: Iterable[str], place: int = 0) -> Iterator[tuple[int, str]]:
    """Yield (byte at which it begins, piece) for pieces that give the same tokens as the undivided text.

    `place` is the byte at which the text begins. GPT-2's pattern ends a word wherever white space follows another
    character, and never looks back beyond the current word, so a cut there changes no token. Each block is cut at the
    first such place, if it has one.
    """
    piece = ""
    for block in text:
        cut = SAFE_CUT.search(block)
        piece += block[: cut.start()] if cut else block
        check_white_space(piece, place)
        if cut:
            yield place, piece
            place += len(piece.encode())
            piece = block[cut.start() :]
    check_white_space(piece, place)
    yield place, piece


def check_white_space(text: str, place: int) -> None:
    """Raise InputError if the text, which begins at byte `place`, has a run of white space that cannot be split."""
    half = LONGEST_WHITE_SPACE // 2
    if not any(text[start : start + half].isspace() for start in range(0, len(text), half)):
        return  # fast path: a run that is too long fills one of these blocks
    for run in WHITE_SPACE.finditer(text):
        if run.end() - run.start() >= LONGEST_WHITE_SPACE:
            raise InputError(
                f"the text has {LONGEST_WHITE_SPACE} or more white space characters in a row from byte "
                f"{place + len(text[: run.start()].encode())} on, which the tokenizer cannot split; shorten that run"
            )


def tiktoken_cache_name(address: str) -> str:
    """The file name that tiktoken gives an address in its cache folder."""
    return hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()


def encode_prompt(tokenizer: Tokenizer, prompt: str, context_length: int) -> list[int]:
    """The tokens of a prompt; InputError if it is empty, longer than the context, or not UTF-8."""
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the prompt {prompt[:40]!r} is not valid UTF-8; give valid text") from error
    tokens: list[int] = tokenizer.encode(prompt).tolist()
    if not 1 <= len(tokens) <= context_length:
        raise InputError(
            f"the prompt has {len(tokens)} tokens, and the context holds 1 to {context_length}; "
            f"{'shorten it' if tokens else 'give at least one character'}"
        )
    return tokens
