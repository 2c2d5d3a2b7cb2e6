"""One message for what went wrong before or in a run: Hydra's errors in one sentence, with the near spelling."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from slt.config import CONF, HOME
from slt.config.commands import Study
from slt.text import near

LONGEST = 6000  # characters of a message; the clips that a survey names are within it


def explain(error: BaseException, name: str) -> str:
    """One message for `error`, with the near spelling where a key or a group's option was misspelt."""
    text = _explain(error, name)
    half = LONGEST // 2  # a value of a megabyte, quoted from a file, would push what is wrong off the screen
    return text if len(text) <= LONGEST else f"{text[:half]} [...] {text[-half:]}"


def _explain(error: BaseException, name: str) -> str:
    text = str(error).strip()
    if isinstance(error, yaml.YAMLError):
        return f"a file of conf/ or a recipe is not YAML: {' '.join(text.split())}"
    while isinstance(error, HydraException) and error.__cause__ is not None and "Error in call to" in text:
        error = error.__cause__
        text = str(error).strip()
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not key=value as Hydra reads it{_quoted(error.override)}"
    if ambiguous := re.search(r"Ambiguous value for argument '(.*)'\n", text):
        return f"{ambiguous[1]}: several values, which only a sweep takes (-m){_quoted(ambiguous[1])}"
    if key := re.search(r"Could not override '([\w.@/]+)'", text) or re.search(r"Key '([\w.]+)' not in", text):
        # Hydra lists the groups that take `@stream`.
        listed = re.search(r"Did you mean to override one of (.*)\?", text)
        return _no_key(key[1], name, listed[1].split(", ") if listed else [])
    if option := re.search(r"Could not find '([\w@/.-]+)/([\w.-]+)'", text):
        return _no_option(option[1], option[2])
    if isinstance(error, HydraException) and isinstance(error.__cause__, OmegaConfBaseException):
        cause = str(error.__cause__).splitlines()[0]
        merged = re.fullmatch(r"Error merging override (.*)", text) if "to string" in cause else None
        return f"{text}: {cause}{_quoted(merged[1]) if merged else ''}"
    return text


def _no_key(key: str, name: str, more: list[str]) -> str:
    if key == "sweep":
        return (
            "a file of sweep/ begins with the line `# @package _global_`; those named wandb_*.yaml are no option of "
            "sweep=: `wandb sweep FILE` takes them"
        )
    known = {*known_keys(name), *more, *Study.__annotations__}
    # A key of a group's default choice need not be one of the chosen.
    hint = "" if key in known else near(key, sorted(known), most=2)
    return f"there is no key '{key}' in conf/{name}.yaml and the chosen groups{hint}"


def _no_option(group: str, name: str) -> str:
    if group == "hydra/launcher" and name in ("joblib", "submitit_local", "submitit_slurm"):
        extra = "cluster" if name.startswith("submitit") else "parallel"
        return f"hydra/launcher={name}: it is not installed; pip install -e '.[{extra}]'"
    folders = (CONF / group, HOME / group, Path.cwd() / group)
    found = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    options = [option for option in found if not option.startswith("wandb_")]
    hint = near(name, options, least=0.5)
    return f"{group}={name}: there is no such option{hint} (there are: {', '.join(options)})"


def _quoted(override: str) -> str:
    """How a word of the command line is written where its value is a text; "" where no quotes mend it."""
    key, equals, value = override.partition("=")
    if not equals and override in sys.argv[2:]:  # what the shell has cut off at a blank
        key, equals, start = sys.argv[sys.argv.index(override) - 1].partition("=")
        value = f"{start} {override}"
    word = in_quotes(key, value)
    try:
        read = OverridesParser.create().parse_override(word).value() if equals else None
    except HydraException:
        return ""
    if read != value:
        return ""
    signs = "blanks, accents or one of = , ( ) [ ] { } # & ; ' \""
    return f"; a value with {signs} stands in quotes, once for Hydra and once for the shell: {shlex.quote(word)}"


def in_quotes(key: str, value: str) -> str:
    """The override of a key with a text, whatever is in it, in the quotes that Hydra reads."""
    return '{}="{}"'.format(key, re.sub(r'(\\*)("|$)', lambda end: 2 * end[1] + end[2].replace('"', '\\"'), value))


def known_keys(name: str) -> list[str]:
    """Every dotted key of `conf/<name>.yaml` with its default groups, and the groups' names."""
    with hydra.initialize_config_dir(str(CONF), version_base=None):
        cfg = hydra.compose(name)
    found: list[str] = []

    def walk(node: Any, prefix: str) -> None:
        if isinstance(node, Mapping):
            for key, value in node.items():
                found.append(f"{prefix}{key}")
                walk(value, f"{prefix}{key}.")

    walk(OmegaConf.to_container(cfg, resolve=False), "")
    return found + [path.name for path in CONF.iterdir() if path.is_dir()] + ["experiments"]
