"""What OpenMP's threads cost where they spin at a barrier: `python tests/bench/threads.py`.

Times a training-like step (convolutions over frames, then a small transformer) beside one busy process, which stands
for the loader or for anything else on the same cores, once with OpenMP's own spinning and once with the short spinning
(GOMP_SPINCOUNT) that `slt/__init__.py` sets. It is read when torch is loaded, so each timing is a process of its own,
and none imports slt. N frames, B clips, T frames a clip.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time


def step_seconds(seconds: float) -> float:
    """Return the median seconds of a step over `seconds`, after the first five."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    convolutions = nn.Sequential(
        nn.Conv2d(3, 32, 4, stride=4), nn.GELU(), nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.GELU(), nn.Flatten(),
        nn.Linear(64 * 25, 128),
    )  # fmt: skip
    layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True)
    model = nn.ModuleList([convolutions, nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)])
    optimizer = torch.optim.AdamW(model.parameters())
    crops = torch.rand(16 * 24, 3, 40, 40)  # (N, 3, R, R), N = B x T
    times: list[float] = []
    while sum(times[5:]) < seconds:
        begin = time.perf_counter()
        loss = model[1](model[0](crops).view(16, 24, 128)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[5:])


def timed(spin: str | None, seconds: float) -> float:
    """Return the step's median seconds in a process with this GOMP_SPINCOUNT, beside a busy one."""
    environment = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment |= {"GOMP_SPINCOUNT": spin} if spin else {}
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        command = [sys.executable, __file__, "--seconds", str(seconds), "--timed"]
        return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    finally:
        busy.kill()
        busy.wait()


def main() -> None:
    """Measure both in turns and print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each timing")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--timed", action="store_true", help="(used by the script itself)")
    args = parser.parse_args()
    if args.timed:
        print(step_seconds(args.seconds))
        return
    turns = [(timed(None, args.seconds), timed("2000", args.seconds)) for _ in range(args.turns)]
    own, short = (statistics.median(times) for times in zip(*turns, strict=True))
    print(f"{os.cpu_count()} cores, one of them kept busy; median step of {args.turns} turns of {args.seconds:g} s")
    print(f"  own spinning    {1000 * own:8.1f} ms\n  short spinning  {1000 * short:8.1f} ms")
    print(f"  a step takes {own / short:.2f} times as long with its own spinning")


if __name__ == "__main__":
    main()
