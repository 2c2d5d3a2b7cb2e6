"""A stage before translation, of films alone: the encoder learns to say what the frames hidden from it show.

B clips, T frames, T' frames after downsampling, S streams, F numbers a frame, D model width, C clusters.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from slt.corpora.clips import Clips
from slt.models import Translator
from slt.models.trained import Model
from slt.streams.batch import Batch
from slt.training import processes
from slt.training.machine import Compute
from slt.training.objective import IGNORED
from slt.training.processes import share

log = logging.getLogger(__name__)


class ClusterHeads(nn.Module):
    """The clusters of each stream, and what tells them apart; `widths` are numbers of one frame, F, by stream."""

    def __init__(self, *, widths: Mapping[str, int], embed_dim: int, num_clusters: int, size: int) -> None:
        super().__init__()
        self.streams, self.size = tuple(widths), size
        self.linears = nn.ModuleDict({name: nn.Linear(embed_dim, num_clusters) for name in widths})
        for name, width in widths.items():
            self.register_buffer(f"centres_{name}", torch.zeros(num_clusters, width))

    def forward(self, memory: Tensor) -> Tensor:
        """Memory (B, T', D) -> scores (B, T', S, C)."""
        return torch.stack([self.linears[name](memory) for name in self.streams], dim=2)

    @torch.no_grad()
    def targets(self, streams: Mapping[str, Tensor]) -> Tensor:
        """Name -> (B, T, ...) -> the cluster of each frame, (B, T, S)."""
        found = []
        for name in self.streams:
            x, centres = described(streams[name], self.size), getattr(self, f"centres_{name}")
            with torch.autocast(x.device.type, enabled=False):
                found.append(nearest(x.flatten(0, 1), centres).unflatten(0, x.shape[:2]))
        return torch.stack(found, dim=2)


class MaskedClusters:
    """Masked prediction of clusters, a head a stream (SHuBERT, Gueuwou et al. 2025; HuBERT, Hsu et al. 2021).

    A hidden frame of a stream is one that was not seen, for which the model has an embedding. A position of the encoder
    that stands for several frames is asked for the one it stands on, its first. Clusters are of the streams as a model
    reads them: places of the points seen, features, or crops shrunk to a few pixels. For clusters of a published
    network's output, as the authors' of DINOv2, extract features and train on those.

    The authors' spans run through the streams of a frame as through frames; here each stream has spans of its own, as
    many and as long.

    Args:
        num_clusters: C of each stream; 256 with the authors.
        fitted_frames: of each stream at most, out of training clips drawn at random, that clusters are of.
        iterations: of k-means.
        size: side in pixels that crops are shrunk to.
        mask_share: frames in spans over all frames, were no two to overlap.
        mask_length: frames of a span.
        seed: of the clips, of k-means, and of what validation hides.
    """

    measures: ClassVar[Sequence[str]] = ("accuracy",)
    translates: ClassVar[bool] = False

    def __init__(
        self,
        *,
        num_clusters: int,
        fitted_frames: int,
        iterations: int,
        size: int,
        mask_share: float,
        mask_length: int,
        seed: int,
    ) -> None:
        if not 0 < mask_share <= 1 or mask_length < 1:
            raise ValueError(
                f"objective.mask_share={mask_share}, objective.mask_length={mask_length}: expected a share above 0, 1 "
                "at most, and spans of a frame at least"
            )
        self.num_clusters, self.fitted_frames, self.iterations = num_clusters, fitted_frames, iterations
        self.size, self.mask_share, self.mask_length, self.seed = size, mask_share, mask_length, seed

    def labels(self, clips: Clips) -> list[str]:
        """Each stream and how many numbers its clusters are of, which a checkpoint must tell before it is loaded."""
        widths = {name: described(torch.from_numpy(x[None]), self.size) for name, x in clips[0].streams.items()}
        return [f"{name} {x.shape[2]}" for name, x in widths.items()]

    def heads(self, translator: Translator, labels: Sequence[str]) -> Mapping[str, nn.Module]:
        """`clusters` has the centres and tells frames apart by them."""
        widths = {name: int(width) for name, width in (label.rsplit(" ", 1) for label in labels)}
        sizes = {"embed_dim": translator.embed_dim, "num_clusters": self.num_clusters, "size": self.size}
        return {"clusters": ClusterHeads(widths=widths, **sizes)}

    def begin(self, model: Model, clips: Clips) -> None:
        """Fit the clusters, on one process for all."""
        head = model.translator.heads["clusters"]
        for name, centres in processes.on_rank_zero(lambda: self.fit(clips)).items():
            getattr(head, f"centres_{name}").copy_(centres)

    def fit(self, clips: Clips) -> dict[str, Tensor]:
        """Centres (C, F) of each stream's seen frames, as training reads them."""
        draws = torch.Generator().manual_seed(self.seed)
        frames: dict[str, list[Tensor]] = {name: [] for name in clips.streams}
        for clip in torch.randperm(len(clips), generator=draws).tolist():
            sample = clips[clip]
            for name, found in frames.items():
                if sum(map(len, found)) < self.fitted_frames:
                    x = described(torch.from_numpy(sample.streams[name][None]), self.size)[0]
                    found.append(x[torch.from_numpy(sample.seen[name])])
            if all(sum(map(len, found)) >= self.fitted_frames for found in frames.values()):
                break
        centres = {}
        for name, found in frames.items():
            x = torch.cat(found)[: self.fitted_frames]
            if len(x) < self.num_clusters:
                raise ValueError(
                    f"objective.num_clusters={self.num_clusters}: {name} is seen in {len(x)} frames of the training "
                    "clips; expected a frame for each at least: lower it, or objective.fitted_frames is below it"
                )
            found_centres = kmeans(x, self.num_clusters, iterations=self.iterations, draws=draws)
            left = (x - found_centres[nearest(x, found_centres)]).square().sum() / (x - x.mean(0)).square().sum()
            log.info("%s: %d clusters of %d frames leave %.2f of the variance", name, self.num_clusters, len(x), left)
            centres[name] = found_centres
        return centres

    def __call__(self, model: Translator, batch: Batch) -> Tensor:
        """A model and a batch of B clips -> nats a hidden frame of a stream, a scalar."""
        scores, wanted, asked = self.guess(model, batch)
        loss = functional.cross_entropy(
            scores.flatten(0, 2).float(), wanted.masked_fill(~asked, IGNORED).flatten(), reduction="sum"
        )
        return loss / asked.sum().clamp(min=1) * share(asked.sum() * batch.counts)

    def guess(self, model: Any, batch: Batch, draws: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (B, T', S, C), the clusters (B, T', S), and which of them were hidden, and are known (B, T', S)."""
        head = model.heads["clusters"]
        seen = torch.stack([batch.seen[name] & batch.frames for name in head.streams], dim=2)
        hidden = spans(batch.frames, len(head.streams), share=self.mask_share, length=self.mask_length, draws=draws)
        shown = {name: batch.seen[name] & ~hidden[:, :, i] for i, name in enumerate(head.streams)}
        memory, present = model.encoder(batch.streams, shown, batch.frames)
        place = (torch.arange(memory.shape[1], device=memory.device) * model.encoder.stride).clamp(
            max=batch.frames.shape[1] - 1
        )
        asked = (hidden & seen)[:, place] & present[..., None]
        return head(memory), head.targets(batch.streams)[:, place], asked

    @torch.no_grad()
    def validate(self, model: Model, batches: Iterable[Batch], compute: Compute) -> dict[str, float]:
        """`val/accuracy` of hidden frames in percent, and `val/loss` in nats; they are the same ones every time."""
        counts = torch.zeros(3, dtype=torch.float64)  # nats, right, hidden
        draws = torch.Generator().manual_seed(self.seed)
        for batch in batches:
            with compute.autocast():
                scores, wanted, asked = self.guess(model.translator, batch.to(compute.device), draws)
            nats = functional.cross_entropy(scores[asked].float(), wanted[asked], reduction="sum")
            right = (scores[asked].argmax(dim=1) == wanted[asked]).sum()
            counts += torch.stack([nats, right, asked.sum()]).cpu()
        nats, right, hidden = torch.stack(processes.gather(counts)).sum(0).tolist()
        return {"val/loss": nats / max(hidden, 1), "val/accuracy": 100 * right / max(hidden, 1)}


def spans(frames: Tensor, streams: int, *, share: float, length: int, draws: torch.Generator | None = None) -> Tensor:
    """Which frames of (B, T) are hidden in each of S streams, (B, T, S), in spans of `length` that may overlap.

    As many spans begin, at places drawn without replacement, as `share` / `length` of a clip's frames, rounded up or
    down at random, and one at the least (fairseq's compute_mask_indices with static spans): 1 - (1 - share / length) **
    length of the frames are hidden in the mean. Without a generator numbers are drawn where the frames are.
    """
    device = frames.device

    def rand(*shape: int) -> Tensor:
        where = device if draws is None else torch.device("cpu")
        return torch.rand(shape, generator=draws, device=where).to(device)

    clips, most = frames.shape
    lengths = frames.sum(dim=1)[:, None, None]
    count = (share / length * lengths + rand(clips, streams, 1)).floor().clamp(min=1)
    late = torch.arange(most, device=device) > (lengths - length).clamp(min=0)  # where no span fits
    order = rand(clips, streams, most).masked_fill(late, 2.0).argsort(dim=2).argsort(dim=2)
    starts = ((order < count) & ~late).float()
    hidden = functional.max_pool1d(functional.pad(starts, (length - 1, 0)), length, stride=1) > 0
    return hidden.transpose(1, 2) & frames[..., None]


def described(x: Tensor, size: int) -> Tensor:
    """A stream's frames as numbers whose distance says how alike they are: (B, T, ...) -> (B, T, F), float32."""
    if x.dim() == 5:
        small = functional.adaptive_avg_pool2d(x.flatten(0, 1).float() / 255, size)
        return small.unflatten(0, x.shape[:2]).flatten(2)
    if x.dim() == 4:
        return torch.where(x[..., 2:] > 0, x[..., :2], 0.0).flatten(2).float()
    return x.float()


def nearest(x: Tensor, centres: Tensor) -> Tensor:
    """The nearest of (C, F) to each of (N, F), (N,)."""
    return (centres.square().sum(dim=1) - 2 * x @ centres.T).argmin(dim=1)


def kmeans(x: Tensor, num_clusters: int, *, iterations: int, draws: torch.Generator) -> Tensor:
    """Centres (C, F) of (N, F): Lloyd's algorithm from k-means++ (Arthur and Vassilvitskii 2007, section 2.2)."""
    centres = x[torch.randint(len(x), (1,), generator=draws)]
    away = (x - centres).square().sum(dim=1)
    while len(centres) < num_clusters:
        chance = away if away.sum() > 0 else torch.ones_like(away)  # fewer different frames than clusters
        new = x[torch.multinomial(chance, 1, generator=draws)]
        centres, away = torch.cat([centres, new]), torch.minimum(away, (x - new).square().sum(dim=1))
    for _ in range(iterations):
        place = nearest(x, centres)
        count = torch.bincount(place, minlength=num_clusters)[:, None]
        total = torch.zeros_like(centres).index_add_(0, place, x)
        centres = torch.where(count > 0, total / count.clamp(min=1), centres)
    return centres
