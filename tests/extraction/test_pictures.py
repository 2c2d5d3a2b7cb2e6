"""Pictures as a player shows them: colours of each matrix and range, turns and mirrors, interlaced films, sizes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from slt.extraction.pictures import fit, turn, versions
from slt.extraction.video import frames_at, probe, read_frames

av = pytest.importorskip("av", reason='PyAV is absent: pip install "slt[media]"')

PATCHES = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [128, 128, 128], [200, 120, 40]])
MATRICES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # H.273: red, blue


def planes(red: float, blue: float, *, full: bool, bits: int) -> np.ndarray:
    """Return Y, Cb, Cr of the patches by the standard's formulas, (patches, 3)."""
    r, g, b = PATCHES.T / 255
    y = red * r + (1 - red - blue) * g + blue * b
    colours = np.stack([y, (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))], 1)
    if full:
        return (colours * (2**bits - 1) + np.array([0, 1, 1]) * 2 ** (bits - 1)).round().clip(0, 2**bits - 1)
    return ((colours * np.array([219, 224, 224]) + np.array([16, 128, 128])) * 2 ** (bits - 8)).round()


def coloured(path: Path, values: np.ndarray, format: str, *, matrix: int, range: int, height: int = 32) -> Path:
    """Write a lossless film of the patches side by side, marked with a matrix and a range."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16 * len(values), height, format
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, range
        frame = av.VideoFrame(stream.width, height, format)
        kind = np.dtype("<u2" if "10" in format else "u1")
        for column, plane in enumerate(frame.planes):
            row = np.repeat(values[:, column], plane.width // len(values)).astype(kind).tobytes()
            plane.update(row.ljust(plane.line_size, b"\0") * plane.height)
        frame.colorspace, frame.color_range, frame.pts, frame.time_base = matrix, range, 0, Fraction(1, 10)
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)
    return path


def shown(path: Path) -> np.ndarray:
    picture = next(iter(read_frames(path, fps=10)))[1]
    return picture[8:24].reshape(16, len(PATCHES), 16, 3)[:, :, 4:12].mean((0, 2))


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("format", ["yuv420p", "yuv444p", "yuv420p10le"])
def test_colours_are_those_that_were_filmed(tmp_path, matrix, full, format):
    values = planes(*MATRICES[matrix], full=full, bits=10 if "10" in format else 8)
    path = coloured(tmp_path / "a.mkv", values, format, matrix=matrix, range=1 + full)
    assert np.abs(shown(path) - PATCHES).max() <= 3


@pytest.mark.parametrize(("height", "matrix"), [(32, 6), (720, 1)])
def test_a_film_that_does_not_say_its_matrix_has_the_one_of_its_size(tmp_path, height, matrix):
    values = planes(*MATRICES[matrix], full=False, bits=8)
    path = coloured(tmp_path / "a.mkv", values, "yuv420p", matrix=2, range=1, height=height)
    assert np.abs(shown(path) - PATCHES).max() <= 3


@pytest.mark.parametrize("full", [False, True])
def test_grey_has_its_range(tmp_path, full):
    luma = planes(0.299, 0.114, full=full, bits=8)
    path = coloured(tmp_path / "a.mkv", luma, "gray", matrix=2, range=1 + full)
    assert np.abs(shown(path) - planes(0.299, 0.114, full=True, bits=8)[:, :1]).max() <= 3


def test_a_matrix_that_the_scaler_does_not_know_is_refused_with_the_film(tmp_path):
    path = coloured(tmp_path / "a.mkv", planes(0.299, 0.114, full=False, bits=8), "yuv420p", matrix=8, range=1)
    with pytest.raises(ValueError, match=r"a\.mkv: .*matrix 8"):
        list(read_frames(path, fps=10))


CORNERS = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, 2) * 40


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 1), CORNERS),
        ((-1, 0, 0, 1), CORNERS[:, ::-1]),
        ((1, 0, 0, -1), CORNERS[::-1]),
        ((-1, 0, 0, -1), CORNERS[::-1, ::-1]),
        ((0, 1, -1, 0), np.rot90(CORNERS, -1)),
        ((0, -1, 1, 0), np.rot90(CORNERS)),
        ((0, 1, 1, 0), CORNERS.transpose(1, 0, 2)),
        ((0, -1, -1, 0), np.rot90(CORNERS, 2).transpose(1, 0, 2)),
        ((0.01, 0.99995, -0.99995, 0.01), np.rot90(CORNERS, -1)),  # a turn that is not quite one
    ],
)
def test_every_turn_and_mirror_is_shown_as_its_matrix_says(matrix, expected):
    a, b, c, d = (round(65536 * value) for value in matrix)
    assert (turn(CORNERS, np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32)) == expected).all()


def test_a_tilted_picture_is_whole_with_black_beside_it():
    a, b = (round(65536 * value) for value in (np.cos(np.pi / 6), np.sin(np.pi / 6)))
    tilted = turn(np.full((40, 60, 3), 200, np.uint8), np.array([a, b, 0, -b, a, 0, 0, 0, 1 << 30], np.int32))
    assert tilted.shape[:2] == (65, 72)
    assert tilted.sum() / 200 / 3 == pytest.approx(40 * 60, rel=0.02)
    assert not tilted[0, 0].any()


def test_a_mirrored_film_comes_as_it_is_shown(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:12, :12] = 255
        packets = [*stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")), *stream.encode()]
        for packet in packets:
            container.mux(packet)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    data[matrix : matrix + 36] = np.array([-65536, 0, 0, 0, 65536, 0, 64 * 65536, 0, 1 << 30], ">i4").tobytes()
    (tmp_path / "a.mp4").write_bytes(data)
    _, seen = next(iter(read_frames(tmp_path / "a.mp4", fps=10)))
    assert seen[:6, -6:].mean() > 200
    assert seen[:6, :6].mean() < 50


# ---------------------------------------------------------------- interlaced


def interlaced(path: Path, pictures: int = 24) -> Path:
    """Write 25 interlaced pictures a second of a bar that moves 4 pixels from field to field."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": "tff=1:keyint=6:log-level=-1:qp=4"})
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        for n in range(pictures):
            picture = np.zeros((64, 128, 3), np.uint8)
            for field in (0, 1):
                left = 4 * (2 * n + field) % 96
                picture[field::2, left : left + 16] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def test_an_interlaced_film_has_no_combs_and_keeps_rate_and_place(tmp_path):
    path, notes = interlaced(tmp_path / "a.mkv"), []
    assert probe(path).fps == 25
    frames = list(read_frames(path, fps=25, notes=notes))
    assert len(frames) == 24
    assert [note.split(":")[0] for note in notes] == ["interlaced"]
    for n, (_, picture) in enumerate(frames[1:11], 1):
        grey = picture[8:-8, :, 0].astype(int)
        assert np.abs(np.diff(grey, axis=0)).mean() < 2  # with combs it is 16
        assert abs(int(grey.mean(0).argmax()) - 8 * n) <= 12


def test_a_cut_and_single_pictures_of_an_interlaced_film_are_those_of_the_whole(tmp_path):
    path = interlaced(tmp_path / "a.mkv")
    whole = [picture for _, picture in read_frames(path, fps=25)]
    for first in (6, 13, 18, 20):
        cut = [picture for _, picture in read_frames(path, fps=25, start=first / 25, end=(first + 3) / 25)]
        assert all((one == other).all() for one, other in zip(cut, whole[first : first + 3], strict=True))
        assert (next(iter(frames_at(path, [first / 25])))[1] == whole[first]).all()


# ---------------------------------------------------------------- sizes, versions


def test_a_film_that_changes_its_size_comes_in_its_first_with_a_note(tmp_path):
    with (tmp_path / "a.h264").open("wb") as raw:
        for width, height in ((64, 48), (128, 96)):
            encoder = av.CodecContext.create("libx264", "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
            encoder.time_base, encoder.options = Fraction(1, 10), {"bf": "0"}
            for _ in range(5):
                picture = np.full((height, width, 3), width, np.uint8)
                for packet in encoder.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                    raw.write(bytes(packet))
            for packet in encoder.encode():
                raw.write(bytes(packet))
    with av.open(str(tmp_path / "a.h264")) as source, av.open(str(tmp_path / "a.ts"), "w") as film:
        stream = film.add_stream_from_template(source.streams.video[0])
        for n, packet in enumerate(packet for packet in source.demux() if packet.size):
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, 10), n, n
            film.mux(packet)
    notes: list[str] = []
    frames = [picture for _, picture in read_frames(tmp_path / "a.ts", fps=10, notes=notes)]
    assert {picture.shape for picture in frames} == {(48, 64, 3)}
    assert [round(float(picture.mean()) / 64) for picture in frames] == [1] * 5 + [2] * 5
    assert len(notes) == 1
    assert "128x96" in notes[0]


def test_a_standing_picture_in_a_lying_film_is_not_stretched():
    out = fit(np.full((80, 40, 3), 9, np.uint8), (80, 40))
    assert out.shape == (40, 80, 3)
    assert out[:, 30:50].all()
    assert not out[:, :30].any()


def test_versions_are_major_ones():
    assert {"libavcodec", "libswscale", "opencv"} <= set(versions())
    assert all(version.isdigit() for version in versions().values())
