"""What a value may be, said where it is declared: fields of settings classes are keys of the configuration too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar, get_type_hints

from slt.text import near

T = TypeVar("T", bound=type)


def choice(*options: str, default: Any = MISSING) -> Any:
    return field(default=default, metadata={"choices": options})


def switch(*, default: Any = MISSING) -> Any:
    """A field that is true or false, and no word for it."""
    return field(default=default, metadata={"fits": lambda value: value in (True, False), "expected": "true or false"})


def positive() -> Any:
    return field(metadata={"fits": lambda value: value > 0, "expected": "a number above 0"})


def not_negative() -> Any:
    return field(metadata={"fits": lambda value: value >= 0, "expected": "a number of at least 0"})


def share() -> Any:
    """A field whose value is a number in [0, 1]."""
    return field(metadata={"fits": lambda value: 0 <= value <= 1, "expected": "a number in [0, 1]"})


def value_fault(key: str, value: Any, about: Mapping[str, Any]) -> str | None:
    """What is wrong with the value of a field whose metadata is `about`; None of None, and where nothing is."""
    if value is None or (value in about.get("choices", (value,)) and about.get("fits", lambda _: True)(value)):
        return None
    if "choices" in about:
        return f"{key}={value}: expected one of {', '.join(about['choices'])}{near(str(value), about['choices'])}"
    return f"{key}={value}: expected {about['expected']}"


def check_values(settings: Any, where: str) -> None:
    """Raise ValueError for the first field of a settings object whose value does not fit, a key below `where`."""
    for part in fields(settings):
        if fault := value_fault(f"{where}.{part.name}", getattr(settings, part.name), part.metadata):
            raise ValueError(fault)


def keys(*settings: type) -> Callable[[T], T]:
    """Makes a class a part of a schema, with the fields of frozen settings: OmegaConf lets none of those be set."""

    def wrap(own: T) -> T:
        for each in settings:
            types = get_type_hints(each)
            for part in fields(each):
                own.__annotations__[part.name] = types[part.name]
                if part.default is MISSING:
                    setattr(own, part.name, field(metadata=part.metadata))
        return dataclass(kw_only=True)(own)  # type: ignore[return-value]

    return wrap
