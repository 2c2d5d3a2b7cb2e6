"""How much of pretraining is the model itself: `python tests/bench/pretraining.py [experiments=pretrain_hands ...]`.

Images/s of the whole training step (loader, views, losses, clipping, optimizer, teacher) against bare passes of the
same networks over random pictures of the same shapes: the teacher's forward where the objective asks it, the student's
forward and backward. Whole, bare and whole again in one process; what counts is the ratio. On a GPU it also says the
memory. V views of N crops.
"""

from __future__ import annotations

import slt  # noqa: F401  # isort: skip  before torch, because it sets how OpenMP's threads wait

import argparse
import tempfile
import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from slt.commands.pretrain import build_twins, build_views
from slt.config import build
from slt.config.checks import CONF
from slt.pretraining.networks import StudentTeacher
from slt.pretraining.views import Views
from slt.training.loop import Run, Trainer, parameter_groups
from slt.training.machine import Compute, choose_device, choose_precision
from slt.training.record import Record
from slt.training.settings import LoopSettings

WINDOWS = 4  # the first one holds the loader's start and is not counted


def bare(
    twins: StudentTeacher, batch: Views, *, taught: bool, headed: bool, device: torch.device, precision: str, steps: int
) -> float:
    """Images/s of the passes alone over random pictures shaped as `batch`, after a quarter of the steps."""
    whole = torch.randint(0, 256, batch.whole.flatten(0, 1).shape, dtype=torch.uint8, device=device)
    parts = torch.randint(0, 256, batch.parts.flatten(0, 1).shape, dtype=torch.uint8, device=device)
    begin = 0.0
    for step in range(-(steps // 4) - 1, steps):
        if step == 0:
            wait(device)
            begin = time.perf_counter()
        with Compute(device, precision).autocast():
            if taught:
                with torch.no_grad():
                    twins.teacher.picture_head(twins.teacher(whole)[0])
            made = [twins.student(pictures)[0] for pictures in (whole, parts) if len(pictures)]
            total = sum((twins.student.picture_head(one) if headed else one).float().sum() for one in made)
        assert isinstance(total, torch.Tensor)
        total.backward()  # type: ignore[no-untyped-call]
        twins.zero_grad(set_to_none=True)
    wait(device)
    return steps * (len(whole) + len(parts)) / (time.perf_counter() - begin)


def wait(device: torch.device) -> None:
    """Lets a GPU finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def whole_step(cfg: DictConfig, steps: int) -> tuple[StudentTeacher, Views, dict[str, float], dict[str, bool]]:
    """Pretrain for `steps` updates with slt's own loop -> twins, a batch, rates; are teacher, head asked?"""
    torch.manual_seed(cfg.seed)
    device = choose_device(cfg.device)
    cfg.precision = choose_precision(cfg.precision, device)
    _, batches = build_views(cfg, pin_memory=device.type == "cuda")
    twins, loss = build_twins(cfg)
    twins = twins.to(device)
    groups = parameter_groups(twins, lr=cfg.optimizer.lr, rates={})
    batch = batches[0]
    with tempfile.TemporaryDirectory() as folder:
        record = Record(Path(folder), [])
        Trainer(
            model=twins, objective=loss, optimizer=build.build_optimizer(cfg.optimizer, groups),
            schedule=instantiate(cfg.schedule, _convert_="all"), batches=batches, evaluate=None,
            run=Run(Path(folder), Compute(device, cfg.precision), record, {}),
            settings=LoopSettings(
                strategy="ddp", max_steps=steps, accumulate=cfg.accumulate, grad_clip=cfg.grad_clip, select="",
                eval_every=steps + 1, log_every=steps // WINDOWS, unit="crops",
            ),
        ).run()  # fmt: skip
        measured = {name: [value for _, value in points[1:]] for name, points in record.curves.items()}
    views = len(batch.whole) + len(batch.parts)
    rates = {name: sum(values) / len(values) for name, values in measured.items()}
    told = {"images/s": views * rates["train/crops_per_second"], "data_wait": rates["train/data_wait"]}
    taught = bool(loss.weights["dino"] or loss.weights["ibot"])
    return twins, batch, told, {"taught": taught, "headed": taught or loss.contrast_head}


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="of conf/pretrain.yaml")
    parser.add_argument("--steps", type=int, default=80, help="updates; a quarter of them warm up")
    given = parser.parse_args()
    with initialize_config_dir(str(CONF), version_base=None):
        cfg = compose("pretrain", given.overrides)
    twins, batch, found, asked = whole_step(cfg, given.steps)
    device = next(twins.parameters()).device
    alone = bare(twins, batch, **asked, device=device, precision=cfg.precision, steps=given.steps)
    _, _, again, _ = whole_step(cfg, given.steps)
    rate = (found["images/s"] + again["images/s"]) / 2
    print(
        f"views {tuple(batch.whole.shape)} and {tuple(batch.parts.shape)}, {torch.get_num_threads()} threads, {device}"
    )
    print(f"whole step {rate:.0f} images/s ({found['images/s']:.0f}, {again['images/s']:.0f}), bare passes {alone:.0f}")
    print(f"ratio {rate / alone:.2f}; waiting for the loader {100 * again['data_wait']:.0f} % of the time")
    if device.type == "cuda":
        print(f"memory {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB at most")


if __name__ == "__main__":
    main()
