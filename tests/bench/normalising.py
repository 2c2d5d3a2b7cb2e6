"""What it costs to make pictures of crops: `python tests/bench/normalising.py [--crops 1200] [--turns 20]`.

`ImageBackbone.normalise` under bfloat16 autocast on one core, beside the same arithmetic on bfloat16 pictures in
channels-last order with float32 statistics; what counts is the ratio. N crops of 40 pixels.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from slt.models.backbones import ConvSmall


def milliseconds(act: Callable[[], Tensor], turns: int) -> float:
    """The median of `turns` calls, after one that is not counted."""
    taken = []
    for _ in range(turns + 1):
        begin = time.perf_counter()
        act()
        taken.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(taken[1:])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crops", type=int, default=1200)
    parser.add_argument("--turns", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(1)
    crops = torch.randint(0, 256, (given.crops, 3, 40, 40), dtype=torch.uint8)
    backbone = ConvSmall(img_size=40, widths=[32, 64, 96], patch_size=4, dropout=0.0, weights=None, frozen=False)

    def mixed() -> Tensor:
        pictures = crops.to(torch.bfloat16, memory_format=torch.channels_last)
        return pictures.sub_(backbone.mean).div_(backbone.std)

    with torch.autocast("cpu", torch.bfloat16):
        ours, other = milliseconds(lambda: backbone.normalise(crops), given.turns), milliseconds(mixed, given.turns)
    print(f"{given.crops} crops, one thread: {ours:.1f} ms; mixed: {other:.1f} ms, {other / ours:.1f} times as long")


if __name__ == "__main__":
    main()
