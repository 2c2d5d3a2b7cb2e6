"""`slt.demo` from films to captions, live and not, and what each mistake of a user is told; no camera, no MediaPipe."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from bench.landmarker_stub import write_film
from bench.signing_stub import SigningLandmarker
from inference import conftest as exported

from slt.config.checks import HOME
from slt.corpora.layout import write_table
from slt.evaluation.prediction import read_predictions
from slt.extraction.regions import Extractor
from slt.inference.session import Reading
from slt.models.confidence import Confidence
from slt.models.signature import read_manifest, write_manifest

pytest.importorskip("av", reason='PyAV is absent: pip install "slt[media]"')
pytest.importorskip("onnxruntime", reason='onnxruntime is absent: pip install "slt[export]"')

words, model, folder = exported.words, exported.model, exported.folder  # fixtures
TESTS = Path(__file__).resolve().parent
STUB = ("landmarker._target_=bench.signing_stub.SigningLandmarker", "extractor.crop_size=16")
QUICK = (*STUB, "other_extractor=true", "out=out", "threads=1", "headless=true")


@pytest.fixture
def film(tmp_path):
    (tmp_path / "films").mkdir()
    path = tmp_path / "films" / "a.mp4"
    write_film(path, count=20)
    return path


def captions(printed):
    return re.findall(r"^\[(\S+) - (\S+)\]  (.*)  \((-\d+\.\d\d)\)$", printed, re.MULTILINE)


def told(ran):
    """The one message of a run that failed, which may have several lines."""
    assert ran.status == 1
    assert "Traceback" not in ran.err
    assert ran.err.count("error: ") == 1
    return ran.err[ran.err.index("error: ") :]


# ---------------------------------------------------------------- films


def test_a_film_is_translated_printed_and_written(entry, folder, film, tmp_path):
    ran = entry("demo", f"model={folder}", f"source={film}", *QUICK)
    assert ran.status == 0, ran.err
    ((start, end, sentence, _),) = captions(ran.out)
    assert (start, end) == ("00:00.0", "00:02.0")
    srt = (tmp_path / "out" / "a.srt").read_text(encoding="utf-8")
    assert " ".join(srt.split("\n", 2)[2].split()) == " ".join(sentence.split())
    assert ran.named_folder
    assert "seen: face 100%, left_hand 100%, right_hand 100%, pose 100%" in ran.out
    for ending in ("mp4", "srt", "vtt", "eaf"):
        assert f"wrote out/a.{ending}" in ran.out
        assert (tmp_path / "out" / f"a.{ending}").stat().st_size > 0
    panel = ran.out[ran.out.index("milliseconds") :]
    assert re.findall(r"^  ([a-z]+) +[\d.]+ +[\d.]+$", panel, re.MULTILINE) == [
        "decode", "landmarks", "crops", "encoder", "decoder", "draw"]  # fmt: skip


def test_the_best_sentences_are_printed_where_more_than_one_is_asked_for(entry, folder, film):
    ran = entry("demo", f"model={folder}", f"source={film}", *QUICK, "search.nbest=3", "draw=false")
    assert ran.status == 0, ran.err
    assert len(captions(ran.out)) == 1
    assert re.findall(r"^ +(\d)\. .* \(-\d", ran.out, re.MULTILINE) == ["2", "3"]


def test_what_a_model_is_not_sure_of_is_not_understood_below_abstain(entry, folder, film, tmp_path):
    message = told(entry("demo", f"model={folder}", f"source={film}", *QUICK, "abstain=0.5"))
    assert "does not say how sure it is" in message
    unsure = tmp_path / "unsure"
    shutil.copytree(folder, unsure)
    confidence = Confidence(good_chrf=60.0, num_beams=3, length_penalty=1.0, bias=-2.0, signals={})
    write_manifest(unsure, replace(read_manifest(folder), confidence=confidence))
    ran = entry("demo", f"model={unsure}", f"source={film}", *QUICK, "draw=false", "abstain=0.5", "search.nbest=2")
    assert ran.status == 0, ran.err
    assert "[00:00.0 - 00:02.0]  [not understood]  (confidence 0.12)" in ran.out
    assert "[not understood]" in (tmp_path / "out" / "a.srt").read_text(encoding="utf-8")
    message = told(entry("demo", f"model={unsure}", f"source={film}", *QUICK, "abstain=0.5", "search.num_beams=1"))
    assert "that of num_beams=3" in message


def test_without_out_all_goes_to_the_folder_of_the_run(entry, folder, film):
    ran = entry("demo", f"model={folder}", f"source={film}", *STUB, "other_extractor=true")
    assert ran.status == 0, ran.err
    assert {"a.mp4", "a.srt", "a.vtt", "a.eaf"} <= {path.name for path in ran.folder.iterdir()}


@pytest.mark.parametrize("live", ["false", "true"])
def test_a_film_of_a_folder_that_fails_is_listed_and_the_others_are_done(entry, folder, film, tmp_path, live):
    film.with_name("b.mp4").write_text("not a film\n" * 99)
    write_film(film.with_name("c.mkv"), count=10)
    ran = entry("demo", f"model={folder}", f"source={film.parent}", *QUICK, f"live={live}")
    assert ran.status == 2
    assert [end for _, end, *_ in captions(ran.out)] == ["00:02.0", "00:01.0"]
    assert "1 of 3 films failed:\n  b.mp4: " in ran.out
    endings = ("srt", "vtt", "eaf") if live == "true" else ("mp4", "srt", "vtt", "eaf")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{stem}.{one}" for stem in "ac" for one in endings}


def test_a_model_meets_the_extractor_of_its_training_clips(entry, folder, film, tmp_path):
    keys = {"crop_size": 12, "face_margin": 1.2, "hand_margin": 1.4, "smooth_centre": 0.1, "smooth_size": 0.5,
            "follow_visibility": 0.95, "follow_seconds": 1.0, "signer": "largest", "min_certainty": 0.6}  # fmt: skip
    trained = Extractor(SigningLandmarker(), **keys)
    fitting = tmp_path / "fitting"
    shutil.copytree(folder, fitting)
    settings = {"name": trained.name, "version": trained.version, "parameters": trained.parameters}
    manifest = replace(read_manifest(folder), extractor=trained.fingerprint, extractor_settings=settings)
    write_manifest(fitting, manifest)
    ran = entry("demo", f"model={fitting}", f"source={film}", *STUB, "out=out", "signer=box", "box=[0,0,64,48]")
    assert ran.status == 0, ran.err
    assert "as for the model's training clips: extractor.crop_size=12" in ran.out + ran.err


# ---------------------------------------------------------------- live


def test_a_film_at_its_own_pace_has_the_captions_of_the_same_film_from_its_file(entry, folder, film, tmp_path):
    plain = entry("demo", f"model={folder}", f"source={film}", *QUICK, "draw=false")
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*t")}
    shutil.rmtree(tmp_path / "out")
    keys = ("live=true", "queue=100", "record=rec.mp4", "panel=true", "partial_seconds=0.5")
    ran = entry("demo", f"model={folder}", f"source={film}", *QUICK, *keys)
    assert ran.status == 0, ran.err
    assert captions(ran.out) == captions(plain.out) != []
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*t")} == files
    assert (tmp_path / "out" / "a.eaf").is_file()  # it bears the date
    assert "0 of 20 dropped (0.0%)" in ran.out
    assert "sign to caption" in ran.out
    assert "wrote rec.mp4" in ran.out
    assert (tmp_path / "rec.mp4").stat().st_size > 1000


def test_frames_that_a_slow_machine_drops_are_counted_and_printed(entry, folder, film):
    keys = ("live=true", "queue=1", "+landmarker.pause=0.25")
    ran = entry("demo", f"model={folder}", f"source={film}", *QUICK, *keys)
    assert ran.status == 0, ran.err
    dropped, all_of_them = map(int, re.search(r"(\d+) of (\d+) frames were dropped", ran.out).groups())
    assert all_of_them == 20
    assert 5 < dropped < 20
    assert f"{dropped} of 20 dropped" in ran.out


def test_a_film_live_gives_the_sentence_that_eval_gives_for_its_clip(entry, tiny, tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    sentences = {"a": "mañana no hay agua", "b": "¿quién pinta?"}
    for name, shade in zip(sentences, (0, 180), strict=True):
        write_film(films / f"{name}.mp4", count=16, shade=shade, step=0)
    write_table(films / "subs.csv", [{"video_id": name, "texto": text} for name, text in sentences.items()])
    corpus = tmp_path / "corpus"
    extracted = entry("extract", f"source={films}", f"out={corpus}", "split.by=all_train", "report=false",
                      "encoding=raw", STUB[0], "extractor.crop_size=40")  # fmt: skip
    assert extracted.status == 0, extracted.err
    own = ("batch_size", "max_steps", "eval_every", "decoder.tokenizer")
    keys = [key for key in tiny[1:] if not key.startswith(own)]
    run = entry("train", "experiments=real_clips", f"dataset.root={corpus}", "dataset.fps=5", *keys, "batch_size=2",
                "max_steps=80", "eval_every=80", "optimizer.lr=0.01", "schedule.warmup_steps=5",
                "decoder.max_tokens=16", "decoder.tokenizer.kind=bpe", "decoder.tokenizer.vocab_size=290")  # fmt: skip
    assert run.status == 0, run.err
    options = ("split=train", "num_workers=0", "device=cpu", "evaluation.bootstrap=0", "evaluation.report_strips=0",
               "evaluation.num_beams=2", "evaluation.nbest=2",
               *(f"evaluation.{control}=false" for control in ("blanked", "shuffled", "frozen")))  # fmt: skip
    evaluated = entry("eval", f"checkpoint={run.folder}", *options)
    assert evaluated.status == 0, evaluated.err
    expected = {one.id: one for one in read_predictions(evaluated.folder / "predictions.tsv")}
    assert {name: one.hypothesis for name, one in expected.items()} == sentences  # learned: no tie decides
    for name in sentences:
        for live in ("live=true", "live=false"):
            ran = entry("demo", f"model={run.folder}", f"source={films / name}.mp4", STUB[0], live, "headless=true",
                        "queue=100", "device=cpu", "out=out", "draw=false")  # fmt: skip
            assert ran.status == 0, ran.err
            assert [sentence for _, _, sentence, _ in captions(ran.out)] == [expected[name].hypothesis]
            assert (tmp_path / "out" / f"{name}.vtt").read_text(encoding="utf-8").count(" --> ") == 1


def test_an_exported_folder_needs_no_torch_and_no_transformers(folder, film, tmp_path):
    blocked = "import sys; sys.modules['torch'] = sys.modules['transformers'] = None; import slt.demo; slt.demo.demo()"
    house = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HOME), str(TESTS)])}
    command = [sys.executable, "-c", blocked, f"model={folder}", f"source={film}", *QUICK, "draw=false"]
    done = subprocess.run(command, env=house, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(captions(done.stdout)) == 1


# ---------------------------------------------------------------- mistakes


def test_another_extractor_than_that_of_the_training_clips_is_refused_by_name(entry, folder, film, tmp_path):
    message = told(entry("demo", f"model={folder}", f"source={film}", *STUB, "out=out"))
    assert re.search(r"source=.*a\.mp4: extracted by [0-9a-f]{16}, the model was trained on clips of 0123456789abcdef",
                     message)  # fmt: skip
    assert "other_extractor=true" in message
    assert not (tmp_path / "out").exists()


def test_a_truncated_film_is_refused_and_leaves_no_half_of_anything(entry, folder, film, tmp_path):
    whole = film.with_suffix(".mkv")
    write_film(whole, count=100, size=(320, 240))
    film.unlink()
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    message = told(entry("demo", f"model={folder}", f"source={whole}", *QUICK))
    assert "a.mkv: " in message
    assert "cut short" in message or "not a film that can be read" in message
    assert list((tmp_path / "out").glob("*")) + list((tmp_path / "out").glob(".*")) == []


MISTAKES = {
    "no source": (("source=null",), "source is missing: give it, as in source=0"),
    "missing film": (("source=nowhere.mp4",), "source=nowhere.mp4: no such film or folder"),
    "text named mp4": (("source=words.mp4",), "words.mp4: not a film that can be read"),
    "folder without films": (("source=empty",), "source=empty: no film in this folder"),
    "no such model": (("model=nowhere",), "model=nowhere: no such folder or file"),
    "folder that is no model": (("model=empty",), "neither an exported folder"),
    "box alone": (("box=[0,0,5,5]",), "signer=box and box belong together"),
    "signer=box alone": (("signer=box",), "signer=box and box belong together"),
    "box turned round": (("signer=box", "box=[50,0,5,40]"), "expected x0, y0, x1, y1 with x0 < x1"),
    "box of three": (("signer=box", "box=[1,2,3]"), "expected x0, y0, x1, y1"),
    "box beyond the picture": (("signer=box", "box=[500,500,600,600]"), "has no 16x16 pixels in the picture, 64x48"),
    "camera": (("source=97",), "source=97: no camera with this number"),
    "camera as a whole": (("source=0", "segments=whole"), "a camera has no end"),
    "record without live": (("record=a.mp4",), "record=a.mp4 is for cameras and live=true"),
    "record of another kind": (("live=true", "record=a.avi"), "expected a name that ends in .mp4"),
    "record over the film": (("live=true", "record=films/a.mp4"), "films/a.mp4: it lies beside the film a.mp4"),
    "out beside the film": (("out=films",), "films/a.mp4: it lies beside the film a.mp4"),
    "misspelt choice": (("segments=auot",), "segments=auot: expected one of whole, auto"),
    "misspelt key": (("sorce=a",), "did you mean source"),
    "misspelt segment key": (("segment.moveing=1",), "did you mean segment.moving"),
    "segment that cannot be": (("segment.staying=3",), "segment.staying=3.0: expected a number in [0, 1]"),
    "more sentences than beams": (("search.nbest=9",), "search.nbest=9: expected 1 to 3"),
    "no queue": (("queue=0",), "queue=0: expected a number above 0"),
    "film and page": (("ui=web",), "leave source out with ui=web"),
    "torchscript that is not there": (("encoder=ts",), "encoder_tiny.ts"),
}


@pytest.mark.parametrize(("overrides", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_one_message(entry, folder, film, tmp_path, overrides, message):
    (tmp_path / "words.mp4").write_text("just words\n" * 99)
    (tmp_path / "empty").mkdir()
    before = film.read_bytes()
    assert message in told(entry("demo", f"model={folder}", f"source={film}", *QUICK, *overrides))
    assert film.read_bytes() == before


def test_one_recording_cannot_hold_two_films(entry, folder, film):
    write_film(film.with_name("b.mp4"))
    ran = entry("demo", f"model={folder}", f"source={film.parent}", *QUICK, "live=true", "record=rec.mp4")
    assert "record=rec.mp4: one film cannot hold 2 sources" in told(ran)


def test_a_model_of_the_embedded_corpus_is_refused_for_films(entry, folder, film, tmp_path):
    shutil.copytree(folder, tmp_path / "embedded")
    write_manifest(tmp_path / "embedded", replace(read_manifest(folder), extractor="synthetic-57a1b27cb7ba0aea"))
    ran = entry("demo", "model=embedded", f"source={film}", *STUB)
    assert "the model was trained on the embedded corpus" in told(ran)
    assert entry("demo", "model=embedded", f"source={film}", *QUICK, "draw=false").status == 0


# ---------------------------------------------------------------- the page


def test_the_page_gets_the_model_the_extractor_and_its_keys(entry, folder, monkeypatch):
    served = {}
    monkeypatch.setitem(
        sys.modules, "slt.inference.page.server", SimpleNamespace(Web=dict, serve=lambda **keys: served.update(keys))
    )
    ran = entry("demo", f"model={folder}", "ui=web", *STUB, "other_extractor=true", "web.port=7999", "web.max_mb=5")
    assert ran.status == 0, ran.err
    assert served["web"] == {
        "host": "127.0.0.1", "port": 7999, "max_mb": 5, "max_total_mb": 2000, "max_seconds": 120,
        "corrections": None}  # fmt: skip
    assert served["extractor"].landmarker.closed
    assert isinstance(served["settings"], Reading)
    assert served["translator"].folder == folder
