"""The speed of the suite as ratios of one run, each beside its measure on the same machine: `make bench`.

    python tests/bench/table.py [--film FILM ...] [--only WORD]

Start-up beside `import torch`; updates beside a bare loop (`gpu.py`); masks beside torch's; sentences beside
transformers' `generate`; the embedded corpus by one process and by one a core; with films, extraction and live beside
the landmarkers alone. The table goes to experiments/results/speed.csv and to standard output. A ratio is of two times
taken in turns, so that it can be compared over machines; their figures are those of this one on this day.
"""

from __future__ import annotations

import slt  # noqa: F401  # isort: skip  before torch, because it sets how OpenMP's threads wait

import argparse
import csv
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gpu
import torch
from export import in_turns
from omegaconf import OmegaConf
from transformers.modeling_outputs import BaseModelOutput

from slt.config.checks import HOME
from slt.inference import OnnxTranslator
from slt.models import TextSeq2SeqDecoder
from slt.models.search import Search
from slt.models.tokenizer import train_tokenizer
from slt.streams.sample import Inputs
from slt.synthetic import corpus_folder
from slt.training.machine import choose_device
from slt.training.masks import bernoulli_
from slt.workers import cores

BENCH = Path(__file__).parent
FAMILIES: dict[str, dict[str, Any]] = {
    "bart": {"d_model": 128, "encoder_layers": 0, "decoder_layers": 2, "decoder_attention_heads": 4,
             "decoder_ffn_dim": 512, "max_position_embeddings": 512},
    "t5": {"d_model": 128, "d_kv": 32, "num_heads": 4, "d_ff": 512, "num_layers": 2,
           "feed_forward_proj": "gated-gelu"},
}  # fmt: skip


class Row(NamedTuple):
    """A line of the table."""

    work: str
    measured: str
    beside: str
    ratio: float
    meaning: str  # of the ratio


def run(*words: str, where: str | None = None) -> str:
    """What a command of Python prints on standard output."""
    return subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True, cwd=where).stdout


def starts(folder: str) -> Iterator[Row]:
    """Screens and the quick look, each in a process of its own."""
    commands = {
        "--help": ("-m", "slt.train", "--help"),
        "--cfg job": ("-m", "slt.train", "--cfg", "job"),
        "debug=fast": ("-m", "slt.train", "debug=fast", "wandb.mode=disabled", f"hydra.run.dir={folder}/fast"),
    }
    calls = {"import torch": partial(run, "-c", "import torch")}
    found = in_turns(calls | {name: partial(run, *words, where=folder) for name, words in commands.items()}, 3)
    for name in commands:
        yield Row(name, f"{found[name]:.2f} s", f"import torch {found['import torch']:.2f} s",
                  found[name] / found["import torch"], "times as long")  # fmt: skip


def updates(device: torch.device, seconds: float) -> Iterator[Row]:
    """Products of matrices, and whole updates of slt's own loop beside a bare one."""
    top, full = gpu.peak(device), gpu.peak(device, torch.float32)
    yield Row("products of matrices, bfloat16", f"{top / 1e9:.0f} GFLOP/s", f"float32 {full / 1e9:.0f} GFLOP/s",
              top / full, "times as fast")  # fmt: skip
    for make in gpu.works(device):
        work = make()
        found = gpu.compare(work, device, seconds, top)
        ours, bare = (f"{value:.1f} {work.unit}/s" for value in (found.ours, found.plain))
        yield Row(f"update, {work.name}", ours, f"bare {bare}", found.ratio, "times as fast")
        ours, bare = map(str, found.kernels)
        yield Row(
            f"operations, {work.name}", ours, f"bare {bare}", found.kernels[0] / found.kernels[1], "times as many"
        )


def masks() -> Iterator[Row]:
    """A mask of 3.3 million numbers on a processor."""
    x = torch.empty(32, 100, 1024, dtype=torch.bfloat16)
    found = in_turns({"torch": lambda: x.bernoulli_(0.9), "ours": lambda: bernoulli_(x, 0.9)}, 20)
    yield Row("dropout mask", f"{1000 * found['ours']:.2f} ms", f"torch {1000 * found['torch']:.2f} ms",
              found["torch"] / found["ours"], "times as fast")  # fmt: skip


def generated(decoder: TextSeq2SeqDecoder, memory: torch.Tensor, present: torch.Tensor, search: Search) -> None:
    """The search of transformers."""
    tokens = decoder.tokens
    with torch.inference_mode():
        decoder.model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=decoder.encode(memory, present)),
            attention_mask=present.long(), decoder_start_token_id=tokens.start, pad_token_id=tokens.pad,
            eos_token_id=tokens.eos, num_beams=search.num_beams, length_penalty=search.length_penalty,
            max_new_tokens=search.max_tokens, do_sample=False,
        )  # fmt: skip


def sentences() -> Iterator[Row]:
    """Sentences of 24 tokens by the search of validation and evaluation."""
    words = [f"palabra{number}" for number in range(300)]
    tokenizer = train_tokenizer([" ".join(words[i::40]) for i in range(40)], kind="bpe", vocab_size=300)
    for family, config in FAMILIES.items():
        torch.manual_seed(0)
        decoder = TextSeq2SeqDecoder(
            embed_dim=128, tokenizer=tokenizer, architecture=family, pretrained=None, config=config,
            text_encoder=False, prompt=None, language=None, max_tokens=24,
        ).eval()  # fmt: skip
        for clips in (1, 32):
            memory, present = torch.randn(clips, 24, 128), torch.arange(24) < torch.randint(12, 25, (clips, 1))
            for beams in (1, 4):
                search = Search(num_beams=beams, length_penalty=1.0, max_tokens=24, nbest=1)
                found = in_turns({
                    "ours": partial(decoder.generate, memory, present, search),
                    "theirs": partial(generated, decoder, memory, present, search),
                }, 4)  # fmt: skip
                ours, theirs = (f"{1000 * found[name]:.0f} ms" for name in ("ours", "theirs"))
                yield Row(f"search, {family}, {clips} clips, {beams} beams", ours, f"generate {theirs}",
                          found["theirs"] / found["ours"], "times as fast")  # fmt: skip


def exported(folder: str) -> Iterator[Row]:
    """Sentences of the run that `starts` has left, exported, at batch 1."""
    run("-m", "slt.export", "checkpoint=fast", "out=exported", "parity.batches=1", "parity.limit=1", where=folder)
    translator = OnnxTranslator(Path(folder) / "exported")
    streams = {stream.name: torch.zeros(20, *stream.shape, dtype=getattr(torch, stream.dtype)).numpy()
               for stream in translator.streams}  # fmt: skip
    clip = Inputs(streams, {name: torch.ones(20, dtype=torch.bool).numpy() for name in streams})
    encoded = translator.encode([clip])
    from slt.commands.export import open_run

    trained, _ = open_run(Path(folder) / "fast")
    decoder = trained.translator.decoder.eval()
    memory, present = torch.randn(1, 20, decoder.norm.normalized_shape[0]), torch.ones(1, 20, dtype=torch.bool)
    for beams in (1, 4):
        search = Search(num_beams=beams, length_penalty=1.0, max_tokens=24, nbest=1)
        found = in_turns({
            "ours": partial(translator.write, encoded, num_beams=beams, max_tokens=24),
            "theirs": partial(generated, decoder, memory, present, search),
        }, 6)  # fmt: skip
        ours, theirs = (f"{1000 * found[name]:.1f} ms" for name in ("ours", "theirs"))
        yield Row(f"exported sentence, {beams} beams", ours, f"generate {theirs}", found["theirs"] / found["ours"],
                  "times as fast")  # fmt: skip


def corpus(folder: str) -> Iterator[Row]:
    """The embedded corpus by one process, and by one a core."""
    keys: Any = OmegaConf.to_container(gpu.configuration("train", ()).dataset.root, resolve=True)
    keys = {key: value for key, value in keys.items() if not key.startswith("_")}
    keys |= {"clips": {"train": 240, "val": 10, "test": 10}, "progress": False}

    def write(workers: int) -> float:
        begin = time.perf_counter()
        corpus_folder(**keys | {"cache": tempfile.mkdtemp(dir=folder), "workers": workers})
        return 260 / (time.perf_counter() - begin)

    one, every = write(1), write(cores())
    yield Row(f"embedded corpus, {cores()} processes", f"{every:.0f} clips/s", f"one process {one:.0f} clips/s",
              every / one / cores(), "of a process's rate each")  # fmt: skip


def films(paths: Sequence[Path], folder: str) -> Iterator[Row]:
    """Extraction and live, by their own benches."""
    counts = [str(count) for count in sorted({1, cores()})]
    for path in paths:
        lines = run(str(BENCH / "extraction.py"), str(path), "--processes", *counts, "--turns", "3")
        lines += run(str(BENCH / "live.py"), str(Path(folder) / "exported"), str(path), "--turns", "3")
        alone = ""
        for line in map(as_json, lines.splitlines()):
            if line.get("way") == "alone":
                alone = f"alone {line['frames/s']} frames/s"
            elif "ratio" in line:
                many = f", {line['processes']} processes" if "processes" in line else ""
                yield Row(f"{line['way']}{many}, {path.name}", f"{line['frames/s']} frames/s", alone, line["ratio"],
                          "times as fast")  # fmt: skip


def as_json(line: str) -> dict[str, Any]:
    """A line of JSON as a mapping; others as an empty one."""
    return json.loads(line) if line.startswith("{") else {}


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--film", type=Path, nargs="*", default=[], help="without one, neither extraction nor live")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each rate of updates")
    parser.add_argument("--only", default="", help="parts whose names hold this, of: starts updates masks ...")
    parser.add_argument("--out", type=Path, default=HOME / "experiments" / "results" / "speed.csv")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        parts: dict[str, Callable[[], Iterator[Row]]] = {
            "starts": partial(starts, folder),
            "exported": partial(exported, folder),
            "sentences": sentences,
            "masks": masks,
            "updates": partial(updates, choose_device(given.device), given.seconds),
            "corpus": partial(corpus, folder),
            "films": partial(films, [path.resolve() for path in given.film], folder),
        }
        rows = []
        print(f"{machine()}\n\n| work | measured | beside | ratio | which is |\n|---|---|---|---|---|")
        for name, part in parts.items():
            for row in part() if re.search(given.only, name) else ():
                rows.append(row)
                print(f"| {row.work} | {row.measured} | {row.beside} | {row.ratio:.2f} | {row.meaning} |", flush=True)
    if not given.only:
        with given.out.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow([*Row._fields, "machine"])
            table.writerows([*row[:3], f"{row.ratio:.3f}", row.meaning, machine()] for row in rows)
        print(f"\ntable: {os.path.relpath(given.out)}")


def machine() -> str:
    """What it ran on, in words."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if sys.platform == "linux" else None
    gpus = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{found[1] if found else platform.processor()}, {cores()} cores, {gpus}, torch {torch.__version__}"


if __name__ == "__main__":
    main()
