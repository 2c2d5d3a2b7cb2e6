"""A corpus folder to samples: what comes out, that only (seed, epoch, index) is random, and bad input."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from slt.corpora import layout
from slt.corpora.augment import warped
from slt.corpora.folder import LsaTMultiStream
from slt.data import Augment, Crops, Features, Landmarks
from slt.files import write_json
from slt.streams.arrays import read_pose, write_features, write_pose
from slt.streams.batch import LengthBatches, collate
from slt.streams.packed import PackedCrops, write_frames, write_packed

FRAMES = {"a": 6, "b": 12, "c": 9, "d": 7, "e": 5}
SPLITS = {"train": ["a", "b", "c"], "val": ["d"], "test": ["e"]}
FOLDERS = {"face": "face", "left_hand": "hand_l", "right_hand": "hand_r"}
STRONG = {"speed": [0.5, 2.0], "warp": 0.3, "frame_dropout": 0.3, "stream_dropout": 0.3, "mirror": 0.5}
NOTHING = {"speed": [1, 1], "warp": 0.0, "frame_dropout": 0.0, "stream_dropout": 0.0, "mirror": 0.0}


def write_clip(root: Path, name: str, frames: int, form: str) -> None:
    rng = np.random.default_rng(frames)
    seen = np.arange(frames) != 2
    for place, folder in enumerate(FOLDERS.values()):
        # brightness says stream and frame, so that a test can tell which it got
        crops = (
            np.full((frames, 8, 8, 3), 40 * (place + 1), np.uint8)
            + np.arange(frames, dtype=np.uint8)[:, None, None, None]
        )
        crops[:, :, 4:] += 15
        if form == "frames":
            write_frames(root / folder, name, crops * seen[:, None, None, None], quality=98)
        else:
            write_packed(root / folder / f"{name}.safetensors", crops, seen, encoding=form, quality=98, extractor="x")
    pose = rng.uniform(0.2, 0.8, (frames, 75, 3)).astype(np.float32)
    write_pose(root / "pose" / f"{name}.npz", pose, size=(320, 180), seen=None)
    features = rng.normal(size=(frames, 4)).astype(np.float32)
    features[2] = np.nan
    write_features(root / "feats" / f"{name}.npy", features)


def write_corpus(root: Path, form: str = "raw") -> Path:
    for name, frames in FRAMES.items():
        write_clip(root, name, frames, form)
    rows = [{"video_id": name, "texto": f" frase  {name};  ", "signer": "s1", "fps": 25} for name in FRAMES]
    layout.write_table(root / "subs.csv", rows)
    for split, ids in SPLITS.items():
        layout.write_index(root / "index" / f"{split}.csv", ids)
    write_json(root / "corpus.json", {"name": "small", "fingerprint": "f1"})
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus")


def readers(**keys) -> dict:
    options = {"size": 8, "jitter": 0.1, "colour": 0.2, **keys}
    mirror = {"left_hand": "right_hand", "right_hand": "left_hand"}
    streams: dict = {k: Crops(folder=folder, mirror=mirror.get(k), **options) for k, folder in FOLDERS.items()}
    return {**streams, "pose": Landmarks(folder="pose", points="body", normalise="shoulders", jitter=0.1, noise=0.01)}


def dataset(root: Path, split: str = "train", **keys) -> LsaTMultiStream:
    options = {"streams": readers(), "fps": None, "max_frames": None, "length_tolerance": 0, "augment": None, "seed": 1}
    return LsaTMultiStream(root=root, split=split, **{**options, **keys})


def equal(one, other) -> bool:
    pairs = [
        (getattr(one, key)[name], getattr(other, key)[name]) for key in ("streams", "seen") for name in one.streams
    ]
    return all(a.shape == b.shape and bool((a == b).all()) for a, b in pairs)


# ---------------------------------------------------------------- what comes out


@pytest.mark.parametrize("form", ["raw", "jpeg", "frames"])
def test_a_sample_holds_text_streams_and_masks(tmp_path: Path, form):
    sample = dataset(write_corpus(tmp_path, form))[1]
    assert (sample.id, sample.text) == ("b", "frase b;")
    assert {name: tuple(stream.shape) for name, stream in sample.streams.items()} == {
        "face": (12, 3, 8, 8), "left_hand": (12, 3, 8, 8), "right_hand": (12, 3, 8, 8), "pose": (12, 33, 3)
    }  # fmt: skip
    assert sample.streams["face"].dtype == np.uint8
    assert sample.seen["face"].tolist() == [t != 2 for t in range(12)]
    assert sample.streams["left_hand"][5].mean() == pytest.approx(80 + 5 + 7.5, abs=2)
    assert not sample.streams["face"][2].any()
    assert sample.seen["pose"].all()


def test_rows_lengths_and_columns_are_those_of_the_split(root):
    data = dataset(root)
    assert len(data) == 3
    assert list(data.ids) == ["a", "b", "c"]
    assert data.texts[2] == "frase c;"
    assert list(data.columns["signer"]) == ["s1"] * 3
    assert data.lengths.tolist() == [6, 12, 9]


def test_the_text_is_nfc_and_stripped(root):
    layout.write_table(root / "subs.csv", [{"video_id": name, "texto": " man\u0303ana  es "} for name in FRAMES])
    assert dataset(root).texts[0] == "mañana es"


def test_what_was_not_seen_on_disk_changes_nothing(root):
    before = dataset(root)[0]
    path = root / "face" / "a.safetensors"
    crops = PackedCrops(path)
    data = bytearray(path.read_bytes())
    begin = len(data) - 6 - 6 * 8 * 8 * 3  # the frames, then six seen marks
    frame = slice(begin + 2 * 192, begin + 3 * 192)
    assert not any(data[frame])
    assert not crops.seen[2]
    data[frame] = b"\x63" * 192
    path.write_bytes(data)
    assert PackedCrops(path).frames(np.array([2])).all()
    assert equal(before, dataset(root)[0])


def test_the_fingerprint_is_of_the_corpus_and_not_of_a_split(root):
    before = dataset(root).fingerprint
    assert dataset(root, "test").fingerprint == before
    layout.write_index(root / "index" / "train.csv", ["a", "b"])
    without = dataset(root).fingerprint
    write_json(root / "corpus.json", {"name": "small", "fingerprint": "f2"})
    other = dataset(root).fingerprint
    layout.write_metadata(root / "metadata.jsonl", [{"id": "a", "extractor": "mp", "fingerprint": "e1"}])
    assert len({before, without, other, dataset(root).fingerprint}) == 4


def test_the_extractor_is_the_one_that_all_clips_name(root):
    assert dataset(root).extractor is None
    failed = {"video_id": "lost", "failure": "no picture"}
    layout.write_metadata(root / "metadata.jsonl", [*({"video_id": n, "fingerprint": "e1"} for n in FRAMES), failed])
    assert dataset(root).extractor == dataset(root, "val").extractor == "e1"


def test_a_clip_is_sampled_to_the_rate_asked_for(root):
    whole, half = dataset(root), dataset(root, fps=12.5)
    assert half.lengths.tolist() == [3, 6, 5]
    assert (half[1].streams["left_hand"] == whole[1].streams["left_hand"][::2]).all()
    assert dataset(root, fps=50).lengths.tolist() == [6, 12, 9], "frames are not made up"


def test_a_long_clip_is_thinned_to_max_frames(root):
    data = dataset(root, max_frames=7)
    assert data.lengths.tolist() == [6, 7, 7]
    assert [len(data[clip].seen["pose"]) for clip in range(3)] == [6, 7, 7]
    # Of twelve frames the middle one of each seventh.
    expected = dataset(root)[1].streams["left_hand"][[0, 2, 4, 6, 7, 9, 11]]
    assert (data[1].streams["left_hand"] == expected).all()


def test_streams_within_the_tolerance_are_cut_to_the_shortest_and_counted(root, caplog):
    pose = read_pose(root / "pose" / "b.npz").points
    write_pose(root / "pose" / "b.npz", pose[:11], size=None, seen=None)
    data = dataset(root, length_tolerance=1)
    assert data.lengths.tolist() == [6, 11, 9]
    assert {len(stream) for stream in data[1].streams.values()} == {11}
    assert "1 of 3 clips have streams of different length" in caplog.text


# ---------------------------------------------------------------- augmentation


def test_augmentation_depends_on_seed_epoch_and_index_only(root):
    one, other = dataset(root, augment=STRONG), dataset(root, augment=STRONG)
    for clip in (2, 0, 1):
        other[clip]
    assert all(equal(one[clip], other[clip]) for clip in range(3))
    assert equal(one[3, 1], other[3, 1])
    assert equal(one[0, 1], other[1])
    assert not equal(one[3, 1], other[4, 1])
    assert not equal(dataset(root, augment=STRONG, seed=2)[3, 1], other[3, 1])


def test_an_augmented_sample_keeps_its_streams_together_and_its_masks_true(root):
    data = dataset(root, augment=STRONG)
    for epoch in range(12):
        sample = data[epoch, 1]
        assert len({len(tensor) for part in (sample.streams, sample.seen) for tensor in part.values()}) == 1
        for name, stream in sample.streams.items():
            assert not stream[~sample.seen[name]].any()
        assert any(mask.any() for mask in sample.seen.values()), "one stream always stays"


def test_without_any_strength_augmentation_changes_nothing(root):
    streams = readers(jitter=0, colour=0)
    streams["pose"] = Landmarks(folder="pose", points="body", normalise="shoulders", jitter=0, noise=0)
    assert equal(dataset(root, streams=streams, augment=NOTHING)[1], dataset(root)[1])


def test_speed_shortens_and_lengthens_within_its_range(root):
    data = dataset(root, augment={**NOTHING, "speed": [0.5, 2.0]})
    lengths = [len(data[epoch, 1].seen["pose"]) for epoch in range(40)]
    assert 6 <= min(lengths) < 9
    assert 15 < max(lengths) <= 24


def test_a_warped_clip_keeps_its_length_its_ends_and_the_order_of_its_frames():
    draws = [warped(60, 0.5, np.random.default_rng(seed)) for seed in range(20)]
    assert all(len(x) == 60 and x[0] == 0 and x[-1] == 59 and (np.diff(x) >= 0).all() for x in draws)
    assert all(np.diff(x).max() > 1 for x in draws), "some frames go faster than the clip as a whole"
    assert len({x.tobytes() for x in draws}) == 20
    assert warped(1, 0.5, np.random.default_rng(0)).tolist() == [0]
    assert warped(9, 0.0, np.random.default_rng(0)).tolist() == [*range(9)]


def test_a_mirrored_signer_has_hands_exchanged_and_pictures_flipped(root):
    streams = readers(jitter=0, colour=0)
    streams["pose"] = Landmarks(folder="pose", points="body", normalise="shoulders", jitter=0, noise=0)
    plain = dataset(root)[1].streams
    mirrored = dataset(root, streams=streams, augment={**NOTHING, "mirror": 1.0})[1].streams
    assert (mirrored["left_hand"] == plain["right_hand"][..., ::-1]).all()
    assert (mirrored["right_hand"] == plain["left_hand"][..., ::-1]).all()
    assert (mirrored["face"] == plain["face"][..., ::-1]).all()
    assert (mirrored["pose"][:, 16] == plain["pose"][:, 15] * np.array([-1, 1, 1])).all()


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_change_nothing(root, context):
    data = dataset(root, augment=STRONG)
    sampler = LengthBatches(data.lengths, batch_size=2, batch_frames=None, shuffle=True, seed=1)
    keys = [[(epoch, clip) for clip in batch] for epoch in range(2) for batch in sampler]
    loader = DataLoader(
        data, batch_sampler=keys, collate_fn=collate, num_workers=1, multiprocessing_context=context
    )  # fmt: skip
    for batch, clips in zip(loader, keys, strict=True):
        assert equal(batch, collate([data[key] for key in clips]))


# ---------------------------------------------------------------- bad input, named at the start


def rewrite(root: Path, change) -> None:
    with open(root / "subs.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    layout.write_table(root / "subs.csv", change(rows))


def test_missing_folders_and_splits_are_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"dataset\.root=.*nowhere: no such folder"):
        dataset(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"dev\.csv: no such split; .* holds \['test', 'train', 'val'\]"):
        dataset(root, "dev")
    (root / "subs.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"subs\.csv: no such file"):
        dataset(root)


def test_an_id_without_a_row_is_named(root):
    layout.write_index(root / "index" / "train.csv", ["a", "bb"])
    with pytest.raises(ValueError, match=r"train\.csv line 3: id 'bb' has no row in subs\.csv; .*did you mean b\?"):
        dataset(root)


def test_a_clip_in_two_splits_is_named_from_either(root):
    layout.write_index(root / "index" / "val.csv", ["b", "d"])
    for split in SPLITS:
        with pytest.raises(ValueError, match=r"val\.csv line 2: clip 'b' stands in train\.csv too"):
            dataset(root, split)


def test_an_empty_split_is_named(root):
    layout.write_index(root / "index" / "train.csv", [])
    with pytest.raises(ValueError, match=r"train\.csv: the split is empty"):
        dataset(root)


def test_a_text_that_is_empty_once_clean_is_named(root):
    rewrite(root, lambda rows: [{**row, "texto": "\u00a0" if row["video_id"] == "b" else "x"} for row in rows])
    with pytest.raises(ValueError, match="clip 'b' has an empty texto"):
        dataset(root)


def test_streams_of_different_length_are_named(root):
    pose = read_pose(root / "pose" / "b.npz").points
    write_pose(root / "pose" / "b.npz", pose[:9], size=None, seen=None)
    with pytest.raises(ValueError, match=r"clip 'b': .*face has 12, .*pose has 9 frames; .*length_tolerance=1"):
        dataset(root, length_tolerance=1)


def test_a_frame_count_that_is_not_true_is_named(root):
    rewrite(root, lambda rows: [{**row, "frame_count": FRAMES[row["video_id"]] + 3} for row in rows])
    with pytest.raises(ValueError, match="clip 'a' has frame_count 9, its streams have 6 frames"):
        dataset(root)
    assert dataset(root, length_tolerance=3).lengths.tolist() == [6, 12, 9]


@pytest.mark.parametrize("fps", ["", "viel", "0", "nan"])
def test_an_fps_that_is_no_rate_is_named(root, fps):
    rewrite(root, lambda rows: [{**row, "fps": fps if row["video_id"] == "b" else 25} for row in rows])
    with pytest.raises(ValueError, match=f"clip 'b' has fps '{fps}'; expected a number above 0"):
        dataset(root, fps=10)
    assert len(dataset(root)) == 3, "not needed, not read"


@pytest.mark.parametrize("other", ["e2", None])
def test_clips_of_different_extractors_are_refused_unless_told_otherwise(root, other, caplog):
    lines = [{"video_id": name, "fingerprint": other if name == "e" else "e1"} for name in FRAMES]
    layout.write_metadata(root / "metadata.jsonl", lines)
    named = other or "one that is not named"
    with pytest.raises(ValueError, match=rf"clips of 2 extractors \(4 by e1, 1 by {named}\); .*mixed_extractors=true"):
        dataset(root)
    mixed = dataset(root, mixed_extractors=True)
    assert mixed.extractor == ("e1 + e2" if other else "e1")
    assert "taken together" in caplog.text


def test_a_split_that_does_not_fit_its_sha256_is_refused(root):
    names = [f"{name}.csv" for name in SPLITS]
    digests = [hashlib.sha256((root / "index" / name).read_bytes()).hexdigest() for name in names]
    sums = "".join(f"{digest}  {name}\n" for digest, name in zip(digests, names, strict=True))
    (root / "index" / "SHA256SUMS").write_text(sums)
    assert len(dataset(root)) == 3
    layout.write_index(root / "index" / "val.csv", [])
    with pytest.raises(ValueError, match=r"val\.csv: sha256 \w+ expected by SHA256SUMS, came \w+; .*on purpose"):
        dataset(root)
    (root / "index" / "val.csv").unlink()
    with pytest.raises(ValueError, match=r"val\.csv: no such file, but SHA256SUMS lists it"):
        dataset(root)


@pytest.mark.parametrize(
    "data",
    [b"\xff", b'{"name": ', b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}"],
    ids=["bytes", "half", "deep", "long"],
)
def test_a_json_that_is_none_is_named(root, data):
    for name in ("metadata.jsonl", "corpus.json"):
        (root / name).write_bytes(data)
        with pytest.raises(ValueError, match=rf"{name}.*: not "):
            dataset(root)
        (root / name).unlink()


def test_a_corpus_json_without_keys_is_named(root):
    (root / "corpus.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"corpus\.json: keys with values expected, came list"):
        dataset(root)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"fps": 0}, r"dataset\.fps must be above 0"),
        ({"max_frames": 0}, r"dataset\.max_frames must be at least 1"),
        ({"length_tolerance": -1}, r"dataset\.length_tolerance must be 0"),
        ({"streams": {}}, r"dataset\.streams is empty"),
        ({"limit": 0}, "split train: no clip"),
        ({"held_out": 0}, r"dataset\.held_out must be at least 1"),
        ({"augment": {**STRONG, "miror": 1}}, r"unknown key 'miror'; .*did you mean mirror"),
        ({"augment": {"speed": [1, 1]}}, r"augment: missing \['frame_dropout'"),
        ({"augment": {**STRONG, "warp": 2}}, r"augment\.warp must be"),
        ({"augment": {**STRONG, "speed": [2, 1]}}, r"augment\.speed must be two numbers"),
        ({"augment": {**STRONG, "mirror": 2}}, r"augment\.mirror is a chance from 0 to 1, came 2"),
        ({"augment": STRONG, "streams": {"f": Features(folder="feats")}}, "features cannot be mirrored"),
    ],
)
def test_impossible_options_are_named(root, keys, message):
    with pytest.raises(ValueError, match=message):
        dataset(root, **keys)


def test_training_and_held_out_clips_are_limited_each_by_its_own_key(root):
    names = sorted(FRAMES)[:3]
    for split, other in (("train", "val"), ("val", "train")):
        layout.write_index(root / "index" / f"{split}.csv", names)
        (root / "index" / f"{other}.csv").unlink(missing_ok=True)
        mine, its = ("limit", "held_out") if split == "train" else ("held_out", "limit")
        assert list(dataset(root, split, **{mine: 2, its: 1}).ids) == names[:2]
        assert list(dataset(root, split, **{its: 1}).ids) == names


def test_a_hand_without_its_partner_cannot_be_mirrored(root):
    streams = readers()
    del streams["right_hand"]
    with pytest.raises(
        ValueError, match=r"stream 'left_hand': mirror='right_hand', but there is no stream of that name"
    ):
        dataset(root, streams=streams, augment=STRONG)
    assert len(dataset(root, streams=streams, augment=NOTHING)) == 3
    assert isinstance(dataset(root, augment=Augment(**STRONG)).augment, Augment)


def test_only_some_streams_are_read_where_only_they_are_asked_for(compose, corpus):
    from slt.config.build import build_splits, stream_shapes

    cfg = compose(f"dataset.root={corpus}", "dataset.only=[face,pose]")
    assert [*stream_shapes(build_splits(cfg, ["val"], augment=False)["val"])] == ["face", "pose"]
    cfg.dataset.only = ["fase"]
    with pytest.raises(ValueError, match=r"dataset\.only: there is no stream 'fase'; the corpus has face, left_hand"):
        build_splits(cfg, ["val"], augment=False)


# ---------------------------------------------------------------- how much a model will see


def hide(root: Path, form: str) -> None:
    """Take the left hand out of every frame but the first of clip a, and the shoulders out of the pose of b."""
    for name, frames in FRAMES.items():
        crops, seen = np.full((frames, 8, 8, 3), 200, np.uint8), (np.arange(frames) == 0) & (name == "a")
        if form == "frames":
            write_frames(root / "hand_l", name, crops * seen[:, None, None, None], quality=98)
        else:
            write_packed(root / "hand_l" / f"{name}.safetensors", crops, seen, encoding=form, quality=98, extractor="x")
    pose = np.full((FRAMES["b"], 75, 3), 0.5, np.float32)
    pose[:, 11, 2] = 0
    write_pose(root / "pose" / "b.npz", pose, size=(320, 180), seen=None)


@pytest.mark.parametrize("form", ["raw", "jpeg", "frames"])
def test_the_share_of_frames_seen_is_what_the_samples_hold(tmp_path: Path, form):
    root = write_corpus(tmp_path, form)
    hide(root, form)
    features = {**readers(), "features": Features(folder="feats")}
    for keys in ({}, {"fps": 12.5}, {"max_frames": 5}):
        data = dataset(root, streams=features, **keys)
        samples = [data[n] for n in range(len(data))]
        for name, share in data.seen_shares().items():
            seen = np.concatenate([sample.seen[name] for sample in samples])
            assert (share.seen, share.frames, share.clips) == (int(seen.sum()), len(seen), 3)


def test_packed_pictures_are_not_decoded_to_count_what_is_seen(root, monkeypatch):
    monkeypatch.setattr(PackedCrops, "frames", None)
    assert dataset(root).seen_shares()["face"].share == pytest.approx(1 - 3 / 27)


def test_a_stream_below_the_stated_share_or_never_seen_stops_and_every_stream_has_its_line(root, caplog):
    hide(root, "raw")
    caplog.set_level("INFO")
    dataset(root, min_seen=0.03).check_seen(strict=True)
    assert [line for line in caplog.messages if "left_hand 0.04 of 27 frames" in line]
    assert [line for line in caplog.messages if "pose 0.56 of 27 frames" in line]
    for split, least in (("train", 0.05), ("val", 0.0)):
        with pytest.raises(ValueError, match=r"'left_hand' is (seen in 3.70%|never seen).*dataset\.only=.*min_seen"):
            dataset(root, split, min_seen=least).check_seen(strict=True)
    dataset(root, "val", min_seen=0.5).check_seen(strict=False)
    assert [record for record in caplog.records if record.levelname == "WARNING" and "left_hand" in record.message]
    dataset(root, "val", min_seen=0.5, only=["face", "pose"]).check_seen(strict=True)
    with pytest.raises(ValueError, match=r"dataset\.min_seen"):
        dataset(root, min_seen=1.5)
