"""Where an update's time goes, beside bare PyTorch and the device's peak: `python tests/bench/gpu.py`.

Of features, the default recipe, a ViT-S/16 on three streams of crops, and pretraining: time, kernels (on a processor
dispatched operations) and waits for the host of each phase, the rate of whole updates of slt's own loop, and that of a
bare loop, which passes pictures of the same shapes through the same image networks and vectors of the same lengths
through `torch.nn.Transformer`, with one fused optimizer. Batches are made up, so no corpus is read: what the loader
costs is `tests/bench/loader.py`'s to say. It takes under four minutes of a GPU; `--device cpu` runs everywhere, small.
B clips, T frames, L tokens, R crop side.
"""

from __future__ import annotations

import slt  # noqa: F401  # isort: skip  before torch, because it sets how OpenMP's threads wait

import argparse
import importlib.util
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from slt.commands.pretrain import build_twins
from slt.config import build
from slt.config.checks import CONF
from slt.models.search import Search
from slt.models.tokenizer import Tokenize, train_tokenizer
from slt.pretraining.views import Views
from slt.streams.batch import Batch
from slt.training.loop import Run, Trainer, parameter_groups
from slt.training.machine import Compute, choose_device, choose_precision
from slt.training.masks import quick_masks
from slt.training.objective import TranslationLoss
from slt.training.record import Record
from slt.training.settings import LoopSettings

GLOSSES = [f"G{number}" for number in range(200)]
GREEDY = Search(num_beams=1, length_penalty=1.0, max_tokens=12)  # 9 words a made-up sentence
WIDE = ("embed_dim=256", "temporal.depth=3", "temporal.num_heads=8",
        "decoder.config={d_model:256,decoder_layers:3,decoder_attention_heads:8,decoder_ffn_dim:1024,dropout:0.1}",
        "temporal.dropout=0.1")  # fmt: skip
FEATURES = ("~dataset.streams.face", "~dataset.streams.left_hand", "~dataset.streams.right_hand",
            "~dataset.streams.pose",
            "+dataset.streams.features={_target_:slt.data.Features,folder:features}",
            "+backbone@streams.features=features")  # fmt: skip


@dataclass
class Work:
    """Something that is trained: its model, objective and batches, and the same without the suite."""

    name: str
    unit: str
    cfg: DictConfig
    model: nn.Module
    objective: Callable[[Any, Any], Tensor]
    batches: list[Any]
    bare: nn.Module  # batch -> loss
    items: int  # units an update


def configuration(name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose conf/<name>.yaml as the command line would."""
    with initialize_config_dir(str(CONF), version_base=None):
        return compose(name, list(overrides))


class BareTranslator(nn.Module):
    """The image networks on all frames, then `torch.nn.Transformer`, then a head."""

    def __init__(self, model: Any, cfg: DictConfig, vocabulary: int) -> None:
        super().__init__()
        encoder, width = model.encoder, cfg.embed_dim
        self.owner = dict(encoder.owner)
        self.networks = nn.ModuleDict({name: backbone.network for name, backbone in encoder.backbones.items()
                                       if hasattr(backbone, "normalise")})  # fmt: skip
        self.enter = nn.ModuleDict({name: nn.LazyLinear(width) for name in encoder.streams})
        layers = cfg.decoder.config.decoder_layers
        self.transformer = nn.Transformer(width, cfg.temporal.num_heads, cfg.temporal.depth, layers, 4 * width,
                                          cfg.temporal.dropout, "gelu", batch_first=True)  # fmt: skip
        self.embedding, self.head = nn.Embedding(vocabulary, width), nn.Linear(width, vocabulary)

    def forward(self, batch: Batch) -> Tensor:
        """A batch of B clips -> the loss of its sentences."""
        x: Any = 0
        for name, stream in batch.streams.items():
            if self.owner[name] in self.networks:
                pictures = stream.flatten(0, 1).float().div_(255.0).contiguous(memory_format=torch.channels_last)
                stream = self.networks[self.owner[name]](pictures).unflatten(0, stream.shape[:2])
            x = x + self.enter[name](stream.flatten(2).float())
        assert batch.tokens is not None
        said = self.embedding(batch.tokens)
        mask = nn.Transformer.generate_square_subsequent_mask(said.shape[1], device=said.device)
        out = self.transformer(x, said, tgt_mask=mask, tgt_is_causal=True)
        return functional.cross_entropy(self.head(out).flatten(0, 1).float(), batch.tokens.flatten())


class BarePasses(nn.Module):
    """Teacher's forward, student's forward and backward over pictures, without losses."""

    def __init__(self, twins: Any) -> None:
        super().__init__()
        self.twins = twins

    def forward(self, views: Views) -> Tensor:
        """Views (V, N, 3, r, r) and (W, N, 3, r', r') -> a number to go back from."""
        whole, parts = views.whole.flatten(0, 1), views.parts.flatten(0, 1)
        with torch.no_grad():
            self.twins.teacher.picture_head(self.twins.teacher(whole)[0])
        made = [self.twins.student.picture_head(self.twins.student(x)[0]) for x in (whole, parts) if len(x)]
        return torch.stack([one.float().sum() for one in made]).sum()


def translation(name: str, overrides: Sequence[str], clips: int, frames: int, device: torch.device) -> Work:
    """A translator of conf/train.yaml and batches of `clips` clips of up to `frames` frames."""
    cfg = configuration("train", overrides)
    cfg.precision = choose_precision(cfg.precision, device)
    words = [f"palabra{number}" for number in range(400)]
    pick = torch.Generator().manual_seed(1)
    sentences = [" ".join(words[i] for i in torch.randint(400, (9,), generator=pick)) for _ in range(200)]
    tokenizer = train_tokenizer(sentences, kind="word", vocab_size=500)
    shapes: dict[str, list[int]] = {}
    for stream, reader in cfg.dataset.streams.items():
        side = reader.get("size")
        shapes[stream] = [3, side, side] if side else [75, 3] if stream == "pose" else [1024]
    torch.manual_seed(1)
    model = build.build_translator(cfg, tokenizer, shapes, labels=GLOSSES).to(device)
    tokenize = Tokenize(tokenizer, cfg.decoder.max_tokens)

    def batch(number: int) -> Batch:
        draw = torch.Generator().manual_seed(number)
        lengths = torch.randint(frames * 9 // 10, frames + 1, (clips,), generator=draw)
        lengths[0] = frames
        real = torch.arange(frames) < lengths[:, None]
        texts = [sentences[i] for i in torch.randint(200, (clips,), generator=draw)]
        streams = {
            stream: torch.randint(0, 256, (clips, frames, *shape), dtype=torch.uint8, generator=draw)
            if len(shape) == 3 else torch.randn(clips, frames, *shape, generator=draw)
            for stream, shape in shapes.items()
        }  # fmt: skip
        seen = {stream: real & (torch.rand(real.shape, generator=draw) < 0.95) for stream in shapes}
        glosses = [" ".join(GLOSSES[i] for i in torch.randint(200, (5,), generator=draw)) for _ in range(clips)]
        tokens, mask = tokenize(texts)
        return Batch([""] * clips, texts, streams, seen, real, tokens, mask, glosses, lengths=lengths.tolist())

    objective = TranslationLoss(label_smoothing=0.1, gloss_weight=1.0, flat_start=0)
    objective.place = {gloss: place for place, gloss in enumerate(GLOSSES, start=1)}
    bare = BareTranslator(model, cfg, len(tokenizer)).to(device)
    return Work(name, "clips", cfg, model, objective, [batch(i) for i in range(3)], bare, clips)


def pretraining(name: str, overrides: Sequence[str], crops: int, device: torch.device) -> Work:
    """Student and teacher of conf/pretrain.yaml, and views of `crops` crops."""
    cfg = configuration("pretrain", overrides)
    cfg.precision = choose_precision(cfg.precision, device)
    torch.manual_seed(1)
    twins, loss = build_twins(cfg)
    twins = twins.to(device)
    side, part, views, parts = (cfg.augment[key] for key in ("size", "part_size", "views", "parts"))

    def batch(number: int) -> Views:
        draw = torch.Generator().manual_seed(number)
        whole, small = (torch.randint(0, 256, (count, crops, 3, size, size), dtype=torch.uint8, generator=draw)
                        for count, size in ((views, side), (parts, part)))  # fmt: skip
        return Views(whole, small, torch.arange(crops), torch.zeros(crops))

    return Work(name, "images", cfg, twins, loss, [batch(i) for i in range(2)], BarePasses(twins),
                crops * (views + parts))  # fmt: skip


class Made:
    """Batches that are there already, in pinned memory where there is a GPU."""

    def __init__(self, batches: Sequence[Any], device: torch.device) -> None:
        self.batches = [batch.pin_memory() for batch in batches] if device.type == "cuda" else list(batches)

    def start(self, consumed: int) -> Iterator[Any]:
        """For ever in turn."""
        return cycle(self.batches)


def wait(device: torch.device) -> None:
    """Lets a GPU finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def counted_waits(device: torch.device) -> Iterator[list[str]]:
    """Where in the code the host waited for the device within the block."""
    found: list[str] = []
    if device.type != "cuda":
        yield found
        return
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode("default")
            found += [
                f"{Path(each.filename).name}:{each.lineno}" for each in caught if "synchroniz" in str(each.message)
            ]


class Dispatched(TorchDispatchMode):
    """Counts operations that do something: views are free."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def launched(run: Callable[[], object], device: torch.device) -> int:
    """How many kernels (operations on a processor) a call starts."""
    if device.type == "cpu":
        with Dispatched() as dispatched:
            run()
        return dispatched.count
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        run()
        wait(device)
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in seen.events())


def trainer_of(work: Work, folder: Path, device: torch.device) -> Trainer:
    """slt's own loop over the work."""
    cfg = work.cfg
    groups = parameter_groups(work.model, lr=cfg.optimizer.lr, rates={})
    return Trainer(
        model=work.model, objective=work.objective, optimizer=build.build_optimizer(cfg.optimizer, groups),
        schedule=instantiate(cfg.schedule, _convert_="all"), batches=Made(work.batches, device), evaluate=None,
        run=Run(folder, Compute(device, cfg.precision), Record(folder, []), {}),
        settings=LoopSettings(strategy="ddp", max_steps=10**6, accumulate=1, grad_clip=cfg.grad_clip, select="",
                              eval_every=10**6, log_every=10**6),
    )  # fmt: skip


def evaluated(trainer: Trainer, batch: Any) -> None:
    """Loss and greedy sentences of a batch, as validation has them."""
    model: Any = trainer.model.eval()
    with torch.inference_mode(), trainer.compute.autocast():
        trainer.objective(model, batch)
        model.generate(batch, GREEDY)
    model.train()


def by_phase(trainer: Trainer, device: torch.device, times: int) -> dict[str, tuple[float, int, list[str]]]:
    """Milliseconds, kernels and waits of each phase of an update."""
    held: dict[str, Any] = {}
    stream = trainer.batches.start(0)
    model: Any = trainer.model

    def copy() -> None:
        held["batch"] = next(stream).to(device)

    def loss() -> None:
        with trainer.compute.autocast():
            held["loss"] = trainer.parallel.loss(trainer.objective, held["batch"])

    def backward() -> None:
        held["loss"].backward()

    def clip() -> None:
        nn.utils.clip_grad_norm_(trainer.parallel.loss.parameters(), 1.0)

    def update() -> None:
        trainer.optimizer.step()
        trainer.optimizer.zero_grad(set_to_none=True)

    phases: dict[str, Callable[[], None]] = {"copy": copy}
    if hasattr(model, "encoder"):

        def encode() -> None:
            with torch.no_grad(), trainer.compute.autocast():
                model.encoder(held["batch"].streams, held["batch"].seen, held["batch"].frames)

        phases |= {"evaluation": lambda: evaluated(trainer, held["batch"]), "encoder (of forward)": encode}
    phases |= {"forward and loss": loss, "backward": backward, "clip": clip, "optimizer": update}
    model.train()
    spent: dict[str, list[float]] = {name: [] for name in phases}
    for turn in range(times + 2):
        for name, phase in phases.items():
            wait(device)
            begin = time.perf_counter()
            phase()
            wait(device)
            if turn > 1:
                spent[name].append(time.perf_counter() - begin)
    table = {}
    for name, phase in phases.items():
        with counted_waits(device) as waits:
            phase()
        table[name] = (1000 * sorted(spent[name])[len(spent[name]) // 2], 0, waits)
    for name, phase in phases.items():
        table[name] = (table[name][0], launched(phase, device), table[name][2])
    return table


def rate(step: Callable[[], object], items: int, device: torch.device, seconds: float) -> float:
    """Items a second of a step, over `seconds` after some that warm up."""
    for _ in range(4):
        step()
    wait(device)
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        step()
        count += 1
        if count % 8 == 0:
            wait(device)
    wait(device)
    return items * count / (time.perf_counter() - begin)


def bare_step(work: Work, device: torch.device) -> Callable[[], None]:
    """An update of the bare model: autocast, backward, one fused optimizer, nothing else."""
    batches, compute = Made(work.batches, device).start(0), Compute(device, work.cfg.precision)
    work.bare.train()
    with torch.no_grad(), compute.autocast():
        work.bare(next(batches).to(device))  # lazy layers
    optimizer = torch.optim.AdamW([p for p in work.bare.parameters() if p.requires_grad], lr=1e-4, fused=True)

    def step() -> None:
        batch = next(batches).to(device)
        with compute.autocast():
            loss = work.bare(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def peak(device: torch.device, dtype: torch.dtype = torch.bfloat16) -> float:
    """FLOP/s of products of large matrices."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return rate(lambda: a @ b, 2 * side**3, device, 1.0)


def works(device: torch.device) -> Iterator[Callable[[], Work]]:
    """What is measured; smaller on a processor."""
    large = device.type == "cuda"
    vit = (
        "backbone=vit_small_patch16",
        *(f"dataset.streams.{name}.size={224 if large else 64}" for name in ("face", "left_hand", "right_hand")),
    )
    sides = ("augment.size=224", "augment.part_size=96") if large else ("augment.size=64", "augment.part_size=32")
    yield lambda: translation("features", (*FEATURES, *WIDE), 32, 100, device)
    yield lambda: translation("default recipe", (), 32, 48, device)
    yield lambda: translation("ViT-S/16", vit, 8 if large else 2, 20 if large else 4, device)
    yield lambda: pretraining("pretraining, ViT-S/16", ("backbone=vit_small_patch16", *sides, "augment.parts=4"),
                              64 if large else 4, device)  # fmt: skip


@dataclass
class Compared:
    """An update of slt's own loop beside a bare one."""

    ours: float  # items a second, the better of two turns
    plain: float  # of the bare loop
    share: float  # of the device's peak
    kernels: tuple[int, int]  # of an update, ours and bare
    phases: dict[str, tuple[float, int, list[str]]]

    @property
    def ratio(self) -> float:
        return self.ours / self.plain


def compare(work: Work, device: torch.device, seconds: float, top: float) -> Compared:
    """Measure a work, `top` being the peak in FLOP/s."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(work, Path(folder), device)
        stream = trainer.batches.start(0)
        with FlopCounterMode(display=False) as flops:
            trainer.step(stream)
        step, bare = partial(trainer.step, stream), bare_step(work, device)
        rates = []
        for _ in range(2):
            with quick_masks():  # as in `Trainer.run`
                rates.append(rate(step, work.items, device, seconds))
            plain = rate(bare, work.items, device, seconds)
        kernels = launched(step, device), launched(bare, device)
        phases = by_phase(trainer, device, 8 if device.type == "cuda" else 2)
    share = flops.get_total_flops() / work.items * max(rates) / top
    return Compared(max(rates), plain, share, kernels, phases)


def main() -> None:
    """Measure, and print a table of each work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each rate")
    parser.add_argument("--compile", action="store_true", help="our translators by torch.compile, as compile=true does")
    parser.add_argument("--only", default="", help="works whose names hold this")
    given = parser.parse_args()
    if gone := [name for name in ("hydra", "timm", "transformers") if importlib.util.find_spec(name) is None]:
        sys.exit(f"error: these packages are missing: {', '.join(gone)}")
    device = choose_device(given.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    top = peak(device)
    print(f"torch {torch.__version__}, {name}; bf16 peak {top / 1e12:.2f} TFLOP/s, by products of matrices")
    for make in works(device):
        work = make()
        if given.only not in work.name:
            continue
        if given.compile and hasattr(work.model, "encoder"):
            work.model.compile()
        found = compare(work, device, given.seconds, top)
        weights = sum(p.numel() for p in work.model.parameters() if p.requires_grad)
        print(f"\n{work.name}: {weights / 1e6:.1f} M weights, {work.items} {work.unit} an update, {work.cfg.precision}")
        print(f"  {found.ours:.0f} {work.unit}/s, bare {found.plain:.0f}: {found.ratio:.2f} of bare, {found.share:.2f} "
              f"of the peak; {found.kernels[0]} kernels an update, bare {found.kernels[1]}")  # fmt: skip
        print(f"  {'phase':22s} {'ms':>8s} {'kernels':>8s} {'waits':>6s}  where")
        for phase, (spent, kernels, waits) in found.phases.items():
            print(f"  {phase:22s} {spent:8.2f} {kernels:8d} {len(waits):6d}  {', '.join(sorted({*waits})[:6])}")


if __name__ == "__main__":
    main()
