"""The configuration of the network."""

from typing import Literal

from pydantic import Field, model_validator

from minigpt.config import Part

# Dropout if the config leaves it open. With quickstart's recipe, dropout helped on a text that was read nearly nine
# times, and hurt on two texts that were read four to five times.
REPEATED_DROPOUT = 0.1
REPEATED_EPOCHS = 6.0


class ModelConfig(Part):
    """The architecture and the size of the network."""

    architecture: Literal["gpt2", "modern"] = "gpt2"
    """gpt2: as in the book; modern: rotary positions, RMSNorm, QK norm, squared ReLU, smeared embeddings, no biases."""
    context_length: int = Field(128, ge=1, le=8192)
    """Maximum number of tokens that the model sees at once."""
    width: int = Field(128, ge=1, le=8192)
    """Size of the residual stream, per token; a multiple of heads."""
    heads: int = Field(4, ge=1, le=128)
    """Number of attention heads per layer."""
    layers: int = Field(4, ge=1, le=128)
    """Number of transformer blocks."""
    dropout: float | None = Field(0.0, ge=0.0, le=0.9)
    """Fraction of activations set to zero in training; null: 0.1 if the text is read more than six times, else 0.

    Applies to the embeddings, to the output of attention and MLP and, for gpt2, to the attention weights.
    """
    qkv_bias: bool = False
    """True if queries, keys and values have a bias (gpt2 only)."""
    tied_head: bool = False
    """True if the head shares the weights of the token embedding (gpt2 only)."""
    initialisation: Literal["pytorch", "gpt2"] = "gpt2"
    """Initial weights of gpt2; the modern architecture has its own.

    pytorch: each layer's default, drawn in the book's order; gpt2: normal with standard deviation 0.02, less for the
    projections into the residual stream.
    """

    @model_validator(mode="after")
    def heads_divide_width(self) -> "ModelConfig":
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} does not divide width {self.width}; make width a multiple of heads")
        if self.architecture == "modern" and (self.qkv_bias or self.tied_head):
            raise ValueError("the modern architecture has neither qkv_bias nor tied_head; set both to false")
        if self.architecture == "modern" and self.width // self.heads % 2:
            raise ValueError(
                f"width {self.width} / heads {self.heads} is {self.width // self.heads}, which is odd, and rotary "
                "positions rotate pairs; make width / heads even"
            )
        return self

    def resolved(self, epochs: float) -> "ModelConfig":
        """Fill in `dropout` if it is null; `epochs` is how many times the training reads its text."""
        if self.dropout is not None:
            return self
        return self.model_copy(update={"dropout": REPEATED_DROPOUT if epochs > REPEATED_EPOCHS else 0.0})
