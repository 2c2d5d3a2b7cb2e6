"""`python -m slt.report sweep FOLDER`, `python -m slt.report experiments`: pages and tables made from runs again."""

from __future__ import annotations

import argparse
import gettext
import sys
from pathlib import Path

from slt.config import HOME
from slt.words import DOMAIN, HERE, LANGUAGES, in_their_language, language, say, told


def report() -> None:
    """Reads the command line and does what it says; exit status 1 with one message where it cannot."""
    here = Path("experiments/README.md")
    if language() != LANGUAGES[0]:  # argparse asks gettext for its own words
        gettext.bindtextdomain(DOMAIN, HERE)
        gettext.textdomain(DOMAIN)
    parser = argparse.ArgumentParser(prog="python -m slt.report", description=say(str(__doc__)))
    commands = parser.add_subparsers(dest="command", required=True)
    sweep = commands.add_parser(
        "sweep", help=say("sweep.csv, sweep.html and the plots of a sweep, running or broken too")
    )
    sweep.add_argument("folder", type=Path, help=say("of the sweep, outputs/sweeps/train/DATE/TIME"))
    notebook = commands.add_parser("experiments", help=say("the lab notebook's tables, from the runs of its recipes"))
    notebook.add_argument("names", nargs="*", metavar="NAME", help=say("of the recipes; none = all"))
    notebook.add_argument("--runs", type=Path, default=Path("outputs"), help=say("folder with the runs (%(default)s)"))
    notebook.add_argument(
        "--notebook",
        type=Path,
        default=here if here.is_file() else HOME / here,
        help=say("the Markdown file (%(default)s)"),
    )
    traced = commands.add_parser("lineage", help=say("the checkpoints and exports that have seen a signer"))
    traced.add_argument("signer", help=say("as the column `signer` of the corpus has it"))
    traced.add_argument("--runs", type=Path, default=Path("outputs"), help=say("folder to look through (%(default)s)"))
    given = parser.parse_args()
    with in_their_language():
        _do(given)


def _do(given: argparse.Namespace) -> None:
    try:
        if given.command == "sweep":
            from slt.sweeps.page import summary, write_sweep  # here: `--help` draws nothing

            print(summary(write_sweep(given.folder)))
        elif given.command == "lineage":
            from slt.training.lineage import who_has_seen

            said = {True: "has seen", False: "has not seen", None: "does not say of"}
            for path, seen in who_has_seen(given.signer, given.runs):
                print(f"{path}: {said[seen]} {given.signer}")
        else:
            from slt.sweeps.notebook import rebuild

            print("\n".join(rebuild(given.notebook, given.runs, given.names)))
            print(f"notebook: {given.notebook}")
    except (ValueError, OSError) as error:
        print(f"error: {told(str(error))}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    report()
