"""The step `tokenization`: split the text into its two sides, then encode each side on its own."""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import tiktoken
from prefect import task
from prefect.cache_policies import NO_CACHE

from minigpt.data.config import SplitConfig, TokenizerConfig
from minigpt.data.sources import Corpus
from minigpt.data.split import split_byte
from minigpt.data.tokenizer import GPT2_FILES, TOKENIZER_FILE, Tokenizer, published_gpt2, tiktoken_cache_name, train_bpe
from minigpt.data.tokens import SIDES, Side
from minigpt.errors import InputError
from minigpt.evaluation.contamination import contained_fraction
from minigpt.io.download import download
from minigpt.io.source_digest import code_sha256_of
from minigpt.io.store import get_or_make, sha256_of_file
from minigpt.io.text import blocks, characters, size_bytes
from minigpt.runtime.machine import available_cores
from tasks.home.folders import cache_folder, expanded

log = logging.getLogger(__name__)

# The search for contamination takes time in proportion to the text, so it is left out for longer texts.
COPY_SEARCH_MAX_BYTES = 200_000_000


@dataclass(frozen=True)
class Tokens:
    """A folder with train.bin and val.bin (little-endian uint16), val.txt, and the tokenizer that encoded them."""

    folder: Path
    digest: str
    tokenizer_sha256: str
    train_tokens: int
    val_tokens: int
    val_copied_share: float | None
    """Share of the validation text that occurs in the training text (minigpt.evaluation.contamination).

    None if the text is longer than COPY_SEARCH_MAX_BYTES.
    """


@task(name="tokenization", cache_policy=NO_CACHE, retries=0)
def tokenize(corpus: Corpus, split: SplitConfig, config: TokenizerConfig) -> Tokens:
    """Encode both sides of the text.

    The cached tokens are reused if the text, the split, the tokenizer config and the code that encodes are the same.
    """
    made_from = {
        "corpus": corpus.sha256,
        "boundary": split.model_dump(mode="json", include={"validation_fraction", "boundary"}),
        "tokenizer": config.model_dump(mode="json"),
        "code": code_sha256_of(_encode_sides),
        "versions": {"tiktoken": tiktoken.__version__, "rustbpe": metadata.version("rustbpe")},
    }

    def fill(place: Path) -> dict[str, Any]:
        return _encode_sides(corpus, split, config, place)

    entry = get_or_make(cache_folder(), "tokens", made_from, fill)
    facts = entry.facts
    log.info(
        "tokens %s: %s to train on, %s to validate, %s",
        entry.digest[:12],
        f"{facts['train_tokens']:,}",
        f"{facts['val_tokens']:,}",
        "reused from the cache" if entry.reused else "new in the cache",
    )
    return Tokens(
        entry.folder,
        entry.digest,
        facts["files"][TOKENIZER_FILE],
        facts["train_tokens"],
        facts["val_tokens"],
        facts["val_copied_share"],
    )


def _encode_sides(corpus: Corpus, split: SplitConfig, config: TokenizerConfig, place: Path) -> dict[str, Any]:
    """Write the tokenizer and the tokens of each side to a folder; return the token counts."""
    with corpus.path.open("rb") as text:
        cut = split_byte(text, split)
        ranges: dict[Side, tuple[int, int]] = {"train": (0, cut), "val": (cut, size_bytes(text))}
        tokenizer = (
            _published()
            if config.kind == "gpt2"
            else _trained(characters(text, *ranges["train"]), config.vocabulary_size)
        )
        tokenizer.save(place / TOKENIZER_FILE)
        counts = {
            f"{side}_tokens": tokenizer.encode_file(text, *ranges[side], place / f"{side}.bin", available_cores())
            for side in SIDES
        }
        with (place / "val.txt").open("wb+") as side:
            side.writelines(blocks(text, *ranges["val"]))
            side.flush()
            copied = contained_fraction(side, text, cut) if corpus.size_bytes <= COPY_SEARCH_MAX_BYTES else None
    return {**counts, "val_copied_share": copied}


def _trained(text: Iterable[str], vocabulary_size: int) -> Tokenizer:
    tokenizer = train_bpe(text, vocabulary_size)
    if tokenizer.vocabulary_size < vocabulary_size:
        raise InputError(
            f"the training text yields {tokenizer.vocabulary_size} tokens, and vocabulary_size asks for "
            f"{vocabulary_size}; set tokenizer.vocabulary_size to {tokenizer.vocabulary_size} or less"
        )
    return tokenizer


def _published() -> Tokenizer:
    """Load GPT-2's tokenizer; download its two files, with a size limit, to where tiktoken looks for them."""
    folder = expanded(os.environ.get("TIKTOKEN_CACHE_DIR") or str(cache_folder() / "tiktoken"), "TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for address, sha256 in GPT2_FILES.items():
        path = folder / tiktoken_cache_name(address)
        if not path.exists() or sha256_of_file(path) != sha256:  # tiktoken would fetch it without a size limit
            try:
                download(address, path, max_bytes=10_000_000, sha256=sha256)
            except InputError as error:
                raise InputError(
                    f"GPT-2's vocabulary is not in {folder} (TIKTOKEN_CACHE_DIR) and cannot be fetched: {error}; "
                    "or copy that folder from a machine that has it"
                ) from error
    return published_gpt2()
