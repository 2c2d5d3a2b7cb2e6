"""How `fuzz.py` damages an input: bytes, lines, JSON values, and containers whose checksums would hide the damage."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# What must never run: it would leave this file in the working directory.
CANARY = "canary"
TARGETS = (
    {"_target_": "os.system", "command": f"touch {CANARY}"},
    {"_target_": "os.system", "_args_": [f"touch {CANARY}"]},
    {"_target_": "subprocess.run", "_args_": [["touch", CANARY]]},
    {"_target_": "builtins.exec", "_args_": [f"open({CANARY!r}, 'w')"]},
    {"_target_": "pathlib.Path.touch", "_args_": [{"_target_": "pathlib.Path", "_args_": [CANARY]}]},
    {"_target_": "slt.config.checks.os.system", "_args_": [f"touch {CANARY}"]},
    {"_target_": "slt.corpora.layout.write_index", "path": CANARY, "ids": ["a"]},
    {"_target_": "hydra.utils.get_method", "path": "fuzz_canary.touch"},
    {"_target_": "fuzz_canary.touch"},
    {"_target_": "torch.hub.load", "repo_or_dir": "a/b", "model": "c"},
)
NUMBERS = (0, -1, 1, 2, 7, 255, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64, -(2**31), 10**30,
           0.5, -0.0, 1e-300, 1e300, float("nan"), float("inf"), -float("inf"))  # fmt: skip
STRINGS = (
    *("", " ", "\0", "a" * 300, "\ufeff", "\u202e", "ñ\u0301", "../../x", "/etc/passwd", "C:\\x", "-rf", "a/b", "."),
    *("nan", "NaN", "inf", "1e400", "-5", "1,5", "16.532.999.999", "0x10", "９", "null", "true", "~", "[]", "{}", '"'),
    *(
        "'",
        ";",
        "=",
        "&amp;",
        "<i>",
        "{\\an8}",
        "[música]",
        "#NAME?",
        "${oc.env:HOME}",
        "${a}",
        "${slt.config.usage:train}",
    ),
    *("!!python/object/apply:os.system ['touch canary']", "_target_: os.system", "%s%n", "\ud800"),
)
SHAPES = ((2**40, 3), (-1, 3), (0, 3), (2**62, 2**62), (10**9, 3), (1,), (), "x", (4.5, 3), (10**8, 75), [3, 3])
TYPES = ("|O", "<f8", "<f2", "<i4", "|S1000000000", "<U9", "<M8[s]", "x", "|V8")
LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)


def mangle(data: bytes, dice: random.Random, tokens: Sequence[bytes] = ()) -> bytes:
    """Return `data` after one to eight changes: bits, cuts, doubled or lost stretches, numbers at the edge, tokens."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        # Headers are where a byte decides over the rest.
        place = dice.randrange(min(len(out), dice.choice((16, 128, 10**9))) or 1) if out else 0
        span = min(dice.choice((1, 2, 4, 8, 64, 1024)), len(out) - place)
        kind = dice.randrange(10)
        if kind <= 1 and out:
            out[place] ^= 1 << dice.randrange(8)
        elif kind == 2 and out:
            out[place] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
        elif kind == 3:
            del out[place if dice.random() < 0.5 else dice.randrange(len(out) + 1) :]
        elif kind == 4:
            del out[place : place + span]
        elif kind == 5:
            out[place:place] = out[place : place + span] * dice.choice((1, 2, 50))
        elif kind == 6:
            out[place:place] = dice.randbytes(span or 1)
        elif kind == 7:
            number = dice.choice((0, 1, 2**7, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1))
            width = dice.choice((1, 2, 4, 8))
            out[place : place + width] = (number % 256**width).to_bytes(width, dice.choice(("little", "big")))
        elif tokens:
            token = dice.choice(tokens)
            out[place : place + (span if kind == 8 else 0)] = token
    return bytes(out)


def mangle_lines(data: bytes, dice: random.Random, tokens: Sequence[str], separator: str) -> bytes:
    """Return a table or subtitle file after a change to its bytes, its lines, or one field of a line."""
    texts = [token.encode("utf-8", "surrogatepass") for token in (*tokens, *STRINGS)]
    if dice.random() < 0.3:
        return mangle(data, dice, texts)
    lines = data.split(b"\n")
    for _ in range(dice.choice((1, 1, 2, 4))):
        place = dice.randrange(len(lines)) if lines else 0
        kind = dice.randrange(8)
        if kind == 0 and lines:
            lines.insert(place, dice.choice(lines))
        elif kind == 1 and lines:
            del lines[place]
        elif kind == 2:
            dice.shuffle(lines)
        elif kind == 3:
            lines.insert(place, dice.choice(texts))
        elif lines:
            fields = lines[place].split(separator.encode())
            where = dice.randrange(len(fields))
            number = str(dice.choice(NUMBERS)).encode()
            old = fields[where]
            fields[where] = dice.choice((dice.choice(texts), number, old * 2, mangle(old, dice, texts)))
            lines[place] = separator.encode().join(fields)
    data = dice.choice((b"\n", b"\n", b"\n", b"\r\n", b"\r")).join(lines)
    return data * 300 if dice.random() < 0.02 else data


def mangle_value(value: Any, dice: random.Random) -> Any:
    """Return a JSON-like value in which one to four places were exchanged, removed, doubled or renamed."""
    value = copy.deepcopy(value)
    for _ in range(dice.choice((1, 1, 2, 4))):
        holder, key = _place(value, dice)
        if holder is None:
            return _strange(value, dice)
        kind = dice.randrange(8)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[dice.choice((*STRINGS, f"{key}x"))] = holder.pop(key)
        elif kind == 1:
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            holder[key] = _strange(holder[key], dice)
    return value


def _place(value: Any, dice: random.Random) -> tuple[Any, Any]:
    """Return a container within `value` and one of its keys, (None, None) where there is none."""
    holder = None
    while isinstance(value, dict | list) and value:
        holder, key = value, dice.choice(list(value)) if isinstance(value, dict) else dice.randrange(len(value))
        value = holder[key]
        if dice.random() < 0.2:
            break
    return (holder, key) if holder is not None else (None, None)


def _strange(value: Any, dice: random.Random) -> Any:
    deep: Any = []
    for _ in range(dice.choice((3, 2000))):
        deep = [deep]
    choices: list[Callable[[], Any]] = [
        lambda: dice.choice(NUMBERS), lambda: dice.choice(NUMBERS), lambda: dice.choice(STRINGS), lambda: None,
        lambda: copy.deepcopy(dice.choice(TARGETS)), lambda: [], lambda: {}, lambda: [value], lambda: deep,
        lambda: {"a": value}, lambda: not value, lambda: "x" * 100_000,
    ]  # fmt: skip
    if isinstance(value, int | float) and not isinstance(value, bool):
        choices += [lambda: value + 1, lambda: -value, lambda: value * 1000, lambda: value * 10**6, lambda: value + 0.5]
    if isinstance(value, str):
        choices += [lambda: value + "x", lambda: value[: len(value) // 2], lambda: value.upper()]
    if isinstance(value, list):
        choices += [lambda: value * 2, lambda: value[::-1], lambda: value[:-1]]
    return dice.choice(choices)()


def mangle_json(data: bytes, dice: random.Random) -> bytes:
    """Return a JSON file with changed values, or, sometimes, changed bytes."""
    if dice.random() < 0.25:
        return mangle(data, dice, [token.encode("utf-8", "surrogatepass") for token in STRINGS])
    value = mangle_value(json.loads(data), dice)
    try:
        return json.dumps(value, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
    except (RecursionError, ValueError):
        return b"[" * 5000


# ---------------------------------------------------------------- containers


class Bomb:
    """What runs a command where it is unpickled."""

    def __reduce__(self) -> Any:
        import os

        return os.system, (f"touch {CANARY}",)


def mangle_safetensors(data: bytes, dice: random.Random) -> bytes:
    """Return a safetensors file whose header lies, or with changed bytes."""
    if dice.random() < 0.4:
        return mangle(data, dice)
    length = int.from_bytes(data[:8], "little")
    header = mangle_value(json.loads(data[8 : 8 + length]), dice)
    try:
        text = json.dumps(header).encode()
    except (RecursionError, ValueError):
        text = b"[" * 5000
    stated = len(text) if dice.random() < 0.9 else dice.choice((0, 7, 2**32, 2**63, 2**64 - 1))
    return stated.to_bytes(8, "little") + text + data[8 + length :]


def npy(array: Any, dice: random.Random, shape: Any = None, descr: str | None = None) -> bytes:
    """Return an .npy whose header states another shape or type than it holds, where these are given."""
    file = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(array)
    header |= {"shape": shape} if shape is not None else {}
    header |= {"descr": descr} if descr is not None else {}
    np.lib.format.write_array_header_2_0(file, header) if dice.random() < 0.2 else _header(file, header)
    return file.getvalue() + array.tobytes()


def _header(file: io.BytesIO, header: dict[str, Any]) -> None:
    text = (repr(header) + " " * 20 + "\n").encode("latin1", "replace")
    file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)


def mangle_npy(data: bytes, dice: random.Random) -> bytes:
    """Return an .npy with changed bytes, another type, a lying header, or a pickle in it."""
    kind = dice.randrange(6)
    if kind < 2:
        return mangle(data, dice, [b"'O'", b"'|O'", b"<f8", b"<c16", b"(10**9,", b"fortran_order': True", b"__x__"])
    array = np.load(io.BytesIO(data))
    if kind == 2:
        return npy(array, dice, shape=dice.choice(SHAPES))
    if kind == 3:
        return npy(array, dice, descr=dice.choice(TYPES))
    if kind == 4:
        return b"\x93NUMPY\x01\x00\x46\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }            \n" + (
            pickle.dumps([Bomb()])
        )
    with np.errstate(all="ignore"):
        changed = array.astype(dice.choice((np.float16, np.float64, np.int32, np.uint8, np.complex64, np.bool_)))
        if dice.random() < 0.5 and array.size:
            changed = array.copy()
            value = dice.choice((np.nan, np.inf, -1, 1e30, 2)) if array.dtype.kind == "f" else 200
            changed.flat[dice.randrange(array.size)] = value
    return npy(changed, dice)


def mangle_zip(
    data: bytes, dice: random.Random, entry: Callable[[str, bytes, random.Random], bytes], *, deflate: bool = True
) -> bytes:
    """Return a zip with changed bytes, or one entry of it as `entry` has changed it, missing, renamed, or a bomb."""
    kind = dice.randrange(8)
    if kind < 2:
        return mangle(data, dice, [b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = [(name, archive.read(name)) for name in archive.namelist()]
    place = dice.randrange(len(parts))
    name, content = parts[place]
    if kind == 2:
        del parts[place]
    elif kind == 3:
        parts[place] = (dice.choice((*STRINGS[3:12], f"{name}x", parts[0][0])).replace("\0", ""), content)
    elif kind == 4 and deflate:
        parts[place] = (name, content[:200] + bytes(dice.choice((10**6, 3 * 10**8))))
    else:
        parts[place] = (name, entry(name, content, dice))
    out = io.BytesIO()
    packing = zipfile.ZIP_DEFLATED if kind == 4 or dice.random() < 0.2 else 0
    with zipfile.ZipFile(out, "w", packing, compresslevel=1) as archive:
        for name, content in parts:
            archive.writestr(name or "x", content)
    return out.getvalue()


def sign(values: dict[str, Any], files: dict[str, bytes]) -> bytes:
    """Return manifest.json with the sums of `files` and of itself, so that only what it says is wrong with it."""
    listed = values.get("files")
    if isinstance(listed, dict):
        listed |= {name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name in listed}
    values.pop("sha256", None)
    values["sha256"] = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass")
