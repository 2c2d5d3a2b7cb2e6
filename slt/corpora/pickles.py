"""Pickles of others, read without running anything: containers, text, numbers, and arrays of numpy and torch."""

from __future__ import annotations

import collections
import gzip
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from slt.files import existing


def read_pickle(path: Path) -> Any:
    """Return what a pickle holds, gzipped or not; tensors come as numpy arrays.

    ValueError, naming the file, for one that calls anything but the rebuilding of arrays, and for a damaged one.
    """
    with existing(path, "a pickle").open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream: Any = gzip.GzipFile(fileobj=file) if zipped else file
        try:
            return _Plain(stream).load()
        except _Refused as error:
            raise ValueError(f"{path}: {error}; it is not read, because a pickle can run any program") from error
        except Exception as error:  # a damaged pickle fails anywhere in whatever it builds
            raise ValueError(f"{path}: not a pickle that can be read ({error}); copy it again") from error


class _Refused(Exception):
    """The pickle asks for a class or function that no data needs."""


class _Plain(pickle.Unpickler):
    """Finds what builds data, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy._core", "numpy.core").replace("__builtin__", "builtins")  # by who wrote it
        found = _ALLOWED.get((module, name))
        if found is None:
            raise _Refused(f"a pickle that asks for {module}.{name}")
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("a pickle that refers to something outside itself")


def _encode(text: str, encoding: str) -> bytes:
    """What Python 2's strings are rebuilt with; of other codecs some unpack."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"a pickle that encodes text as {encoding}")
    return text.encode("latin1")


def _array(kind: Any, shape: Any, code: Any) -> Any:
    if kind is not np.ndarray:
        raise _Refused(f"a pickle of an array of {kind}")
    return np.ndarray.__new__(np.ndarray, (0,), "b")


def _storage(data: bytes) -> Any:
    """A tensor's numbers, 1-D."""
    import torch  # here: tables without tensors need none

    return torch.load(io.BytesIO(data), weights_only=True)


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> Any:
    import torch

    return torch._utils._rebuild_tensor_v2(storage, offset, size, stride, False, None).numpy()  # type: ignore[no-untyped-call]


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "bytes"): lambda: b"",  # Python 2's way to say so
    ("builtins", "bytearray"): bytearray,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): lambda *_: {},
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy.core.numeric", "_frombuffer"): lambda data, kind, shape, order: np.frombuffer(data, kind).reshape(
        shape, order=order
    ),
    ("numpy.core.multiarray", "scalar"): lambda kind, data: np.frombuffer(data, kind)[0],
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch.storage", "_load_from_bytes"): _storage,
}
