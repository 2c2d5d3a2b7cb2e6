"""Tables of captions to cuts: what is read, what is cleaned, and that what is wrong is listed and never guessed."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from slt.config.checks import HOME
from slt.extraction import captions as reading
from slt.extraction.captions import Captions
from slt.extraction.source import Fault, Source
from slt.text import clean, plain_name

LSA_T = HOME.parent / "shared" / "data" / "lsa_t"
real = pytest.mark.skipif(not LSA_T.is_dir(), reason="LSA-T's tables are not on this machine (../shared/data/lsa_t)")
STRIP = OmegaConf.load(HOME / "conf" / "extract.yaml").captions.strip
META = "id;text;video;playlist;start;end;duration;split;prev_delta;post_delta\n"


def read(path: Path, form: str, *, unquoted: bool = False, **keys) -> tuple[list[Source], list[Fault]]:
    return Captions(path, form, unquoted, 0.3, **{"strip": STRIP, **keys}).read()


def clean_caption(text: str) -> str:
    patterns = Captions(None, "none", False, 0.3, strip=STRIP).patterns
    return reading.clean_caption(text, patterns, {name: Counter() for name in patterns})


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def spans(captions: list[Source]) -> list[tuple[str, str, float | None, float | None, str]]:
    return [(c.video_id, c.video, c.start, c.end, c.text) for c in captions]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("johnson &amp; johnson", "johnson & johnson"),
        ("&lt;b&gt;una&lt;/b&gt; &lt;i&gt;pintora&lt;/i&gt;", "una pintora"),
        ("&amp;lt;i&amp;gt;doble&amp;lt;/i&amp;gt;", "doble"),
        ("&lt;font color = #ffffff&gt;les voy&lt;/font&gt;", "les voy"),
        ("des<i> like</i> a <c.yellow>este</c> <v Ana María>video", "des like a este video"),
        ("uno<br/>dos <00:01.000>tres {\\an8}cuatro", "uno dos tres cuatro"),
        ("[música]", ""),
        ("[♪ música ♪]", ""),
        ("[grita] ¡abu!", "¡abu!"),
        ('"om" [de forma lenta y sostenida]', '"om"'),
        ("hola [risas], chau (Aplausos).", "hola, chau."),
        ("♪ cantar al sol ♪ y seguir ♪", "y seguir"),
        ("hola (música de fondo) [ __ ] chau", "hola chau"),
        (">> hola &gt;&gt; ¿qué tal?", "hola ¿qué tal?"),
        ("- ¿Vienes?\n- MARÍA: sí", "¿Vienes? sí"),
        ("-¿Vienes?<br>—Sí", "¿Vienes? Sí"),
        ("DR. PÉREZ: buen día\nHOMBRE 2: [llora] hola", "buen día hola"),
        ("[MARÍA]: hola &amp;nbsp;\\Nchau", "hola chau"),
        ("<a href='x'>uno</a> <sup>2</sup>", "uno 2"),
        ("  sen\u0303as\u200c \u200cy\u00a0\u00ad nada\ufeff\t más\n", "señas y nada más"),
    ],
)
def test_what_the_format_and_the_captioner_added_is_taken_out(text, sentence):
    assert clean_caption(text) == sentence == clean(sentence)


@pytest.mark.parametrize(
    "text",
    [
        "¿Qué? ¡Sí! 3 < 5 y 7 > 2, <3",
        "AT&T, R&D y pan&para todos",
        "si a<b y c>d",
        "la OMS (oms) y (cadena de frío)",
        "el punto [1], [...] y [¿sí?]",
        "con el # así, #leyfederalsa y @educando_ensenas",
        "música y aplausos",
        "45,6% de $4990 a 19:00",
        "-a cada sala/grado “abierta” – 3°",
        "son las 10:30, María: ven",
        "HTTP://a.b y 3>>2",
    ],
)
def test_legitimate_text_stays_as_it_is(text):
    assert clean_caption(text) == text


def test_names_are_compared_without_invisible_characters_and_in_one_spelling():
    assert plain_name(" Sen\u0303as\u200c \u200cArgentina ") == "Señas Argentina"


def test_an_unquoted_semicolon_is_refused_unless_asked_for(tmp_path):
    path = table(tmp_path / "subs.csv", 'video_id;texto\na;uno; dos\nb;"tres"\n')
    with pytest.raises(ValueError, match=r"line 2: .*captions\.unquoted=true"):
        read(path, "subs")
    assert [c.text for c in read(path, "subs", unquoted=True)[0]] == ["uno; dos", "tres"]
    table(path, "video_id;texto;signer\na;uno;s\n")
    with pytest.raises(ValueError, match="line 1: `video_id;texto` expected"):
        read(path, "subs", unquoted=True)
    with pytest.raises(ValueError, match=r"captions\.unquoted reads captions\.format=subs only"):
        read(path, "cuts", unquoted=True)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"language": "es"}, r"captions\.language=es"),
        ({"strip": {"notes": "(", "names": None}}, r"captions\.strip\.notes"),
    ],
)
def test_a_key_that_does_not_fit_is_named(tmp_path, keys, message):
    path = table(tmp_path / "subs.csv", "video_id;texto\na;uno\n")
    with pytest.raises(ValueError, match=message):
        read(path, "subs", **keys)


def test_a_pattern_set_to_null_leaves_in_what_it_finds(tmp_path):
    path = table(tmp_path / "subs.csv", "video_id;texto\na;ANA: uno [risas]\n")
    assert read(path, "subs", strip={**STRIP, "names": None})[0][0].text == "ANA: uno"


@pytest.mark.parametrize("line", [";uno", "a;uno\na;dos"])
@pytest.mark.parametrize("unquoted", [False, True])
def test_an_id_that_is_missing_or_stands_twice_names_its_line(tmp_path, line, unquoted):
    with pytest.raises(ValueError, match=r"subs\.csv line [23]"):
        read(table(tmp_path / "subs.csv", f"video_id;texto\n{line}\n"), "subs", unquoted=unquoted)


def test_whole_films_keep_their_further_columns(tmp_path):
    captions, faults = read(table(tmp_path / "subs.csv", "video_id;texto;gloss;signer\na;uno;UNO;ana\n"), "subs")
    assert (captions[0].columns, faults) == ({"gloss": "UNO", "signer": "ana"}, [])


def test_a_table_of_cuts_is_not_read_as_whole_films(tmp_path):
    path = table(tmp_path / "subs.csv", "video_id;texto;video;start;end\na_1;uno;a;0;2\n")
    with pytest.raises(ValueError, match=r"line 2: .*captions\.format=cuts"):
        read(path, "subs")
    with pytest.raises(ValueError, match="no column 'video'"):
        read(table(path, "video_id;texto\na;uno\n"), "cuts")
    with pytest.raises(ValueError, match="unknown column 'inicio'"):
        read(table(path, "video_id;video;inicio;texto\na;a;0;uno\n"), "cuts")


def test_cuts_are_read_with_their_times_and_an_empty_time_is_the_film_s(tmp_path):
    rows = 'a_1;a;0.5;2;"uno; dos";ANA\na_2;a;2.25;;tres;\nb_1;b;;;cuatro;EVA\n'
    captions, faults = read(table(tmp_path / "c.csv", f"video_id;video;start;end;texto;signer\n{rows}"), "cuts")
    assert spans(captions) == [
        ("a_1", "a", 0.5, 2.0, "uno; dos"),
        ("a_2", "a", 2.25, None, "tres"),
        ("b_1", "b", None, None, "cuatro"),
    ]
    assert ([c.columns["signer"] for c in captions], faults) == (["ANA", "", "EVA"], [])


def test_how2sign_s_own_table_is_a_table_of_cuts(tmp_path):
    head = "VIDEO_ID\tVIDEO_NAME\tSENTENCE_ID\tSENTENCE_NAME\tSTART_REALIGNED\tEND_REALIGNED\tSENTENCE"
    row = '--7E\t--7E-5-rgb_front\t--7E_1\t--7E_1-5-rgb_front\t0.26\t6.79\t"Hi," I said; bye.'
    captions, faults = read(table(tmp_path / "c.csv", f"{head}\n{row}\n"), "cuts")
    assert spans(captions) == [("--7E_1-5-rgb_front", "--7E-5-rgb_front", 0.26, 6.79, '"Hi," I said; bye.')]
    assert [(fault.where, fault.dropped) for fault in faults] == [("c.csv", False)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a;f;2;1;uno", "no length"),
        ("a;f;1;1;uno", "no length"),
        ("a;f;-1;2;uno", "start '-1'"),
        ("a;f;1,500;2;uno", "start '1,500': .*thousands"),
        ("a;f;nan;2;uno", "start 'nan'"),
        ("a;f;0;1e999;uno", "end '1e999'"),
        ("a;f;16.532.999;20;uno", "start '16.532.999'"),
        ("a;f;0,5;2.25;uno", "start '0,5'"),
        ("a;f;0;0.29;uno", "shorter than captions.min_seconds"),
        ("a;f;0;2;[música]", "no word is left"),
        ("a;f;0;2;", "no word is left"),
        ("a;f;0;2;#NAME?", "spreadsheet"),
        ("a;;0;2;uno", "no film"),
    ],
)
def test_a_bad_row_is_left_out_and_listed_and_the_others_stay(tmp_path, row, reason):
    path = table(tmp_path / "c.csv", f"video_id;video;start;end;texto\n{row}\nb;f;3;4;dos\n")
    captions, faults = read(path, "cuts")
    assert [c.video_id for c in captions] == ["b"]
    assert [(f.where, f.video_id, f.dropped) for f in faults if f.dropped] == [("c.csv line 2", "a", True)]
    assert re.search(reason, faults[0].reason)


@pytest.mark.parametrize("name", ["../a", "a/b", "a\\b", ".a", "a.", "a:b", "a\tb", "a|b", "ñ" * 101])
def test_an_id_that_cannot_name_files_is_refused_with_its_line(tmp_path, name):
    path = table(tmp_path / "c.csv", f"video_id;video;start;end;texto\n{name};a;0;1;uno\n")
    with pytest.raises(ValueError, match=r"c\.csv line 2: video_id .* name files"):
        read(path, "cuts")


def test_overlapping_cuts_of_one_film_are_listed_and_stay(tmp_path):
    rows = "a;f;0;9;x\nb;f;3;4;x\nc;f;8.9;12;x\nd;f;12;13;x\ne;g;0;9;x\n"
    captions, faults = read(table(tmp_path / "c.csv", f"video_id;video;start;end;texto\n{rows}"), "cuts")
    assert len(captions) == 5
    assert [(f.video_id, f.reason.split(" (")[0], f.dropped) for f in faults] == [
        ("b", "overlaps a", False),
        ("c", "overlaps a", False),
    ]
    assert "by 1.000 s" in faults[0].reason
    assert "by 0.100 s" in faults[1].reason


def test_captions_that_repeat_the_one_before_are_said_and_a_phrase_said_twice_is_not(tmp_path):
    texts = ["hola a todos", "hola a todos bienvenidos al canal", "bienvenidos al canal hoy", "canal hoy vemos"]
    rows = "".join(f"{n};f;{n};{n + 1};{text}\n" for n, text in enumerate(texts))
    captions, faults = read(table(tmp_path / "c.csv", f"video_id;video;start;end;texto\n{rows}"), "cuts")
    assert [caption.text for caption in captions] == texts
    assert [(fault.video_id, "'f', begin with the words" in fault.reason) for fault in faults] == [("", True)]
    rows = "".join(f"{n};f;{n};{n + 1};{text}\n" for n, text in enumerate(["uno dos", "uno dos", "a b", "c d", "sí"]))
    assert read(table(tmp_path / "c.csv", f"video_id;video;start;end;texto\n{rows}"), "cuts")[1] == []


def test_a_cut_of_just_the_least_length_stays(tmp_path):
    path = table(tmp_path / "c.csv", "video_id;video;start;end;texto\na;f;3;3.3;uno\n")
    assert (len(read(path, "cuts")[0]), read(path, "cuts")[1]) == (1, [])


def test_a_missing_table_and_one_that_is_not_utf_8_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read(tmp_path / "none.csv", "cuts")
    (tmp_path / "c.csv").write_bytes("video_id;video;start;end;texto\na;a;0;1;año\n".encode("cp850"))
    with pytest.raises(ValueError, match=r"c\.csv: not utf-8"):
        read(tmp_path / "c.csv", "cuts")


def test_damaged_times_are_rebuilt_from_the_lines_and_never_read(tmp_path):
    lines = "[('a; b', 165.32999999999998, 166.0), ('c', 166.1, 168.18)]"
    path = table(tmp_path / "meta.csv", f'{META}v_1;hola;v;p;16.532.999.999.999.900;168.18;2.85;"{lines}";;\n')
    captions, faults = read(path, "lsa_t")
    assert spans(captions) == [("v_1", "v", 165.33, 168.18, "hola")]
    assert [(f.where, f.dropped) for f in faults] == [("meta.csv line 2", False)]
    assert "rebuilt from 'split'" in faults[0].reason


@pytest.mark.parametrize("split", ["", "[]", "[('a', 1.0)]", "__import__('os')", "[('a', None, 2.0)]", "[("])
def test_damaged_times_without_lines_leave_the_row_out(tmp_path, split):
    path = table(tmp_path / "meta.csv", f'{META}v_1;hola;v;p;1.001.233;5;1;"{split}";;\nv_2;chau;v;p;1;2;1;[];;\n')
    captions, faults = read(path, "lsa_t")
    assert [c.video_id for c in captions] == ["v_2"]
    assert (faults[0].video_id, faults[0].dropped) == ("v_1", True)
    assert "start '1.001.233'" in faults[0].reason


def test_a_duration_that_disagrees_is_one_fault_and_is_not_used(tmp_path):
    path = table(tmp_path / "meta.csv", f"{META}v_1;a;v;p;1;2;6.359.999.999;[];;\nv_2;b;v;p;2;3;5;[];;\n")
    captions, faults = read(path, "lsa_t")
    assert [c.end for c in captions] == [2.0, 3.0]
    assert len(faults) == 1
    assert "no plain number in 1 of 2 rows" in faults[0].reason


def test_the_table_of_the_published_key_points_is_known_by_its_header(tmp_path):
    head = "id,label,video,start,end,duration,splits,signers_amount,infered_signer\n"
    rows = '"v_1","hola; sí, chau",v,1.5,3,1.5,[],2,signer_1\nv_2,dos,v,4,5,1,[],1,1\n'
    captions, faults = read(table(tmp_path / "meta.csv", head + rows), "lsa_t")
    assert spans(captions)[0] == ("v_1", "v", 1.5, 3.0, "hola; sí, chau")
    assert ([c.person for c in captions], faults) == ([1, 0], [])
    with pytest.raises(ValueError, match="infered_signer"):
        read(table(tmp_path / "meta.csv", head + "v_1,uno,v,1,2,1,[],2,ana\n"), "lsa_t")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video_id;texto\na;uno\n", "line 1: the columns `id;text;video"),
        (f"{META}v_1;a;b;c\n", "line 2: 10 fields expected, 4 came"),
        (f"{META}v_1;a;v;p;1;2;1;[];;\nv_1;a;v;p;3;4;1;[];;\n", r"line 3: id 'v_1' stands already in meta\.csv line 2"),
    ],
)
def test_a_fault_of_the_whole_table_of_lsa_t_names_its_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(table(tmp_path / "meta.csv", text), "lsa_t")


@real
def test_the_real_table_of_lsa_t_is_read_and_all_that_is_wrong_with_it_is_listed():
    captions, faults = read(LSA_T / "meta.csv", "lsa_t")
    reasons = [fault.reason for fault in faults]
    assert (len(captions), sum(fault.dropped for fault in faults)) == (8403, 56)
    counts = {
        key: sum(key in reason for reason in reasons) for key in ("no film", "spreadsheet", "rebuilt", "overlaps")
    }
    assert counts == {"no film": 47, "spreadsheet": 9, "rebuilt": 234, "overlaps": 13}
    assert "no plain number in 8029 of 8412 rows" in reasons[[f.where for f in faults].index("meta.csv")]
    assert all(c.end is not None and c.start is not None and c.end - c.start >= 0.3 for c in captions)


@real
def test_the_real_subtitles_are_read_clean():
    captions, faults = read(LSA_T / "subtitles.json", "subtitles")
    assert (len(captions), sum(fault.dropped for fault in faults), len(faults)) == (11875, 19, 45)
    texts = " ".join(caption.text for caption in captions)
    assert not any(sign in texts for sign in ("<", ">", "&amp;", "[", "]", "♪", "\u200c", "  "))


def test_subtitles_json_names_clips_by_film_and_line(tmp_path):
    lines = [[0.0, 2.0, "[música]"], [2, 4.5, "&lt;i&gt;hola&lt;/i&gt;"], [4.0, 5.0], [float("nan"), 9.0, "sí"]]
    path = table(tmp_path / "subtitles.json", json.dumps({"Sen\u0303as\u200c-x1": lines}))
    captions, faults = read(path, "subtitles")
    assert spans(captions) == [("Señas-x1_2", "Señas-x1", 2.0, 4.5, "hola")]
    assert [f.where for f in faults if f.dropped] == [f"subtitles.json 'Señas-x1' line {n}" for n in (1, 3, 4)]
    assert [f.reason for f in faults if not f.dropped] == [
        "captions.strip.notes took 1 pieces out of the texts ('[música]' 1 times)"
    ]


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}'])
def test_subtitles_json_of_another_shape_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=r"s\.json( line 1)?: (not JSON|expected \{film)"):
        read(table(tmp_path / "s.json", text), "subtitles")


SRT = (
    "\ufeff1\r\n00:00:01,000 --> 00:00:02,500\r\n{\\an8}<i>Hola,</i>\r\n¿qué tal?\r\n\r\n"
    "2\r\n00:00:02,000 --> 00:00:04,000 X1:1 X2:2\r\n\r\n[aplausos]\r\n\r\n"
    "3\r\n00:00:05 -> 00:00:06\r\nperdido\r\n\r\n"
    "7\r\n01:00:05,250 --> 01:00:06,000\r\n1994\r\n\r\n"
)


def test_srt_is_read_cue_by_cue(tmp_path):
    (tmp_path / "f.srt").write_bytes(SRT.encode())
    captions, faults = read(tmp_path, "srt")
    assert spans(captions) == [
        ("f_1", "f", 1.0, 2.5, "Hola, ¿qué tal?"),
        ("f_4", "f", 3605.25, 3606.0, "1994"),
    ]
    assert [f.where for f in faults if f.dropped] == ["f.srt cue 2", "f.srt cue 3"]


@pytest.mark.parametrize("times", ["00:00:01,00 --> 00:00:02,00", "00:61:00,000 --> 00:62:00,000", "uno --> dos"])
def test_a_cue_whose_times_cannot_be_read_is_listed(tmp_path, times):
    table(tmp_path / "f.srt", f"1\n{times}\nhola\n\n2\n00:00:03,000 --> 00:00:04,000\nchau\n")
    captions, faults = read(tmp_path, "srt")
    assert spans(captions) == [("f_2", "f", 3.0, 4.0, "chau")]
    assert (faults[0].where, faults[0].video_id) == ("f.srt cue 1", "f_1")
    assert times in faults[0].reason


def test_srt_without_any_times_is_listed(tmp_path):
    captions, faults = read((table(tmp_path / "f.srt", "hola\nchau\n")).parent, "srt")
    assert (captions, [f.where for f in faults]) == ([], ["f.srt cue 1"])


VTT = """WEBVTT - prueba
Kind: captions

STYLE
::cue { color: red }

REGION
id:fred

NOTE una nota
que sigue en otra línea

00:01.000 --> 00:02.500 align:start position:0%
<v Ana>Hola</v> <c.colorE5E5E5>qué<00:01.500> tal</c>

intro
01:00:03.000 --> 01:00:04.000
uno &amp; dos
tres

00:05,000 --> 00:06,000
con coma

suelto
"""


def test_webvtt_is_read_with_its_notes_styles_settings_and_tags(tmp_path):
    table(tmp_path / "f.vtt", VTT)
    captions, faults = read(tmp_path, "vtt")
    assert [(c.start, c.end, c.text) for c in captions] == [
        (1.0, 2.5, "Hola qué tal"),
        (3603.0, 3604.0, "uno & dos tres"),
    ]
    assert [f.reason.split("came ")[1] for f in faults] == ["'00:05,000 --> 00:06,000'", "'suelto'"]


def test_numbers_of_hundreds_of_digits_are_a_fault_of_their_line(tmp_path):
    text = f'{{"a": [[0.5, {10**400}, "Hola"], [0.5, 1, "Uno"]]}}'
    captions, faults = read(table(tmp_path / "subtitles.json", text), "subtitles")
    assert ([c.text for c in captions], [f.where for f in faults]) == (["Uno"], ["subtitles.json 'a' line 1"])


def test_subtitles_of_another_kind_or_encoding_are_refused_by_name(tmp_path):
    table(tmp_path / "f.vtt", "1\n00:00:01,000 --> 00:00:02,000\nhola\n")
    with pytest.raises(ValueError, match=r"f\.vtt line 1: `WEBVTT` expected"):
        read(tmp_path, "vtt")
    (tmp_path / "f.srt").write_bytes("1\n00:00:01,000 --> 00:00:02,000\nseñas\n".encode("mac-roman"))
    with pytest.raises(ValueError, match=r"f\.srt: not utf-8 at byte \d+ \(perhaps latin-1"):
        read(tmp_path, "srt")
    with pytest.raises(FileNotFoundError, match=r"no \.srt file"):
        (tmp_path / "f.srt").unlink()
        read(tmp_path, "srt")
