"""What `model=` names: exported folders and what is refused; the extractor that fits a model's training clips."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from bench.signing_stub import SigningLandmarker

from slt.extraction.regions import Extractor
from slt.inference.open import fit_extractor, open_translator, read_tokenizer, refuse_unfit, share_cores
from slt.models.signature import StreamSpec, read_manifest, write_manifest
from slt.models.tokenizer import train_tokenizer

SEARCH = {"num_beams": None, "length_penalty": None, "max_tokens": None, "nbest": 1}
KEYS = {"crop_size": 8, "face_margin": 1.2, "hand_margin": 1.4, "smooth_centre": 0.1, "smooth_size": 0.2,
        "follow_visibility": 0.95, "follow_seconds": 1.0, "signer": "auto", "min_certainty": 0.6}  # fmt: skip


def never(checkpoint):
    raise AssertionError("an exported folder is no checkpoint")


def opened(model, **changes):
    keys = {"encoder": "onnx", "tokenizer": None, "device": "auto", "threads": 1, "search": SEARCH, "rebuild": never}
    return open_translator(model, **(keys | changes))


def test_an_exported_folder_is_opened_with_onnxruntime(folder, clip):
    model = opened(folder)
    assert model.about == f"{folder}: onnxruntime, fp32"
    assert model.extractor_settings is None
    assert model.translator.translate(clip(5, 0))[0].text


def test_what_is_no_model_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model=.*nowhere: no such folder or file"):
        opened(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"neither an exported folder \(manifest\.json is missing.*nor a run"):
        opened(tmp_path)


def test_a_damaged_folder_is_refused_by_the_file(folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    graph = broken / "decoder_tiny.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"decoder_tiny\.onnx"):
        opened(broken)


def test_a_checkpoint_has_no_torchscript_encoder(tmp_path):
    (tmp_path / "best.pt").write_bytes(b"")
    with pytest.raises(ValueError, match="encoder=ts: only an exported folder has one"):
        opened(tmp_path, encoder="ts")


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"nbest": 4}, "search.nbest=4: expected 1 to 3"),
        ({"nbest": 2, "num_beams": 1}, "search.nbest=2: expected 1 to 1"),
        ({"max_tokens": 13}, "search.max_tokens=13: the model writes at most 12"),
    ],
)
def test_a_search_that_the_model_cannot_do_is_refused_before_a_film_is_looked_at(folder, search, message):
    with pytest.raises(ValueError, match=message):
        opened(folder, search=SEARCH | search)


def test_the_gpu_is_not_replaced_unasked(folder):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has a GPU")
    with pytest.raises(ValueError, match="CUDAExecutionProvider is not in this onnxruntime"):
        opened(folder, device="cuda")


def test_beside_live_landmarks_a_translator_takes_half_of_the_cores_unless_it_is_told(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert [share_cores(threads, live=live) for threads in (None, 3) for live in (False, True)] == [None, 4, 3, 3]
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0}, raising=False)
    assert share_cores(None, live=True) == 1


# ---------------------------------------------------------------- tokenizers


def test_a_tokenizer_is_taken_from_its_folder_or_file(folder, clip):
    plain = opened(folder).translator.translate(clip(5, 0))
    for tokenizer in (folder / "tokenizer", folder / "tokenizer.json"):
        assert opened(folder, tokenizer=str(tokenizer)).translator.translate(clip(5, 0)) == plain


def test_the_tokenizer_of_another_model_is_refused_by_a_token(folder, tmp_path):
    other = train_tokenizer(["xyz xyz", "zzz yyy"], kind="bpe", vocab_size=140)
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=r"other: the tokenizer of another model: \d+ of this one's \d+ tokens"):
        opened(folder, tokenizer=str(tmp_path / "other"))


def test_what_is_no_tokenizer_is_refused_by_name(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json is no tokenizer"):
        read_tokenizer(str(tmp_path))


# ---------------------------------------------------------------- extractors


def test_the_extractor_is_set_as_it_was_for_the_training_clips():
    settings = {"parameters": {"crop_size": 48, "landmarks": {"face_interval": 1.0}, "signer": "box", "unknown": 1}}
    landmarker, extractor, changed = fit_extractor(
        settings, {"_target_": "a", "face_interval": 0.5, "hand_threads": 2}, {"_target_": "b", "crop_size": 224}
    )
    assert landmarker == {"_target_": "a", "face_interval": 1.0, "hand_threads": 2}
    assert extractor == {"_target_": "b", "crop_size": 48}
    assert changed == ["landmarker.face_interval=1.0", "extractor.crop_size=48"]


def test_a_model_that_knows_nothing_of_its_clips_gets_the_extractor_of_the_configuration():
    for settings in (None, {}, {"parameters": None}):
        assert fit_extractor(settings, {"a": 1}, {"b": 2}) == ({"a": 1}, {"b": 2}, [])


def test_an_extractor_that_was_fitted_has_the_fingerprint_of_the_training_clips():
    trained = Extractor(SigningLandmarker(), **(KEYS | {"crop_size": 16, "signer": "largest"}))
    settings = json.loads(json.dumps({"parameters": trained.parameters}))
    _, keys, _ = fit_extractor(settings, {}, KEYS)
    assert Extractor(SigningLandmarker(), **keys).fingerprint == trained.fingerprint
    assert Extractor(SigningLandmarker(), **KEYS).fingerprint != trained.fingerprint


def model(extractor, *streams):
    return SimpleNamespace(streams=streams, extractor=extractor)


def test_another_extractor_is_refused_by_both_fingerprints(caplog):
    extractor = Extractor(SigningLandmarker(), **KEYS)
    refuse_unfit(model(extractor.fingerprint), extractor, where="source=a", allowed=False)
    other = model("0123456789abcdef")
    with pytest.raises(ValueError, match=f"source=a: extracted by {extractor.fingerprint}.*clips of 0123456789abcdef"):
        refuse_unfit(other, extractor, where="source=a", allowed=False)
    assert not caplog.records
    refuse_unfit(other, extractor, where="source=a", allowed=True)
    assert "as other_extractor says" in caplog.text


def test_a_model_of_the_embedded_corpus_is_not_let_at_real_people_unasked():
    extractor = Extractor(SigningLandmarker(), **KEYS)
    with pytest.raises(ValueError, match="source=a: the model was trained on the embedded corpus"):
        refuse_unfit(model("synthetic-57a1b27cb7ba0aea"), extractor, where="source=a", allowed=False)
    refuse_unfit(model("synthetic-57a1b27cb7ba0aea"), extractor, where="source=a", allowed=True)


@pytest.mark.parametrize(("kind", "name"), [("features", "face"), ("crops", "mouth")])
def test_a_stream_that_no_camera_has_is_refused_by_name(kind, name):
    shape = (512,) if kind == "features" else (3, 8, 8)
    stream = StreamSpec(name=name, kind=kind, dtype="float32" if kind == "features" else "uint8", shape=shape,
                        folder=name, points=None, size=8 if kind == "crops" else None)  # fmt: skip
    with pytest.raises(ValueError, match=f"stream '{name}' .* is not made from pictures"):
        refuse_unfit(model(None, stream), Extractor(SigningLandmarker(), **KEYS), where="source=a", allowed=True)


def test_the_settings_of_the_training_clips_come_with_the_folder(folder, tmp_path):
    made = tmp_path / "made"
    shutil.copytree(folder, made)
    write_manifest(made, replace(read_manifest(made), extractor_settings={"parameters": {"crop_size": 99}}))
    assert opened(made).extractor_settings == {"parameters": {"crop_size": 99}}
