"""Hostile texts and configs: a defined result, or an error that says where and what, before anything is written."""

import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from flows.config import load_config, parse_yaml, read_values, validate_config
from minigpt.data import tokenizer
from minigpt.data.config import CorpusConfig, SplitConfig, TokenizerConfig
from minigpt.data.tokenizer import TOKENIZER_FILE, load_tokenizer
from minigpt.data.tokens import SIDES, open_tokens
from minigpt.data.windows import cut_windows
from minigpt.errors import InputError
from minigpt.recipe import RunConfig
from minigpt.training.config import check_batch_size
from tasks.steps.corpus import download_corpus
from tasks.steps.tokenization import tokenize

WHOLE = os.environ.get("MINIGPT_FAULTS") == "whole"
CONTEXT = 16
WORDS = b"It was the best of times, it was the worst of times,\nit was the age of wisdom\n" * 60

# Each text, with what is said of it; None where it is a text like any other.
CORPORA: dict[str, tuple[bytes, str | None]] = {
    "good": (WORDS, None),
    "empty": (b"", "is empty"),
    "one byte": (b"x", "leaves one side of 1 characters empty"),
    "one line": (b"x" * 500, "leaves one side"),
    "shorter than the context": (b"a\nb\nc\nd\ne\nf\n", "yields 256 tokens|exceeds the"),
    "validation shorter than the context": (WORDS[:100] + b"\nend\nx", "exceeds the"),
    "invalid UTF-8": (WORDS + b"\xff" + WORDS, f"not UTF-8 from byte {len(WORDS)} on"),
    "a surrogate": (WORDS + b"\xed\xa0\x80", f"not UTF-8 from byte {len(WORDS)} on"),
    "UTF-16": (WORDS.decode().encode("utf-16"), "from byte 0 on .it looks like UTF-16"),
    "UTF-32": (WORDS.decode().encode("utf-32"), "from byte 0 on .it looks like UTF-32"),
    "UTF-8 with its mark": (b"\xef\xbb\xbf" + WORDS, None),
    "CRLF": (WORDS.replace(b"\n", b"\r\n"), None),
    "CR alone": (WORDS.replace(b"\n", b"\r"), "leaves one side"),
    "NUL": (WORDS.replace(b" ", b"\0"), None),
    "end of text in it": (WORDS.replace(b"best", b"<|endoftext|>"), None),
    "many spaces": (WORDS + b" " * 150 + b"x\n" + WORDS, f"in a row from byte {len(WORDS) - 1} on, which"),
    "many line ends": (WORDS + b"\n" * 150 + b"x\n" + WORDS, f"in a row from byte {len(WORDS) - 1} on, which"),
    "one line of 10 MB": (b"word " * 2_000_000, "leaves one side"),
    "10 MB of one letter": (WORDS + b"x" * 10_000_000 + b"\n" + WORDS, None),
    "combining marks": ("e\u0301\u0302\u0303 \u05d0\u05b4\n".encode() * 500, None),
    "emoji with joiners": ("\U0001f468\u200d\U0001f469\u200d\U0001f467 ".encode() * 200 + b"\n" + WORDS, None),
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tokenizer, "LONGEST_WHITE_SPACE", 100)
    return tmp_path / "home"


def to_windows(path: Path, split: SplitConfig, vocabulary_size: int) -> Path:
    """What the flow does with a text up to its windows, and the same checks; the result is the folder of tokens."""
    corpus = download_corpus.fn(CorpusConfig(source=str(path)))
    tokens = tokenize.fn(corpus, split, TokenizerConfig(vocabulary_size=vocabulary_size))
    for side in SIDES:
        windows = cut_windows(open_tokens(tokens.folder / f"{side}.bin"), side, CONTEXT, split)
        check_batch_size(1, len(windows))
        windows.digests()
    return tokens.folder


@pytest.mark.parametrize("name", CORPORA)
def test_corpora(name: str, tmp_path: Path, home: Path) -> None:
    """Texts that are none, too short, or strange: kept to the byte, or refused with the place"""
    data, said = CORPORA[name]
    path = tmp_path / "text"
    path.write_bytes(data)
    try:
        folder = to_windows(path, SplitConfig(), 257)
    except InputError as error:
        assert said, str(error)
        assert re.search(said, str(error)), str(error)
        assert "\n" not in str(error)
    else:
        assert said is None
        vocabulary = load_tokenizer(folder / TOKENIZER_FILE)
        sides = [open_tokens(folder / f"{side}.bin").tolist() for side in SIDES]
        assert b"".join(vocabulary.encoding.decode_bytes(side) for side in sides) == data
    assert not list(home.rglob("*.tmp"))


@pytest.mark.trials(default=20, whole=300)
def test_random_bytes(trial: int, tmp_path: Path, home: Path, source: random.Random) -> None:
    """Texts of random pieces: kept to the byte, or refused"""
    pieces = [b"\n", b" ", b"\xff", b"\0", b"\r\n", "\u0301".encode(), b"<|endoftext|>", b"the ", b"\xef\xbb\xbf", b"1"]
    weights = [6, 9, source.choice([0, 1]), 1, 3, 3, 1, 9, 1, 3]
    path = tmp_path / "text"
    path.write_bytes(b"".join(source.choices(pieces, weights, k=source.randrange(2000))))
    try:
        folder = to_windows(path, SplitConfig(), 257)
    except InputError as error:
        assert "\n" not in str(error)
        return
    vocabulary = load_tokenizer(folder / TOKENIZER_FILE)
    sides = [open_tokens(folder / f"{side}.bin").tolist() for side in SIDES]
    assert b"".join(vocabulary.encoding.decode_bytes(side) for side in sides) == path.read_bytes()


def fields(model: Any = RunConfig, prefix: str = "") -> list[str]:
    """Every field of the config as `section.field`."""
    found = []
    for name, field in model.model_fields.items():
        part = field.annotation
        inner = fields(part, f"{prefix}{name}.") if hasattr(part, "model_fields") else [f"{prefix}{name}"]
        found += inner
    return found


NASTY = (
    st.sampled_from([0, -1, 1, 2, 3, 7, 16, 10**6, 10**9, 10**12, 2**63, -(2**63), 0.0, -0.0, 1e-300, 1e300])
    | st.sampled_from([float("nan"), float("inf"), float("-inf"), True, False, None, [], {}, [None], [0, -1]])
    | st.sampled_from(
        ["", "../x", "/etc/passwd", "a/b", "..", "x\0y", "x\ny", "nan", "1e3", "!!python/object:os.system"]
    )
    | st.sampled_from(["adamw", "muon", "bf16", "gpt2", "cosine", "rope", "x" * 5000, "\ud800"])
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
)
UNKNOWN = st.text("abc_.-/\0é", min_size=1, max_size=8)
OVERRIDES = st.dictionaries(st.sampled_from(fields()) | UNKNOWN, NASTY, min_size=1, max_size=4)


@seed(int(os.environ.get("MINIGPT_FAULT_SEED", "1")))
@settings(
    max_examples=2000 if WHOLE else 300,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(overrides=OVERRIDES)
def check_config(tmp_path: Path, overrides: dict[str, Any]) -> None:
    before = sorted(tmp_path.rglob("*"))
    values = read_values("smoke")
    for field, value in overrides.items():
        *sections, name = field.split(".")
        inner = values
        for section in sections:
            if not isinstance(inner.get(section), dict):  # an unknown field's name may be the beginning of another's
                inner[section] = {}
            inner = inner[section]
        inner[name] = value
    try:
        config = validate_config(values, (), "test")
    except InputError as error:
        assert str(error)
        assert "\n" not in str(error)
    else:
        assert validate_config(parse_yaml(config.to_yaml(), "test"), (), "test") == config
        json.dumps(config.flat(), allow_nan=False)
    assert sorted(tmp_path.rglob("*")) == before


def test_configs(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Configs with fields at random set to what nobody meant: refused before anything is written, or valid"""
    record_property("trials", 2000 if WHOLE else 300)
    check_config(tmp_path)


# Nine times nine times nine ...: a few lines that are a billion values once all names are replaced.
LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(9))
YAML = [
    "!!python/object/apply:os.system ['touch touched']",
    "name: !!python/name:os.system",
    "a: &a [*a]",
    "corpus: {source: x}\nname: ../../escape",
    "- 1",
    "",
    "\t: x",
    "corpus: {source: x}\nunknown: 1",
    LAUGHS,
]


@pytest.mark.parametrize("number", range(len(YAML)))
def test_yaml(number: int, tmp_path: Path) -> None:
    """Config files with tags that run code, aliases that grow, names that leave the folder: refused"""
    path = tmp_path / "config.yaml"
    path.write_text(YAML[number])
    with pytest.raises(InputError, match=r"^[^\n]+$"):
        load_config(str(path))
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]
