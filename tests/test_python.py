"""`import slt` as its users write it: `slt.load`, `Model.translate` and `encode`, `slt.extract`, `slt.score`."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.landmarker_stub import write_film
from bench.signing_stub import signer
from inference import conftest as exported
from inference.parts import Spy

import slt
from slt.config.checks import HOME
from slt.extraction.video import read_frames
from slt.inference.sources import LiveCamera
from slt.models.signature import StreamSpec
from slt.streams.skeleton import find_skeleton

pytest.importorskip("av", reason='PyAV is absent: pip install "slt[media]"')
pytest.importorskip("onnxruntime", reason='onnxruntime is absent: pip install "slt[export]"')

words, model, folder, clip = exported.words, exported.model, exported.folder, exported.clip  # fixtures
STUB: dict[str, Any] = {"_target_": "bench.signing_stub.SigningLandmarker", "signing": [[0.3, 1.3], [2.3, 3.3]]}
QUICK: dict[str, Any] = {"landmarker": STUB, "extractor": {"crop_size": 8}, "other_extractor": True, "threads": 1}
POSE = StreamSpec(name="pose", kind="pose", dtype="float32", shape=(25, 3), folder="pose", points="upper_body")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    write_film(path, count=40)
    return path


@pytest.fixture
def loaded(folder: Path) -> Any:
    """The exported folder, films cut where hands rest."""
    with slt.load(folder, segments="auto", search={"num_beams": 2, "nbest": 2}, **QUICK) as made:
        yield made


@pytest.fixture
def of_poses(loaded: Any) -> Any:
    """A model of poses alone, which says how many frames it was given."""
    spy = Spy()
    spy.streams, spy.encode = (POSE,), lambda clips: len(clips[0])
    return replace(loaded, translator=spy)


def times(captions: Any) -> list[tuple[float, float]]:
    return [(round(one.start, 2), round(one.end, 2)) for one in captions]


# ---------------------------------------------------------------- the package


def test_importing_the_package_imports_no_library() -> None:
    heavy = "{'numpy', 'torch', 'hydra', 'omegaconf', 'transformers', 'cv2'}"
    code = f"import sys; import slt; sys.exit(len({heavy} & sys.modules.keys()))"
    house = {**os.environ, "PYTHONPATH": str(HOME)}
    assert subprocess.run([sys.executable, "-c", code], env=house, timeout=120, check=False).returncode == 0


@pytest.mark.parametrize("command", ["score", "extract"])
@pytest.mark.parametrize("first", ["slt.{}", "import slt.{}", "from slt import {}"])
def test_the_function_and_the_module_of_a_command_are_one_whichever_comes_first(
    monkeypatch: pytest.MonkeyPatch, command: str, first: str
) -> None:
    importlib.import_module(f"slt.{command}")
    monkeypatch.delitem(sys.modules, f"slt.{command}")
    monkeypatch.delattr(slt, command)
    exec(first.format(command), {"slt": slt})
    found = getattr(slt, command)
    assert found is importlib.import_module(f"slt.{command}") is sys.modules[f"slt.{command}"]
    assert isinstance(getattr(found, command), Callable)  # what `python -m` runs
    with pytest.raises((ValueError, OSError), match=r"single text|nowhere\.mp4"):
        found("nowhere.mp4", references="one")


def test_the_names_of_the_package_are_found_and_no_others() -> None:
    assert {*slt.__all__} <= {*dir(slt)}
    assert all(getattr(slt, name) for name in slt.__all__)
    with pytest.raises(AttributeError, match="'slt' has no attribute 'lod'"):
        slt.lod  # noqa: B018


# ---------------------------------------------------------------- captions


def test_a_film_gives_its_captions_as_they_come(loaded: Any, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captions = loaded.translate(film)
    first = next(captions)
    assert times([first, *captions]) == [(0.0, 1.6), (2.0, 3.6)]
    assert first.text
    assert first.score == first.hypotheses[0].score
    assert len(first.alternatives) == 1
    assert first.seen == {"face": 1.0, "pose": 1.0}
    assert str(first).startswith("[00:00.0 - 00:01.6]")


def test_pictures_and_what_was_extracted_of_a_film_give_the_captions_of_the_film(loaded: Any, film: Path) -> None:
    wanted = [(str(one), one.seen) for one in loaded.translate(film)]
    assert len(wanted) == 2
    pictures = np.stack([picture for _, picture in read_frames(film, fps=10)])
    assert [(str(one), one.seen) for one in loaded.translate(pictures, fps=10)] == wanted
    streams = slt.extract(film, landmarker=STUB, extractor={"crop_size": 8})
    assert [(str(one), one.seen) for one in loaded.translate(streams)] == wanted
    assert np.array_equal(loaded.encode(streams), loaded.encode(film))


def test_clips_of_a_corpus_are_translated_in_their_order_whatever_the_batch(loaded: Any, clip: Any) -> None:
    some = [clip(frames, seed) for seed, frames in enumerate((7, 20, 3, 12))]
    alone = [str(one) for each in some for one in loaded.translate(each, fps=10)]
    assert [str(one) for one in loaded.translate(some, fps=10, batch_size=3)] == alone
    assert [one.end for one in loaded.translate(some, fps=10)] == [0.7, 2.0, 0.3, 1.2]
    (one,) = loaded.translate(some[0], fps=10)
    assert one.seen == {name: marks.mean() for name, marks in some[0].seen.items()}


def test_a_split_of_a_corpus_is_read_as_the_model_reads_it(loaded: Any, corpus: Path) -> None:
    part = replace(loaded, translator=Spy())
    part.translator.streams = (POSE,)
    part.translator.translate_batch = lambda clips, **search: [[] for _ in clips]
    clips = part.clips(corpus, "test")
    assert [one.end for one in part.translate(clips)] == [pytest.approx(clips.seconds(n)) for n in range(len(clips))]
    assert clips[0].streams["pose"].shape[1:] == (25, 3)


class Endless(LiveCamera):
    """A camera without a device, which never ends."""

    def __init__(self) -> None:
        super().__init__("a camera", 10)
        self.closed = False

    def _grabs(self) -> Any:
        while True:
            time.sleep(1 / self.fps)
            yield time.perf_counter(), lambda: np.zeros((80, 100, 3), np.uint8)

    def pictures(self, seconds: Any) -> Any:
        return ((second, np.zeros((80, 100, 3), np.uint8)) for second in seconds)

    def _earliest(self, earliest: float, seconds: float) -> float:
        return earliest

    def close(self) -> None:
        self.closed = True


def test_a_camera_goes_on_until_nobody_wants_its_captions(folder: Path) -> None:
    with slt.load(folder, **QUICK, queue=1000, partial_seconds=0) as loaded:
        camera = Endless()
        captions = loaded.translate(camera)
        first = next(captions)
        captions.close()
    assert first.start < 0.6 < first.end < 2.3  # the first of its two stretches of signing
    assert camera.closed


# ---------------------------------------------------------------- key points


def body(seconds: float) -> Any:
    """Somebody who signs in the second second of each three, ten frames a second."""
    signs = [1 <= n / 10 % 3 < 2 for n in range(round(10 * seconds))]
    return np.stack([signer(n / 10, raised=one, moving=one) for n, one in enumerate(signs)])


def test_key_points_are_cut_and_translated_like_a_film(of_poses: Any) -> None:
    captions = list(of_poses.translate(body(6), fps=10, skeleton="mediapipe_75", size=(100, 80)))
    assert times(captions) == [(0.7, 2.3), (3.7, 5.3)]
    assert [one.text for one in captions] == ["¿16 años?", "¿16 años?"]
    assert captions[0].seen == {"pose": 1.0}


def test_key_points_of_the_body_alone_or_of_another_skeleton_are_the_same_clip(of_poses: Any) -> None:
    of_poses.translator.features = lambda clips: [one.streams["pose"] for one in clips]
    points = body(3)
    wanted = of_poses.encode(points, fps=10, skeleton="mediapipe_75")
    whole = find_skeleton("mediapipe_75")
    assert np.array_equal(of_poses.encode(points[:, :33], fps=10, skeleton="body"), wanted)
    holistic = find_skeleton("mediapipe_543")
    more = np.zeros((len(points), len(holistic), 3), np.float32)
    more[:, [holistic.points.index(name) for name in whole.points]] = points
    assert np.array_equal(of_poses.encode(more, fps=10, skeleton="mediapipe_543"), wanted)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (np.zeros((5, 8, 8, 3), np.uint8), {}, "fps=None: of pictures a number of frames a second"),
        (np.zeros((5, 8, 8, 3), np.float32), {"fps": 5}, "RGB uint8 .T, H, W, 3. .* came float32"),
        (np.zeros((5, 75, 3), np.float32), {"fps": 5, "skeleton": "mediapipe_75"}, "also reads face"),
        ({"face": 1}, {}, "came dict"),
        ([1, 2], {}, "number 0 is int"),
        ("nothing.mp4", {}, "nothing.mp4"),
    ],
)
def test_what_cannot_be_translated_is_refused_before_anything_is_read(
    loaded: Any, source: Any, options: Any, message: str
) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        next(loaded.translate(source, **options))


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (body(1), {"fps": 10}, "skeleton=NAME expected"),
        (body(1)[:, :40], {"fps": 10, "skeleton": "mediapipe_75"}, "75, 3. expected .* came .10, 40, 3."),
        (body(1) * (640, 480, 1), {"fps": 10, "skeleton": "mediapipe_75"}, "divide pixels"),
    ],
)
def test_key_points_that_cannot_be_are_refused(of_poses: Any, points: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        of_poses.translate(points, **options)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"serach": {"num_beams": 2}}, "no key 'serach'.*did you mean 'search'|no key 'serach'"),
        ({"search": {"num_beams": 0}}, "num_beams"),
        ({"extractor": "rtmv"}, "there is no such option.*rtmw"),
        ({"device": 3.5, "segments": "never"}, "segments=never"),
    ],
)
def test_keys_are_checked_like_those_of_the_command(folder: Path, keys: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        slt.load(folder, **keys)


def test_another_extractor_than_that_of_the_training_clips_is_refused_by_name(folder: Path, film: Path) -> None:
    loaded = slt.load(folder, **QUICK | {"other_extractor": False})
    with loaded, pytest.raises(ValueError, match=r"a\.mp4: extracted by .* was trained on clips of 0123456789abcdef"):
        loaded.translate(film)


# ---------------------------------------------------------------- streams and scores


def test_the_streams_of_a_film_are_those_of_the_command(entry: Any, film: Path, tmp_path: Path) -> None:
    streams = slt.extract(film, landmarker=STUB, extractor={"crop_size": 8}, signer="largest")
    assert {name: (x.shape, x.dtype.name) for name, x in streams.streams.items()} == {
        **dict.fromkeys(("face", "left_hand", "right_hand"), ((40, 8, 8, 3), "uint8")), "pose": ((40, 75, 3), "float32")
    }  # fmt: skip
    assert (streams.fps, streams.duration, streams.skeleton, streams.size) == (10, 4, "mediapipe_75", (64, 48))
    assert {name: marks.mean() for name, marks in streams.seen.items()} == dict.fromkeys(streams.streams, 1)
    ran = entry("extract", f"source={film.parent}", "out=made", f"landmarker._target_={STUB['_target_']}",
                "report=false", "+landmarker.signing=[[0.3,1.3],[2.3,3.3]]", "extractor.crop_size=8", "signer=largest",
                "captions.format=none", "split.by=all_train", "pose_format=false")  # fmt: skip
    assert ran.status == 0, ran.err
    with np.load("made/pose/a.npz") as file:
        assert np.array_equal(file["pose"].reshape(40, 75, 3), streams.streams["pose"])


def test_sentences_score_as_the_command_says(entry: Any, tmp_path: Path) -> None:
    hypotheses, references = ["el niño come pan", "la niña"], ["el niño come pan.", "una niña ríe"]
    for name, lines in (("hyp", hypotheses), ("ref", references), ("base", ["el", "la"])):
        Path(name).write_text("\n".join(lines), encoding="utf-8")
    ran = entry("score", "hypotheses=hyp", "references=ref", "baseline=base", "bootstrap=20", "dataset=phoenix14t")
    found = slt.score(hypotheses, Path("ref"), baseline=["el", "la"], bootstrap=20, dataset="phoenix14t")
    assert str(found["bleu"]) in ran.out
    assert f"{found.differences['chrf'].value:+.2f} [" in ran.out
    assert slt.score(hypotheses, references, bootstrap=0, lowercase=True)["wer"].low is None
    for wrong, message in ((("uno", references), "came a single text"), ((["uno"], references), "has 1 lines")):
        with pytest.raises(ValueError, match=message):
            slt.score(*wrong)


# ---------------------------------------------------------------- the page of examples


@pytest.mark.parametrize("page", ["python.md", "python.es.md"])
def test_the_examples_of_the_page_run(
    page: str, loaded: Any, of_poses: Any, corpus: Path, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str, **keys: Any) -> Any:
        return {"exports/NAME": loaded, "exports/POSES": of_poses}[name]

    monkeypatch.setattr(slt, "load", load, raising=False)
    monkeypatch.setattr(slt, "extract", partial(slt.extract, landmarker=STUB, extractor={"crop_size": 8}))
    film.rename("film.mp4")
    Path("corpora").mkdir()
    Path("corpora/NAME").symlink_to(corpus)
    blocks = re.findall(r"```python\n(.*?)```", (HOME / "docs" / page).read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        if "translate(0)" not in block:  # which has a test of its own: there is no camera here
            exec(block, names)
    assert len(blocks) == 10
    assert names["features"].shape[1] == exported.WIDTH
    assert len(names["captions"]) == 2
    assert Path("film.srt").read_text(encoding="utf-8").count(" --> ") == 2
