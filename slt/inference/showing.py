"""Films and live sources translated for somebody at a terminal: captions as they come, then files and latency."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from tqdm import tqdm

from slt.extraction.regions import Extractor
from slt.inference.films import FilmResult, refuse_overwriting, translate_film
from slt.inference.live import Live, translate_live
from slt.inference.onnx import SentenceTranslator
from slt.inference.session import Reading
from slt.inference.sources import FilmSource, Source
from slt.inference.subtitles import Caption, Subtitles, clock, describe
from slt.inference.window import Window, why_no_window


def show_films(films: Sequence[Path], show: Callable[[Path], None]) -> int:
    """Show films, one after the other; return 0, or 2 where some of several failed and are listed."""
    failures: dict[str, str] = {}
    for film in films:
        print(f"\n{film}", flush=True)
        try:
            show(film)
        except (ValueError, OSError) as error:
            if len(films) == 1:
                raise
            failures[film.name] = str(error)
            print(f"  failed: {error}", flush=True)
    if failures:
        print(f"\n{len(failures)} of {len(films)} films failed:")
        for name, reason in failures.items():
            print(f"  {name}: {reason}")
    return 2 if failures else 0


def show_film(
    film: Path, *, translator: SentenceTranslator, extractor: Extractor, settings: Reading, out: Path
) -> None:
    """Translate a film into its files in `out`; print captions as they come, then what was seen and the latency."""
    # A bar on a terminal only: in a file it would be a thousand lines.
    with (
        tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {postfix}", disable=not sys.stderr.isatty()) as bar,
        closing(translate_film(film, translator, extractor, settings=settings, out=out)) as news,
    ):
        for update in news:
            if isinstance(update, FilmResult):
                result = update
                break
            bar.n = min(100, round(100 * update.seconds / max(update.duration, 1e-9)))
            bar.set_postfix_str(f"{update.stage} {clock(update.seconds)} of {clock(update.duration)}")
            if update.stage == "translation":
                bar.write(describe(update.segments[-1]), file=sys.stdout)
                sys.stdout.flush()
    if not result.segments:
        print("no signing was found: no hand was raised and moved; segments=whole takes all of a film as one sentence")
    seen = {name: (marks > 0).mean() for name, marks in result.seen.items()}
    print("seen: " + ", ".join(f"{name} {share:.0%}" for name, share in seen.items()))
    for path in (result.annotated, result.srt, result.vtt):
        if path is not None:
            print(f"wrote {path}")
    # Nothing is dropped, and the annotated copy is drawn after all else.
    rate = f"{result.latency.rate:.1f} frames/s through landmarks, crops and translation"
    for line in [*result.latency.lines()[:-2], rate]:
        print(f"  {line}")


def show_live(
    source: Source | Path,
    *,
    translator: SentenceTranslator,
    extractor: Extractor,
    settings: Reading,
    live: Live,
    out: Path,
) -> None:
    """Translate a live source, or a film at its own pace, in a window where one can be; its captions go to `out`."""
    if isinstance(source, Path):
        source = FilmSource(source, fps=settings.fps, max_fps=settings.max_fps)
    with ExitStack() as stack:
        stack.callback(source.close)
        srt, vtt = (out / f"{source.name}.{ending}" for ending in ("srt", "vtt"))
        if source.path is not None:
            refuse_overwriting(source.path, [srt, vtt, *([live.record] if live.record else [])])
        why = "headless=true" if live.headless else why_no_window()
        if why is not None and not live.headless:
            print(f"no window: {why}; going on without one (headless=true says so yourself)")
        out.mkdir(parents=True, exist_ok=True)
        window = stack.enter_context(closing(Window(panel=live.panel))) if why is None else None
        print(f"{source.name}, live at {source.fps:.3g} frames/s; {'q' if window else 'Ctrl+C'} ends", flush=True)
        subtitles = Subtitles(*(stack.enter_context(path.open("wb")) for path in (srt, vtt)))
        result = translate_live(
            source, translator, extractor, reading=settings, live=live, screen=window, subtitles=subtitles,
            on_caption=_say,
        )  # fmt: skip
    print(f"{subtitles.count} caption{'' if subtitles.count == 1 else 's'} in {srt} and {vtt}")
    if live.record is not None and live.record.is_file():
        print(f"wrote {live.record}")
    if result.dropped:
        print(f"{result.dropped} of {result.captured} frames were dropped: the machine was too slow for them, and the "
              "newest were taken; a lower max_fps, smaller pictures or fewer search.num_beams help")  # fmt: skip
    for line in result.latency.lines():
        print(f"  {line}")


def _say(caption: Caption, partial: bool) -> None:
    """Print a caption; partial ones on a terminal only, where the next one takes their place."""
    erase = "\r\033[K" if sys.stdout.isatty() else ""
    if not partial:
        print(f"{erase}{describe(caption)}", flush=True)
    elif erase:
        print(erase + f"[{clock(caption.start)} - ...]  {caption.text} …"[:100], end="", flush=True)
