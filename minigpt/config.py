"""The base of every part of a run's configuration."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Part(BaseModel):
    """A frozen group of fields; unknown keys, NaN and infinities are refused, defaults are checked like input."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, use_attribute_docstrings=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """pydantic takes true for 1."""
        kinds = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and bool not in (kinds, *get_args(kinds)):
            raise ValueError(f"{str(value).lower()} is no value for it; see `minigpt config` for what it is")
        return value
