"""The base of every part of a run's configuration."""

from typing import Any, Literal, LiteralString, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)
from pydantic_core import PydanticCustomError


class Part(BaseModel):
    """A frozen group of fields; unknown keys, NaN and infinities are refused, defaults are checked like input."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, use_attribute_docstrings=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """pydantic takes true for 1, alone and in a list."""
        values = value if isinstance(value, list | tuple) else [value]
        wanted = cls.model_fields[info.field_name or ""].annotation
        if any(isinstance(one, bool) for one in values) and _has_number(wanted):
            raise ValueError("true and false are no numbers; give one")
        return value


def _has_number(kind: Any) -> bool:
    return kind in (int, float) or any(map(_has_number, get_args(kind)))


def pattern_in_words(sentence: LiteralString) -> WrapValidator:
    """Says what to give where a value misses the field's pattern; pydantic would show the pattern."""

    def validate(value: Any, inner: ValidatorFunctionWrapHandler) -> Any:
        try:
            return inner(value)
        except ValidationError as error:
            if error.errors()[0]["type"] == "string_pattern_mismatch":
                raise PydanticCustomError("pattern_in_words", sentence) from error
            raise

    return WrapValidator(validate)


Precision = Literal["fp32", "bf16"]

MatmulLibrary = Literal["torch", "onednn"]
