"""The base class and shared types of a run's configuration."""

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
    """A frozen group of fields that refuses unknown keys, NaN and infinities, and validates its defaults."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, use_attribute_docstrings=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse booleans in number fields, alone or in a list, because pydantic converts true to 1."""
        values = value if isinstance(value, list | tuple) else [value]
        wanted = cls.model_fields[info.field_name or ""].annotation
        if any(isinstance(one, bool) for one in values) and _has_number(wanted):
            raise ValueError("true and false are not numbers; give a number")
        return value


def _has_number(kind: Any) -> bool:
    return kind in (int, float) or any(map(_has_number, get_args(kind)))


def pattern_in_words(sentence: LiteralString) -> WrapValidator:
    """A validator that reports `sentence` instead of the regular expression if a value does not match the pattern."""

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
