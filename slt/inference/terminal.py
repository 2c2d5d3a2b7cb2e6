"""Films and live sources translated for somebody at a terminal: captions as they come, then files and latency."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import cv2
from tqdm import tqdm

from slt.extraction.regions import Extractor
from slt.extraction.video import Picture
from slt.inference.elan import Elan
from slt.inference.films import FilmResult, refuse_overwriting, translate_film
from slt.inference.live import Live, translate_live
from slt.inference.onnx import SentenceTranslator
from slt.inference.session import Reading
from slt.inference.sources import FilmSource, Source
from slt.inference.subtitles import Caption, Subtitles, clock, describe

TITLE = "slt"
QUIT, PANEL = (27, ord("q")), ord("p")
# Qt ends the whole process where a display is named but cannot be reached, so another process tries first.
_TRIAL = "import cv2; cv2.namedWindow('slt'); cv2.waitKey(1); cv2.destroyAllWindows()"


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
    for path in (result.annotated, result.srt, result.vtt, result.eaf):
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
        srt, vtt, eaf = (out / f"{source.name}.{ending}" for ending in ("srt", "vtt", "eaf"))
        if source.path is not None:
            refuse_overwriting(source.path, [srt, vtt, eaf, *([live.record] if live.record else [])])
        why = "headless=true" if live.headless else why_no_window()
        if why is not None and not live.headless:
            print(f"no window: {why}; going on without one (headless=true says so yourself)")
        out.mkdir(parents=True, exist_ok=True)
        window = stack.enter_context(closing(Window(panel=live.panel))) if why is None else None
        print(f"{source.name}, live at {source.fps:.3g} frames/s; {'q' if window else 'Ctrl+C'} ends", flush=True)
        subtitles = Subtitles(*(stack.enter_context(path.open("wb")) for path in (srt, vtt)))
        elan = Elan()

        def hear(caption: Caption, partial: bool) -> None:
            _say(caption, partial)
            if not partial:
                elan.add(caption)

        result = translate_live(
            source, translator, extractor, reading=settings, live=live, screen=window, subtitles=subtitles,
            on_caption=hear,
        )  # fmt: skip
        elan.write(eaf, source.path)
    print(f"{subtitles.count} caption{'' if subtitles.count == 1 else 's'} in {srt}, {vtt} and {eaf}")
    if live.record is not None and live.record.is_file():
        print(f"wrote {live.record}")
    if dropped := result.latency.dropped:
        print(f"{dropped} of {result.captured} frames were dropped: the machine was too slow for them, and the newest "
              "were taken; a lower max_fps, smaller pictures or fewer search.num_beams help")  # fmt: skip
    for line in result.latency.lines():
        print(f"  {line}")


def _say(caption: Caption, partial: bool) -> None:
    """Print a caption; partial ones on a terminal only, where the next one takes their place."""
    erase = "\r\033[K" if sys.stdout.isatty() else ""
    if not partial:
        print(f"{erase}{describe(caption)}", flush=True)
    elif erase:
        print(erase + f"[{clock(caption.start)} - ...]  {caption.shown} …"[:100], end="", flush=True)


class Window:
    """A `Screen`: q or Esc ends, p shows and hides the panel."""

    def __init__(self, *, panel: bool) -> None:
        self.panel = panel
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        self._sized = False

    def show(self, picture: Picture) -> bool:
        """Show an RGB picture (H, W, 3); return whether to go on."""
        if not self._sized:
            cv2.resizeWindow(TITLE, picture.shape[1], picture.shape[0])
            self._sized = True
        cv2.imshow(TITLE, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        key = cv2.waitKey(1) & 0xFF
        if key == PANEL:
            self.panel = not self.panel
        # A window closed by the mouse is not visible any more.
        return key not in QUIT and cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        cv2.destroyWindow(TITLE)


def why_no_window() -> str | None:
    """Return why no window can be opened here; None where one can."""
    built = [line for line in cv2.getBuildInformation().split("\n") if line.strip().startswith("GUI:")]
    if not any("NONE" not in line for line in built):
        return "this OpenCV was built without windows (opencv-python-headless); pip install opencv-python has them"
    tried = subprocess.run([sys.executable, "-c", _TRIAL], capture_output=True, timeout=60, check=False)
    return None if tried.returncode == 0 else "there is no display here"
