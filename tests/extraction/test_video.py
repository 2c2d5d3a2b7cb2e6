"""The video stage: even rate by timestamps, upright pictures, one message for each film that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from slt.config.checks import HOME
from slt.extraction import video
from slt.extraction.video import end_room, frames_at, probe, read_frames, sample, target_rate

REAL = HOME.parent / "shared" / "data" / "other_clips"

av = pytest.importorskip("av", reason='PyAV is absent: pip install "slt[media]"')


def film(
    path: Path,
    ticks: Sequence[int],
    *,
    base: int = 10,
    codec: str = "libx264",
    size: tuple[int, int] = (64, 48),
    options: dict[str, str] | None = None,
    sound: float = 0.0,
):
    """Write pictures at `ticks` / `base` seconds, picture n grey (10 n) with a white upper left corner, and silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=base, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, base)
        track = container.add_stream("aac", rate=16000) if sound else None
        for n, tick in enumerate(ticks):
            picture = np.full((size[1], size[0], 3), 10 * n % 250, np.uint8)
            picture[:12, :12] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        for n in range(round(sound * 16000 / 1024)):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.rate, silence.pts = 16000, 1024 * n
            container.mux(track.encode(silence))
        if track:
            container.mux(track.encode())
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
    assert numbers(path, 10) == [0, 1, 2, 2, 2, 2, 2, 3, 4]


def test_timestamps_choose_the_nearest_picture():
    items = [(5.0, "a"), (5.1, "b"), (5.5, "c")]  # a film need not begin at zero
    assert list(sample(items, fps=5, last_duration=0.1)) == [(0.0, "a"), (0.2, "b"), (0.4, "c")]


def test_the_own_rate_is_capped(tmp_path):
    assert target_rate(probe(film(tmp_path / "a.mp4", range(60), base=60)), None, 30) == 30


def turned(path: Path) -> Path:
    """Write a turn of 90 degrees clockwise into an mp4 of 64 x 48."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    quarter = np.array([0, 0x10000, 0, -0x10000, 0, 0, 48 * 0x10000, 0, 0x40000000], ">i4")
    data[matrix : matrix + 36] = quarter.tobytes()
    path.write_bytes(data)
    return path


def test_a_lying_film_with_a_turn_beside_it_comes_upright(tmp_path):
    path = turned(film(tmp_path / "a.mp4", range(3)))
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


def test_pictures_larger_than_any_memory_are_not_made(tmp_path, monkeypatch):
    path = film(tmp_path / "a.mp4", [0, 1, 2])
    assert numbers(path, 10.0) == [0, 1, 2]
    monkeypatch.setattr(video, "MOST_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"a\.mp4: not a film that can be read"):
        numbers(path, 10.0)


def test_tags_that_are_not_utf8_are_no_fault_of_a_film(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Sena"
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"Sena", b"Se\xf1a"))
    assert len(list(read_frames(path, fps=10))) == 1


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


def test_the_cover_of_a_sound_file_is_no_film(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        track, cover = container.add_stream("aac", rate=16000), container.add_stream("mjpeg")
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic.value
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.rate = 16000
        picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        for packet in (*cover.encode(picture), *cover.encode(), *track.encode(sound), *track.encode()):
            container.mux(packet)
    with pytest.raises(ValueError, match="no picture"):
        probe(path)


def test_the_last_picture_of_a_variable_rate_stays_as_long_as_it_says(tmp_path):
    path = film(tmp_path / "a.mkv", [0, 1, 2, 3, 4, 9], options={"bf": "0"})
    container = av.open(str(path))
    with container, av.open(str(tmp_path / "b.mkv"), "w") as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.dts is not None:
                packet.stream, packet.duration = stream, 2000 if packet.pts == 900 else packet.duration
                out.mux(packet)
    with av.open(str(tmp_path / "b.mkv")) as container:
        if [frame.duration for frame in container.decode(video=0)][-1] != 2000:
            pytest.skip("this PyAV does not write the duration of a packet")  # before 18.1
    assert len(numbers(tmp_path / "b.mkv", 10)) == 29


# ---------------------------------------------------------------- cuts

OPEN = {"x264-params": "keyint=8:min-keyint=8:open-gop=1:bframes=3:b-adapt=0:scenecut=0:log-level=-1"}
FORMATS = [
    ("a.mp4", "libx264", OPEN),
    ("a.mkv", "libx264", OPEN),
    ("a.mov", "libx264", {"g": "8", "bf": "2"}),
    ("a.avi", "libx264", OPEN),
    ("b.avi", "mpeg4", {"g": "8"}),
    ("a.gif", "gif", {}),
    ("a.webm", "libvpx-vp9", {"g": "8"}),
    ("b.mp4", "libx265", {"x265-params": "keyint=8:min-keyint=8:open-gop=1:bframes=3:log-level=-1"}),
    ("c.mp4", "libsvtav1", {"g": "8", "preset": "12"}),
    ("d.mp4", "libx264", {"x264-params": "intra-refresh=1:keyint=8:log-level=-1"}),
]


def assert_cut_is_slice(path: Path, fps: float, spans: Sequence[tuple[int, int]]) -> None:
    whole = [picture for _, picture in read_frames(path, fps=fps)]
    for first, last in spans:
        cut = list(read_frames(path, fps=fps, start=first / fps, end=last / fps))
        assert [seconds for seconds, _ in cut] == pytest.approx(np.arange(last - first) / fps)
        assert all((a == b).all() for (_, a), b in zip(cut, whole[first:last], strict=True)), (first, last)


@pytest.mark.parametrize(("name", "codec", "options"), FORMATS)
def test_a_cut_gives_the_pictures_that_the_whole_film_gives_there(tmp_path, name, codec, options):
    if codec not in av.codecs_available:
        pytest.skip(f"no encoder {codec} in this PyAV")
    path = film(tmp_path / name, range(24), codec=codec, options=options, size=(64, 64))
    spans = [(0, 3), (6, 9), (7, 8), (8, 17), (14, 24), (23, 24)]
    assert_cut_is_slice(path, 10, spans)
    assert_cut_is_slice(path, 20, [(13, 29), (15, 17)])
    assert numbers(path, 10) == list(range(24))


def test_a_cut_of_a_variable_rate_a_turned_film_and_one_with_sound_is_a_slice_too(tmp_path):
    uneven = film(tmp_path / "a.mp4", [0, 1, 2, 7, 8, 9, 15, 16, 17, 18], options={"g": "3", "bf": "2"})
    assert_cut_is_slice(uneven, 10, [(4, 6), (7, 13), (14, 19)])
    assert_cut_is_slice(turned(film(tmp_path / "b.mp4", range(12), options={"g": "4"})), 10, [(6, 9)])
    assert_cut_is_slice(film(tmp_path / "c.mp4", range(12), sound=1.2, options={"g": "4"}), 10, [(6, 9)])


@pytest.mark.parametrize("name", ["lsm_doctor_001.mp4", "lsm_hoy_001.mp4", "bsl_conversation.mp4"])
def test_a_cut_of_a_real_film_is_a_slice(name):
    if not REAL.is_dir():
        pytest.skip("the real clips are not on this machine (../shared/data/other_clips)")
    assert_cut_is_slice(REAL / name, target_rate(probe(REAL / name), None, 30), [(15, 17), (31, 34), (50, 60)])


def test_only_a_cut_and_what_leads_to_it_is_decoded(tmp_path, monkeypatch):
    path = film(tmp_path / "a.mp4", range(200), options={"g": "10", "bf": "2"})
    timed, decoded = video._timed, []
    monkeypatch.setattr(video, "_timed", lambda *args: (decoded.append(item) or item for item in timed(*args)))
    assert len(list(read_frames(path, fps=10, start=15.5, end=16))) == 5
    assert len(decoded) < 30
    decoded.clear()
    assert len(list(frames_at(path, [0.0, 15.5, 15.7, 19.9]))) == 4
    assert len(decoded) < 50


def test_pictures_of_a_cut_come_one_by_one(tmp_path):
    path = film(tmp_path / "a.mp4", range(50))
    assert next(read_frames(path, fps=10, start=3, end=99))[0] == 0  # what is wrong with its end is said at the end


@pytest.mark.parametrize(
    ("start", "end"), [(2, 1), (1, 1), (-1, 1), (float("nan"), 1), (0, float("nan")), (0, float("inf"))]
)
def test_a_cut_of_no_length_is_refused_with_film_and_times(tmp_path, start, end):
    path = film(tmp_path / "a.mp4", range(20))
    with pytest.raises(ValueError, match=rf"a\.mp4: the cut from {start:g} s to {end:g} s has no length"):
        list(read_frames(path, fps=10, start=start, end=end))


@pytest.mark.parametrize(("start", "end"), [(1, 2.3), (2.5, 3), (50, None)])
def test_a_cut_past_the_end_is_refused_with_film_and_times(tmp_path, start, end):
    path = film(tmp_path / "a.mp4", range(20))
    with pytest.raises(ValueError, match=rf"a\.mp4: the cut from {start:g} s .* past the end of the film at 2\.00 s"):
        list(read_frames(path, fps=10, start=start, end=end))


def test_a_cut_may_end_a_little_after_the_last_picture(tmp_path):
    path = film(tmp_path / "a.mp4", range(20))
    assert len(list(read_frames(path, fps=10, start=1, end=2 + 0.9 * end_room(10)))) == 10
    assert len(list(read_frames(path, fps=10, start=1))) == 10


def test_the_shortest_cut_has_a_picture(tmp_path):
    assert len(list(read_frames(film(tmp_path / "a.mp4", range(20)), fps=10, start=1, end=1.001))) == 1


def test_a_cut_of_a_film_cut_short_is_read_where_it_is_there_and_refused_where_not(tmp_path):
    path = film(tmp_path / "a.mkv", range(100), options={"g": "10"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert len(list(read_frames(path, fps=10, start=1, end=2))) == 10
    for start in (1, 8):
        with pytest.raises(ValueError, match=r"a\.mkv: the pictures end after .* cut short"):
            list(read_frames(path, fps=10, start=start, end=9))
    with pytest.raises(ValueError, match=r"a\.mkv: the pictures end after .* of 10\.00 s"):
        list(read_frames(path, fps=10))


def test_a_cut_of_what_is_no_film_is_refused_as_the_whole_is(tmp_path):
    (tmp_path / "a.mp4").write_text("not a film")
    with pytest.raises(ValueError, match=r"a\.mp4: not a film"):
        list(read_frames(tmp_path / "a.mp4", fps=10, start=1, end=2))
    with pytest.raises(FileNotFoundError, match=r"b\.mp4"):
        list(frames_at(tmp_path / "b.mp4", [1.0]))


def test_single_pictures_are_the_nearest_in_time_in_any_order(tmp_path):
    path = film(tmp_path / "a.mp4", range(24), options={"g": "6", "bf": "2"})
    found = list(frames_at(path, [0.0, 0.52, 2.0, 0.88, 99.0, 0.2]))
    assert [seconds for seconds, _ in found] == [0.0, 0.52, 2.0, 0.88, 99.0, 0.2]
    assert [round(float(picture[-8:].mean()) / 10) for _, picture in found] == [0, 5, 20, 9, 23, 2]
    shifted = frames_at(path, [0.0, 0.3], start=1.0)
    assert [round(float(picture[-8:].mean()) / 10) for _, picture in shifted] == [10, 13]


def test_matroska_says_its_length(tmp_path):
    assert probe(film(tmp_path / "a.mkv", range(30))).duration == pytest.approx(3.0)
    assert probe(film(tmp_path / "b.webm", range(30), codec="libvpx-vp9")).duration == pytest.approx(3.0)


# ---------------------------------------------------------------- a player's clock


def sounding(path: Path, *, picture: float, sound: float, codec: str = "libx264", caption: float | None = None) -> Path:
    """Write 20 pictures from `picture` s on, 10 a second, picture n grey (10 n), and 4 s of silence from `sound` on."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        track = container.add_stream("libopus" if path.suffix == ".webm" else "mp2", rate=48000)
        packets = []
        for n in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * n, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(10 * picture) + n, Fraction(1, 10)
            packets += stream.encode(frame)
        packets += stream.encode()
        for n in range(200):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), format="s16", layout="mono")
            silence.rate, silence.pts = 48000, round(48000 * sound) + 960 * n
            packets += track.encode(silence)
        packets += track.encode()
        if caption is not None:
            packet = av.Packet(b"hola")
            packet.stream, packet.time_base, packet.duration = (
                container.add_mux_stream("subrip"),
                Fraction(1, 1000),
                500,
            )
            packet.pts = packet.dts = round(1000 * caption)
            packets.append(packet)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


CLOCKS = [("a.mp4", "libx264"), ("a.mov", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx"), ("a.ts", "libx264")]


@pytest.mark.parametrize(("name", "codec"), CLOCKS)
@pytest.mark.parametrize("begin", [0, 36000])
def test_times_count_from_the_sound_where_it_begins_first(tmp_path, name, codec, begin):
    path = sounding(tmp_path / name, picture=begin + 1.5, sound=begin, codec=codec)
    assert probe(path).duration == pytest.approx(3.5, abs=0.03)
    assert numbers(path, 10) == [0] * 15 + list(range(20))  # before its time the first picture stands
    cut = [round(float(picture[-8:].mean()) / 10) for _, picture in read_frames(path, fps=10, start=2, end=2.5)]
    assert cut == [5, 6, 7, 8, 9]
    single = [round(float(picture[-8:].mean()) / 10) for _, picture in frames_at(path, [3.0, 0.4, 2.05])]
    assert single == [15, 0, 5]


@pytest.mark.parametrize(("name", "codec"), CLOCKS)
def test_times_count_from_the_picture_where_it_begins_first(tmp_path, name, codec):
    assert numbers(sounding(tmp_path / name, picture=0, sound=1, codec=codec), 10) == list(range(20))


def test_a_caption_track_is_no_beginning_of_a_film(tmp_path):
    path = sounding(tmp_path / "a.mkv", picture=1.5, sound=1, caption=0.4)
    with av.open(str(path)) as container:
        assert container.start_time == 400_000  # FFmpeg's own, which a subtitle may shift
    assert numbers(path, 10) == [0] * 5 + list(range(20))


def test_pictures_before_an_edit_list_are_not_shown(tmp_path):
    assert numbers(sounding(tmp_path / "a.mp4", picture=-0.5, sound=0), 10) == list(range(5, 20))


def test_the_last_picture_stands_while_the_sound_goes_on(tmp_path):
    path = sounding(tmp_path / "a.mp4", picture=0, sound=0)  # four seconds of it
    cut = [round(float(picture[-8:].mean()) / 10) for _, picture in read_frames(path, fps=10, start=1.8, end=2.5)]
    assert cut == [18, 19, 19, 19, 19, 19, 19]


def test_a_cut_without_a_picture_of_its_own_is_refused(tmp_path):
    path = sounding(tmp_path / "a.mp4", picture=1.5, sound=0)
    with pytest.raises(ValueError, match=r"a\.mp4: the cut from 0 s .* before the film's first picture at 1\.5"):
        list(read_frames(path, fps=10, start=0, end=1))
    with pytest.raises(ValueError, match=r"a\.mp4: the cut from 3\.6 s .* past the end of the film at 3\.50"):
        list(read_frames(path, fps=10, start=3.6, end=3.9))


class Pipe:
    """What cannot be gone back in, as the recorder of a browser writes: no length is stated."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> int:
        self.data += bytes(data)
        return len(data)


@pytest.mark.parametrize(("name", "options"), [("a.webm", {"live": "1"}), ("a.webm", {}), ("a.mkv", {"live": "1"})])
def test_a_recording_without_its_length_that_ends_within_a_block_is_a_fault(tmp_path, name, options):
    path, pipe, noise = tmp_path / name, Pipe(), np.random.default_rng(0)
    with av.open(pipe, "w", format="webm" if name.endswith("webm") else "matroska", options=options) as container:
        stream = container.add_stream("libvpx", rate=10, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(40):
            frame = av.VideoFrame.from_ndarray(noise.integers(0, 255, (48, 64, 3), dtype=np.uint8), format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    path.write_bytes(pipe.data)
    assert probe(path).duration is None
    assert len(list(read_frames(path, fps=10))) == 40
    for share in (0.5, 0.51, 0.52, 0.53, 0.97):
        path.write_bytes(pipe.data[: round(share * len(pipe.data))])
        with pytest.raises(ValueError, match=rf"{name}: the file ends within a block"):
            list(read_frames(path, fps=10))
        assert len(list(read_frames(path, fps=10, start=0.5, end=1))) == 5
