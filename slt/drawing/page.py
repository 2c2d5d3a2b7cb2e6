"""What the pages that this suite writes are filled in by: a room's own template beside its code, and `page.css`."""

from __future__ import annotations

import functools

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from slt.words import language, say, told


def templates(room: str) -> Environment:
    """Return the templates of a room such as "slt.extraction", in which nothing is undefined and all is escaped.

    Texts of a template stand in `trans` or `_()`; the filter `said` is for those that come in from code.
    """
    return _templates(room, language())


@functools.cache  # with what of them is compiled: a sweep and its jobs write the same pages many times
def _templates(room: str, to: str) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(room, "."), PackageLoader("slt.drawing", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_callables(say, _of_number)  # type: ignore[attr-defined]
    environment.globals["language"] = to
    environment.filters["said"] = lambda value: told(say(value)) if type(value) is str else value
    return environment


def _of_number(one: str, several: str, count: int) -> str:
    return say(one if count == 1 else several)
