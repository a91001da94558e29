"""The configuration of a run's data: the corpus, its split and its tokenizer."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from minigpt.config import Part, pattern_in_words


class CorpusConfig(Part):
    """The source of the text and the limits that it must keep."""

    source: str = Field(min_length=1, max_length=4096)
    """python-topics (the language reference that CPython ships), a file, a folder of .txt files, or an http(s) address.

    The files of a folder are joined in the order of their names, so the last ones are used for validation. Gzip files
    are unpacked.
    """
    sha256: Annotated[
        str | None,
        Field(pattern=r"^[0-9a-f]{64}$"),
        pattern_in_words("give 64 hexadecimal digits with small letters, or null"),
    ] = None
    """Digest that the unpacked text must have; null accepts any text, and the run records its digest."""
    private_hosts: tuple[str, ...] = ()
    """Host names in a private network that the address may lead to."""
    max_bytes: int = Field(1_000_000_000, ge=1, le=10**12)
    """Maximum size of the unpacked text, in bytes."""


class SplitConfig(Part):
    """The boundary between training and validation text, and the windows cut from each side's tokens."""

    validation_fraction: float = Field(0.1, gt=0.0, lt=1.0)
    """Fraction of the characters, at the end of the text, that is used for validation only."""
    boundary: Literal["character", "line"] = "line"
    """character: cut at the exact character; line: cut after the first line that ends there or later."""
    stride_tokens: int | None = Field(None, ge=1, le=1_000_000)
    """Tokens between the starts of two training windows; null uses the context length, so windows do not overlap."""
    shift_windows: bool = False
    """Start each epoch at a random token of the first stride, so that each epoch cuts the text in other places."""


GPT2_VOCABULARY_SIZE = 50_257


class TokenizerConfig(Part):
    """The vocabulary that turns text into tokens."""

    kind: Literal["gpt2", "bpe"] = "bpe"
    """gpt2: the published vocabulary; bpe: a vocabulary trained on the training side of this corpus alone."""
    vocabulary_size: int = Field(1024, ge=257, le=65_536)
    """Number of distinct tokens; must be 50257 for gpt2."""

    @model_validator(mode="after")
    def gpt2_has_one_size(self) -> "TokenizerConfig":
        if self.kind == "gpt2" and self.vocabulary_size != GPT2_VOCABULARY_SIZE:
            raise ValueError(
                f"vocabulary_size {self.vocabulary_size} does not fit kind gpt2, which has {GPT2_VOCABULARY_SIZE}; "
                f"set vocabulary_size to {GPT2_VOCABULARY_SIZE}, or kind to bpe"
            )
        return self
