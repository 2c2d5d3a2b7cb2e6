"""`make words`: the texts that users read, out of the source, into slt/locale/es/LC_MESSAGES/slt.po, and slt.mo of it.

Said is what lacks a translation. A text that is new stands there empty, to be translated; one that has gone is kept at
the end as `#~`, for it may come back.
"""

from __future__ import annotations

import ast
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from babel.messages import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from jinja2.ext import babel_extract

import slt.report
from slt.config.usage import about, keys_of
from slt.words import DOMAIN, HERE

ROOT = Path(__file__).resolve().parent.parent
PO = HERE / "es" / "LC_MESSAGES" / f"{DOMAIN}.po"
WORD = re.compile(r"[^\W\d_]{2,}")
# No dates, names or versions: the file changes where a text does.
HEADER = """# The Spanish of what slt says. `make words` renews the English texts, and slt.mo.
msgid ""
msgstr ""
"Language: es\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"

"""
FEWEST = {"report": 1, "line": 1, "error": 2}  # words of a text; 3 of one that is nobody's argument, or it is a key
# Names and short texts that are put together.
PARTS = ("without {stream}", "without all streams", "shuffled", "frozen", "corpus", "{0} line {1}",
         "{0}={1}: expected {2}", "a number above 0", "a number in [0, 1]")  # fmt: skip
MOST = 200  # of the texts without a translation that are listed
SAYING = {"say", "told"}
ARGPARSE = ("usage: ", "positional arguments", "options", "show this help message and exit")  # what it says itself
# What is written for no user: patterns, code, and the words of the embedded corpus.
SILENT = re.compile(
    r"\(\.\*\)|\\w|^import |^# |^Error in call to|^outside lower|^Source Sans|^Test, by |^<svg|^index: "
)
HELP = ("slt/config/usage.py", "slt/report.py")
UNREAD = ("slt/synthetic/lexicon.py", "slt/words.py")


@dataclass(frozen=True)
class Text:
    """A text, where it stands, and what it is: help, page, report, error, or another line."""

    text: str
    file: str
    kind: str


def texts() -> Iterator[Text]:
    """Every text that a user may read, some of them several times."""
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        content, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        keys = keys_of(content)
        reasons = [value for key, value, _ in keys if key.endswith(".why")]  # of slt.start's choices
        for said in (about(content), *(said for _, _, said in keys), *reasons):
            if WORD.search(said):
                yield Text(said, name, "help")
    for path in sorted((ROOT / "slt").rglob("*texts.yaml")):
        for said in yaml.safe_load(path.read_text(encoding="utf-8"))["en"].values():
            yield Text(said, path.relative_to(ROOT).as_posix(), "page")
    for path in sorted((ROOT / "slt").rglob("*.html")):
        options = {"trim_blocks": "true", "lstrip_blocks": "true", "silent": "false"}
        with path.open("rb") as file:
            for _, _, said, _ in babel_extract(file, ["gettext", "_"], [], options):
                if said:  # none of a name that code puts in
                    yield Text(str(said), path.relative_to(ROOT).as_posix(), "report")
    for path in sorted((ROOT / "slt").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name not in UNREAD:
            yield from _of_code(ast.parse(path.read_text(encoding="utf-8")), name)
    yield from (Text(said, "slt/evaluation/assessment.py", "report") for said in PARTS)
    yield from (Text(said, "slt/report.py", "help") for said in (*ARGPARSE, str(slt.report.__doc__)))


def _of_code(tree: ast.Module, name: str) -> Iterator[Text]:
    """Arguments of errors, of `say`, and every other text of some words but docstrings."""
    silent, kinds = set(_docstrings(tree)), dict[int, str]()
    # Other modules have a `say` of their own.
    ours = any(isinstance(node, ast.ImportFrom) and node.module == "slt.words" for node in ast.walk(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            kinds |= {id(argument): "error" for argument in node.exc.args[:1]}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            kinds |= {id(argument): "line" for argument in node.args[:1]}
        elif ours and isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SAYING:
            kinds |= {id(argument): "report" for argument in node.args[:1]}
        elif isinstance(node, ast.JoinedStr | ast.BinOp):
            silent |= {id(part) for part in _parts(node) if part is not node}
    for node in ast.walk(tree):
        text = None if id(node) in silent else template(node)
        if text is None or SILENT.search(text):
            continue
        words = WORD.findall(re.sub(r"\{\w+\}", " ", text))
        kind = kinds.get(id(node), "")
        if len(words) >= FEWEST.get(kind, 3) and (kind == "report" or " " in text.strip()):
            yield Text(text, name, "help" if name in HELP else kind or "line")


def template(node: ast.AST) -> str | None:
    """The text of a constant, or of an f-string or sum with each expression as its number, `{0}`; None of all else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if not isinstance(node, ast.JoinedStr | ast.BinOp):
        return None
    parts, said, count = [*_parts(node)], "", 0
    if not any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in parts):
        return None
    for part in parts:
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            said += part.value
        elif not isinstance(part, ast.JoinedStr | ast.BinOp):
            said, count = f"{said}{{{count}}}", count + 1
    return said


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """An f-string or sum of texts, and what it is made of, in order."""
    if isinstance(node, ast.JoinedStr):
        yield node
        yield from node.values
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield node
        yield from _parts(node.left)
        yield from _parts(node.right)
    else:
        yield node


def _docstrings(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield id(node.value)


def gathered(old: Catalog) -> Catalog:
    """The texts of today with the translations of `old`, and what of `old` is in none of them."""
    new = Catalog(locale="es", domain=DOMAIN, fuzzy=False)
    for each in texts():
        known = old.get(each.text) or old.obsolete.get(each.text)
        said = known.string if known and known.string else ""
        comments = [each.kind, *(new[each.text].auto_comments if each.text in new else [])]
        new.add(each.text, said, locations=[(each.file, 0)], auto_comments=sorted({*comments}))
        new[each.text].flags.discard("python-format")
    for message in [*old, *old.obsolete.values()]:
        if message.id and message.string and message.id not in new:
            new.obsolete[message.id] = message
    return new


def read() -> Catalog:
    return read_po(io.BytesIO(PO.read_bytes()), locale="es") if PO.is_file() else Catalog(locale="es")


def as_po(catalogue: Catalog) -> bytes:
    file = io.BytesIO()
    file.write(HEADER.encode())
    write_po(file, catalogue, width=110, omit_header=True, include_lineno=False)
    return file.getvalue()


def as_mo(catalogue: Catalog) -> bytes:
    file = io.BytesIO()
    write_mo(file, catalogue)
    return file.getvalue()


def lacking(catalogue: Catalog) -> list[str]:
    """Texts without a translation, each with what it is and where it stands."""
    return [
        f"{', '.join(message.auto_comments)} ({message.locations[0][0]}): {message.id}"
        for message in catalogue
        if message.id and not message.string
    ]


def main() -> None:
    new = gathered(read())
    PO.parent.mkdir(parents=True, exist_ok=True)
    PO.write_bytes(as_po(new))
    PO.with_suffix(".mo").write_bytes(as_mo(new))
    lacks = lacking(new)
    print(
        "\n".join(
            [
                *lacks[:MOST],
                *["..."] * (len(lacks) > MOST),
                f"{len(new) - len(lacks)} of {len(new)} texts are translated",
            ]
        )
    )
    sys.exit(bool(lacks))


if __name__ == "__main__":
    main()
