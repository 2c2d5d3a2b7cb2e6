"""How fast the embedded corpus trains and is translated: `python tests/bench/training.py`.

In one process, one after the other: training with crops; training with features only, which the first model's own
backbones compute once from the same clips and which `slt.data.Features` reads; greedy and beam search. What counts are
the ratios: the rates are those of one machine on one day. CTC is on from the first update, because the updates after
`flat_start` are the costlier and the more. B clips, T frames, F feature width.
"""

from __future__ import annotations

import slt  # noqa: F401  # isort: skip  before torch, because it sets how OpenMP's threads wait

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from slt.config import build
from slt.config.checks import CONF, taken
from slt.corpora import layout
from slt.corpora.folder import LsaTMultiStream
from slt.evaluation.translation import translate
from slt.models import MultiStreamEncoder, Translator
from slt.models.search import Search
from slt.models.tokenizer import Tokenize, encode
from slt.models.trained import Model
from slt.streams.arrays import write_features
from slt.streams.batch import Batch, Batching, collate
from slt.training.batches import TrainBatches, evaluation_batches
from slt.training.checkpoint import find_checkpoint, load_checkpoint
from slt.training.loop import Run, Trainer, parameter_groups
from slt.training.machine import Compute, choose_device, choose_precision
from slt.training.objective import TranslationLoss
from slt.training.record import Record
from slt.training.settings import LoopSettings

WINDOWS = 4  # the first one holds the loader's start and is not counted


class Counted:
    """An objective that also counts the clips and the real frames that it is given."""

    def __init__(self, objective: TranslationLoss) -> None:
        self.objective, self.clips, self.frames = objective, 0, 0

    def __call__(self, model: Translator, batch: Batch) -> torch.Tensor:
        """A model and a batch -> its loss."""
        self.clips += len(batch)
        self.frames += int(batch.frames.sum())
        return self.objective(model, batch)


def configuration(overrides: Sequence[str]) -> DictConfig:
    """Compose conf/train.yaml as the command line would."""
    with initialize_config_dir(str(CONF), version_base=None):
        return compose("train", list(overrides))


def train(cfg: DictConfig, steps: int) -> tuple[Translator, Any, LsaTMultiStream, dict[str, float]]:
    """Train a fresh model for `steps` updates with slt's own loop, and return it, its tokenizer, clips and rates."""
    torch.manual_seed(cfg.seed)
    device = choose_device(cfg.device)
    cfg.precision = choose_precision(cfg.precision, device)
    clips = build.build_splits(cfg, ["train"], augment=True)["train"]
    tokenizer = build.build_tokenizer(cfg, {"train": clips})
    loss = TranslationLoss(label_smoothing=cfg.label_smoothing, gloss_weight=cfg.gloss_weight, flat_start=0)
    glosses, shapes = loss.labels(clips), build.stream_shapes(clips)
    model = build.build_translator(cfg, tokenizer, shapes, labels=glosses).to(device)
    loss.place = {gloss: place for place, gloss in enumerate(glosses, start=1)}
    objective = Counted(loss)
    groups = parameter_groups(model, lr=cfg.optimizer.lr, rates={})
    with tempfile.TemporaryDirectory() as folder:
        record = Record(Path(folder), [])
        Trainer(
            model=model, objective=objective, optimizer=build.build_optimizer(cfg.optimizer, groups),
            schedule=instantiate(cfg.schedule, _convert_="all"),
            batches=TrainBatches(clips, Tokenize(tokenizer, cfg.decoder.max_tokens), taken(Batching, cfg),
                                 seed=cfg.seed, pin_memory=device.type == "cuda"),
            evaluate=None, run=Run(Path(folder), Compute(device, cfg.precision), record, {}),
            settings=LoopSettings(
                strategy="ddp", max_steps=steps, accumulate=cfg.accumulate, grad_clip=cfg.grad_clip,
                select="val/bleu", eval_every=steps, log_every=steps // WINDOWS,
            ),
        ).run()  # fmt: skip
        measured = {name: np.mean([value for _, value in points[1:]]) for name, points in record.curves.items()}
    rates = {"clips/s": float(measured["train/clips_per_second"]), "data_wait": float(measured["train/data_wait"])}
    return model, tokenizer, clips, rates | {"frames/s": rates["clips/s"] * objective.frames / objective.clips}


@torch.no_grad()
def write_stream_features(
    encoder: MultiStreamEncoder, clips: LsaTMultiStream, root: Path, device: torch.device
) -> None:
    """Write what each backbone makes of each frame as `<stream>_features/<id>.npy` (T, F), NaN where not seen."""
    encoder.eval()
    for index in range(len(clips)):
        batch = collate([clips[index]]).to(device)
        for name in encoder.streams:
            owner = encoder.owner[name]
            x = batch.streams[name] if owner == name else batch.streams[name].flip(-1)
            features = encoder.backbones[owner](x, batch.seen[name])[0].float()
            features[~batch.seen[name][0]] = torch.nan
            write_features(root / f"{name}_features" / f"{clips.ids[index]}.npy", features.cpu().numpy())
    layout.write_index(root / "index" / "train.csv", list(clips.ids))
    (root / "subs.csv").symlink_to(clips.root.resolve() / "subs.csv")


def features_only(root: Path, streams: Sequence[str]) -> list[str]:
    """Return the overrides of README's "Precomputed features": every stream gives way to its features."""
    names = [f"{name}_features" for name in streams]
    return [
        f"dataset.root={root}",
        "dataset.augment.mirror=0",
        *(f"~dataset.streams.{name}" for name in streams),
        *(f"+dataset.streams.{name}={{_target_:slt.data.Features,folder:{name}}}" for name in names),
        *(f"+backbone@streams.{name}=features" for name in names),
    ]


def rates_of(model: Translator, tokenizer: Any, clips: LsaTMultiStream, cfg: DictConfig, num_beams: int) -> list[float]:
    """Translate the clips, loading and encoding included: sentences/s, and tokens a sentence."""
    tokenize = Tokenize(tokenizer, cfg.decoder.max_tokens)
    batches = evaluation_batches(clips, tokenize, Batching(64, None, cfg.num_workers))
    search = Search(num_beams=num_beams, length_penalty=cfg.evaluation.length_penalty, nbest=1,
                    max_tokens=cfg.decoder.max_tokens)  # fmt: skip
    begin = time.perf_counter()
    compute = Compute(next(model.parameters()).device, cfg.precision)
    predictions, _ = translate(Model(translator=model, tokenizer=tokenizer, search=search), batches, search, compute)
    seconds = time.perf_counter() - begin
    tokens = sum(map(len, encode(tokenizer, [p.hypothesis for p in predictions])))
    return [len(predictions) / seconds, tokens / len(predictions)]


def main() -> None:
    """Measure, and print two small tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60, help="updates a measurement, the first quarter not counted")
    parser.add_argument("--clips", type=int, default=384, help="training clips")
    parser.add_argument("--root", help="corpus folder; without it the embedded corpus at its default size")
    parser.add_argument("--checkpoint", type=Path, help="run that translates; without it the model trained here")
    args = parser.parse_args()
    if args.steps < WINDOWS:
        parser.error(f"--steps must be at least {WINDOWS}")
    common = [f"dataset.limit={args.clips}", *([f"dataset.root={args.root}"] if args.root else [])]
    cfg = configuration(common)
    path = find_checkpoint(args.checkpoint, "best.pt") if args.checkpoint else None
    restored = build.restore(load_checkpoint(path), path) if path else None
    model, tokenizer, clips, crops = train(cfg, args.steps)
    with tempfile.TemporaryDirectory() as folder:
        whole = configuration([*common, "dataset.fps=null", "dataset.max_frames=null"])
        plain = build.build_splits(whole, ["train"], augment=False)["train"]
        write_stream_features(model.encoder, plain, Path(folder), next(model.parameters()).device)
        lean = configuration([common[0], *features_only(Path(folder), list(clips.streams))])
        features = train(lean, args.steps)[-1]
    print(f"\ntraining, {args.steps} updates: clips/s  frames/s  share of the step spent waiting for data")
    for name, rate in (("with crops", crops), ("features only", features)):
        print(f"  {name:14s} {rate['clips/s']:8.1f} {rate['frames/s']:9.0f} {100 * rate['data_wait']:8.1f} %")
    print(f"  features only: {features['clips/s'] / crops['clips/s']:.1f} times as many clips/s")
    if restored:
        _, model, tokenizer = restored
        model = model.to(choose_device(cfg.device))
    val = build.build_splits(cfg, ["val"], augment=False)["val"]
    found = {beams: rates_of(model, tokenizer, val, cfg, beams) for beams in (1, 4)}
    print(f"translation of {len(val)} clips, loading and encoding included: sentences/s  tokens a sentence")
    for beams, (rate, tokens) in found.items():
        print(f"  {'greedy' if beams == 1 else f'beam of {beams}':14s} {rate:8.1f} {tokens:8.1f}")
    print(f"  greedy: {found[1][0] / found[4][0]:.1f} times as many sentences/s as a beam of 4")


if __name__ == "__main__":
    main()
