"""What the pages that this suite writes are filled in by: a room's own template beside its code, and `page.css`."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def templates(room: str) -> Environment:
    """Return the templates of a room such as "slt.extraction", in which nothing is undefined and all is escaped."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(room, "."), PackageLoader("slt.drawing", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
