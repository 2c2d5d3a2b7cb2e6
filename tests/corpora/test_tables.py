"""Text tables in the forms that spreadsheets save: read where that is certain, else refused with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from slt.config.checks import HOME
from slt.corpora import tables

HOW2SIGN = HOME.parent / "shared" / "data" / "tables" / "how2sign"
COLUMNS = ("id", "text", "end")


def read(path: Path, text: str | bytes, *, numbers: tuple[str, ...] = ("end",)) -> tables.Table:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return tables.read_table(path, COLUMNS, known=COLUMNS, numbers=numbers)


@pytest.mark.parametrize("sign", tables.DELIMITERS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_delimiter_is_the_one_at_which_the_header_has_all_columns(tmp_path, sign, end):
    lines = [sign.join(row) for row in (COLUMNS, ("a", "one: two", "1.5"), ("b", '"x ""y"""', ""))]
    table = read(tmp_path / "t", end.join(lines))
    assert [row[:2] for row in table.rows] == [(2, ["a", "one: two", "1.5"]), (3, ["b", 'x "y"', ""])]
    assert bool(table.note) == (sign != ";")


@pytest.mark.parametrize("head", ["ID;Text;END", " id ;text; end", "\ufeffid;text;end", 'sep=;\r\n"id";"text";"end"'])
def test_capitals_blanks_and_the_line_of_excel_are_understood(tmp_path, head):
    table = read(tmp_path / "t", f"{head}\na;x;1\n;;\n")
    assert table.columns == list(COLUMNS)
    assert [row[1] for row in table.rows] == [["a", "x", "1"]]


def test_the_lines_of_a_table_after_the_line_of_excel_are_counted_as_an_editor_does(tmp_path):
    assert read(tmp_path / "t", 'sep=;\nid;text;end\na;"x\ny";1\nb;x;2\n').rows[1][0] == 5


def test_quotes_in_a_table_that_does_without_quoting_are_text(tmp_path):
    table = read(tmp_path / "t", 'id\ttext\tend\na\t"Hi," she said\t1\nb\t"all"\t2\nc\tsay "x\t3\n')
    assert [row[1][1] for row in table.rows] == ['"Hi," she said', "all", 'say "x']


@pytest.mark.parametrize(
    ("numbers", "came"),
    [
        ("1,5 2 0,125", "1.5 2 0.125"),
        ("1,2345", "1.2345"),
        ("1,500 2,250", "1,500 2,250"),  # thousands?
        ("1,5 2.5", "1,5 2.5"),
        ("1,5 1,2,3", "1,5 1,2,3"),
        ("6.359.999.999 1,5", "6.359.999.999 1,5"),
    ],
)
def test_decimal_commas_become_points_where_the_whole_table_says_so(tmp_path, numbers, came):
    rows = "".join(f"{place};uno, dos;{number}\n" for place, number in enumerate(numbers.split()))
    table = read(tmp_path / "t", f"id;text;end\n{rows}")
    assert [row[1][2] for row in table.rows] == came.split()
    assert ("decimal commas" in table.note) == (numbers != came)
    assert {row[1][1] for row in table.rows} == {"uno, dos"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_an_encoding_that_is_certain_is_read(tmp_path, encoding):
    text = "¿Mañana? «Sí», 3ª “vez”… ¡Qué lingüístico, José! ÁRBOL – €5"
    (tmp_path / "t").write_bytes(text.encode(encoding))
    assert tables.read_text(tmp_path / "t") == (text, "" if encoding.startswith("utf-8") else encoding)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("mañana y después", "cp850"),
        ("mañana y después", "mac-roman"),
        ("aquí sí", "mac-roman"),
        ("привет", "cp1251"),
        ("γειά", "cp1253"),
        ("příliš", "cp1250"),
        ("uno", "utf-16-le"),
        ("日本語です", "shift-jis"),
    ],
)
def test_an_encoding_that_is_not_certain_is_refused_with_the_cure(tmp_path, text, encoding):
    (tmp_path / "t").write_bytes(text.encode(encoding))
    with pytest.raises(ValueError, match=r"(?i)save it as utf-8"):
        tables.read_text(tmp_path / "t")


def test_utf_8_of_which_a_part_is_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "t").write_bytes("según él, mañana\n".encode() + "año\n".encode("cp1252"))
    with pytest.raises(ValueError, match="not utf-8 at byte"):
        tables.read_text(tmp_path / "t")


@pytest.mark.skipif(not HOW2SIGN.is_dir(), reason="How2Sign's tables are not on this machine (../shared/data/tables)")
@pytest.mark.parametrize("name", ["how2sign_realigned_test.csv", "how2sign_realigned_val.csv"])
def test_how2sign_s_own_tables_have_a_sentence_in_each_row(name):
    columns = ("sentence_name", "start_realigned", "sentence")
    table = tables.read_table(HOW2SIGN / name, columns, known=columns, numbers=())
    assert [len(row[1]) for row in table.rows] == [7] * 8
    assert not any(row[2] for row in table.rows)
