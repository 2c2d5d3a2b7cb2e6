"""What an export gains, as ratios in one run: `python tests/bench/export.py --run RUN` (a run of the default recipe).

Three things at batch 1, eager PyTorch in float32 and onnxruntime in turns on as many threads: the encoder of the run's
CPU backbone, float32 and int8, over clips of its test split; the encoder with a ViT-S/16 of random weights on one
stream of 224 pixels; and the search of sentences with a beam of 4, `generate` against `OnnxTranslator`. The run is
exported twice for it, with the parity of an export, which also says what int8 costs in BLEU. B clips, T frames.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from slt.commands.export import open_run
from slt.config import build
from slt.exporting import graphs
from slt.exporting.folder import Comparison, export_folder
from slt.exporting.precision import convert
from slt.inference import OnnxTranslator
from slt.inference.checkpoint import CheckpointTranslator
from slt.inference.onnx import open_session
from slt.models import FuseGated, MultiStreamEncoder, StreamProjector, TransformerTemporal, ViTSmallPatch16
from slt.models.signature import StreamSpec


def in_turns(calls: Mapping[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Return the median seconds of each call; every turn calls all of them, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns + 1):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(each) for name, each in seconds.items()}


def report(title: str, seconds: Mapping[str, float], count: int) -> None:
    """Print milliseconds of one of `count` things, and how many times faster than the first each is."""
    print(title)
    first = next(iter(seconds.values()))
    for name, value in seconds.items():
        print(f"  {name:32s} {1000 * value / count:9.2f} ms   {first / value:5.2f} times as fast")


def run_figures(run: Path, scratch: Path, *, clips: int, turns: int, threads: int, limit: int | None) -> None:
    """Export the run, then time its encoder and its search of sentences."""
    trained, config = open_run(run)
    split = build.build_splits(config, ["test"], augment=False)["test"]
    translators: dict[str, Any] = {"eager PyTorch": CheckpointTranslator(trained, precision="fp32")}
    for precision in ("fp32", "int8"):
        print(f"export, {precision}")
        folder = scratch / precision
        compared = Comparison(clips=split, batches=3, limit=limit, seed=1)
        export_folder(trained, folder, compared, name="bench", precision=precision, program=False,
                      say=lambda line: print(f"  {line}"))  # fmt: skip
        for spinning in (False, True):
            name = f"onnxruntime {precision}{', threads spin' if spinning else ''}"
            translators[name] = OnnxTranslator(folder, threads=threads, spinning=spinning)
    inputs = [split[index] for index in range(min(clips, len(split)))]

    def encoding(translator: Any) -> Callable[[], object]:
        return lambda: [translator.encode([clip]) for clip in inputs]

    found = in_turns({name: encoding(each) for name, each in translators.items()}, turns)
    report(
        f"encoder of {run.name}, batch 1, {len(inputs)} clips (with the keys of cross-attention)", found, len(inputs)
    )
    encoded = {name: [each.encode([clip]) for clip in inputs] for name, each in translators.items()}

    def writing(name: str) -> Callable[[], object]:
        return lambda: [translators[name].write(each, num_beams=4) for each in encoded[name]]

    report("sentence, batch 1, beam 4", in_turns({name: writing(name) for name in translators}, turns), len(inputs))


class Bridge(torch.nn.Module):
    """What of a decoder stands in the encoder's graph."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.bridge = torch.nn.LayerNorm(128), torch.nn.Linear(128, 128)
        self.entrance = (self.norm, self.bridge, None)

    def encode(self, memory: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """(B, T, 128) -> (B, T, 128)."""
        return self.bridge(self.norm(memory))


class Vision(torch.nn.Module):
    """An encoder of one stream of 224 pixels through a ViT-S/16, and the end of a decoder that belongs to its graph."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = MultiStreamEncoder(
            backbones={"face": ViTSmallPatch16(img_size=224, weights=None, frozen=False)},
            projector=lambda num_features: StreamProjector(num_features=num_features, embed_dim=128, dropout=0.0),
            fusion=lambda streams: FuseGated(streams=streams, embed_dim=128, dropout=0.0),
            temporal=TransformerTemporal(embed_dim=128, depth=2, num_heads=4, mlp_ratio=4.0, dropout=0.0, downsample=1),
            tied={},
        )
        self.decoder, self.heads = Bridge(), torch.nn.ModuleDict()

    def forward(self, x: torch.Tensor, seen: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Encode (B, T, 3, 224, 224), (B, T) and (B, T) -> (B, T, 128) by the models' own code."""
        memory, _ = self.encoder({"face": x}, {"face": seen}, frames)
        return self.decoder.encode(memory, frames)


@torch.inference_mode()
def vision_figures(scratch: Path, *, frames: int, turns: int, threads: int) -> None:
    """Time the encoder with a ViT-S/16 at 224 pixels."""
    torch.manual_seed(0)
    model = Vision().eval()
    stream = StreamSpec(
        name="face", kind="crops", dtype="uint8", shape=(3, 224, 224), folder="face", points=None, size=224
    )
    x = torch.randint(0, 256, (1, frames, 3, 224, 224), dtype=torch.uint8)
    there = torch.ones(1, frames, dtype=torch.bool)
    feeds = {"face": x.numpy(), "seen_face": there.numpy(), "frames": there.numpy()}
    calls: dict[str, Callable[[], object]] = {"eager PyTorch": lambda: model(x, there, there)}
    for precision in ("fp32", "int8"):
        path = scratch / f"vision_{precision}.onnx"
        with torch.inference_mode(False):
            graphs.to_onnx(graphs.encoder_graph(model, [stream]), path)  # type: ignore[arg-type]
        convert(path, precision)
        for spinning in (False, True):
            session = open_session(path, providers=None, threads=threads, spinning=spinning, optimisation="all")
            name = f"onnxruntime {precision}{', threads spin' if spinning else ''}"
            calls[name] = lambda session=session: session.run(None, feeds)  # type: ignore[misc]
    report(f"encoder with ViT-S/16 at 224 pixels, batch 1, {frames} frames", in_turns(calls, turns), 1)


def main() -> None:
    """Measure all and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run folder of slt.train")
    parser.add_argument("--clips", type=int, default=40, help="of its test split that are timed")
    parser.add_argument("--frames", type=int, nargs="+", default=[1, 24], help="of the clips of 224 pixels")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, help="clips whose sentences the exports compare; all where not given")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{os.cpu_count()} cores, {args.threads} threads, medians of {args.turns} turns")
    with tempfile.TemporaryDirectory() as folder:
        run_figures(args.run, Path(folder), clips=args.clips, turns=args.turns, threads=args.threads, limit=args.limit)
        for frames in args.frames:
            vision_figures(Path(folder), frames=frames, turns=args.turns, threads=args.threads)


if __name__ == "__main__":
    main()
