"""The configuration of a run's data: which text, how it is split, and how it becomes tokens."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from minigpt.config import Part, pattern_in_words


class CorpusConfig(Part):
    """Which text, and how it is known to be that one."""

    source: str = Field(min_length=1, max_length=4096)
    """python-topics (the language reference that every CPython carries), a file, a folder of .txt files, or an address.

    A folder's files are read in the order of their names, so that validation is on the last; what gzip packed is
    unpacked; an address is http(s).
    """
    sha256: Annotated[
        str | None,
        Field(pattern=r"^[0-9a-f]{64}$"),
        pattern_in_words("give 64 hexadecimal digits with small letters, or null"),
    ] = None
    """Digest that the text, unpacked, must have; null accepts any, and the run records which it was."""
    private_hosts: tuple[str, ...] = ()
    """Names of hosts that the address may lead to although they are inside a private network."""
    max_bytes: int = Field(1_000_000_000, ge=1, le=10**12)
    """Longest text that is accepted, in bytes."""


class SplitConfig(Part):
    """Where the training text ends, and how windows are cut from the tokens of each side."""

    validation_fraction: float = Field(0.1, gt=0.0, lt=1.0)
    """Share of the characters, at the end of the text, that only measures and never trains."""
    boundary: Literal["character", "line"] = "line"
    """Cut at the exact character, or after the first line that ends there or later."""
    stride_tokens: int | None = Field(None, ge=1, le=1_000_000)
    """Tokens from the start of one training window to the next; null means the context length (no overlap)."""
    shift_windows: bool = False
    """Begin each epoch's training windows at another token of the first stride: what is read again is cut otherwise."""


GPT2_VOCABULARY_SIZE = 50_257


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
