"""Crops without captions: which there are, in what order they come, and what is refused before the first step."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from slt.corpora import layout
from slt.pretraining.crops import CropPool, Shuffled, ViewBatches
from slt.pretraining.views import CropViews
from slt.streams.packed import write_frames, write_packed

FOLDERS = {"face": "face", "left_hand": "hand_l", "right_hand": "hand_r"}
VIEWS = {
    "views": 2, "size": 16, "scale": [0.6, 1.0], "parts": 2, "part_size": 8, "part_scale": [0.3, 0.6], "turn": 10,
    "stretch": 0.1, "flip": 0.0, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "tint": 0.2, "grey": 0.1,
    "invert": 0.1, "blur": 0.3, "blur_sigma": [0.01, 0.05], "cover": 0.3, "cover_share": 0.2,
}  # fmt: skip


def crops_of(count: int, first: int, size: int = 16) -> np.ndarray:
    """Frame t is as bright as first + t, and darker on its left."""
    frames = np.full((count, size, size, 3), first, np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None, None]
    frames[:, :, : size // 2] //= 2
    return frames


def made(root: Path, *, packed: bool = True, size: int = 16, blank: bool = False, missed: bool = False) -> Path:
    """Two clips of ten and six frames at 10 frames a second, of which frames 2 and 3 show no hand."""
    rows = []
    for video, count, first in (("a", 10, 40), ("b", 6, 100)):
        rows.append({"video_id": video, "texto": "", "fps": 10})
        for folder in FOLDERS.values():
            seen = np.full(count, not missed, np.uint8)
            if folder != "face":
                seen[2:4] = 0
            frames = crops_of(count, first, size) * (0 if blank else 1)
            (root / folder).mkdir(parents=True, exist_ok=True)
            if packed:
                write_packed(
                    root / folder / f"{video}.safetensors", frames, seen, encoding="raw", quality=90, extractor="x"
                )
            else:
                frames[seen == 0] = 0
                write_frames(root / folder, video, frames, quality=95)
    layout.write_table(root / "subs.csv", rows)
    layout.write_index(root / "index" / "train.csv", ["a", "b"])
    return root


def pool(*roots: Path, stream: str = "hands", seconds: float = 0.1, **keys) -> CropPool:
    names = [str(root) for root in roots]
    return CropPool(roots=names, stream=stream, folders=FOLDERS, splits=["train"], seconds=seconds, fps=25, **keys)


@pytest.mark.parametrize("packed", [True, False])
def test_only_seen_crops_are_there_and_a_corpus_needs_no_sentences(tmp_path, packed):
    found = pool(made(tmp_path, packed=packed), stream="left_hand")
    bright = [int(found[place][0, 0, -1]) for place in range(len(found))]
    expected = [40, 41, 44, 45, 46, 47, 48, 49, 100, 101, 104, 105]
    assert np.allclose(bright, expected, atol=0 if packed else 2)


def test_the_share_of_frames_in_which_each_stream_is_seen_is_said(tmp_path, caplog):
    caplog.set_level("INFO")
    pool(made(tmp_path))
    assert caplog.messages == [f"seen: {part} 0.75 of 16 frames (2 clips)" for part in ("left_hand", "right_hand")]


def test_time_between_crops_is_in_seconds(tmp_path):
    found = pool(made(tmp_path), stream="face", seconds=0.3)
    assert [int(found[place][0, 0, -1]) for place in range(len(found))] == [40, 43, 46, 49, 100, 103]


def test_neighbours_are_seen_frames_of_the_same_clip_within_the_time_given(tmp_path):
    found = pool(made(tmp_path), stream="left_hand")  # frames 0, 1, 4 to 9 of clip a; 0, 1, 4, 5 of clip b
    near = lambda place, seconds: {  # noqa: E731
        int(found.near(place, seconds, chance)[0, 0, -1]) for chance in np.linspace(0, 0.999, 20)
    }
    assert near(3, 0.2) == {44, 45, 46, 47}  # frame 5: from 3, which shows no hand, to 7
    assert near(7, 0.3) == {46, 47, 48, 49}  # the last one: the next clip is another
    assert near(2, 0.0) == {44}


def test_hands_are_pooled_and_the_right_ones_mirrored(tmp_path):
    found = pool(made(tmp_path))
    assert len(found) == 24
    darker_left = [bool(found[place][0, 0, 0] < found[place][0, 0, -1]) for place in range(len(found))]
    assert darker_left == [True] * 12 + [False] * 12


def test_corpora_are_pooled_and_each_crop_knows_its_file(tmp_path):
    one, two = made(tmp_path / "one"), made(tmp_path / "two")
    found = pool(one, two, stream="face")
    assert len(found) == 32
    assert found.where(0) == str(one / "face" / "a")
    assert found.where(31) == str(two / "face" / "b")
    assert pool(one, stream="face").fingerprint != found.fingerprint


@pytest.mark.parametrize("count", [1, 2, 7, 64, 1000])
def test_the_order_is_a_permutation_and_not_the_plain_one(count):
    order = Shuffled(count, seed=3)[np.arange(count)]
    assert sorted(order) == list(range(count))
    assert count < 10 or (order != np.arange(count)).mean() > 0.8
    assert count < 10 or (order != Shuffled(count, seed=4)[np.arange(count)]).any()


def test_neighbours_in_the_order_are_no_neighbours_in_the_pool():
    order = Shuffled(100_000, seed=0)[np.arange(20_000)]
    assert np.corrcoef(order[:-1], order[1:])[0, 1] == pytest.approx(0, abs=0.03)
    assert np.histogram(order, 10)[0].min() > 1700


def batches(
    found: CropPool, *, workers: int = 0, seed: int = 1, size: int = 5, clips: int | None = None
) -> ViewBatches:
    given = {"batch_size": size, "clips": clips, "num_workers": workers, "seed": seed}
    return ViewBatches(found, CropViews(**VIEWS), drift=1.0, pin_memory=False, **given)


@pytest.mark.parametrize(("workers", "size", "clips"), [(0, 5, None), (2, 5, None), (2, 6, 2)])
def test_a_stream_begun_in_its_middle_is_the_rest_of_the_whole_one(tmp_path, workers, size, clips):
    found = pool(made(tmp_path))
    whole = batches(found, size=size, clips=clips).start(0)
    first = [next(whole) for _ in range(9)]  # over the end of an epoch of four batches
    rest = batches(found, workers=workers, size=size, clips=clips).start(6)
    for wanted, came in zip(first[6:], [next(rest) for _ in range(3)], strict=True):
        assert torch.equal(wanted.whole, came.whole)
        assert torch.equal(wanted.parts, came.parts)
    assert not torch.equal(first[0].whole, first[4].whole)  # other views in the next epoch
    assert not torch.equal(first[0].whole, next(batches(found, seed=2).start(0)).whole)


def test_every_crop_comes_once_an_epoch(tmp_path):
    found = pool(made(tmp_path), stream="face")
    order = Shuffled(len(found), 1)[np.arange(16)]
    assert len(set(order.tolist())) == 16


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: (root / "hand_l" / "a.safetensors").unlink(), r"hand_l"),
        (lambda root: made(root, blank=True), r"all black, the first in clip .*hand_l.a"),
        (lambda root: made(root, missed=True), r"no crop was seen in .*\(train\)"),
        (
            lambda root: write_packed(
                root / "hand_r" / "b.safetensors", crops_of(6, 9, 24), np.ones(6, np.uint8), encoding="raw",
                quality=90, extractor="x",
            ),
            r"crops of several sizes \(16 pixels in .*clip a; 24 pixels in .*clip b\)",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_on_is_refused_by_name(tmp_path, change, said):
    change(made(tmp_path))
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        pool(tmp_path)


def test_no_folder_of_a_stream_and_no_such_stream(tmp_path):
    made(tmp_path)
    with pytest.raises(ValueError, match="stream=feet: expected one of face"):
        pool(tmp_path, stream="feet")
    for path in (tmp_path / "face").iterdir():
        path.unlink()
    (tmp_path / "face").rmdir()
    with pytest.raises(FileNotFoundError, match=r"face: no such folder; there are no crops of face"):
        pool(tmp_path, stream="face")


def test_fewer_crops_than_a_batch(tmp_path):
    found = pool(made(tmp_path))
    with pytest.raises(ValueError, match=r"24 crops are fewer than a batch \(batch_size=25\)"):
        batches(found, size=25)


def test_a_batch_of_few_clips_has_equally_many_crops_of_each(tmp_path):
    found = pool(made(tmp_path))  # four clips and streams, of 8, 4, 8 and 4 crops, at 10 frames a second
    drawn = [batches(found, size=12, clips=2)[number] for number in range(20)]
    for batch in drawn:
        clips, counts = batch.clip.unique(return_counts=True)
        assert counts.tolist() == [6, 6]
        for clip in clips.tolist():
            times = batch.time[batch.clip == clip].tolist()
            assert len(set(times)) == min(6, len(found.places(clip)))  # each crop once before any comes again
            assert {round(time * 10) for time in times} <= {0, 1, 4, 5, 6, 7, 8, 9}  # the frames with a hand
    for one, other in zip(drawn[::2], drawn[1::2], strict=True):
        assert {*one.clip.tolist(), *other.clip.tolist()} == {0, 1, 2, 3}
    assert len({tuple(batch.time.tolist()) for batch in drawn}) > 10
    with pytest.raises(ValueError, match="clips=5: batch_size=12 must be a multiple"):
        batches(found, size=12, clips=5)
    with pytest.raises(ValueError, match="clips=6: only 4 clips of stream=hands have two crops or more"):
        batches(found, size=12, clips=6)


def test_what_a_pool_remembers_does_not_grow_with_the_frames(tmp_path):
    found = pool(made(tmp_path))
    assert found.ends.size == 4  # a number a clip and stream


# ---------------------------------------------------------------- views


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def still(**changes) -> CropViews:
    """Views that change nothing, but for what is given."""
    nothing = dict.fromkeys(
        ("turn", "stretch", "flip", "brightness", "contrast", "saturation", "tint", "grey", "invert", "blur", "cover"),
        0.0,
    )
    return CropViews(**(VIEWS | nothing | {"scale": [1.0, 1.0], "part_scale": [1.0, 1.0], "part_size": 16} | changes))


def pictures() -> torch.Tensor:
    return torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=draw(5))


def test_views_without_any_change_are_the_crop():
    views = still()(pictures(), pictures(), draw())
    assert torch.equal(views[0], pictures()[None].expand(2, -1, -1, -1, -1))
    assert torch.equal(views[1][1], pictures())


def test_every_second_view_is_of_the_other_picture():
    views = still(parts=3)(pictures(), 255 - pictures(), draw())
    for view, wanted in ((views[0][1], 255 - pictures()), (views[1][1], 255 - pictures()),
                         (views[0][0], pictures()), (views[1][2], pictures())):  # fmt: skip
        assert torch.equal(view, wanted)


def test_an_inverted_view_is_the_negative():
    assert torch.equal(still(invert=1.0)(pictures(), pictures(), draw())[0][0], 255 - pictures())


def test_a_flip_mirrors_and_grey_takes_the_colour():
    assert torch.equal(still(flip=1.0)(pictures(), pictures(), draw())[0][0], pictures().flip(3))
    grey = still(grey=1.0)(pictures(), pictures(), draw())[0][0].int()
    assert (grey[:, 0] - grey[:, 2]).abs().max() <= 1


def test_a_view_lies_within_the_crop_and_is_as_large_as_asked():
    ramp = torch.arange(64).repeat(64, 1).expand(8, 3, 64, 64).byte()
    views = still(size=32, scale=[0.25, 0.25])(ramp, ramp, draw())[0][0].float()
    across = views[..., -1].mean((1, 2)) - views[..., 0].mean((1, 2))
    assert across.min() > 29  # half of 64, less a pixel
    assert across.max() < 33


def test_what_shrinks_is_averaged():
    stripes = (torch.arange(64) % 2 * 255).repeat(64, 1).expand(2, 3, 64, 64).byte()
    small = still(size=16)(stripes, stripes, draw())[0].float()
    assert small.std() < 20  # samples would be black or white


def test_blur_smooths_and_cover_covers():
    assert still(blur=1.0)(pictures(), pictures(), draw())[0].float().std() < 0.9 * pictures().float().std()
    covered = still(cover=1.0, cover_share=0.3)(pictures(), pictures(), draw())[0][0]
    changed = (covered != pictures()).any(dim=1).float().mean(dim=(1, 2))
    assert 0 < changed.max() <= 0.3 + 0.1


def test_colours_differ_from_view_to_view_and_stay_in_range():
    plain = torch.full((4, 3, 16, 16), 128, dtype=torch.uint8)
    views = still(tint=0.2, brightness=0.2)(plain, plain, draw())[0]
    assert len(views.float().mean(dim=(3, 4)).flatten(0, 1).unique(dim=0)) == 8
    assert views.min() > 60


def test_the_same_seed_draws_the_same_views():
    one, other, third = (CropViews(**VIEWS)(pictures(), pictures(), draw(seed)) for seed in (1, 1, 2))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
    assert not torch.equal(one[0], third[0])
    assert (one[0].shape, one[1].shape) == ((2, 6, 3, 16, 16), (2, 6, 3, 8, 8))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"views": 1}, "augment.views=1: expected a number of at least 2"),
        ({"part_scale": [0.6, 0.3]}, "augment.part_scale"),
        ({"blur": 2}, "augment.blur=2: expected a number in"),
        ({"tint": -1}, "augment.tint"),
    ],
)
def test_views_out_of_range_are_refused_by_key(change, said):
    with pytest.raises(ValueError, match=said):
        CropViews(**(VIEWS | change))


def test_the_embedded_corpus_can_be_read_with_its_labels(corpus):
    from slt.pretraining.probe import Probe, labelled_crops, raw_pixels

    given = {"stream": "hands", "folders": FOLDERS, "count": 60, "seed": 0}
    examples, questions = (labelled_crops(corpus, split=split, **given) for split in ("train", "val"))
    told = json.loads(next((corpus / "labels").glob("train_*.json")).read_text(encoding="utf-8"))
    assert set(examples.labels.tolist()) <= set(range(13))
    assert "hand_l" in told
    found = Probe(examples, questions, k=5, temperature=0.07, penalty=0.01)
    again = Probe(examples, examples, k=1, temperature=0.07, penalty=0.01)
    assert set(found(raw_pixels)) == {"knn", "linear"}
    assert again(raw_pixels)["knn"] == 100
