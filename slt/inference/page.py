"""What the web page says and draws: texts in two languages, sentences, and when each stream was seen (T frames).

Plain strings of HTML and SVG; what a model, a film's name or a browser said is escaped.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from slt.inference.films import FilmResult, Update
from slt.inference.overlay import COLOURS
from slt.inference.subtitles import Caption, clock
from slt.streams.pose import DETECTED, FOLLOWED

LANGUAGES = ("en", "es")  # the first is what others get
TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "title": "Sign language to text",
        "about": "# Sign language to text\nEverything is done on this machine. Films are deleted once they have been "
        "translated, and results when this page is closed.",
        "film_tab": "A film",
        "camera_tab": "Live camera",
        "film": "Film (drop one here, or record one)",
        "translate": "Translate",
        "limits": "Up to {seconds:g} s and {mb} MB.",
        "annotated": "Film with boxes, landmarks and sentence",
        "srt": "Subtitles (SRT)",
        "vtt": "Subtitles (WebVTT)",
        "camera": "Camera",
        "live_about": "Start the camera, put your hands down for two seconds, and sign.",
        "sentence": "Sentence",
        "nothing_yet": "The sentence will stand here.",
        "nbest": "Most likely sentences (n-best)",
        "place": "No.",
        "score": "Score",
        "score_about": "Log-probability by length: the nearer to 0, the surer.",
        "timeline": "When each stream was seen",
        "seconds": "s",
        "sentences": "sentences",
        "face": "face",
        "left_hand": "left hand",
        "right_hand": "right hand",
        "pose": "pose",
        "seen_2": "followed by its arm",
        "seen_1": "seen",
        "seen_0": "not seen",
        "timings": "How long it took",
        "waiting": "Somebody else's film is being translated; yours is next.",
        "opening": "Looking for the person who signs",
        "landmarks": "Finding hands, face and pose",
        "translation": "Translating",
        "drawing": "Drawing the film",
        "of": "{done} of {all}",
        "no_film": "Choose a film first, or record one with the camera.",
        "gone": "This film is not here any more; choose it again.",
        "not_a_film": "{name} cannot be read as a film. MP4, MOV, WebM, MKV and AVI can; export or copy it again.",
        "too_long": "{name} is longer than the {limit:g} s that this page takes. Cut it shorter.",
        "nobody": "Nobody was found in {name}. The signer has to be seen from the head to the hips, with both hands.",
        "no_signing": "No signing was found in {name}: no hand was raised and moved.",
        "failed": "{name} could not be translated: {reason}",
        "ours": "{name} could not be translated. It is a fault of this program; where it was started it says more.",
        "live_waiting": "The camera has to wait: a film is being translated.",
        "live_looking": "Looking for you; stand so that head, hips and both hands can be seen.",
    },
    "es": {
        "title": "De lengua de señas a texto",
        "about": "# De lengua de señas a texto\nTodo se hace en esta máquina. Los videos se borran después de "
        "traducirlos, y los resultados al cerrar esta página.",
        "film_tab": "Un video",
        "camera_tab": "Cámara en vivo",
        "film": "Video (arrastralo hasta acá o grabá uno)",
        "translate": "Traducir",
        "limits": "Hasta {seconds:g} s y {mb} MB.",
        "annotated": "Video con recuadros, puntos y oración",
        "srt": "Subtítulos (SRT)",
        "vtt": "Subtítulos (WebVTT)",
        "camera": "Cámara",
        "live_about": "Encendé la cámara, dejá las manos abajo dos segundos y empezá a señar.",
        "sentence": "Oración",
        "nothing_yet": "Acá va a aparecer la oración.",
        "nbest": "Oraciones más probables (n-best)",
        "place": "N.º",
        "score": "Puntaje",
        "score_about": "Logaritmo de la probabilidad, según el largo: cuanto más cerca de 0, más seguro.",
        "timeline": "Cuándo se vio cada parte",
        "seconds": "s",
        "sentences": "oraciones",
        "face": "cara",
        "left_hand": "mano izq.",
        "right_hand": "mano der.",
        "pose": "cuerpo",
        "seen_2": "seguida por el brazo",
        "seen_1": "vista",
        "seen_0": "no vista",
        "timings": "Cuánto tardó",
        "waiting": "Se está traduciendo el video de otra persona; después sigue el tuyo.",
        "opening": "Buscando a la persona que seña",
        "landmarks": "Buscando manos, cara y cuerpo",
        "translation": "Traduciendo",
        "drawing": "Dibujando el video",
        "of": "{done} de {all}",
        "no_film": "Primero elegí un video, o grabá uno con la cámara.",
        "gone": "Este video ya no está; elegilo otra vez.",
        "not_a_film": "{name} no se puede leer como video. Sirven MP4, MOV, WebM, MKV y AVI; exportalo o copialo otra "
        "vez.",
        "too_long": "{name} dura más que los {limit:g} s que acepta esta página. Acortalo.",
        "nobody": "No se encontró a nadie en {name}. Quien seña tiene que verse desde la cabeza hasta la cadera, con "
        "las dos manos.",
        "no_signing": "No se encontraron señas en {name}: ninguna mano se levantó y se movió.",
        "failed": "No se pudo traducir {name}: {reason}",
        "ours": "No se pudo traducir {name}. Es una falla de este programa; donde se lo inició dice más.",
        "live_waiting": "La cámara tiene que esperar: se está traduciendo un video.",
        "live_looking": "Buscándote; ubicate de modo que se vean cabeza, cadera y las dos manos.",
    },
}

# Shares of the whole that the two passes over a film take; only for the bar.
LANDMARKS_SHARE = 0.8

# The timeline, in units that are pixels on a wide screen.
WIDTH, LEFT, RIGHT, ROW, BAR, TOP = 720, 92, 56, 32, 18, 8
MOST_TICKS = 9

CSS = """
.gradio-container { --slt-faint: #57606a; width: 100%; }
.dark .gradio-container, .gradio-container.dark { --slt-faint: #a9b1bd; }
.gradio-container > .main { width: 100%; max-width: 1280px; margin: 0 auto; padding-top: 10px; }
.gradio-container .html-container { padding: 0; }
.block:has(> .html-container > div:empty) { display: none; }
#about h1 { margin: 0; }
.slt-card { border: 1px solid var(--border-color-primary); border-radius: 10px; padding: 12px 18px;
            background: var(--background-fill-primary); color: var(--body-text-color); }
.slt-card h2 { margin: 0 0 4px; font-size: 15px; font-weight: 600; color: var(--slt-faint); }
.slt-sentence { margin: 0; font-size: 34px; line-height: 1.25; font-weight: 600; overflow-wrap: anywhere;
                color: var(--body-text-color); }
.slt-sentence.slt-many { font-size: 24px; margin-bottom: 6px; }
.slt-empty { font-size: 20px; font-weight: 400; color: var(--slt-faint); }
.slt-partial { font-style: italic; font-weight: 400; color: var(--slt-faint); }
.slt-time { font-size: 14px; font-weight: 400; color: var(--slt-faint); margin-right: 10px;
            font-variant-numeric: tabular-nums; white-space: nowrap; }
.slt-card table { width: 100%; border-collapse: collapse; font-size: 16px; margin: 0; border: 0 !important; }
.slt-card tr { border: 0 !important; }
.slt-card th, .slt-card td { text-align: left; padding: 4px 8px 4px 0 !important; vertical-align: baseline;
                             border: 0 !important; border-top: 1px solid var(--border-color-primary) !important; }
.slt-card thead th { font-weight: 400; border-top: 0 !important; font-size: 13px; color: var(--slt-faint); }
.slt-card td.slt-number, .slt-card th.slt-number { text-align: right; white-space: nowrap;
                                                   font-variant-numeric: tabular-nums; }
.slt-card tbody td { overflow-wrap: anywhere; }
.slt-small { font-size: 13px; color: var(--slt-faint); margin: 6px 0 0; }
.slt-message { border-left: 5px solid #d55e00; background: var(--background-fill-secondary); padding: 12px 16px;
               border-radius: 6px; font-size: 18px; color: var(--body-text-color); overflow-wrap: anywhere; }
.slt-progress { padding: 4px 0; color: var(--body-text-color); }
.slt-progress progress { width: 100%; height: 8px; appearance: none; border: 0; border-radius: 4px; overflow: hidden;
                         background: var(--border-color-primary); color: #0072b2; }
.slt-progress progress::-webkit-progress-bar { background: var(--border-color-primary); }
.slt-progress progress::-webkit-progress-value { background: #0072b2; }
.slt-progress progress::-moz-progress-bar { background: #0072b2; }
.slt-progress p { margin: 0; display: flex; justify-content: space-between; gap: 12px;
                  font-variant-numeric: tabular-nums; }
.slt-scroll { overflow-x: auto; }
.slt-scroll svg { width: 100%; min-width: 520px; height: auto; display: block; }
.slt-scroll text { fill: var(--body-text-color); font-size: 13px; font-family: inherit; }
.slt-scroll .slt-faint { fill: var(--slt-faint); }
.slt-card details pre { font-size: 12px; margin: 8px 0 0; overflow-x: auto; }
.slt-card summary { cursor: pointer; font-size: 14px; color: var(--slt-faint); }
.slt-live img { width: 100%; border-radius: 8px; display: block; }
"""


def language(accepted: str | None) -> str:
    """Return the language to write in, by what a browser accepts (`es-AR,es;q=0.9,en;q=0.8`): its first one of ours."""
    wishes = []
    for place, wish in enumerate((accepted or "").split(",")):
        name, _, quality = wish.strip().partition(";q=")
        try:
            wishes.append((-float(quality or 1), place, name.split("-")[0].lower()))
        except ValueError:
            continue
    return next((name for _, _, name in sorted(wishes) if name in LANGUAGES), LANGUAGES[0])


def message(text: str) -> str:
    """Return what went wrong, as the page shows it."""
    return f'<div class="slt-message" id="slt-message" role="alert">{escape(text)}</div>'


def notice(text: str) -> str:
    """Return what is going on where nothing can be counted."""
    return f'<div class="slt-progress" id="slt-progress" role="status"><p>{escape(text)}</p><progress></progress></div>'


def progress(update: Update, text: Mapping[str, str], *, name: str) -> str:
    """Return how far a film is, which is gone through twice: for its sentences, and to be drawn on.

    Args:
        update: what the translation last told.
        text: of a language.
        name: of the film.
    """
    share = min(update.seconds / max(update.duration, 1e-9), 1.0)
    whole = LANDMARKS_SHARE * share
    if update.stage == "drawing":
        whole = LANDMARKS_SHARE + (1 - LANDMARKS_SHARE) * share
    far = text["of"].format(done=clock(min(update.seconds, update.duration)), all=clock(update.duration))
    said = f"<span>{escape(name)}: {text[update.stage]}</span><span>{far}</span>"
    return (f'<div class="slt-progress" id="slt-progress" role="status"><p>{said}</p>'
            f'<progress max="1" value="{whole:.3f}"></progress></div>')  # fmt: skip


def sentences(captions: Sequence[Caption], text: Mapping[str, str]) -> str:
    """Return the sentences, large: one alone, or several with their times."""
    if not captions:
        said = f'<p class="slt-sentence slt-empty">{text["nothing_yet"]}</p>'
    elif len(captions) == 1:
        said = f'<p class="slt-sentence">{escape(captions[0].text)}</p>'
    else:
        said = "".join(
            f'<p class="slt-sentence slt-many"><span class="slt-time">{_times(one)}</span>{escape(one.text)}</p>'
            for one in captions
        )
    return (
        f'<section class="slt-card" id="slt-sentences" aria-live="polite"><h2>{text["sentence"]}</h2>{said}</section>'
    )


def live_sentences(captions: Sequence[Caption], partial: Caption | None, text: Mapping[str, str]) -> str:
    """Return what a camera's visitor signed: the running sentence, or the last one, large, and those before it."""
    said = [*captions, *([] if partial is None else [partial])]
    if not said:
        return sentences((), text)
    way = "slt-sentence" if partial is None else "slt-sentence slt-partial"
    dots = "" if partial is None else " …"
    before = "".join(f'<p class="slt-small">{escape(one.text)}</p>' for one in reversed(said[:-1]))
    return (f'<section class="slt-card" id="slt-live" aria-live="polite"><h2>{text["sentence"]}</h2>'
            f'<p class="{way}">{escape(said[-1].text)}{dots}</p>{before}</section>')  # fmt: skip


def live_picture(drawn: str, text: Mapping[str, str]) -> str:
    """Return the last drawn picture of a camera, which comes as a data URL."""
    return f'<div class="slt-live"><img src="{drawn}" alt="{text["annotated"]}"></div>'


def nbest(captions: Sequence[Caption], text: Mapping[str, str]) -> str:
    """Return for each segment its sentences, best first, with their scores; segments but the only one are folded."""
    if not captions:
        return ""
    tables = [_nbest_table(one, text) for one in captions]
    if len(captions) > 1:
        tables = [f'<details><summary><span class="slt-time">{_times(one)}</span>{escape(one.text)}</summary>{table}'
                  "</details>" for one, table in zip(captions, tables, strict=True)]  # fmt: skip
    note = f'<p class="slt-small">{text["score_about"]}</p>'
    return f'<section class="slt-card" id="slt-nbest"><h2>{text["nbest"]}</h2>{"".join(tables)}{note}</section>'


def _nbest_table(caption: Caption, text: Mapping[str, str]) -> str:
    head = f'<tr><th scope="col">{text["place"]}</th><th scope="col">{text["sentence"]}</th>' \
           f'<th scope="col" class="slt-number">{text["score"]}</th></tr>'  # fmt: skip
    rows = []
    for place, one in enumerate(caption.hypotheses, 1):
        said = escape(unicodedata.normalize("NFC", one.text).strip() or "…")
        score = f"{one.score:.3f}".replace("-", "−")
        rows.append(f'<tr><td>{place}</td><td>{said}</td><td class="slt-number">{score}</td></tr>')
    return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def _times(caption: Caption) -> str:
    return f"{clock(caption.start)} – {clock(caption.end)}"


def timings(result: FilmResult, text: Mapping[str, str]) -> str:
    """Return what each stage took, folded."""
    lines = "\n".join(result.latency.lines()[:-1])
    return (f'<section class="slt-card"><details><summary>{text["timings"]}</summary><pre>{escape(lines)}</pre>'
            "</details></section>")  # fmt: skip


def runs(marks: NDArray[np.uint8]) -> list[tuple[int, int, int]]:
    """Return marks (T,) as (mark, first frame, frame after the last), one after the other."""
    if not len(marks):
        return []
    edges = [0, *(np.flatnonzero(np.diff(marks.astype(int))) + 1).tolist(), len(marks)]
    return [(int(marks[a]), a, b) for a, b in pairwise(edges)]


def ticks(duration: float) -> list[float]:
    """Return the seconds at which the axis is marked, at most ten of them, from 0 on."""
    steps = [unit * ten for ten in (0.1, 1, 10) for unit in (1, 2, 5)] + [60.0 * n for n in (1, 2, 5, 10, 20, 60, 120)]
    step = next((step for step in steps if duration / step <= MOST_TICKS), steps[-1])
    return [round(n * step, 6) for n in range(int(duration / step + 1e-6) + 1)]


def timeline(
    seen: Mapping[str, NDArray[np.uint8]], captions: Sequence[Caption], duration: float, text: Mapping[str, str]
) -> str:
    """Draw when each stream was seen, against seconds: full bars, half and hatched ones, and a thin line for none.

    Args:
        seen: stream -> marks uint8 (T,), as in `FilmResult`.
        captions: the segments.
        duration: of T frames, seconds.
        text: of a language.
    """
    inner = WIDTH - LEFT - RIGHT
    per_second = inner / max(duration, 1e-9)
    rows = [_segments_row(captions, per_second, text)]
    about = []
    for number, (name, marks) in enumerate(seen.items(), 1):
        share = float((marks > 0).mean()) if len(marks) else 0.0
        rows.append(_stream_row(number, name, marks, inner, share, text))
        about.append(f"{text[name]} {share:.0%}")
    bottom = TOP + ROW * (len(seen) + 1)
    axis = [f'<line x1="{LEFT}" x2="{LEFT + inner}" y1="{bottom}" y2="{bottom}" stroke="currentColor"/>']
    for second in ticks(duration):
        x = LEFT + second * per_second
        axis.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom + 5}" stroke="currentColor" opacity=".25"/>'
        )
        axis.append(f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{second:g}</text>')
    axis.append(f'<text x="{WIDTH}" y="{bottom + 20}" text-anchor="end" class="slt-faint">{text["seconds"]}</text>')
    legend = _legend(bottom + 44, text)
    title = f"{text['timeline']}: {', '.join(about)}; {duration:.1f} {text['seconds']}"
    hatch = ('<pattern id="slt-hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
             '<line x1="0" x2="0" y1="0" y2="5" stroke="#1b1b1b" stroke-width="2.4"/></pattern>')  # fmt: skip
    return (f'<section class="slt-card" id="slt-timeline"><h2>{text["timeline"]}</h2><div class="slt-scroll">'
            f'<svg viewBox="0 0 {WIDTH} {bottom + 58}" role="img" aria-label="{escape(title)}"><defs>{hatch}</defs>'
            f'{"".join(axis)}{"".join(rows)}{legend}</svg></div></section>')  # fmt: skip


def _segments_row(captions: Sequence[Caption], per_second: float, text: Mapping[str, str]) -> str:
    """Draw the segments, numbered; what was said stands in each one's title."""
    middle = TOP + BAR / 2
    parts = [f'<text x="0" y="{middle + 5}" class="slt-faint">{text["sentences"]}</text>']
    for number, one in enumerate(captions, 1):
        x, width = LEFT + one.start * per_second, max((one.end - one.start) * per_second, 1.0)
        parts.append(f'<g><title>{_times(one)}: {escape(one.text)}</title><rect x="{x:.1f}" y="{TOP}" rx="4" '
                     f'width="{width:.1f}" height="{BAR}" fill="none" stroke="currentColor"/>'
                     f'<text x="{x + width / 2:.1f}" y="{middle + 5}" text-anchor="middle">{number}</text>'
                     "</g>")  # fmt: skip
    return "".join(parts)


def _stream_row(
    number: int, name: str, marks: NDArray[np.uint8], inner: float, share: float, text: Mapping[str, str]
) -> str:
    top = TOP + ROW * number
    parts = [f'<text x="0" y="{top + BAR / 2 + 5}">{text[name]}</text>']
    for mark, first, after in runs(marks):
        x, width = LEFT + first / len(marks) * inner, (after - first) / len(marks) * inner
        parts.append(_bar(x, top, width, mark, name))
    parts.append(f'<text x="{WIDTH}" y="{top + BAR / 2 + 5}" text-anchor="end">{share:.0%}</text>')
    return f'<g data-stream="{name}">{"".join(parts)}</g>'


def _bar(x: float, top: float, width: float, mark: int, name: str) -> str:
    """Draw one stretch; the three kinds differ in height and texture too, for eyes that do not tell colours apart."""
    colour = "#{:02x}{:02x}{:02x}".format(*COLOURS[name] if name != "pose" else (150, 150, 150))
    where = f'x="{x:.2f}" width="{width:.2f}" data-mark="{mark}"'
    if mark == DETECTED:
        return f'<rect {where} y="{top}" height="{BAR}" fill="{colour}" stroke="#1b1b1b" stroke-width=".8"/>'
    if mark == FOLLOWED:
        half = f'y="{top + BAR / 2}" height="{BAR / 2}"'
        return (f'<rect {where} {half} fill="{colour}"/><rect x="{x:.2f}" width="{width:.2f}" {half} '
                'fill="url(#slt-hatch)" stroke="#1b1b1b" stroke-width=".8"/>')  # fmt: skip
    return f'<rect {where} y="{top + BAR - 1.5}" height="1.5" fill="currentColor" opacity=".45"/>'


def _legend(top: float, text: Mapping[str, str]) -> str:
    parts, x = [], float(LEFT)
    for mark in (DETECTED, FOLLOWED, 0):
        label = text[f"seen_{mark}"]
        parts.append(_bar(x, top - BAR + 4, 26, mark, "right_hand").replace("data-mark", "data-legend"))
        parts.append(f'<text x="{x + 33}" y="{top}">{label}</text>')
        x += 33 + 7.5 * len(label) + 26
    return "".join(parts)
