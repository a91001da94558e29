"""The base of every part of a run's configuration."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A frozen group of fields; unknown keys, NaN and infinities are refused, defaults are checked like input."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, use_attribute_docstrings=True
    )
