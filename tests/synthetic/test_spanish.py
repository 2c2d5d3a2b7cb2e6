"""Word forms against forms known to be right."""

from __future__ import annotations

import pytest

from slt.synthetic.lexicon import lexicon
from slt.synthetic.spanish import PERSONS, TENSES, agree, conjugate, noun_phrase, plural, sentence


@pytest.mark.parametrize(
    ("one", "many"),
    [("casa", "casas"), ("lápiz", "lápices"), ("jardín", "jardines"), ("estación", "estaciones"), ("reloj", "relojes"),
     ("flor", "flores"), ("frágil", "frágiles"), ("collar", "collares"), ("melón", "melones"), ("café", "cafés")],
)  # fmt: skip
def test_plural(one: str, many: str) -> None:
    assert plural(one) == many


@pytest.mark.parametrize(
    ("form", "expected"),
    [("comprar 3s past", "compró"), ("buscar 1s past", "busqué"), ("colgar/cuelg 1s past", "colgué"),
     ("rechazar 1s past", "rechacé"), ("colgar/cuelg 3p present", "cuelgan"), ("colgar/cuelg 1p present", "colgamos"),
     ("encontrar/encuentr 3s present", "encuentra"), ("encontrar/encuentr 3s past", "encontró"),
     ("perder/pierd 2s present", "pierdes"), ("jugar/jueg 1s past", "jugué"), ("jugar/jueg 1s present", "juego"),
     ("recoger 1s present", "recojo"), ("recoger 3s present", "recoge"), ("ofrecer 1s present", "ofrezco"),
     ("ofrecer 1s past", "ofrecí"), ("vender 3p past", "vendieron"), ("recibir 1p present", "recibimos"),
     ("aprender 1p present", "aprendemos"), ("nadar 3p future", "nadarán"), ("escribir 1s future", "escribiré"),
     ("ser 3p past", "eran"), ("ser 3s future", "será")],
)  # fmt: skip
def test_conjugation(form: str, expected: str) -> None:
    verb, person, tense = form.split()
    assert conjugate(verb, person, tense) == expected


@pytest.mark.parametrize("size", ["default", "hard"])
def test_every_verb_has_all_its_forms(size: str) -> None:
    for verb in (sign.word for sign in lexicon(size) if sign.kind in ("act", "deed")):
        forms = {conjugate(verb, person, tense) for person in PERSONS for tense in TENSES}
        assert len(forms) in (14, 15), verb  # -ar and -ir verbs say nosotros alike in past and present


def test_agreement() -> None:
    assert agree("rojo", "f", "p") == "rojas"
    assert agree("azul", "f", "p") == "azules"
    assert agree("grande", "f", "s") == "grande"


@pytest.mark.parametrize(
    ("number", "article", "expected"),
    [("", "definite", "la taza muy blanca"), ("", "indefinite", "una taza muy blanca"),
     ("", "mi", "mi taza muy blanca"), ("dos", "definite", "dos tazas muy blancas"),
     ("muchos", "definite", "muchas tazas muy blancas"), ("todos", "indefinite", "todas las tazas muy blancas")],
)  # fmt: skip
def test_noun_phrase(number: str, article: str, expected: str) -> None:
    assert noun_phrase("taza", "f", number=number, article=article, quality="blanco", intense=True) == expected


def test_a_sentence_has_its_marks_and_a_capital_after_them() -> None:
    assert sentence(["él", "", "corre"], "statement") == "Él corre."
    assert sentence(["qué", "compró"], "question") == "¿Qué compró?"
    assert sentence(["hoy", "nadas"], "exclamation") == "¡Hoy nadas!"
