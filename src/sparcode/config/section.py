"""What the sections of the configuration have in common: their base class and the types of their values."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Rate = Annotated[float, Field(gt=0.0)]


def _tuple_of_list(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _bytes_of_text(value: object) -> object:
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMG]?)B", value) if isinstance(value, str) else None
    return round(float(match[1]) * _UNITS[match[2]]) if match else value


_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
ByteCount = Annotated[int, Field(ge=0), BeforeValidator(_bytes_of_text)]
"""A number of bytes, or text such as 200MB."""

CutOffs = Annotated[tuple[Positive, ...], Field(min_length=1), BeforeValidator(_tuple_of_list)]
"""YAML knows lists only; strict validation wants the tuple."""


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys are errors, "3" is not 3, numbers are finite."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        protected_namespaces=(),
    )
