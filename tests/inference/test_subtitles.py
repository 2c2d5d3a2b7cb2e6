"""SRT and WebVTT to the letter, and captions as they are printed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slt.corpora.posed import read_lines
from slt.inference.onnx import Hypothesis
from slt.inference.overlay import sentence_at
from slt.inference.subtitles import Caption, Subtitles, clock, describe, write_subtitles


def caption(start, end, *texts):
    return Caption(start, end, tuple(Hypothesis(text, -0.25 * n, (1,)) for n, text in enumerate(texts, 1)))


CAPTIONS = [
    caption(0, 2.5004, "¿Dónde está la niña?"),
    caption(62.0414, 65, "a & b < c > d"),
    caption(3599.9996, 3725.05, "Mañana a la tarde hablamos de agua, de salud y de la escuela."),
    caption(4000, 4001),
]
SRT = """1
00:00:00,000 --> 00:00:02,500
¿Dónde está la niña?

2
00:01:02,041 --> 00:01:05,000
a & b < c > d

3
01:00:00,000 --> 01:02:05,050
Mañana a la tarde hablamos de
agua, de salud y de la escuela.

4
01:06:40,000 --> 01:06:41,000
…

"""
VTT = """WEBVTT

00:00:00.000 --> 00:00:02.500
¿Dónde está la niña?

00:01:02.041 --> 00:01:05.000
a &amp; b &lt; c &gt; d

01:00:00.000 --> 01:02:05.050
Mañana a la tarde hablamos de
agua, de salud y de la escuela.

01:06:40.000 --> 01:06:41.000
…

"""


@pytest.fixture
def files(tmp_path):
    return {"srt": tmp_path / "a.srt", "vtt": tmp_path / "a.vtt"}


def test_a_caption_has_its_best_sentence_its_score_and_the_others():
    said = caption(0, 1, "uno", "dos", "tres")
    assert (said.text, said.score, [one.text for one in said.alternatives]) == ("uno", -0.25, ["dos", "tres"])
    assert str(said) == describe(said)
    nothing = caption(0, 1)
    assert (nothing.score, nothing.alternatives) == (float("-inf"), ())


def test_both_files_to_the_letter(files):
    write_subtitles(CAPTIONS, **files)
    assert files["srt"].read_bytes().decode() == SRT
    assert files["vtt"].read_bytes().decode() == VTT


def test_who_signs_is_printed_and_the_voice_in_webvtt_from_the_second_signer_on(files):
    one = replace(CAPTIONS[1], signer=2)
    write_subtitles([replace(CAPTIONS[0], signer=1)] * 2, **files)
    assert "signer" not in files["vtt"].read_text(encoding="utf-8")
    write_subtitles([replace(CAPTIONS[0], signer=1), one, CAPTIONS[3], replace(CAPTIONS[3], signer=1)], **files)
    voices = [line for line in files["vtt"].read_text(encoding="utf-8").split("\n") if line and "-->" not in line][1:]
    assert voices == ["¿Dónde está la niña?", "<v signer 2>a &amp; b &lt; c &gt; d", "…", "<v signer 1>…"]
    assert "signer" not in files["srt"].read_text(encoding="utf-8")
    assert [text for *_, text in read_lines(files["vtt"])][1] == one.text
    assert "(-0.25, signer 2)" in describe(one)
    assert "signer" not in describe(replace(one, signer=1))


def test_no_captions_are_two_valid_files(files):
    write_subtitles([], **files)
    assert (files["srt"].read_text(), files["vtt"].read_text()) == ("", "WEBVTT\n\n")


def test_live_files_have_each_caption_as_soon_as_it_is_said(files):
    with files["srt"].open("wb") as srt, files["vtt"].open("wb") as vtt:
        subtitles = Subtitles(srt, vtt)
        for number, one in enumerate(CAPTIONS, 1):
            subtitles.add(one)
            assert files["srt"].read_text(encoding="utf-8").count(" --> ") == number
            assert files["vtt"].read_text(encoding="utf-8").count(" --> ") == number
    assert files["srt"].read_bytes().decode() == SRT


def test_what_fails_on_the_way_leaves_the_files_as_they_were(files, tmp_path):
    write_subtitles(CAPTIONS[:1], **files)
    before = {path: path.read_bytes() for path in files.values()}

    def failing():
        yield CAPTIONS[1]
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write_subtitles(failing(), **files)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_accents_are_one_character_each(files):
    write_subtitles([caption(0, 1, "man\u0303ana cafe\u0301")], **files)
    assert "mañana café" in files["srt"].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text",
    [" ".join("abcdefghij" * 6 + "k"), "xy" * 49 + "z", "una\n\npalabra", "pa-la-bra " * 8 + "z", "y" * 42 + "z"],
)
def test_a_caption_has_no_empty_line_and_no_line_longer_than_a_reader_takes_in(files, text):
    write_subtitles([caption(0, 1, text)], **files)
    _, _, *lines = files["srt"].read_text().removesuffix("\n\n").split("\n")
    assert all(0 < len(line) <= 42 for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_a_caption_is_printed_with_its_times_its_score_and_the_other_sentences():
    assert describe(caption(0, 7.1, "¿Qué?", "Qué.")) == (
        "[00:00.0 - 00:07.1]  ¿Qué?  (-0.25)\n                     2. Qué.  (-0.50)"
    )
    assert describe(caption(0, 7.1)) == "[00:00.0 - 00:07.1]  …"


def test_below_abstain_a_caption_says_that_it_was_not_understood_and_what_it_may_be(files):
    texts = {"¿Qué?": 0.3, "rararararararara": None, "Qué.": None}
    said = [Hypothesis(text, -0.2, (1,), sure) for text, sure in texts.items()]
    sure, unsure, always = (Caption(0, 1, tuple(said), abstain=abstain) for abstain in (0.3, 0.4, None))
    assert [one.shown for one in (sure, unsure, always)] == ["¿Qué?", "[not understood] ¿Qué? / Qué.", "¿Qué?"]
    assert (unsure.text, unsure.confidence, unsure.understood) == ("¿Qué?", 0.3, False)
    assert describe(unsure).startswith("[00:00.0 - 00:01.0]  [not understood]  (confidence 0.30)\n")
    assert [line.split()[0] for line in describe(unsure).split("\n")[1:]] == ["1.", "2.", "3."]
    assert describe(sure).split("\n")[0].endswith("¿Qué?  (-0.20, confidence 0.30)")
    write_subtitles([unsure], **files)
    assert all("[not understood] ¿Qué? / Qué." in file.read_text(encoding="utf-8") for file in files.values())
    assert sentence_at([unsure], 0.5) == unsure.shown


CLOCKS = [(0, "00:00.0"), (59.96, "01:00.0"), (62.5, "01:02.5"), (3600, "1:00:00.0"), (36061.26, "10:01:01.3")]


@pytest.mark.parametrize(("seconds", "text"), CLOCKS)
def test_the_clock(seconds, text):
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Mañana resporatorarararararara...", "Mañana resporatora…"),
        ("No hay agua en la casa en la casa en la casa en la ca", "No hay agua en la casa…"),
        ("jajaja", "jajaja"),
        ("No, no, no, no", "No, no, no, no"),
        ("Cuesta 1.000.000.000", "Cuesta 1.000.000.000"),
    ],
)
def test_a_sentence_that_runs_in_a_loop_is_cut_after_its_first_round_and_marked(text, shown):
    one = caption(0, 1, text)
    assert (one.text, one.loops) == (shown, text != shown)
    assert ("it repeats itself" in describe(one)) == one.loops
