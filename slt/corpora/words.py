"""Sentences composed of recordings of single signs: what a word list is to a corpus of sentences."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from slt.corpora import tables
from slt.corpora.corpus import Row
from slt.corpora.grammar import drawn, read_grammar
from slt.corpora.published import Published, below
from slt.files import read_json, write_json
from slt.streams.arrays import write_pose
from slt.streams.skeleton import BODY, HAND, MEDIAPIPE
from slt.text import near

POINTS = BODY + 2 * HAND
HOLISTIC = 4 * BODY + 2 * 3 * HAND  # 258 numbers: body with x, y, z, visibility; left and right hand with x, y, z
PARTS = ("train", "val", "test")


class Recording(NamedTuple):
    """A person who signs one word."""

    word: str
    name: str
    signer: str  # "" where nobody says
    pose: NDArray[np.float32]  # (T, 75, 3): x, y as shares of the picture and confidence, 1 or 0


class Words(Published):
    """Sentences of a grammar, each sign of which is one of the recordings of its word.

    The recordings lie in one `.npz` with x (N, T, 258), y (N,), seq (N,) and words (C,), as MediaPipe Holistic's
    numbers are mostly saved, and perhaps `signer` (N,); or in a folder a word, with a `.npy` or `.npz` (T, 258) or
    (T, 75, 2 or 3) a recording, as WLASL's are, and perhaps `signers.csv` (recording,signer) beside the folders. No
    recording is in two splits, and no signer where they are known. Where they are not, the recordings of a word are
    divided in the order of their numbers, in which those of one person mostly stand together. The sentences of a split
    may stand in another.

    The poses go to the cache as `pose/<split>-<number>.npz`. Signs are joined by frames drawn in a straight line
    between the last and the first pose.

    Args:
        root: the folder of the recordings.
        grammar: patterns, slots and silent words, or a YAML file of them, as `slt.corpora.grammar.read_grammar` has it.
        sentences: split -> how many are composed.
        shares: of the recordings, or signers, in val and in test.
        blend: frames between two signs.
        seed: of the sentences.
    """

    expects = "a .npz with x, y, seq and words, or a folder of .npy or .npz files a word"
    published: ClassVar[dict[str, int]] = dict.fromkeys(PARTS, 0)  # as many as are asked for
    _folder: Path | None = None

    def __init__(self, root: Path | str, *, grammar: Mapping[str, Any] | str, sentences: Mapping[str, int],
                 shares: Mapping[str, float], blend: int, seed: int) -> None:  # fmt: skip
        super().__init__(root)
        self.grammar = read_grammar(grammar)
        self.sentences, self.shares = dict(sentences), dict(shares)
        if set(self.sentences) != set(PARTS) or min(self.sentences.values()) < 1:
            raise ValueError(f"dataset.corpus.sentences: a number above 0 for each of {PARTS}, came {self.sentences}")
        if set(self.shares) != {"val", "test"} or min(self.shares.values()) <= 0 or sum(self.shares.values()) >= 1:
            raise ValueError(f"dataset.corpus.shares: of val and test, together below 1, came {self.shares}")
        if blend < 0:
            raise ValueError(f"dataset.corpus.blend must be 0 frames or more, came {blend}")
        self.blend, self.seed = blend, seed

    @property
    def root(self) -> Path:
        if self._folder is None:
            settings = {"grammar": self.grammar._asdict(), "sentences": self.sentences, "shares": self.shares,
                        "blend": self.blend, "seed": self.seed}  # fmt: skip
            self._folder = self.unpacked(self.files, self._compose, settings)
        return self._folder

    @cached_property
    def files(self) -> list[Path]:
        """What the recordings lie in."""
        if one := sorted(self.home.glob("*.npz")):
            return one[:1]
        found = sorted(path for kind in ("npy", "npz") for path in self.home.glob(f"*/*.{kind}"))
        if not found:
            raise FileNotFoundError(f"{self.home}: no recordings; expected {self.expects}")
        return found

    def read(self, split: str) -> Iterator[Row]:
        for clip in read_json(self.root / f"{split}.json")["clips"]:
            yield Row(clip["name"], clip["text"], {"gloss": clip["gloss"], "signer": clip["signer"]})

    def _compose(self, folder: Path) -> None:
        packed = self.files[0].parent == self.home
        parts = divided([*(_packed(self.files[0]) if packed else _single(self.files, self.home))], self.shares)
        for number, split in enumerate(PARTS):
            rng = np.random.default_rng((self.seed, number))
            by_word: dict[str, list[Recording]] = {}
            for recording in parts[split]:
                by_word.setdefault(recording.word, []).append(recording)
            clips = []
            for place in range(self.sentences[split]):
                words = drawn(self.grammar, rng)
                if strange := [word for word in words if word not in by_word]:
                    fault = f"no recording of {strange[0]!r} for {split}, which the grammar names"
                    raise ValueError(f"{self.home}: {fault}{near(strange[0], by_word)}")
                # One person signs a sentence, where it is known who signed what.
                people = sorted({one.signer for one in by_word[words[0]]})
                who = people[rng.integers(len(people))]
                signs = [_choose(by_word[word], who, rng) for word in words]
                name = f"{split}-{place:05d}"
                write_pose(below(folder / "pose", name, ".npz"), joined([sign.pose for sign in signs], self.blend),
                           size=None, seen=None, skeleton=MEDIAPIPE.name)  # fmt: skip
                said = [word for word in words if word not in self.grammar.silent]
                same = {sign.signer for sign in signs}
                clips.append({"name": name, "text": " ".join(said), "gloss": " ".join(said).upper(),
                              "signer": who if len(same) == 1 else ""})  # fmt: skip
            write_json(folder / f"{split}.json", {"clips": clips})


def divided(recordings: Sequence[Recording], shares: Mapping[str, float]) -> dict[str, list[Recording]]:
    """Return the recordings of each split: by signer where all are known, else by word in their order."""
    out: dict[str, list[Recording]] = {split: [] for split in PARTS}
    known = all(one.signer for one in recordings)
    people = sorted({one.signer for one in recordings}, key=lambda name: hashlib.sha256(name.encode()).digest())
    words: dict[str, list[Recording]] = {}
    for one in recordings:
        words.setdefault(one.word, []).append(one)
    for same in [[*recordings]] if known else words.values():
        names = people if known else [one.name for one in same]
        test, val = (max(1, round(shares[split] * len(names))) for split in ("test", "val"))
        first = len(names) - val - test
        part = {name: "train" if n < first else "val" if n < first + val else "test" for n, name in enumerate(names)}
        for one in same:
            out[part[one.signer if known else one.name]].append(one)
    return out


def joined(signs: Sequence[NDArray[np.float32]], blend: int) -> NDArray[np.float32]:
    """Return poses (T, K, 3) in a row with `blend` frames drawn between two, which have the points that both have."""
    parts = [signs[0]]
    for before, after in pairwise(signs):
        steps = (np.arange(1, blend + 1, dtype=np.float32) / (blend + 1))[:, None, None]
        between = before[-1] * (1 - steps) + after[0] * steps
        both = (before[-1, :, 2] > 0) & (after[0, :, 2] > 0)
        parts += [np.where(both[:, None], between, np.float32(0)), after]
    return np.concatenate(parts)


def _choose(recordings: Sequence[Recording], signer: str, rng: np.random.Generator) -> Recording:
    own = [one for one in recordings if one.signer == signer] or recordings
    return own[int(rng.integers(len(own)))]


def _packed(path: Path) -> Iterator[Recording]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        words, classes = [str(word) for word in arrays["words"]], arrays["y"].astype(int)
        order = np.lexsort((arrays["seq"], classes))
        clips, signers = arrays["x"], arrays.get("signer")
        assert len(clips) == len(classes) == len(arrays["seq"])
        assert 0 <= classes.min() <= classes.max() < len(words)
    except Exception as error:  # numpy and zipfile meet damaged bytes with any error there is
        raise ValueError(f"{path}: x (N, T, 258), y, seq (N,) and words (C,) expected ({error!r})") from error
    for n in order.tolist():
        where = f"{path}: recording {n}"
        name = f"{words[classes[n]]}/{arrays['seq'][n]}/{n}"
        yield Recording(words[classes[n]], name, "" if signers is None else str(signers[n]), as_pose(clips[n], where))


def _single(files: Sequence[Path], home: Path) -> Iterator[Recording]:
    who = {}
    if (table := home / "signers.csv").is_file():
        records, _ = tables.read_records(table, ("recording", "signer"), standard=",;")
        who = {record["recording"]: record["signer"] for _, record in records}
    for path in files:
        try:
            value = np.load(path, allow_pickle=False)
            array = value if path.suffix == ".npy" else value["pose" if "pose" in value.files else value.files[0]]
        except Exception as error:
            raise ValueError(f"{path}: not a readable numpy file of plain numbers ({error})") from error
        name = path.relative_to(home).with_suffix("").as_posix()
        yield Recording(path.parent.name, name, who.get(name, ""), as_pose(array, str(path)))


def as_pose(array: NDArray[Any], where: str) -> NDArray[np.float32]:
    """Return numbers of a recording as (T, 75, 3): x, y and confidence, 1 where a point of the picture was found.

    They are (T, 258) as in `HOLISTIC`, or x, y and perhaps one number more of 75 points, (T, 75, 2 or 3) or flat; zeros
    and NaN are what was not found.
    """
    flat = array.reshape(len(array), -1).astype(np.float32) if array.ndim > 1 and array.dtype.kind == "f" else array
    if flat.ndim == 2 and flat.shape[1] == HOLISTIC:
        body, hands = flat[:, : 4 * BODY].reshape(-1, BODY, 4), flat[:, 4 * BODY :].reshape(-1, 2 * HAND, 3)
        places = np.concatenate([body[..., :2], hands[..., :2]], axis=1)
    elif flat.ndim == 2 and len(flat) and flat.shape[1] in (2 * POINTS, 3 * POINTS):
        places = flat.reshape(len(flat), POINTS, -1)[..., :2]
    else:
        raise ValueError(
            f"{where}: (T, {HOLISTIC}) or (T, {POINTS}, 2 or 3) expected, came {array.dtype} {array.shape}"
        )
    found = np.isfinite(places).all(-1) & (places != 0).any(-1)
    # The legs of whoever stands close to the camera are guessed below the picture.
    inside = found & ((places >= 0) & (places <= 1)).all(-1)
    return np.concatenate([np.where(found[..., None], places, 0), inside[..., None]], axis=-1).astype(np.float32)
