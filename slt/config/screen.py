"""What reaches the user's screen: our own words; those of libraries are kept in the run's log file."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

# Libraries that print by handlers of their own, and the variable by which a user asks them to.
LOUD = {"transformers": "TRANSFORMERS_VERBOSITY", "huggingface_hub": "HF_HUB_VERBOSITY"}


def ours(record: logging.LogRecord) -> bool:
    """Whether a record is for the screen: ours, a user's own module's, or a library's error."""
    if record.name.split(".")[0] in ("slt", "__main__") or record.levelno >= logging.ERROR:
        return True
    return record.name != "py.warnings" and "site-packages" not in record.pathname


@contextmanager
def ours_alone() -> Iterator[None]:
    """Within, warnings of libraries, Python's and logged ones, go to the log file alone.

    No filter of warnings is changed: where they are errors, as in the tests, they stay errors.
    """
    for name, variable in LOUD.items():
        if variable not in os.environ:
            os.environ[variable] = "error"  # of one that is not imported yet
            logging.getLogger(name).setLevel(logging.ERROR)
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:
            handler.addFilter(ours)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
