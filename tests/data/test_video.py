"""The video stage: even rate by timestamps, upright pictures, one message for each film that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from slt.data.video import probe, read_frames, sample, target_rate

av = pytest.importorskip("av", reason='PyAV is absent: pip install "slt[media]"')


def film(path: Path, ticks: Sequence[int], *, base: int = 10, codec: str = "libx264", size: tuple[int, int] = (64, 48)):
    """Write pictures at `ticks` / `base` seconds; picture n is grey (10 n) with a white upper left corner."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=base)
        stream.width, stream.height = size
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, base)
        for n, tick in enumerate(ticks):
            picture = np.full((size[1], size[0], 3), 10 * n % 250, np.uint8)
            picture[:12, :12] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbers(path: Path, fps: float) -> list[int]:
    return [round(float(picture[-8:].mean()) / 10) for _, picture in read_frames(path, fps=fps)]


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.gif", "gif"), ("a.webm", "libvpx-vp9")])
def test_a_film_at_its_own_rate_gives_each_picture_once(tmp_path, name, codec):
    path = film(tmp_path / name, range(8), codec=codec)
    frames = list(read_frames(path, fps=target_rate(probe(path), None, 30)))
    assert len(frames) == 8
    assert [seconds for seconds, _ in frames] == pytest.approx(np.arange(8) / 10, abs=0.01)
    assert frames[0][1].shape == (48, 64, 3)


def test_half_the_rate_takes_every_other_picture(tmp_path):
    assert numbers(film(tmp_path / "a.mp4", range(10)), 5) == [0, 2, 4, 6, 8]


def test_a_variable_rate_keeps_its_pace(tmp_path):
    path = film(tmp_path / "a.mp4", [0, 1, 2, 7, 8])  # still for half a second
    assert numbers(path, 10) == [0, 1, 2, 2, 2, 3, 3, 3, 4]


def test_timestamps_choose_the_nearest_picture():
    items = [(5.0, "a"), (5.1, "b"), (5.5, "c")]  # a film need not begin at zero
    assert list(sample(items, fps=5, last_duration=0.1)) == [(0.0, "a"), (0.2, "b"), (0.4, "c")]


def test_the_own_rate_is_capped(tmp_path):
    assert target_rate(probe(film(tmp_path / "a.mp4", range(60), base=60)), None, 30) == 30


def test_a_lying_film_with_a_turn_beside_it_comes_upright(tmp_path):
    path = film(tmp_path / "a.mp4", range(3))
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    quarter = np.array([0, 0x10000, 0, -0x10000, 0, 0, 48 * 0x10000, 0, 0x40000000], ">i4")  # 90 degrees clockwise
    data[matrix : matrix + 36] = quarter.tobytes()
    path.write_bytes(data)
    _, picture = next(iter(read_frames(path, fps=10)))
    assert picture.shape == (64, 48, 3)
    assert picture[:6, -6:].mean() > 200  # the white corner went from upper left to upper right
    assert picture[:6, :6].mean() < 50


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    assert next(iter(read_frames(path, fps=10)))[1].shape == (48, 128, 3)


def test_a_text_named_mp4_is_refused_by_name(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text("not a film")
    with pytest.raises(ValueError, match=r"a\.mp4: not a film"):
        probe(path)


def test_a_missing_film_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"b\.mp4"):
        next(iter(read_frames(tmp_path / "b.mp4", fps=10)))


def test_a_film_cut_short_is_refused(tmp_path):
    path = film(tmp_path / "a.mp4", range(50))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"a\.mp4"):
        list(read_frames(path, fps=10))


def test_sound_without_a_picture_is_refused(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match="no picture"):
        probe(path)
