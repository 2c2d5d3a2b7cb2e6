"""slt/inference/inputs.py: live frames give an encoder the very numbers that the same frames give from files.

T frames, R crop side, K landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from slt.corpora import layout
from slt.corpora.folder import LsaTMultiStream
from slt.data import Crops, Landmarks
from slt.extraction.regions import STREAMS, Regions
from slt.extraction.writer import ClipWriter
from slt.inference import Inputs
from slt.inference.inputs import inputs_from_regions
from slt.models.signature import StreamSpec

FOLDERS = {"face": "face", "left_hand": "hand_l", "right_hand": "hand_r", "pose": "pose"}
SIDE = 12


def filmed(frames: int, seed: int = 0) -> list[Regions]:
    """Frames of a moving signer with smooth crops, of which some are followed and some not seen at all."""
    rng = np.random.default_rng(seed)
    points = np.clip(0.5 + 0.05 * rng.standard_normal((1, 75, 3)) + 0.02 * rng.standard_normal((frames, 75, 3)), 0, 1)
    points[..., 2] = rng.random((frames, 75)) > 0.1
    points[:, 11], points[:, 12] = (0.6, 0.5, 0.9), (0.4, 0.52, 0.9)
    points[frames // 2, 11, 2] = 0  # a shoulder was not found: the frame has no pose
    marks = {name: rng.integers(0, 3, frames) for name in STREAMS}
    coarse = rng.integers(0, 256, (frames, len(STREAMS), 3, 3, 3)).astype(np.uint8)
    return [
        Regions(
            seconds=t / 25,
            points=points[t].astype(np.float32),
            # seen or not: what a crop shows where nothing was seen must not matter
            crops={name: cv2.resize(coarse[t, n], (SIDE, SIDE)) for n, name in enumerate(STREAMS)},
            marks={name: int(marks[name][t]) for name in STREAMS},
            boxes={name: np.array([100.0, 80.0, 50.0]) for name in STREAMS},
            size=(640, 360),
        )
        for t in range(frames)
    ]


def written(root: Path, clips: dict[str, Sequence[Regions]], *, fps: float, encoding: str = "raw") -> Path:
    """A corpus of the clips, as extraction writes it."""
    writer = ClipWriter(
        out=root, folders=FOLDERS, packed=True, encoding=encoding, quality=95, points="body_hands", pose_format=False
    )
    (root / "scratch").mkdir(parents=True)
    for name, regions in clips.items():
        with writer.clip(name, fps=fps, scratch=root / "scratch", fingerprint="f") as clip:
            for one in regions:
                clip.add(one)
    layout.write_table(root / "subs.csv", [{"video_id": n, "texto": "Hola.", "fps": round(fps, 6)} for n in clips])
    layout.write_index(root / "index" / "test.csv", clips)
    return root


def read(root: Path, *, size: int, points: str, fps: float | None, max_frames: int | None) -> LsaTMultiStream:
    readers: dict[str, Any] = {
        name: Crops(folder=FOLDERS[name], size=size, jitter=0.0, colour=0.0) for name in STREAMS
    }  # fmt: skip
    readers["pose"] = Landmarks(folder="pose", points=points, normalise="shoulders", jitter=0.0, noise=0.0)
    return LsaTMultiStream(
        root=root, split="test", streams=readers, fps=fps, max_frames=max_frames, length_tolerance=0, augment=None,
        seed=0,
    )  # fmt: skip


def specs(size: int, points: str) -> list[StreamSpec]:
    count = {"body": 33, "upper_body": 25, "body_hands": 75}[points]
    square: dict[str, Any] = {"kind": "crops", "dtype": "uint8", "shape": (3, size, size), "points": None, "size": size}
    crops = [StreamSpec(name=name, folder=FOLDERS[name], **square) for name in STREAMS]
    pose = StreamSpec(
        name="pose", kind="pose", dtype="float32", shape=(count, 3), folder="pose", points=points, size=None
    )  # fmt: skip
    return [*crops, pose]


def assert_equal(came: Any, should: Any, tolerance: int = 0) -> None:
    assert list(came.streams) == list(should.streams)
    for name, array in should.streams.items():
        assert came.streams[name].dtype == array.dtype
        assert came.streams[name].shape == array.shape
        room = tolerance if name in STREAMS else 0
        assert np.abs(came.streams[name].astype(float) - array.astype(float)).max() <= room, name
        assert came.seen[name].tolist() == should.seen[name].tolist(), name


@pytest.mark.parametrize("points", ["upper_body", "body", "body_hands"])
@pytest.mark.parametrize("size", [SIDE, 8])
@pytest.mark.parametrize(
    ("clip_fps", "fps", "max_frames"),
    [
        (25.0, None, None),
        (25.0, 12.0, None),
        (30000 / 1001, 7.5, 9),
        (8.0, 12.0, None),
        (25.0, None, 10),
        (0.9999996, 0.5, None),  # a rate that is only even as the table has it
    ],
)
def test_live_frames_are_what_the_dataset_reads_from_their_files(tmp_path, points, size, clip_fps, fps, max_frames):
    clips = {"a": filmed(61, 1), "b": filmed(1, 2)}
    chosen: dict[str, Any] = {"fps": fps, "max_frames": max_frames}
    dataset = read(written(tmp_path / "corpus", clips, fps=clip_fps), size=size, points=points, **chosen)
    streams = specs(size, points)
    for sample in dataset:
        live = inputs_from_regions(clips[sample.id], streams, clip_fps=clip_fps, **chosen)
        assert_equal(live, sample)
        for stream in streams:
            stream.check(live.streams[stream.name], live.seen[stream.name])
    assert len(dataset[0].seen["pose"]) <= (max_frames or 61)


def test_jpeg_files_are_the_live_frames_within_the_error_of_jpeg(tmp_path):
    regions = filmed(20)
    root = written(tmp_path / "corpus", {"a": regions}, fps=25, encoding="jpeg")
    sample = read(root, size=SIDE, points="body", fps=None, max_frames=None)[0]
    live = inputs_from_regions(regions, specs(SIDE, "body"), clip_fps=25, fps=None, max_frames=None)
    assert_equal(live, sample, tolerance=48)
    error = [np.abs(live.streams[n].astype(float) - sample.streams[n]).mean() for n in STREAMS]
    assert max(error) < 6


def test_what_was_not_seen_is_black_whatever_the_crop_shows():
    live = inputs_from_regions(filmed(30), specs(SIDE, "body"), clip_fps=25, fps=None, max_frames=None)
    for name in STREAMS:
        assert live.streams[name].reshape(30, -1).any(1).tolist() == live.seen[name].tolist()
    assert live.seen["pose"].tolist() == [t != 15 for t in range(30)]
    assert not live.streams["pose"][15].any()


def test_a_sample_is_what_an_encoder_reads(clips):
    assert isinstance(clips[0], Inputs)


def test_features_and_unknown_streams_are_refused_by_name():
    features = StreamSpec(
        name="mae", kind="features", dtype="float32", shape=(8,), folder="mae", points=None, size=None
    )  # fmt: skip
    ear = StreamSpec(name="ear", kind="crops", dtype="uint8", shape=(3, 8, 8), folder="ear", points=None, size=8)
    for wanted, what in ((features, r"'mae' \(features\)"), (ear, r"'ear' \(crops\)")):
        with pytest.raises(ValueError, match=rf"stream {what}: not made from pictures; .* crops face, left_hand"):
            inputs_from_regions(filmed(3), [wanted], clip_fps=25, fps=None, max_frames=None)


def test_no_frame_and_pictures_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match="at least one frame, and pictures of one size; came no frame"):
        inputs_from_regions([], specs(8, "body"), clip_fps=25, fps=None, max_frames=None)
    first, second = filmed(2)
    other = Regions(second.seconds, second.points, second.crops, second.marks, second.boxes, (320, 180))
    with pytest.raises(ValueError, match=r"came \[\(320, 180\), \(640, 360\)\]"):
        inputs_from_regions([first, other], specs(8, "body"), clip_fps=25, fps=None, max_frames=None)
