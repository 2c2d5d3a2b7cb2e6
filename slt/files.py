"""Files made whole or not at all, and JSON that says where it is broken: what every room writes and reads with."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock


class OutputError(OSError):
    """Writing to an output folder failed: no input is to blame and no other would fare better."""


@contextmanager
def atomic(path: Path | str) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path` that takes its name only when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with Path(temporary).open("wb") as file:
            yield file
        Path(temporary).replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def building(folder: Path, *, last: str) -> Iterator[Path | None]:
    """Give a folder to build in, which becomes `folder` at the end; None where it is there, or another has built it.

    What a killed process left behind is removed; a folder without `last`, the file that is written last, is never used.
    """
    if (folder / last).is_file():
        yield None
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if (folder / last).is_file():
            yield None
            return
        made = folder.with_name(f".{folder.name}.building")
        for remains in (made, folder):
            if remains.exists():
                shutil.rmtree(remains)
        made.mkdir()
        try:
            yield made
            made.rename(folder)
        except BaseException:  # Ctrl-C too: a full disk should not stay full
            shutil.rmtree(made, ignore_errors=True)
            raise


class TextLines:
    """What csv writes to, as utf-8 bytes (a TextIOWrapper would close the atomic file behind its back)."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def write(self, text: str) -> int:
        return self.file.write(text.encode("utf-8"))


def parse_json(text: str, where: Path | str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error}); was writing it interrupted? Make it anew") from error


def read_json(path: Path) -> dict[str, Any]:
    value = parse_json(path.read_text(encoding="utf-8", errors="replace"), path)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: keys with values expected, came {type(value).__name__}; make it anew")
    return value


def write_json(path: Path | str, value: Any) -> None:
    with atomic(path) as file:
        file.write((json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode("utf-8"))


def existing(path: Path | str, what: str) -> Path:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected {what}")
    return path


@contextmanager
def rebuilding(source: Path | str) -> Iterator[None]:
    """Turn whatever the content of a file, or of a folder, does to its reader into one ValueError that names it.

    A library that is not installed and a file that is not there keep their own error.
    """
    try:
        yield
    except (ModuleNotFoundError, FileNotFoundError):
        raise
    except Exception as error:  # a value that does not fit fails where it is used: anywhere in any library
        first = next(iter(str(error).splitlines()), "")
        why = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {first}"
        if not why.startswith(str(source)):
            why = f"{source}: it cannot be used ({why}); was it changed, or not written whole?"
        raise ValueError(why) from error


@contextmanager
def needing(what: str, *, extra: str) -> Iterator[None]:
    """Name the extra that brings a library whose import fails in the block."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'{what}: pip install "slt[{extra}]" ({error})') from error


def sha256(path: Path | str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
