"""Byte-level BPE: GPT-2's published vocabulary, or one trained on the training text; both run by tiktoken."""

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

# The name of a vocabulary's file, beside tokens and in every checkpoint.
TOKENIZER_FILE = "tokenizer.txt"

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

# White space of the pattern is Python's without four separators.
WHITE_SPACE = re.compile(r"[^\S\x1c-\x1f]+")
SAFE_CUT = re.compile(r"(?<=[\S\x1c-\x1f])(?=[^\S\x1c-\x1f])")

# How many pieces of text are in memory at a time: enough that no thread waits for its next.
PIECES_PER_THREAD = 4
# The thread that first uses a regular expression of Rust's owns the scratch space in it, and notes each use where all
# others look (regex-automata's pool.rs). If it goes on encoding, two threads take 19 to 43 s for 500 MB, else 17.
OWNER_TEXT = "It's a text\n with 12 words,  of which\nevery part of the expression takes one.\n\n "
TRAINED_AT_ONCE = 64


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary that can encode and decode, and that fits into one file."""

    encoding: tiktoken.Encoding

    @property
    def vocabulary_size(self) -> int:
        return self.encoding.n_vocab

    def encode(self, text: str) -> NDArray[np.uint16]:
        """Tokens of a text as little-endian uint16; `<|endoftext|>` in it is text like any other."""
        check_white_space(text, 0)
        return self._encode_piece(0, text)

    def encode_file(self, text: BinaryIO, start: int, end: int, destination: Path, threads: int) -> int:
        """Write the tokens of the bytes from `start` to `end`, those of `encode`, to a file; the result counts them.

        A few pieces for each thread are in memory at a time.
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
        """Tokens of a text whose first byte is number `place` of the corpus."""
        try:
            if self.encoding.special_tokens_set:
                return self.encoding.encode_to_numpy(piece, disallowed_special=()).astype(TOKEN_DTYPE)
            # Here tiktoken's way without Python integers would look for an empty special word at each character.
            return np.array(self.encoding.encode_ordinary(piece), dtype=TOKEN_DTYPE)
        except BaseException as error:  # a Rust panic is no Exception
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
        """One line for the pattern, one for the special tokens, then tiktoken's own format: bytes in base64, rank."""
        specials = " ".join(f"{name} {rank}" for name, rank in sorted(self.encoding._special_tokens.items()))
        ranks = sorted(self.encoding._mergeable_ranks.items(), key=lambda item: item[1])
        lines = [self.encoding._pat_str, specials, *(f"{base64.b64encode(b).decode()} {rank}" for b, rank in ranks)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def load_tokenizer(path: Path) -> Tokenizer:
    """The vocabulary that `Tokenizer.save` wrote."""
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


def train_bpe(text: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """A byte-level BPE of at most `vocabulary_size` tokens, split into words as GPT-2's is, merged by count.

    The text comes in blocks of any length; a few are in memory at a time.
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
    """The text in pieces that encode as the whole does, each with the byte where it begins; the first is at `place`.

    GPT-2's pattern ends a word wherever white space follows something else, and looks no further back than the word
    it is in, so a cut there changes no token. Each block is cut at its first such place, if it has one.
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
    """Refuse a run of white space on which the tokenizer would panic; the text's first byte is number `place`."""
    half = LONGEST_WHITE_SPACE // 2
    if not any(text[start : start + half].isspace() for start in range(0, len(text), half)):
        return  # a run that is too long covers one of these halves, and most are left at their first character
    for run in WHITE_SPACE.finditer(text):
        if run.end() - run.start() >= LONGEST_WHITE_SPACE:
            raise InputError(
                f"more than {LONGEST_WHITE_SPACE} white space characters in a row from byte "
                f"{place + len(text[: run.start()].encode())} on are more than the tokenizer can split; shorten them"
            )


def tiktoken_cache_name(address: str) -> str:
    """The name under which tiktoken looks for an address in its cache folder."""
    return hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()


def encode_prompt(tokenizer: Tokenizer, prompt: str, context_length: int) -> list[int]:
    """The prompt's tokens; an empty one, or one that the context cannot hold, is refused."""
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the prompt {prompt[:40]!r} is not UTF-8; give text that is") from error
    tokens: list[int] = tokenizer.encode(prompt).tolist()
    if not 1 <= len(tokens) <= context_length:
        raise InputError(
            f"the prompt has {len(tokens)} tokens, and the context holds 1 to {context_length}; "
            f"{'shorten it' if tokens else 'give at least one character'}"
        )
    return tokens
