"""Text tables as people and spreadsheets save them -> columns and rows; what is not in the standard form is said.

The standard form is utf-8, `;`, lower-case names of columns and decimal points. Another one is read, with a note, where
it can be nothing else, and refused with what to do where it could.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

DELIMITERS = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "bars"}
_LETTERS = "áéíóúüñçàèìòùâêîôûäëïöãõßÁÉÍÓÚÜÑÇÄÖ"
# What makes cp1252 doubtful: signs that western texts do without (of cp850, Mac Roman, Cyrillic, broken utf-8), three
# such letters in a row, and opening marks, dashes and quotes inside a word.
_DOUBTFUL = re.compile(rf"[^\x00-\x7f{_LETTERS}ªº°«»¿¡“”‘’–—…€·´]|[{_LETTERS}]{{3}}|(?<=\w)(?:[¿¡]|[“”‘’«»–—](?=\w))")
# `0,5` and `12,25` are decimal; `12,345` may be a thousand times as much.
_THOUSANDS = re.compile(r"[1-9]\d{0,2},\d{3}", re.ASCII)


class Table(NamedTuple):
    """A text table."""

    columns: list[str]  # those that are known in lower case
    rows: list[tuple[int, list[str], str]]  # (line, fields, fault of its quotes or ""); blank rows are none
    note: str  # in which other form than the standard one the table was read
    delimiter: str


def read_text(path: Path | str) -> tuple[str, str]:
    """Return a text of utf-8, of utf-16 with a mark, or of certain cp1252, and its encoding where it is not utf-8."""
    data = Path(path).read_bytes()
    marked = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    note = "utf-16" if marked else ""
    try:
        text = data.decode(note or "utf-8-sig")
    except UnicodeDecodeError as error:
        text, note = data.decode("cp1252", errors="replace"), "cp1252"
        if marked or _DOUBTFUL.search(text) or not re.search(f"[{_LETTERS}]", text):
            raise ValueError(
                f"{path}: not utf-8 at byte {error.start} (perhaps latin-1, or utf-16), and not clearly anything else; "
                "save it as utf-8"
            ) from error
    if "\0" in text:
        raise ValueError(f"{path}: holds bytes of 0; is it utf-16 without a mark, or no text? Save it as utf-8")
    return text, note


def read_table(
    path: Path | str, *required: Collection[str], known: Collection[str], numbers: Collection[str], standard: str = ";"
) -> Table:
    """Read a text table whose delimiter is the one at which its header holds all columns of one of `required`.

    Args:
        path: of the table.
        required: sets of columns, one of which a table has; where none fits, the table comes as its header looks.
        known: columns that are found in capitals, too, and with blanks around them or for their `_`.
        numbers: columns in which decimal commas become points, where all that they hold says that they are.
        standard: delimiters that need no note.
    """
    text, encoding = read_text(path)
    stated = re.match(r'"?sep=([;,\t|])"?(?:\r\n|\r|\n)', text)  # how Excel tells itself the delimiter
    body, skipped = (text[stated.end() :], 1) if stated else (text, 0)
    heads = {sign: _columns(body, sign, known) for sign in ([stated[1]] if stated else DELIMITERS)}
    fitting = [sign for sign, head in heads.items() if any(set(names) <= set(head) for names in required)]
    delimiter = fitting[0] if fitting else max(heads, key=lambda sign: len(heads[sign]))
    rows = list(_rows(body, delimiter, skipped))
    if rows and rows[0][2]:
        return Table([], rows, "", delimiter)
    columns = _folded(rows[0][1], known) if rows else []
    renamed = [came for came, column in zip(rows[0][1], columns, strict=True) if came != column] if rows else []
    commas = _decimal_commas(rows[1:], [place for place, column in enumerate(columns) if column in numbers])
    found = (
        f"in {encoding}" if encoding else "",
        "after a line `sep=`" if stated else "",
        f"parted by {DELIMITERS[delimiter]}" if fitting and delimiter not in standard else "",
        f"with columns named {', '.join(renamed)}" if renamed else "",
        "with decimal commas" if commas else "",
    )
    form = ", ".join(filter(None, found))
    note = f"read {form}; the standard form is utf-8, `;`, lower-case columns, decimal points" if form else ""
    return Table(columns, rows[1:], note, delimiter)


def read_unquoted(
    path: Path | str, columns: Collection[str], *, delimiter: str
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (file and line, column -> field) of a table without quoting: a quote is text, and a line is a row.

    ValueError where the header lacks one of `columns`, whatever their order, or a row has not its number of fields.
    """
    # Not splitlines(): sentences may hold U+2028 and its like.
    lines = re.split(r"\r?\n", read_text(path)[0])
    head = [column.strip() for column in lines[0].split(delimiter)]
    if missing := [column for column in columns if column not in head]:
        raise ValueError(f"{path} line 1: no column {missing[0]!r} among {head}; copy the table again")
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        fields = line.split(delimiter)
        if len(fields) != len(head):
            raise ValueError(f"{path} line {number}: {len(head)} fields expected, {len(fields)} came ({line[:100]!r})")
        yield f"{path} line {number}", dict(zip(head, fields, strict=True))


def read_records(
    path: Path | str,
    *required: Collection[str],
    known: Collection[str] = (),
    numbers: Collection[str] = (),
    standard: str = ";",
) -> tuple[list[tuple[int, dict[str, str]]], str]:
    """Return (line, column -> field) of each row of `read_table`, and its note; ValueError names the file and line."""
    table = read_table(path, *required, known=known, numbers=numbers, standard=standard)
    if not any(set(names) <= set(table.columns) for names in required):
        expected = " or ".join(", ".join(sorted(names)) for names in required)
        raise ValueError(f"{path} line 1: the columns {expected} expected, came {str(table.columns)[:200]}")
    for line, cells, error in table.rows:
        if error or len(cells) != len(table.columns):
            said = error or f"{len(table.columns)} fields expected, {len(cells)} came"
            raise ValueError(f"{path} line {line}: {said}; a field that holds the delimiter stands in double quotes")
    return [(line, dict(zip(table.columns, cells, strict=True))) for line, cells, _ in table.rows], table.note


def _columns(text: str, delimiter: str, known: Collection[str]) -> list[str]:
    plain = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        head = next((row for row in plain if any(field.strip() for field in row)), [])
    except csv.Error:
        return []
    return _folded(head, known)


def _folded(head: Sequence[str], known: Collection[str]) -> list[str]:
    folded = [re.sub(r"\W+", "_", column.strip()).lower() for column in head]
    return [name if name in known else column for name, column in zip(folded, head, strict=True)]


def _rows(text: str, delimiter: str, skipped: int) -> Iterator[tuple[int, list[str], str]]:
    if delimiter in "\t|" and '"' in text:
        # Such tables are written without quoting, too: then each line has all fields, and a quote is text.
        lines = [line.split(delimiter) for line in re.split(r"\r\n|\r|\n", text)]
        if len({len(fields) for fields in lines if fields != [""]}) == 1:
            whole = ((line, [_unquoted(field) for field in row], "") for line, row in enumerate(lines, skipped + 1))
            yield from (row for row in whole if any(row[1]))
            return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = skipped + reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield skipped + reader.line_num, [], str(error)
            continue
        if any(field.strip() for field in fields):
            yield line, fields, ""


def _unquoted(field: str) -> str:
    whole = re.fullmatch(r'"((?:[^"]|"")*)"', field)
    return whole[1].replace('""', '"') if whole else field


def _decimal_commas(rows: Sequence[tuple[int, list[str], str]], places: Sequence[int]) -> bool:
    """Turn the decimal commas of the columns at `places` into points where they are certain; return whether."""
    cells = [(fields, place) for _, fields, _ in rows for place in places if place < len(fields)]
    commas = [(fields, place) for fields, place in cells if "," in fields[place]]
    numbers = [fields[place].strip() for fields, place in commas]
    if (
        any("." in fields[place] for fields, place in cells)
        or not all(re.fullmatch(r"\d+,\d+", number, re.ASCII) for number in numbers)
        or all(_THOUSANDS.fullmatch(number) for number in numbers)
    ):
        return False
    for fields, place in commas:
        fields[place] = fields[place].replace(",", ".")
    return True


def parse_seconds(text: str) -> float | None:
    """Read a plain decimal number; what a spreadsheet made of one ('16.532.999.999', '12,5') is None, never guessed."""
    return float(text) if re.fullmatch(r"\d+(?:\.\d+)?", text, re.ASCII) else None
