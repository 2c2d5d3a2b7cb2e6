"""`python -m slt`: the short training run on the embedded corpus; `python -m slt COMMAND key=value`: a command."""

from __future__ import annotations

import importlib
import importlib.util
import sys

from slt.text import near
from slt.words import told

COMMANDS = ("train", "eval", "export", "pretrain", "extract", "check", "demo", "report", "board", "score",
            "adapt", "rate")  # fmt: skip


def main() -> None:
    """Hands over to `slt.<command>`, `train` where none is named."""
    there = [name for name in COMMANDS if importlib.util.find_spec(f"slt.{name}")]
    command = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1].isidentifier() else "train"
    if command not in there:
        sys.exit(told(f"error: there is no command {command!r}{near(command, there)} (there are: {', '.join(there)})"))
    if len(sys.argv) > 1 and sys.argv[1] == command:
        del sys.argv[1]
    sys.argv[0] = f"slt.{command}"
    getattr(importlib.import_module(f"slt.{command}"), {"eval": "evaluate"}.get(command, command))()


if __name__ == "__main__":
    main()
