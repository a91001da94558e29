"""From a file to windows: every text gives what it should, or an error that says where and why."""

import random
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from minigpt.data import tokenizer
from minigpt.data.config import CorpusConfig, SplitConfig, TokenizerConfig
from minigpt.data.tokenizer import TOKENIZER_FILE, load_tokenizer
from minigpt.data.tokens import open_tokens
from minigpt.errors import InputError
from minigpt.evaluation.compression import xz_bits_per_byte
from minigpt.training.config import TrainingConfig
from tasks.steps.corpus import download_corpus
from tasks.steps.split import SplitWindows, split_windows
from tasks.steps.tokenization import Tokens, tokenize

CONTEXT_LENGTH = 4


def cut(data: bytes, folder: Path, kind: str = "line", vocabulary_size: int = 257) -> tuple[Tokens, SplitWindows]:
    (folder / "text").write_bytes(data)
    split = SplitConfig.model_validate({"boundary": kind})
    corpus = download_corpus.fn(CorpusConfig(source=str(folder / "text")))
    tokens = tokenize.fn(corpus, split, TokenizerConfig(vocabulary_size=vocabulary_size))
    return tokens, split_windows.fn(tokens, split, TrainingConfig(batch_size=1), CONTEXT_LENGTH)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tokenizer, "LONGEST_WHITE_SPACE", 100)


@pytest.mark.parametrize(
    "line",
    [
        b"Plain words on a line.\n",
        b"Lines of another system.\r\n",
        b"NUL\0 in a line.\n",
        b"An end<|endoftext|> that is none.\n",
        "e\u0301 and \u0301\u0301\u0301.\n".encode(),
        "\ufeff漢字没有空格。\n".encode(),
        b"\x1c \x1d\x1e \x1f\n",
        b" " * 98 + b"x\n",
    ],
)
def test_both_sides_are_the_text_to_the_byte(line: bytes, tmp_path: Path) -> None:
    data = line * 20
    tokens, windows = cut(data, tmp_path)
    vocabulary = load_tokenizer(tokens.folder / TOKENIZER_FILE)
    sides = [open_tokens(tokens.folder / f"{side}.bin").tolist() for side in ("train", "val")]
    assert [vocabulary.encoding.decode_bytes(side) for side in sides] == [line * 18, line * 2]
    assert [len(side) for side in sides] == [tokens.train_tokens, tokens.val_tokens]
    assert (tokens.folder / "val.txt").read_bytes() == line * 2
    assert windows.train_windows > windows.val_windows > 0


def test_how_much_of_the_validation_text_was_read_is_measured(tmp_path: Path) -> None:
    again, _ = cut(b"The same words on each line, and nothing else.\n" * 40, tmp_path)
    assert again.val_copied_share == 1.0
    new, _ = cut(b"".join(sha256(bytes([line])).hexdigest().encode() + b"\n" for line in range(40)), tmp_path)
    assert new.val_copied_share == 0.0


def test_windows_that_leave_much_unmeasured_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cut(b"0123456789\n" * 10, tmp_path)
    assert "8 of the 10 validation tokens fill complete windows" in caplog.text


def test_one_line_of_ten_megabytes_is_cut_at_a_character(tmp_path: Path) -> None:
    data = b"A word and another one, without an end; " * 260_000
    tokens, _ = cut(data, tmp_path, kind="character")
    token_bytes = load_tokenizer(tokens.folder / TOKENIZER_FILE).token_bytes()
    sizes = [token_bytes[open_tokens(tokens.folder / f"{side}.bin")].sum() for side in ("train", "val")]
    assert sizes == [len(data) * 9 // 10, len(data) // 10]
    with pytest.raises(InputError, match="or boundary: character"):
        cut(data, tmp_path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"x", "leaves one side of 1 characters empty"),
        (b"\xff", "not UTF-8 from byte 0 on"),
        (b"ok " * 10**6 + b"\xe2\x82", "not UTF-8 from byte 3000000 on"),
        ("text\n".encode("utf-16") * 99, "it looks like UTF-16"),
        (b"a\nb\nc\nd", "the training text yields 256 tokens, and vocabulary_size asks for 257"),
        (b"ab " * 9 + b"\nabab", f"context_length {CONTEXT_LENGTH} exceeds the 1 validation tokens"),
        (b"ab\n" * 99 + b" " * 99 + b"x\nx", "white space characters in a row from byte 296 on"),
        (b"ab\n" * 500_000 + b" " * 120 + b"x", "white space characters in a row from byte 1499999 on"),
        (b"a b\n" + b"x" * 10**6 + b" " * 200 + b"x\n" + b"a\n" * 10**6, "in a row from byte 1000004 on"),
    ],
)
def test_what_is_no_text_for_a_run_says_where_and_why(data: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        cut(data, tmp_path)
    assert not list((tmp_path / "home").rglob(".*.tmp"))


MEASURE = """
import sys
from pathlib import Path
from minigpt.data.config import SplitConfig
from minigpt.data.split import split_byte
from minigpt.data.tokenizer import train_bpe
from minigpt.io.text import characters, size_bytes

def peak_bytes():
    # Not getrusage's, which a process has from the one that started it.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

before = peak_bytes()
with open(sys.argv[1], "rb") as file:
    size = size_bytes(file)
    cut = split_byte(file, SplitConfig())
    vocabulary = train_bpe(characters(file, 0, cut), 300)
    vocabulary.encode_file(file, 0, size, Path(sys.argv[1]).with_name("tokens"), 2)
print(peak_bytes() - before)
"""


def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"A line of words, one of very many.\n" * (30_000_000 // 35))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "text")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 60_000_000


def test_xz_needs_less_for_a_text_that_it_has_read() -> None:
    text = random.Random(1).randbytes(1000)  # noqa: S311
    assert xz_bits_per_byte(text) > 8
    assert xz_bits_per_byte(text, read=text) < 0.5
    assert xz_bits_per_byte(text, read=text[::-1]) == pytest.approx(8, rel=0.1)


def test_the_vocabulary_and_the_training_tokens_know_nothing_of_the_validation_text(tmp_path: Path) -> None:
    lines = [f"Line {n} has words that come back, and {n * n}.\n" for n in range(200)]
    found = []
    for name, ends in (("a", lines[190:]), ("b", ["qz" * (len(line) // 2) + "\n" for line in lines[190:]])):
        (tmp_path / name).mkdir()
        text = "".join(
            [*lines[:190], *(end.ljust(len(line), "q") for end, line in zip(ends, lines[190:], strict=True))]
        )
        tokens, _ = cut(text.encode(), tmp_path / name, vocabulary_size=300)
        found.append({file: (tokens.folder / file).read_bytes() for file in (TOKENIZER_FILE, "train.bin", "val.txt")})
    assert found[0]["val.txt"] != found[1]["val.txt"]
    assert found[0][TOKENIZER_FILE] == found[1][TOKENIZER_FILE]
    assert found[0]["train.bin"] == found[1]["train.bin"]
