"""slt/models/signature.py: an exported folder is taken as it was made, or refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slt.inference import OnnxTranslator
from slt.models.signature import FILE, Manifest, StreamSpec, read_manifest, write_manifest


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of the exported folder that a test may harm."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any], *, signed: bool = True) -> None:
    """Change the manifest's values, and sign it anew as an exporter would."""
    from slt.models import signature as manifest

    values = json.loads((folder / FILE).read_text(encoding="utf-8"))
    stated = values.pop("sha256")
    change(values)
    values["sha256"] = manifest._digest(values) if signed else stated
    (folder / FILE).write_text(json.dumps(values), encoding="utf-8")


def test_a_manifest_is_read_as_it_was_written(copy):
    read = read_manifest(copy)
    assert read.streams[0].shape == (3, 4, 4)
    assert read.graphs["decoder"].inputs[0].shape == ("N", 1)
    assert set(read.files) == {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()} - {FILE}
    assert {read.graph_file(graph) for graph in read.graphs} < set(read.files)
    assert write_manifest(copy, read) == read == read_manifest(str(copy))


def test_a_changed_byte_in_any_file_is_refused_by_name(copy):
    rng = np.random.default_rng(0)
    names = [path.relative_to(copy).as_posix() for path in sorted(copy.rglob("*")) if path.is_file()]
    assert len(names) >= 6
    for name in names:
        data = bytearray((copy / name).read_bytes())
        place = data.index(b"max_tokens") + 3 if name == FILE else int(rng.integers(len(data)))
        data[place] ^= 1
        kept = (copy / name).read_bytes()
        (copy / name).write_bytes(data)
        with pytest.raises(ValueError, match=rf"{name}: (sha256|was changed after the export)"):
            OnnxTranslator(copy)
        (copy / name).write_bytes(kept)
    OnnxTranslator(copy)


def test_no_byte_of_the_manifest_can_change_its_meaning_unseen(copy):
    whole, meant = (copy / FILE).read_bytes(), read_manifest(copy)
    refused = blanks = 0
    for place in np.random.default_rng(1).integers(len(whole), size=300):
        data = bytearray(whole)
        data[place] ^= 1
        (copy / FILE).write_bytes(data)
        try:
            read = read_manifest(copy)
        except (ValueError, FileNotFoundError) as error:
            refused += FILE in str(error)
        else:
            assert read == meant, "only blanks between values may change"
            blanks += 1
    assert refused + blanks == 300
    assert refused > 150


@pytest.mark.parametrize("name", ["decoder_tiny.onnx", "tokenizer.json", "tokenizer/tokenizer_config.json"])
def test_a_missing_file_is_refused_by_name(copy, name):
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name}: no such file, but manifest\.json lists it"):
        OnnxTranslator(copy)


def test_a_folder_that_is_none_or_has_no_manifest_is_refused(copy, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere/manifest\.json: no such folder.*python -m slt\.export"):
        OnnxTranslator(tmp_path / "nowhere")
    (copy / FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"manifest\.json: an exported folder without its manifest"):
        OnnxTranslator(copy)


def test_another_format_is_refused_before_anything_else(copy):
    rewrite(copy, lambda values: values.update(format=2, what_is_new=1), signed=False)
    with pytest.raises(ValueError, match=r"manifest\.json: format 1 expected, came 2; read it with the version"):
        OnnxTranslator(copy)


def test_a_file_outside_the_folder_is_not_opened(copy):
    rewrite(copy, lambda values: values["files"].update({"../secret": "0" * 64}))
    (copy.parent / "secret").write_text("nobody's")
    with pytest.raises(ValueError, match=r"lists '\.\./secret', which is outside the folder"):
        OnnxTranslator(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.pop("tokens"), r"keys missing: \['tokens'\], unknown: \[\]"),
        (lambda values: values.update(tokns=1), r"unknown: \['tokns'\]"),
        (lambda values: values["tokens"].pop("eos"), "eos"),
        (lambda values: values["streams"][0].update(shape=[3, 4]), "stream 'face': expected crops"),
        (lambda values: values["streams"][0].update(kind="smell"), "stream 'face': .*came smell"),
        (lambda values: values["graphs"].pop("cross"), "graphs: expected encoder, cross, decoder"),
        (lambda values: values.update(streams=7), "not a manifest of format 1"),
        (lambda values: values["files"].pop("cross_tiny.onnx"), "lists no cross_tiny.onnx"),
    ],
)
def test_a_manifest_of_other_keys_is_refused(copy, change, message):
    rewrite(copy, change)
    with pytest.raises(ValueError, match=message):
        read_manifest(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a": 1}', "\xff"])
def test_what_is_no_manifest_is_refused(copy, text):
    (copy / FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"manifest\.json: not a manifest"):
        read_manifest(copy)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("files", ["a"], "files"),
        ("fps", "8", "fps"),
        ("fps", float("nan"), "fps"),
        ("max_frames", -200, "max_frames -200"),
        ("search", {"num_beams": 10**9, "length_penalty": 1.0, "max_tokens": 5}, "num_beams"),
        ("search", {"num_beams": 2.5, "length_penalty": 1.0, "max_tokens": 5}, r"search\.num_beams: int expected"),
        ("tokens", {"start": -1, "eos": 2, "pad": 0, "forced_bos": None}, "'start': -1"),
        ("tokens", None, "tokens"),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_is_refused_before_a_clip_is_read(copy, key, value, message):
    rewrite(copy, lambda values: values.update({key: value}))
    with pytest.raises(ValueError, match=f"manifest.json: .*{message}"):
        OnnxTranslator(copy)


@pytest.mark.parametrize("name", ["tokenizer.json", "encoder_tiny.onnx", "decoder_tiny.onnx"])
def test_a_graph_and_a_tokenizer_that_are_none_are_refused_by_name(copy, name):
    (copy / name).write_bytes(b"{}")
    rewrite(copy, lambda values: values["files"].update({name: sha256(b"{}").hexdigest()}))
    with pytest.raises(ValueError, match=f"{name}: it cannot be used"):
        OnnxTranslator(copy)


def test_a_stream_is_checked_against_what_the_encoder_reads():
    stream = StreamSpec(name="pose", kind="pose", dtype="float32", shape=(25, 3), folder="pose", points=None, size=None)
    stream.check(np.zeros((4, 25, 3), np.float32), np.ones(4, bool))
    with pytest.raises(ValueError, match=r"'pose': expected float32 \(T, 25, 3\) with T > 0, came float64"):
        stream.check(np.zeros((4, 25, 3)), np.ones(4, bool))


def test_every_key_of_the_manifest_is_explained(folder):
    import slt.models.signature as module

    keys = set(json.loads((folder / FILE).read_text(encoding="utf-8")))
    assert keys == {*Manifest.__dataclass_fields__, "sha256"}
    assert [key for key in keys if f"`{key}`" not in (module.__doc__ or "")] == []
