"""The Hugging Face hub at both ends: exported folders go up, `hf://OWNER/NAME` comes down; nothing executes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from slt.models.signature import FILE, read_manifest, write_manifest

SCHEME = "hf://"
CARD = "README.md"  # not in the manifest: cards are edited, on the hub too
# TorchScript and torch.export programs are code, which a hub's visitor should not have to trust.
EXECUTES = ("*.ts", "*.pt2")


def fetched(model: str | Path) -> str | Path:
    """Return a path as it is, and of `hf://OWNER/NAME` or `hf://OWNER/NAME@REVISION` the folder in the cache.

    With HF_HUB_OFFLINE=1, or no network, what was fetched before is taken.

    Raises:
        ValueError: no name of a repository.
        FileNotFoundError: no such repository or revision, or nothing of it in the cache and no network.
    """
    if not str(model).startswith(SCHEME):
        return model
    from huggingface_hub import snapshot_download  # here: a folder needs none of it
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    name, _, revision = str(model).removeprefix(SCHEME).partition("@")
    check_name(name, f"model={model}")
    try:
        return snapshot_download(name, revision=revision or None, ignore_patterns=[*EXECUTES])
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"model={model}: it is not in the hub's cache, and the hub cannot be reached ({_first(error)})"
        ) from error
    except HfHubHTTPError as error:
        raise FileNotFoundError(
            f"model={model}: the hub does not give it ({_first(error)}); is the name right, and, if it is private, has "
            "`hf auth login` been run?"
        ) from error


def check_name(name: str, where: str) -> None:
    """Refuse what is no OWNER/NAME of a repository."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ValueError(f"{where}: OWNER/NAME of a repository expected ({_first(error)})") from error
    if name.count("/") != 1:
        raise ValueError(f"{where}: OWNER/NAME of a repository expected, came {name!r}")


def push(folder: Path, name: str, *, private: bool) -> str:
    """Send an exported folder to a repository, which is made where there is none; return its address.

    The repository then holds what the folder holds, but for files that execute; the manifest lists what is left.

    Raises:
        FileNotFoundError, ValueError: it is no exported folder, or was changed.
        OSError: the hub cannot be reached, or refuses; the folder is as it was.
    """
    from huggingface_hub import HfApi

    check_name(name, f"push={name}")
    manifest = read_manifest(folder)
    with tempfile.TemporaryDirectory(prefix="slt-push-", dir=folder.parent) as scratch:
        sent = Path(scratch) / folder.name
        shutil.copytree(folder, sent, ignore=shutil.ignore_patterns(*EXECUTES, FILE, CARD), copy_function=_linked)
        write_manifest(sent, manifest)
        _write_card(folder / CARD, sent / CARD, name)
        try:
            api = HfApi(library_name="slt")
            made = api.create_repo(name, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=name, folder_path=sent, commit_message=f"Export {manifest.name}", delete_patterns="*"
            )
        except (OSError, ValueError) as error:  # the library's own errors are some of these
            raise OSError(
                f"push={name}: {folder} is exported, and could not be sent ({_first(error)}); once that is mended: "
                f"python -m slt.export out={folder} push={name}"
            ) from error
    return str(made)


def _write_card(source: Path, target: Path, name: str) -> None:
    """Write a folder's card with the repository's name in its examples."""
    if source.is_file():
        text = source.read_text(encoding="utf-8")
        text = text.replace('load("FOLDER")', f'load("{SCHEME}{name}")').replace('"FOLDER"', f'"{name}"')
        target.write_text(text, encoding="utf-8")


def _linked(source: str, target: str) -> Any:
    """Link a file, which takes no room, or copy it where the file system has no links."""
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def _first(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
