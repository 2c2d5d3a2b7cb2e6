"""Subtitle files: what a cue is, what of captions that roll is new, and which file belongs to which film."""

from __future__ import annotations

from pathlib import Path

import pytest

from slt.corpora.cues import choose_languages, read_cues, unroll
from slt.extraction.captions import Captions

# As YouTube writes them: the line before, the new one with its words' times, and 10 ms without anything new.
ROLLING = """WEBVTT
Kind: captions
Language: es

00:00:00.080 --> 00:00:02.149 align:start position:0%
{blank}
hola<00:00:00.320><c> a</c><00:00:00.480><c> todos</c>

00:00:02.149 --> 00:00:02.159 align:start position:0%
hola a todos
{blank}

00:00:02.159 --> 00:00:04.550 align:start position:0%
hola a todos
sí

00:00:04.550 --> 00:00:04.560 align:start position:0%
sí
{blank}

00:00:04.560 --> 00:00:06.550 align:start position:0%
sí
sí

00:00:06.550 --> 00:00:06.560 align:start position:0%
sí
{blank}

00:00:06.560 --> 00:00:09.000 align:start position:0%
sí
<00:00:07.200><c>nos</c><00:00:07.500><c> vemos</c>
""".format(blank=" ")
LINES = [
    (1, 0.08, 2.149, "hola a todos"),
    (3, 2.159, 4.55, "sí"),
    (5, 4.56, 6.55, "sí"),
    (7, 7.2, 9.0, "nos vemos"),
]


def srt(*cues: tuple[float, float, str]) -> str:
    times = [[f"00:00:{time:06.3f}".replace(".", ",") for time in cue[:2]] for cue in cues]
    whole = enumerate(zip(times, cues, strict=True), 1)
    return "".join(f"{number}\n{start} --> {end}\n{cue[2]}\n\n" for number, ((start, end), cue) in whole)


def lines(text: str, kind: str) -> list[tuple[int, float, float, str]]:
    cues, _ = unroll(read_cues(text, kind))
    return [(cue.number, cue.start, cue.end, " / ".join(cue.lines)) for cue in cues]


def test_rolling_captions_of_youtube_have_each_line_once_with_its_own_times(tmp_path: Path):
    (tmp_path / "f.es.vtt").write_text(ROLLING, encoding="utf-8")
    captions, faults = Captions(tmp_path, "vtt", False, 0.3).read(["f"])
    assert [(int(c.video_id[2:]), c.start, c.end, c.text) for c in captions] == LINES
    assert [(fault.dropped, "6 lines that repeat" in fault.reason) for fault in faults] == [(False, True)]


def test_the_encoding_of_files_that_are_not_utf_8_is_said_once(tmp_path: Path):
    for name in "ab":
        (tmp_path / f"{name}.srt").write_bytes(srt((0, 2, "mañana")).encode("cp1252"))
    captions, faults = Captions(tmp_path, "srt", False, 0.3).read()
    assert [caption.text for caption in captions] == ["mañana"] * 2
    assert [("cp1252 in 2 of 2 files" in fault.reason, fault.dropped) for fault in faults] == [(True, False)]


def test_two_files_of_one_name_are_refused(tmp_path: Path):
    for name in ("a.srt", "a\u200c.srt"):
        (tmp_path / name).write_text(srt((0, 2, "uno")))
    with pytest.raises(ValueError, match=r"has the same name"):
        Captions(tmp_path, "srt", False, 0.3).read()


def test_rolling_captions_without_times_of_words_are_known_by_their_lines():
    cues = [(0, 2, " \nhola a todos"), (2, 2.01, "hola a todos\n "), (2.01, 4, "hola a todos\nsí"), (4, 6, "sí\nsí")]
    assert [line[1:] for line in lines(srt(*cues), "srt")] == [
        (0, 2, "hola a todos"),
        (2.01, 4, "sí"),
        (4, 6, "sí"),
    ]
    three = [(0, 2, "a b"), (2, 4, "a b\nc d"), (4, 6, "a b\nc d\ne f"), (6, 8, "c d\ne f\ng h")]
    assert [line[3] for line in lines(srt(*three), "srt")] == ["a b", "c d", "e f", "g h"]


def test_times_of_words_tell_that_a_single_word_above_them_was_said_before():
    text = "WEBVTT\n\n00:01.000 --> 00:02.000\n \nsí\n\n00:02.000 --> 00:04.000\nsí\nhola<00:03.000><c> Ana</c>\n"
    assert [line[1:3] for line in lines(text, "vtt")] == [(1, 2), (2, 4)]
    assert lines(text, "vtt")[1][3].startswith("hola")


def test_one_caption_with_word_after_word_marked_is_one_line():
    cues = [(0, 1, "<u>hola</u> a todos"), (1, 2, "hola <u>a</u> todos"), (2, 3, "hola a <u>todos</u>"), (3, 4, "chau")]
    assert [line[1:3] for line in lines(srt(*cues), "srt")] == [(0, 3), (3, 4)]


@pytest.mark.parametrize(
    "texts",
    [
        ["sí", "sí", "no", "no"],
        ["sí claro", "sí claro", "sí claro"],
        ["no\nsí", "sí\nno", "no\nsí"],
        ["uno dos\ntres", "cuatro", "tres\ncinco", "seis", "siete"],
    ],
)
def test_sentences_that_are_said_twice_stay(texts):
    cues = [(2 * place, 2 * place + 2, text) for place, text in enumerate(texts)]
    assert [line[3].replace(" / ", "\n") for line in lines(srt(*cues), "srt")] == texts


def test_only_an_empty_line_ends_a_cue_of_webvtt():
    text = "WEBVTT\n\n00:01.000 --> 00:02.000\n \nuno\n\t\ndos\n\nperdido\n\nNOTE nada\n\n00:03.000 --> 00:04.000\n\n"
    cues = read_cues(text, "vtt")
    assert [(cue.lines, bool(cue.fault)) for cue in cues] == [(["uno", "dos"], False), ([], True), ([], False)]


def test_text_under_an_empty_line_is_taken_and_listed(tmp_path: Path):
    (tmp_path / "f.vtt").write_text(ROLLING.replace("\n \n", "\n\n"), encoding="utf-8")
    captions, faults = Captions(tmp_path, "vtt", False, 0.3).read()
    assert [(int(c.video_id[2:]), c.start, c.end, c.text) for c in captions] == LINES
    assert [(fault.where, fault.dropped) for fault in faults if fault.video_id] == [("f.vtt cue 1", False)]


def test_blanks_between_cues_of_webvtt_do_not_make_the_next_one_text():
    text = "WEBVTT\n \nuno\n00:01.000 --> 00:02.000\nhola\n \ndos\n00:03.000 --> 00:04.000\nchau\n"
    assert [cue.lines for cue in read_cues(text, "vtt")] == [["hola"], ["chau"]]


@pytest.mark.parametrize(
    ("stem", "film"),
    [
        ("Título [x-1].es", "Título [x-1]"),
        ("Título [x-1].es-419", "Título [x-1]"),
        ("a.en-orig", "a"),
        ("a.es.forced", "a"),
        ("a.b.es", "a.b"),
        ("charla.uno", "charla.uno"),
        ("a", "a"),
    ],
)
def test_a_language_behind_a_film_s_name_is_no_part_of_it(stem, film):
    films = ["Título [x-1]", "a", "a.b", "charla.uno", "charla"]
    assert choose_languages([stem], films, None) == ({film: stem}, {})


@pytest.mark.parametrize(
    ("language", "stem"), [("es", "a.es"), ("en", "a.en-US"), ("es-orig", "a.es-orig"), ("ES", "a.es")]
)
def test_captions_language_says_which_of_several_files_is_taken(language, stem):
    stems = ["a.es", "a.es-orig", "a.en-US"]
    assert choose_languages(stems, ["a"], language)[0] == {"a": stem}
    with pytest.raises(ValueError, match=r"captions\.language=null: 'a' has subtitles in es, es-orig, en-US"):
        choose_languages(stems, ["a"], None)


def test_a_film_without_the_language_is_named_with_those_that_it_has():
    chosen, without = choose_languages(["a.en", "b.es", "c"], ["a", "b", "c"], "es")
    assert (chosen, list(without)) == ({"b": "b.es", "c": "c"}, ["a"])
    assert "there are en" in without["a"]
