"""A long film to captions, measured: `python tests/bench/continuous.py MODEL FILMS [overrides of conf/demo.yaml]`.

MODEL is a run on the embedded corpus (or its export), FILMS the folder of continuous films that `python -m slt.segment`
prints. Its first film of test goes through `slt.inference.films.translate_film`, as slt.demo sends it, and in a second
pass live, at its own pace. Printed are segments (F1 at IoU 0.5, mean IoU), BLEU and chrF over the film, the share of
captions that say who of the two signs, frames/s, and
in the live pass (left out with `--no-live`) the time from the end of a true sentence to its caption.

With `--lengths A B` the film's first A and then, in a process of its own each, first B minutes are translated (looped
where it is shorter), and the peak of memory of both is printed: it must not grow. An hour is `--lengths 6 60`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from memory import loop

from slt.commands.film import open_model
from slt.config.checks import CONF
from slt.corpora.layout import metadata_rows
from slt.corpora.posed import read_lines
from slt.evaluation.metrics import score
from slt.evaluation.segments import paired, score_segments
from slt.evaluation.settings import Conventions
from slt.inference.films import FilmResult, translate_film
from slt.inference.live import translate_live
from slt.inference.sources import FilmSource


class Bench:
    """A model and the extractor of the embedded corpus's films, as slt.demo opens them."""

    def __init__(self, model: Path, films: Path, overrides: list[str]) -> None:
        keys = [f"model={model}", f"source={films}", "extractor=drawn", f"landmarker.films={films}"]
        with initialize_config_dir(str(CONF), version_base=None):
            cfg = compose("demo", [*keys, "other_extractor=true", "headless=true", *overrides])
        opened = open_model(cfg, live=cfg.live)
        self.settings, self.live = opened.reading, opened.live
        self.using: dict[str, Any] = {"translator": opened.translator, "extractor": opened.extractor("the bench")}

    def film(self, path: Path) -> FilmResult:
        """Translate a film from its file."""
        with tempfile.TemporaryDirectory() as folder:
            for news in translate_film(path, **self.using, settings=self.settings, out=Path(folder)):
                if isinstance(news, FilmResult):
                    return news
        raise AssertionError("no result")


def judge(bench: Bench, film: Path, true: list[Any], cuts: list[float]) -> None:
    """Print what came of a film from its file."""
    begin = time.perf_counter()
    result = bench.film(film)
    took = time.perf_counter() - begin
    found = [(one.start, one.end, one.text) for one in result.segments]
    segments = score_segments([([each[:2] for each in found], [each[:2] for each in true])])
    texts = score(paired(found, true), [text for *_, text in true], conventions=Conventions(), bootstrap=0, seed=1)
    line = {"film": film.name, "seconds": round(result.duration), "segments": str(segments)}
    line |= {name: round(texts[name].value, 2) for name in ("bleu", "chrf")}
    turns = np.searchsorted(cuts, [(one.start + one.end) / 2 for one in result.segments], "right")
    line |= {
        "who": float(np.mean([one.signer == 1 + turn % 2 for one, turn in zip(result.segments, turns, strict=True)]))
    }
    frames = result.latency.frames
    line |= {"frames/s": round(frames / took, 1), "peak MiB": peak()}
    print(json.dumps(line), flush=True)


def judge_live(bench: Bench, film: Path, true: list[Any]) -> None:
    """Print how late captions come of a film at its own pace."""
    delays, begun = [], [0.0]

    def hear(caption: Any, partial: bool) -> None:
        both = [min(b, caption.end) - max(a, caption.start) for a, b, _ in true]
        if not partial and max(both) > 0:
            delays.append(time.perf_counter() - begun[0] - true[int(np.argmax(both))][1])

    source = FilmSource(film, fps=None, max_fps=bench.settings.max_fps)
    plain = source.shots

    def shots(stop: Any, ready: Any) -> Any:
        for shot in plain(stop, ready):
            begun[0] = shot.taken - shot.seconds
            yield shot

    source.shots = shots  # type: ignore[method-assign]
    live = translate_live(source, **bench.using, reading=bench.settings, live=bench.live, screen=None, subtitles=None,
                          on_caption=hear)  # fmt: skip
    low, high = np.percentile(delays, (50, 95))
    print(json.dumps({"live": film.name, "captions": len(live.captions), "dropped": live.latency.dropped,
                      "end of sentence to caption, s": [round(low, 2), round(high, 2)]}), flush=True)  # fmt: skip


def endure(bench: Bench, film: Path, minutes: float) -> None:
    """Translate so many minutes of a film; print the peak of memory (resident, of the process) and the speed."""
    with tempfile.TemporaryDirectory() as folder:
        looped = Path(folder) / film.name
        loop(film, 60 * minutes, looped)
        begin = time.perf_counter()
        result = bench.film(looped)
        rate = result.latency.frames / (time.perf_counter() - begin)
    print(json.dumps({"minutes": round(result.duration / 60, 1), "captions": len(result.segments),
                      "frames/s": round(rate, 1), "peak MiB": peak()}), flush=True)  # fmt: skip


def peak() -> int:
    """The most memory that this process has had so far, resident, in MiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Measure a film, or the memory of two lengths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="run or exported folder")
    parser.add_argument("films", type=Path, help="folder of continuous films")
    parser.add_argument("overrides", nargs="*", help="of conf/demo.yaml, as segments=learned segmenter=FILE")
    parser.add_argument("--lengths", type=float, nargs="+", help="minutes; more than one: a process each")
    parser.add_argument("--no-live", action="store_true", help="only from its file")
    args = parser.parse_intermixed_args()
    film = args.films / "films" / "test_00.mp4"
    if args.lengths and len(args.lengths) > 1:
        for minutes in args.lengths:
            command = [sys.executable, __file__, str(args.model), str(args.films), *args.overrides]
            subprocess.run([*command, "--lengths", str(minutes)], check=True)
        return
    bench = Bench(args.model, args.films, args.overrides)
    if args.lengths:
        endure(bench, film, args.lengths[0])
    else:
        true = read_lines(args.films / "captions" / "test_00.srt")
        facts = (row for _, row, _ in metadata_rows(args.films / "metadata.jsonl"))
        fact = next(row for row in facts if row["video_id"] == film.stem)
        judge(bench, film, true, [cut / fact["fps"] for cut in fact["cuts"]])
        if not args.no_live:
            judge_live(bench, film, true)


if __name__ == "__main__":
    main()
