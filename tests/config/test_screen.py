"""What of the log reaches the screen, and what only the log file."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest

from slt.config.screen import ours_alone

LIBRARY = """import logging, warnings
def work():
    logging.getLogger("library").warning("logged by a library")
    logging.getLogger("library").error("broken")
    warnings.warn("this will change", FutureWarning)
"""


@pytest.fixture
def library(tmp_path: Path) -> ModuleType:
    made = ModuleType("library")
    exec(compile(LIBRARY, str(tmp_path / "site-packages" / "library.py"), "exec"), vars(made))
    return made


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The log file, beside a handler of standard output, as Hydra sets them up."""
    root = logging.getLogger()
    file = logging.FileHandler(tmp_path / "run.log")
    monkeypatch.setattr(root, "handlers", [logging.StreamHandler(sys.stdout), file])
    yield tmp_path / "run.log"
    file.close()


def test_libraries_warn_in_the_log_file_alone(
    library: ModuleType, logged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger().handlers[0].setStream(sys.stdout)
    with warnings.catch_warnings(), ours_alone():
        warnings.simplefilter("default")
        library.work()
        logging.getLogger("slt.train").warning("ours")
        logging.getLogger("my_streams").warning("a user's own")
    out, err = capsys.readouterr()
    assert (out.split("\n"), err) == (["broken", "ours", "a user's own", ""], "")
    assert all(text in logged.read_text() for text in ("logged by a library", "this will change", "ours"))


def test_warnings_that_are_errors_stay_errors(library: ModuleType) -> None:
    with warnings.catch_warnings(), ours_alone(), pytest.raises(FutureWarning):
        warnings.simplefilter("error")
        library.work()
