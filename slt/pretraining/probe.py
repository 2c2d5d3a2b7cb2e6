"""How good features are without any caption: neighbours and a linear map read labels off them.

The embedded corpus says the handshape of each hand and the mouth of each face in each frame. Crops of its training
signers are the examples, crops of signers who are not among them the questions.

Shape letters: N examples, M questions, F features, R crop side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from slt.files import read_json
from slt.pretraining.crops import CropPool

# What the embedded corpus says of each frame: the mouth's form or the hand's.
LABELS = {"face": "mouth", "left_hand": "hand_l", "right_hand": "hand_r"}


class Labelled(NamedTuple):
    """Crops uint8 (N, 3, R, R) and their classes (N,)."""

    crops: Tensor
    labels: Tensor


def labelled_crops(
    root: Path, *, stream: str, folders: Mapping[str, str], split: str, count: int, seed: int
) -> Labelled:
    """Draws crops of a split of the embedded corpus within signs, with their handshape or mouth, without hands at rest.

    They are `count`, or fewer where there are no more.
    """
    pool = CropPool(roots=[str(root)], stream=stream, folders=folders, splits=[split], seconds=0.0, fps=1.0)
    rest = read_json(root / "labels" / "lexicon.json")["handshapes"].index("rest") if stream != "face" else None
    crops, classes = [], []
    clips: dict[str, Any] = {}
    for place in np.random.default_rng(seed).permutation(len(pool)).tolist():
        part, name, frame = pool.find(place)
        if name not in clips:
            clips[name] = read_json(root / "labels" / f"{name}.json")
        label = int(clips[name][LABELS[part.stream]][frame])
        # Between signs a hand is on its way and has no handshape.
        if label != rest and any(sign["first"] <= frame <= sign["last"] for sign in clips[name]["signs"]):
            crops.append(pool[place])
            classes.append(label)
        if len(crops) == count:
            break
    return Labelled(torch.stack(crops), torch.tensor(classes))


def nearest(examples: Tensor, labels: Tensor, questions: Tensor, *, k: int, temperature: float) -> Tensor:
    """Classes (M,) by the weighted vote of the k nearest (Wu et al. 2018, section 3.4, as DINO evaluates).

    Votes of examples (N, F) with `labels` (N,) for questions (M, F) weigh exp(cosine / temperature).
    """
    examples, questions = (functional.normalize(x.float(), dim=-1) for x in (examples, questions))
    classes = int(labels.max()) + 1
    answers = []
    for part in questions.split(512):
        alike, which = (part @ examples.T).topk(min(k, len(examples)), dim=1)
        votes = torch.zeros(len(part), classes).scatter_add_(1, labels[which], (alike / temperature).exp())
        answers.append(votes.argmax(dim=1))
    return torch.cat(answers)


def linear(examples: Tensor, labels: Tensor, questions: Tensor, *, penalty: float) -> Tensor:
    """Classes (M,) by ridge regression of (N, F) on one-hot labels (N,), which has one solution and needs no training.

    The penalty is on the weights of standardised features, a share of N.
    """
    mean, deviation = examples.double().mean(dim=0), examples.double().std(dim=0) + 1e-6
    x, queries = ((features.double() - mean) / deviation for features in (examples, questions))
    targets = functional.one_hot(labels).double()
    weights = torch.linalg.solve(x.T @ x + penalty * len(x) * torch.eye(x.shape[1], dtype=torch.float64),
                                 x.T @ (targets - targets.mean(dim=0)))  # fmt: skip
    return (queries @ weights + targets.mean(dim=0)).argmax(dim=1)


def rank(features: Tensor) -> float:
    """Effective rank of features (N, F): exp of the entropy of their normalised singular values (Roy, Vetterli 2007).

    1 where all lie on a line, as after a collapse; F at most.
    """
    values = torch.linalg.svdvals(features.float() - features.float().mean(dim=0))
    shares = values / values.sum().clamp_min(1e-12)
    return float((-(shares * shares.clamp_min(1e-12).log()).sum()).exp())


def feature_std(features: Tensor) -> Tensor:
    """Standard deviation of unit features (N, F) times the root of F: 1 = spread evenly, 0 = one point."""
    return functional.normalize(features.float(), dim=-1).std(dim=0).mean() * features.shape[-1] ** 0.5


@dataclass(frozen=True)
class Probe:
    """Reads the labels of the embedded corpus off features, for crops of other signers than the examples'."""

    examples: Labelled
    questions: Labelled
    k: int
    temperature: float
    penalty: float

    def __call__(self, features: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """What (N, 3, R, R) -> (N, F) features give: percent right, by neighbours (`knn`) and by a linear map."""
        known, queries = (in_parts(features, part.crops) for part in (self.examples, self.questions))
        labels, right = self.examples.labels, self.questions.labels
        answers = {
            "knn": nearest(known, labels, queries, k=self.k, temperature=self.temperature),
            "linear": linear(known, labels, queries, penalty=self.penalty),
        }
        return {name: 100 * float((answer == right).float().mean()) for name, answer in answers.items()}

    def most_frequent(self) -> float:
        """Percent right of always saying the commonest class of the examples."""
        return 100 * float((self.questions.labels == self.examples.labels.mode().values).float().mean())


def raw_pixels(crops: Tensor) -> Tensor:
    """(N, 3, R, R) uint8 -> (N, 3 r r) float32: the picture itself, at most 32 pixels a side."""
    side = min(crops.shape[-1], 32)
    return functional.interpolate(crops.float() / 255, size=side, mode="area").flatten(1)


@torch.inference_mode()
def in_parts(features: Callable[[Tensor], Tensor], crops: Tensor) -> Tensor:
    """Features of many crops, some at a time, on the CPU."""
    return torch.cat([features(part).float().cpu() for part in crops.split(256)])


def neighbour_sheet(features: Tensor, crops: Tensor, *, queries: int, k: int) -> np.ndarray[Any, Any]:
    """A picture of `queries` crops, a row each, with their k nearest by features (N, F) beside them: RGB uint8."""
    unit = functional.normalize(features.float(), dim=-1)
    chosen = torch.linspace(0, len(crops) - 1, queries).long()
    alike = unit[chosen] @ unit.T
    alike[torch.arange(queries), chosen] = 2.0
    rows = []
    for row in alike.topk(k + 1, dim=1).indices:
        framed = functional.pad(crops[row], (1, 1, 1, 1), value=255)  # (k + 1, 3, R + 2, R + 2)
        gap = torch.full((3, framed.shape[-2], 4), 255, dtype=torch.uint8)
        rows.append(torch.cat([framed[0], gap, *framed[1:]], dim=2))
    return torch.cat(rows, dim=1).permute(1, 2, 0).numpy()
