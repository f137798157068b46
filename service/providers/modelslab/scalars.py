"""Values as ModelsLab takes them: numbers also as text, `yes` and `no` instead of booleans, lists with commas.

Its own examples send `"samples": "1"` beside `"guidance_scale": 7.5`. Both forms pass, and go out word for word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from service.providers.contract import Json

LONGEST_TRACK_ID = 256
WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,18})")
DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,20})?")


def read_number(value: Json, *, whole: bool = False) -> float | int | None:
    """Return the number that a value is or spells, None when it is none (`true` is no number)."""
    if isinstance(value, str):
        pattern = WHOLE if whole else DECIMAL
        return (int(value) if "." not in value else float(value)) if pattern.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        return None
    return value


@dataclass(frozen=True, slots=True)
class NumberOrText:
    """A number, also as text: `512` or `"512"`. among: the only values there are."""

    least: float | None = None
    most: float | None = None
    whole: bool = False
    among: tuple[int, ...] = ()

    def check(self, value: Json) -> Json:
        """Return the value unchanged when it keeps the limits."""
        number = read_number(value, whole=self.whole)
        if number is None:
            raise broken(f"must be {'an integer' if self.whole else 'a number'}, or one written as text")
        if self.among and number not in self.among:
            raise broken(f"must be one of {', '.join(map(str, self.among[:-1]))} or {self.among[-1]}")
        if self.least is not None and number < self.least:
            raise broken(f"must be at least {self.least:g}")
        if self.most is not None and not number <= self.most:  # not a number is not within any limits
            raise broken(f"must be at most {self.most:g}")
        return value

    @property
    def schema(self) -> dict[str, Json]:
        """Return the JSON Schema; it can't bound numbers that are written as text."""
        if self.among:
            return {"enum": [*self.among, *map(str, self.among)]}
        pattern = (WHOLE if self.whole else DECIMAL).pattern
        limits = {"minimum": self.least, "maximum": self.most}
        return {
            "type": ["integer" if self.whole else "number", "string"],
            "pattern": f"^{pattern}$",
            **{name: limit for name, limit in limits.items() if limit is not None},
        }


def _refuse_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise broken('must be "yes" or "no", as text: ModelsLab takes no true and false here')
    return value


YesNo = Annotated[Literal["yes", "no"], BeforeValidator(_refuse_boolean)]


def check_names(text: str) -> str:
    """Return names separated by commas unchanged; "" stands for none."""
    if text and not all(split_list(text)):
        raise broken("must be names, separated by commas")
    return text


def split_list(text: str) -> list[str]:
    """Return the parts of a comma-separated text."""
    return [part.strip() for part in text.split(",")] if text else []


@dataclass(frozen=True, slots=True)
class Strengths:
    """One or more numbers separated by commas, or a single number."""

    least: float
    most: float

    def check(self, value: Json) -> Json:
        """Return the value unchanged when every number in it keeps the limits; "" stands for none."""
        for part in split_list(value) if isinstance(value, str) else [value]:
            number = read_number(part)
            if number is None:
                raise broken("must be numbers, separated by commas")
            if not self.least <= number <= self.most:
                raise broken(f"must be numbers from {self.least:g} to {self.most:g}, separated by commas")
        return value

    @property
    def schema(self) -> dict[str, Json]:
        """Return the JSON Schema."""
        return {"type": ["number", "string"], "minimum": self.least, "maximum": self.most}


def check_track_id(value: Json) -> Json:
    """Return a customer's `track_id` unchanged when it is text of at most 256 characters, or an integer."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise broken("must be a string, or an integer")
    # No limit is documented; ours is for what we keep of it, and show in every event.
    if isinstance(value, str) and len(value) > LONGEST_TRACK_ID:
        raise broken(f"must have at most {LONGEST_TRACK_ID} characters")
    return value


def broken(rule: str) -> PydanticCustomError:
    """Return the error for a broken rule; braces in it are no placeholders."""
    return PydanticCustomError("modelslab_value", "{rule}", {"rule": rule})
