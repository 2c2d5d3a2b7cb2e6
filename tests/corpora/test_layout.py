"""The folder on disk: what is written is read back, and what is broken is named."""

import os
from pathlib import Path

import numpy as np
import pytest

from slt.corpora import layout
from slt.files import atomic
from slt.streams.arrays import (
    open_features,
    pose_arrays,
    pose_faults,
    pose_shape,
    read_marks,
    read_pose,
    write_features,
    write_pose,
)
from slt.streams.packed import PackedCrops, decode_jpeg, encode_jpeg, frame_path, parse_frame_name, write_packed

RNG = np.random.default_rng(0)


def picture_clip(frames: int = 6, side: int = 16) -> np.ndarray:
    """Smooth pictures uint8 (T, R, R, 3): JPEG keeps them."""
    ramp = np.linspace(20, 220, side)
    colour = RNG.uniform(0.5, 1, (frames, 1, 1, 3))
    return ((ramp[:, None, None] + ramp[:, None]) / 2 * colour).astype(np.uint8)


@pytest.fixture
def frames() -> np.ndarray:
    return picture_clip()


@pytest.fixture
def seen() -> np.ndarray:
    return np.array([1, 1, 0, 1, 1, 1], bool)


@pytest.mark.parametrize(("encoding", "tolerance"), [("raw", 0), ("jpeg", 8)])
def test_packed_frames_come_back_in_any_order(tmp_path: Path, frames, seen, encoding, tolerance):
    write_packed(tmp_path / "a.safetensors", frames, seen, encoding=encoding, quality=95, extractor="x1")
    clip = PackedCrops(tmp_path / "a.safetensors")
    assert (clip.length, clip.size, clip.encoding, clip.extractor) == (6, 16, encoding, "x1")
    got = clip.frames(np.array([4, 1, 1, 5]))
    assert np.abs(got.astype(int) - frames[[4, 1, 1, 5]]).max() <= tolerance
    assert (clip.seen == seen).all()
    assert not clip.frames(np.array([2])).any(), "what was not seen is written black"


def test_packed_files_are_the_librarys_format_and_the_same_bytes_each_time(tmp_path: Path, frames, seen):
    from safetensors.numpy import load_file

    for name in "ab":
        write_packed(tmp_path / name, frames, seen, encoding="raw", quality=90, extractor="x")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert load_file(tmp_path / "a")["frames"].shape == frames.shape


@pytest.mark.parametrize("keep", [4, 200, 900])
def test_a_cut_packed_file_is_named(tmp_path: Path, frames, seen, keep):
    path = tmp_path / "a.safetensors"
    write_packed(path, frames, seen, encoding="raw", quality=90, extractor="x")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"a\.safetensors: not a readable clip of packed crops"):
        PackedCrops(path)


def test_packed_crops_without_seen_marks_are_named(tmp_path: Path, frames):
    from safetensors.numpy import save_file

    save_file({"frames": frames}, tmp_path / "a", {"encoding": "raw", "size": "16"})
    with pytest.raises(ValueError, match="expected safetensors with `seen`"):
        PackedCrops(tmp_path / "a")


def test_packed_jpegs_without_their_bytes_are_named(tmp_path: Path):
    from safetensors.numpy import save_file

    arrays = {"seen": np.ones(2, np.uint8), "offsets": np.arange(3, dtype=np.int64)}
    save_file(arrays, tmp_path / "a.safetensors", metadata={"encoding": "jpeg", "size": "16"})
    with pytest.raises(ValueError, match=r"a\.safetensors: not a readable clip"):
        PackedCrops(tmp_path / "a.safetensors")
    save_file(
        arrays | {"jpeg": np.zeros(9, np.uint8), "offsets": -arrays["offsets"] - 1},
        tmp_path / "a.safetensors",
        metadata={"encoding": "jpeg", "size": "16"},
    )
    with pytest.raises(ValueError, match=r"a\.safetensors frame 0: `offsets` do not fit"):
        PackedCrops(tmp_path / "a.safetensors").frames(np.arange(2))


def test_packed_crops_whose_shape_does_not_fit_are_named(tmp_path: Path, frames, seen):
    from safetensors.numpy import save_file

    save_file({"frames": frames, "seen": seen[:3]}, tmp_path / "a", {"encoding": "raw", "size": "16"})
    with pytest.raises(ValueError, match="3 seen marks, size 16 .* do not fit"):
        PackedCrops(tmp_path / "a")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(OSError, match="full"), atomic(tmp_path / "a") as file:
        file.write(b"half")
        raise OSError("disk full")
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_jpegs_keep_their_colours(tmp_path: Path, frames):
    data = encode_jpeg(frames[0], 95)
    assert np.abs(decode_jpeg(data, "a", 16).astype(int) - frames[0]).max() <= 8


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GIF89a....", "a.jpg: not a JPEG"),
        (b"", "a.jpg: not a JPEG"),
        (b"\xff\xd8 nothing \xff\xd9", "a.jpg: a JPEG that cannot be decoded"),
    ],
)
def test_what_is_no_jpeg_is_named(data, message):
    with pytest.raises(ValueError, match=message):
        decode_jpeg(data, "a.jpg", None)


def test_a_truncated_jpeg_and_one_of_another_size_are_named(frames):
    data = encode_jpeg(frames[0], 95)
    with pytest.raises(ValueError, match=r"a\.jpg: a truncated JPEG"):
        decode_jpeg(data[: len(data) // 2], "a.jpg", None)
    with pytest.raises(ValueError, match=r"a\.jpg: a crop must be 20 x 20, came 16 x 16"):
        decode_jpeg(data, "a.jpg", 20)
    with pytest.raises(ValueError, match="a crop must be square, came 16 x 8"):
        decode_jpeg(encode_jpeg(frames[0][:8], 95), "a.jpg", None)


def test_frame_names_are_parsed_back():
    assert parse_frame_name(frame_path("face", "a_f1", 12).name) == ("a_f1", 12)
    assert parse_frame_name("thumbs.db") is None


# ---------------------------------------------------------------- tables


def table(path: Path, text: str) -> Path:
    (path / "subs.csv").write_text(text, encoding="utf-8")
    return path / "subs.csv"


def test_a_table_comes_back_with_separators_quotes_and_line_breaks_in_its_texts(tmp_path: Path):
    rows = [
        {"video_id": "a", "texto": 'uno; "dos"\ntres', "fps": "25"},
        {"video_id": "b", "texto": "¿ñandú?", "fps": "8"},
    ]
    layout.write_table(tmp_path / "subs.csv", rows)
    assert layout.read_table(tmp_path / "subs.csv") == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video_id;text\na;b\n", r"line 1: no column 'texto'"),
        ("video_id,text\na,b\n", r"line 1: no column 'texto'; .* came \['video_id', 'text'\]"),
        ("video_id;texto\na/b;c\n", r"line 2: video_id 'a/b' cannot name files"),
        ("video_id;texto;singer\na;b;c\n", r"line 1: unknown column 'singer'; .*did you mean signer\?"),
        ("video_id;texto;texto\na;b;c\n", r"line 1: column 'texto' stands twice"),
        ("video_id;texto\n", r"a header and no rows"),
        ("", r"no column 'video_id'"),
        ("video_id;texto\na;b\nc;uno; dos\n", r"line 3: 2 fields expected, 3 came .* must be quoted"),
        ("video_id;texto\na\n", r"line 2: 2 fields expected, 1 came"),
        ("video_id;texto\na;b\na;c\n", r"line 3: video_id 'a' stands already in line 2"),
        ('video_id;texto\na;"x\ny"\na;c\n', r"line 4: video_id 'a' stands already in line 2"),
        ("video_id;texto\na; \n", r"line 2: clip 'a' has an empty texto"),
        ("video_id;texto\n;hola\n", r"line 2: empty video_id"),
        ('video_id;texto\na;"un" dos\n', r"line 2: .* must stand in double quotes"),
        ('video_id;texto\na;"un\n', r"unexpected end of data"),
    ],
)
def test_a_wrong_table_is_named_with_its_line(tmp_path: Path, text, message):
    with pytest.raises(ValueError, match=f"(?s)subs.csv.*{message}"):
        layout.read_table(table(tmp_path, text))


def test_a_table_in_another_form_is_read_and_said_once_in_training(tmp_path: Path, caplog):
    path = tmp_path / "subs.csv"
    path.write_bytes("sep=\t\r\nVIDEO_ID\tTEXTO\tfps\r\na\tmañana\t12,5\r\n".encode("cp1252"))
    for _ in range(2):
        assert layout.read_table(path) == [{"video_id": "a", "texto": "mañana", "fps": "12.5"}]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    (note, _), (good, _) = [(fault, line) for line, _, fault in layout.table_rows(path)]
    assert note.startswith(layout.NOTE)
    assert not good


@pytest.mark.parametrize("name", ["--7E2sU6zP4_10-5-rgb_front", "-", "Título [x-1]", "ñ 日本", "a.b", "a" * 200])
def test_what_file_systems_bear_is_a_good_id(tmp_path: Path, name):
    assert layout.id_fault(name) == ""
    layout.write_table(tmp_path / "subs.csv", [{"video_id": name, "texto": "uno"}])
    assert layout.read_table(tmp_path / "subs.csv")[0]["video_id"] == name


@pytest.mark.parametrize("name", ["../a", "a/b", "a\\b", "a:b", ".a", "a.", "a\nb", "a\u200bb", "a;b", "a?", "ñ" * 101])
def test_what_some_file_system_does_not_bear_is_no_id(name):
    assert layout.id_fault(name)


def test_the_header_of_an_index_is_optional(tmp_path: Path):
    layout.write_index(tmp_path / "train.csv", ["a", "b"])
    (tmp_path / "val.csv").write_text("a\nb\n")
    (tmp_path / "test.csv").write_text("VIDEO_ID\na\nb\n", encoding="utf-16")
    assert [layout.read_index(tmp_path / f"{split}.csv") for split in layout.SPLITS] == [["a", "b"]] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video_id\n\n", "the split is empty"),
        ("a\nb\na\n", "line 3: id 'a' stands already in line 1"),
        ("a;hola\n", "line 1: one id a line"),
    ],
)
def test_a_wrong_index_is_named(tmp_path: Path, text, message):
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"train\.csv.*{message}"):
        layout.read_index(tmp_path / "train.csv")


def test_missing_files_are_named(tmp_path: Path):
    for read in (layout.read_table, layout.read_index, PackedCrops, read_pose, open_features):
        with pytest.raises(FileNotFoundError, match="nothing: no such file; expected"):
            read(tmp_path / "nothing")


# ---------------------------------------------------------------- pose and features


def test_a_pose_comes_back_with_its_picture_size_and_seen_marks(tmp_path: Path, seen):
    pose = RNG.random((6, 75, 3)).astype(np.float32)
    write_pose(tmp_path / "a.npz", pose, size=(640, 480), seen={"face": seen}, skeleton="mediapipe_75")
    clip = read_pose(tmp_path / "a.npz")
    assert (clip.points == pose).all()
    assert clip.size == (640, 480)
    assert (clip.seen["face"] == seen).all()
    assert pose_shape(tmp_path / "a.npz") == (6, 75, clip.skeleton) == (6, 75, "mediapipe_75")
    assert (read_marks(tmp_path / "a.npz", "face") == seen).all()
    assert read_marks(tmp_path / "a.npz", "hand_l") is None


def test_a_pose_without_a_picture_size_is_square(tmp_path: Path):
    np.savez(tmp_path / "a.npz", pose=np.full((2, 99), 0.5, np.float32))
    assert read_pose(tmp_path / "a.npz").size == (1, 1)


GOOD = np.full((2, 99), 0.5, np.float32)
NAN = np.where(np.arange(99) == 5, np.nan, GOOD)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"poses": GOOD}, "no key 'pose'.*'poses'"),
        ({"pose": GOOD[:, :98]}, r"\(T, 3 x landmarks\).*\(2, 98\)"),
        ({"pose": GOOD[0]}, r"\(T, 3 x landmarks\).*\(99,\)"),
        ({"pose": GOOD[:0]}, r"came float32 \(0, 99\)"),
        ({"pose": GOOD.astype(int)}, "came int64"),
        ({"pose": NAN}, "holds NaN or infinity in frame 0"),
        ({"pose": GOOD * 4}, "confidences from 2 to 2"),
        ({"pose": np.array([{"x": 1}], object)}, "pickled content, which is never loaded"),
        ({"pose": GOOD, "size": np.zeros(3)}, "`size` must be the picture's"),
        ({"pose": GOOD, "seen_face": np.ones(5)}, r"`seen_face` must be \(2,\)"),
    ],
)
def test_a_wrong_pose_is_named(tmp_path: Path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=rf"a\.npz: .*{message}"):
        read_pose(tmp_path / "a.npz")


@pytest.mark.parametrize("arrays", [{"poses": GOOD}, {"pose": GOOD[:, :98]}, {"pose": GOOD[:0]}])
def test_a_wrong_pose_is_named_from_its_header_alone(tmp_path: Path, arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=r"a\.npz: .*pose"):
        pose_shape(tmp_path / "a.npz")


def test_a_cut_npz_and_a_pickle_in_its_place_are_named(tmp_path: Path):
    np.savez(tmp_path / "a.npz", pose=GOOD)
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:100])
    (tmp_path / "c.npz").write_bytes(b"\x80\x04\x95.")
    for name in "bc":
        for read in (read_pose, pose_shape):
            with pytest.raises(ValueError, match=rf"{name}\.npz: not a readable numpy file"):
                read(tmp_path / f"{name}.npz")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3)), "came float64"),
        (np.zeros(3, np.float32), r"came float32 \(3,\)"),
        (np.zeros((0, 3), np.float32), r"came float32 \(0, 3\)"),
        (np.array([{}], object), "not a readable numpy file"),
    ],
)
def test_wrong_features_are_named(tmp_path: Path, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=rf"a\.npy: .*{message}"):
        open_features(tmp_path / "a.npy")


@pytest.mark.parametrize("marks", [np.array(1), np.ones((2, 2)), np.array(["a", "b"])], ids=str)
def test_marks_that_are_none_are_named(tmp_path: Path, marks):
    np.savez(tmp_path / "a.npz", pose=GOOD, seen_face=marks)
    arrays = pose_arrays(tmp_path / "a.npz")
    assert any("a.npz: `seen_face`" in fault for fault in pose_faults(tmp_path / "a.npz", arrays))


def test_a_few_bytes_that_unpack_to_much_are_refused_unread(tmp_path: Path):
    np.savez_compressed(tmp_path / "a.npz", pose=np.zeros((10**6, 99), np.float32))
    assert (tmp_path / "a.npz").stat().st_size < 2**20
    with pytest.raises(ValueError, match=r"a\.npz: .*unpacks to 39600"):
        read_pose(tmp_path / "a.npz")
    data = bytearray(encode_jpeg(np.zeros((8, 8, 3), np.uint8), 90))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = (30_000).to_bytes(2, "big") * 2
    with pytest.raises(ValueError, match=r"a\.jpg: a JPEG that cannot be decoded"):
        decode_jpeg(bytes(data), "a.jpg", None)


@pytest.mark.parametrize(
    "text", ["{'descr': '<f4', 'shape': (2, 3", "{'descr': '<f4', 'fortran_order': 0, 'shape': (4.5, 3)}"]
)
def test_a_header_that_is_no_python_is_named(tmp_path: Path, text):
    header = text.encode() + b" " * 60 + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ValueError, match=r"a\.npy: not a readable numpy file"):
        open_features(tmp_path / "a.npy")


def test_cut_features_are_named(tmp_path: Path):
    write_features(tmp_path / "a.npy", np.zeros((50, 30), np.float32))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"a\.npy: not a readable numpy file"):
        open_features(tmp_path / "a.npy")
