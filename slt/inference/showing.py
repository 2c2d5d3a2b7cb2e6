"""Films and live sources translated for somebody at a terminal: captions as they come, then files and latency."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from slt.extraction.regions import Extractor
from slt.inference.films import Reading, Update, refuse_overwriting, translate_film
from slt.inference.latency import Latency
from slt.inference.live import Live, LiveResult, translate_live
from slt.inference.onnx import SentenceTranslator
from slt.inference.sources import LiveSource, PacedFilm
from slt.inference.subtitles import Caption, SubtitleFiles, clock, describe
from slt.inference.window import Window, why_no_window


def show_films(films: Sequence[Path], show: Callable[[Path], None]) -> int:
    """Show films, one after the other; return 0, or 2 where some of several failed and are listed.

    Raises:
        FileNotFoundError, ValueError: the only film cannot be translated; see `translate_film`.
    """
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
    """Translate a film into its files in `out`; print captions as they come, then what was seen and how long it took.

    Raises:
        FileNotFoundError, ValueError: see `translate_film`.
    """
    # A bar on a terminal only: in a file it would be a thousand lines.
    with tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {postfix}", disable=not sys.stderr.isatty()) as bar:

        def tell(update: Update) -> None:
            bar.n = min(100, round(100 * update.seconds / max(update.duration, 1e-9)))
            bar.set_postfix_str(f"{update.stage} {clock(update.seconds)} of {clock(update.duration)}")
            if update.stage == "translation":
                bar.write(describe(update.segments[-1]), file=sys.stdout)
                sys.stdout.flush()

        result = translate_film(film, translator, extractor, settings=settings, out=out, on_update=tell)
    if not result.segments:
        print("no signing was found: no hand was raised and moved; segments=whole takes all of a film as one sentence")
    seen = {name: (marks > 0).mean() for name, marks in result.seen.items()}
    print("seen: " + ", ".join(f"{name} {share:.0%}" for name, share in seen.items()))
    for path in (result.annotated, result.srt, result.vtt):
        if path is not None:
            print(f"wrote {path}")
    print_latency(result.latency, live=False)


def show_live(
    source: LiveSource | Path,
    *,
    translator: SentenceTranslator,
    extractor: Extractor,
    settings: Reading,
    live: Live,
    out: Path,
) -> None:
    """Translate a live source, or a film at its own pace, in a window where there can be one; its captions go to `out`.

    Raises:
        FileNotFoundError, ValueError: no such film, or see `translate_live`.
    """
    if isinstance(source, Path):
        source = PacedFilm(source, fps=settings.fps, max_fps=settings.max_fps)
    try:
        srt, vtt = (out / f"{source.name}.{ending}" for ending in ("srt", "vtt"))
        if isinstance(source, PacedFilm):
            refuse_overwriting(source.path, [srt, vtt, *([live.record] if live.record else [])])
        why = "headless=true" if live.headless else why_no_window()
        if why is not None and not live.headless:
            print(f"no window: {why}; going on without one (headless=true says so yourself)")
        out.mkdir(parents=True, exist_ok=True)
        window = Window(panel=live.panel) if why is None else None
        print(f"{source.name}, live at {source.fps:.3g} frames/s; {'q' if window else 'Ctrl+C'} ends", flush=True)
        try:
            with SubtitleFiles(srt=srt, vtt=vtt) as subtitles:
                result = translate_live(
                    source, translator, extractor, reading=settings, live=live, screen=window, subtitles=subtitles,
                    on_caption=_say,
                )  # fmt: skip
        finally:
            if window is not None:
                window.close()
    finally:
        source.close()
    _sum_up(result, subtitles, live.record)


def _say(caption: Caption, partial: bool) -> None:
    """Print a caption; partial ones on a terminal only, where the next one takes their place."""
    if not sys.stdout.isatty():
        if not partial:
            print(describe(caption), flush=True)
        return
    erase = "\r\033[K"
    if partial:
        print(erase + f"[{clock(caption.start)} - ...]  {caption.text} …"[:100], end="", flush=True)
    else:
        print(f"{erase}{describe(caption)}", flush=True)


def _sum_up(result: LiveResult, subtitles: SubtitleFiles, record: Path | None) -> None:
    count = subtitles.count
    print(f"{count} caption{'' if count == 1 else 's'} in {subtitles.srt} and {subtitles.vtt}")
    if record is not None and record.is_file():
        print(f"wrote {record}")
    if result.dropped:
        print(f"{result.dropped} of {result.captured} frames were dropped: the machine was too slow for them, and the "
              "newest were taken; a lower max_fps, smaller pictures or fewer search.num_beams help")  # fmt: skip
    print_latency(result.latency, live=True)


def print_latency(latency: Latency, *, live: bool) -> None:
    """Print the panel."""
    # Of a film nothing is dropped, and its annotated copy is drawn after all else.
    for line in latency.lines() if live else latency.lines()[:-2]:
        print(f"  {line}")
    if not live:
        print(f"  {latency.rate:.1f} frames/s through landmarks, crops and translation")
