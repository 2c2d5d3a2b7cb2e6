"""Spanish wherever a user reads: the catalogue is whole and current, the environment chooses, English stays so."""

from __future__ import annotations

import gettext
import logging
import re
import sys
from pathlib import Path
from typing import Any

import catalogue
import pytest
from babel.messages import Catalog

from slt.drawing.page import templates
from slt.words import LANGUAGES, in_their_language, language, say, told

MISSING = "there is no key 'fusio' in conf/train.yaml and the chosen groups; did you mean fusion?"
PLACES = re.compile(r"\{\w+|%\(\w+\)s|%[sdg.]")


@pytest.fixture(scope="module")
def today() -> Catalog:
    """The texts of the source as it stands, with the translations that there are."""
    return catalogue.gathered(catalogue.read())


@pytest.fixture
def spanish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANGUAGE")
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.setenv("LANG", "es_AR.UTF-8")


def test_help_page_and_reports_are_all_translated_and_of_errors_nearly_all(today: Catalog) -> None:
    lacks = catalogue.lacking(today)
    assert [line for line in lacks if line.startswith(("help", "page", "report"))] == [], "run `make words`, translate"
    assert len(lacks) < 0.1 * len(today)


def test_a_translation_has_the_places_of_its_text_and_no_others(today: Catalog) -> None:
    wrong = [
        message.id
        for message in today
        if message.id and message.string and not {*PLACES.findall(message.string)} <= {*PLACES.findall(message.id)}
    ]
    printf = [
        m.id for m in today if "%s" in m.id and m.string and re.findall("%[sd]", m.id) != re.findall("%[sd]", m.string)
    ]
    assert (wrong, printf) == ([], [])


def test_the_compiled_catalogue_is_that_of_the_text() -> None:
    with catalogue.PO.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    stale = [m.id for m in catalogue.read() if m.id and m.string and compiled.gettext(m.id) != m.string]
    assert stale == [], "run `make words`"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"LANG": "es_AR.UTF-8"}, "es"),
        ({"LANG": "es_ES.UTF-8", "LC_ALL": "en_GB.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "fr:es:en"}, "es"),
        ({"LANG": "C"}, "en"),
        ({}, "en"),
    ],
)
def test_the_environment_chooses_in_gettexts_order(given: dict[str, str], expected: str, monkeypatch: Any) -> None:
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert language() == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (MISSING, "no hay una clave 'fusio' en conf/train.yaml ni en los grupos elegidos; ¿quiso decir fusion?"),
        ("a.csv line 3: id x stands already in line 2; remove one",
         "a.csv línea 3: el id x ya está en la línea 2; quite uno"),
        ("x=0: expected a number above 0\n  y is missing: give it, as in y=...",
         "x=0: se esperaba un número mayor que 0\n  falta y: délo, como en y=..."),
        ("whatever a library says: nothing of ours", "whatever a library says: nothing of ours"),
    ],
)  # fmt: skip
def test_a_finished_message_is_told_by_the_text_that_made_it_and_else_left(message: str, expected: str) -> None:
    assert told(message, "es") == expected
    assert told(message, "en") == message


def test_a_message_that_is_in_itself_without_end_is_told_all_the_same() -> None:
    assert told("a line 1: " * 2000, "es").startswith("a línea 1: ")


def test_help_and_errors_are_spanish_where_lang_says_so(spanish: None, entry: Any) -> None:
    shown = entry("train", "--help").out
    assert "Claves, CLAVE=VALOR" in shown
    assert re.search(r"^  max_steps +1050 +actualizaciones$", shown, re.MULTILINE)
    ran = entry("eval", "checkpoint=nada")
    assert ran.err.startswith("error: checkpoint=nada: no existe el archivo o la carpeta; ")
    assert "carpeta de la ejecución: " in ran.out


def test_what_is_printed_and_logged_is_spanish_and_the_log_file_stays_english(
    spanish: None, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    file = logging.FileHandler(tmp_path / "run.log")
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(sys.stdout), file])
    with in_their_language():
        print("  wrote film.srt")
        logging.getLogger("slt").warning("resumed %s at step %d", "last.pt", 3)
    file.close()
    assert capsys.readouterr().out == "  se escribió film.srt\nse reanudó last.pt en el paso 3\n"
    assert (tmp_path / "run.log").read_text("utf-8") == "resumed last.pt at step 3\n"


@pytest.mark.parametrize("room", ["slt.evaluation", "slt.sweeps", "slt.extraction"])
def test_a_page_has_no_word_outside_the_catalogue(room: str) -> None:
    """Texts of a template stand in `trans`; names of metrics and sides are the same in both languages."""
    environment = templates(room)
    for path in (Path(catalogue.ROOT) / room.replace(".", "/")).glob("*.html"):
        source = re.sub(r"<(style|script)>.*?</\1>", "", path.read_text("utf-8"), flags=re.DOTALL)
        source = re.sub(r"\{% trans.*?endtrans \+?%\}", "", source, flags=re.DOTALL)
        data = "".join(text for _, kind, text in environment.lex(source) if kind == "data")
        assert {*re.findall(r"[^\W\d_]{3,}", re.sub(r"<[^>]*>|&\w+;", " ", data))} <= {"chrF"}, path.name


def test_a_page_is_written_in_the_language_of_who_runs_it(spanish: None) -> None:
    page = templates("slt.extraction").from_string('<html lang="{{ language }}">{% trans %}Streams{% endtrans %} '
                                                   '{{ "no word is left of the text x" | said }}')  # fmt: skip
    assert page.render() == '<html lang="es">Flujos no queda ninguna palabra del texto x'


def test_an_english_user_needs_no_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slt.words.gettext", None)
    assert (say("updates", LANGUAGES[0]), told(MISSING, LANGUAGES[0])) == ("updates", MISSING)
