"""`slt.board` through its real entry point, up to the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("wandb_workspaces", reason='wandb-workspaces is absent: pip install "slt[board]"')
pytestmark = [
    pytest.mark.filterwarnings("ignore:Pydantic V1 style:DeprecationWarning"),  # of wandb-workspaces itself
    pytest.mark.usefixtures("offline"),
]


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody is logged in and no server is there."""
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")


def test_without_an_entity_or_a_key_it_says_which(entry: Any) -> None:
    ran = entry("board")
    assert ran.status == 1
    assert "board.entity is missing" in ran.err
    assert "wandb login" in ran.err


def test_layout_is_sent_and_its_place_printed(entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb_workspaces.workspaces import Workspace

    saved: list[Any] = []
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setattr(Workspace, "save", lambda view: saved.append(view))
    monkeypatch.setattr(Workspace, "url", "https://wandb.ai/me/signs?nw=1")
    ran = entry("board", "wandb.entity=me", "wandb.project=signs", "title=mine")
    assert (ran.status, [(view.entity, view.project, view.name) for view in saved]) == (0, [("me", "signs", "mine")])
    assert "board: https://wandb.ai/me/signs?nw=1" in ran.out


def test_server_that_refuses_is_one_message(entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb_workspaces.workspaces import Workspace

    def refuse(view: Any) -> None:
        raise RuntimeError("permission denied")

    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setattr(Workspace, "save", refuse)
    ran = entry("board", "board.entity=me")
    assert ran.status == 1
    assert "board.entity=me: the layout could not be saved (permission denied)" in ran.err
