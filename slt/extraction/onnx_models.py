"""Networks of others for the landmarks stage: ONNX files, given or fetched once into the user's cache, and opened."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse
from urllib.request import urlopen

import numpy as np
from numpy.typing import NDArray

from slt.files import atomic, needing, sha256

_BLOCK = 1 << 20  # bytes
_SECONDS = 60.0  # that a server may be silent


def find_model(given: str, cache: Path, *, key: str) -> Path:
    """Return the .onnx file of a path, or of an address, which is fetched into `cache` where it is not there.

    Either may be a .zip, as OpenMMLab publishes them, with one .onnx inside.

    Raises:
        FileNotFoundError: there is no such file, or it cannot be fetched; `key` of the configuration is named.
    """
    address = urlparse(given)
    if address.scheme not in ("http", "https"):
        path = Path(given).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"{key}={given}: no such file; give an .onnx, or the address of one")
        return path if path.suffix != ".zip" else _unpacked(path, cache / f"{sha256(path)[:16]}.onnx", key)
    name = PurePosixPath(address.path)
    made = cache / f"{name.stem}.onnx"
    if made.is_file():
        return made
    fetched = cache / name.name
    _fetch(given, fetched, made.name, key)
    if fetched.suffix == ".zip":
        _unpacked(fetched, made, key)
        fetched.unlink()
    return made


def _fetch(address: str, to: Path, kept: str, key: str) -> None:
    try:
        with urlopen(address, timeout=_SECONDS) as answer, atomic(to) as file:
            while block := answer.read(_BLOCK):
                file.write(block)
    except OSError as error:  # URLError is one
        raise FileNotFoundError(
            f"{key}={address} cannot be fetched ({error}); fetch it where there is a network, and give its path as "
            f"{key}=..., or put the .onnx that is inside into {to.parent} as {kept}"
        ) from error


def _unpacked(archive: Path, to: Path, key: str) -> Path:
    """Write the one .onnx inside an archive; its own name there says nothing (end2end.onnx)."""
    if to.is_file():
        return to
    try:
        with zipfile.ZipFile(archive) as inside:
            models = [name for name in inside.namelist() if name.endswith(".onnx")]
            if len(models) != 1:
                raise ValueError(f"{key}: {archive} holds {len(models)} .onnx files; expected one: unpack it yourself")
            with inside.open(models[0]) as model, atomic(to) as file:
                while block := model.read(_BLOCK):
                    file.write(block)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{key}: {archive} is no whole zip ({error}); delete it and start again") from error
    return to


class Network:
    """An ONNX file at work: one picture in, its outputs out."""

    def __init__(self, path: Path, *, key: str, size: tuple[int, int], device: str, threads: int | None) -> None:
        """Open a file whose input is (1, 3, height, width), or free in some of these; `size` is (width, height).

        Raises:
            ModuleNotFoundError: onnxruntime is not installed.
            ValueError: the file is no network, one of another size, or there is no such device; `key` is named.
        """
        with needing(f"{key}: networks of others need onnxruntime", extra="export"):
            import onnxruntime
        provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(device, device)
        if provider not in (there := onnxruntime.get_available_providers()):
            raise ValueError(f"landmarker.device={device}: this onnxruntime has {', '.join(there)}; take cpu or cuda")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # its warnings are of how it places nodes
        options.intra_op_num_threads = threads or 0
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
        except Exception as error:  # onnxruntime raises a class of its own for each way a file can be wrong
            raise ValueError(f"{key}={path}: not a network that onnxruntime opens ({error})") from error
        self.size, self.version = size, f"onnxruntime {onnxruntime.__version__.split('.')[0]}"
        first = self._session.get_inputs()[0]
        self._input, fixed = first.name, list(first.shape)
        wanted = [1, 3, size[1], size[0]]
        if len(fixed) != 4 or any(isinstance(n, int) and n != m for n, m in zip(fixed, wanted, strict=True)):
            raise ValueError(
                f"{key}={path}: its input is {fixed}, expected {wanted}: (1, 3, height, width); set {key}_size as the "
                "file has it"
            )

    def run(self, picture: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Return the outputs of one picture (height, width, 3), by name."""
        batch = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, {self._input: batch}), strict=True))
