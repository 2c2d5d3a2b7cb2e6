"""Sign language translation, from film to sentence: `slt.load`, `slt.extract` and `slt.score` are all that most need.

Nothing is imported before it is asked for: `import slt` brings neither torch nor Hydra.
"""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slt.commands.python import extract as extract
    from slt.commands.python import load as load
    from slt.commands.python import score as score
    from slt.extraction.extracted import Extracted as Extracted
    from slt.inference.model import Model as Model
    from slt.inference.subtitles import Caption as Caption

# Before torch is imported: its threads then spin briefly at a barrier and go to sleep, instead of spinning on. With a
# loader process or anything else on the same cores, spinning on makes a training step half as slow again
# or worse (tests/bench/threads.py).
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
# Before OpenCV is: a JPEG of a few bytes may say that it is of 2^30 pixels, which would take 3 GB.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**27))

_PLACES = {
    "load": "slt.commands.python",
    "Model": "slt.inference.model",
    "Caption": "slt.inference.subtitles",
    "Extracted": "slt.extraction.extracted",
}
# Modules of commands that are functions as well, see `Command`.
_COMMANDS = ("extract", "score")
__all__ = ["Caption", "Extracted", "Model", "extract", "load", "score"]


class Command(ModuleType):
    """The module of a command that Python calls: `slt.score` is one object, which `python -m slt.score` runs too.

    Whether `slt.score(...)` or `import slt.score` comes first makes no difference, as it would for a function of the
    module's name: the import would put the module in its place.
    """

    def __call__(self, *given: Any, **keys: Any) -> Any:
        """Call the function of this name in `slt.commands.python`."""
        return getattr(import_module("slt.commands.python"), self.__name__.rpartition(".")[2])(*given, **keys)


def __getattr__(name: str) -> Any:
    if name in _COMMANDS:
        return import_module(f"slt.{name}")
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'slt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
