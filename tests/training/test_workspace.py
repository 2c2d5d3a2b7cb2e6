"""The board's layout as it would be sent, looked at without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slt.training.boards.wandb import SPLITS, SUMMARY
from slt.training.workspace import layout

pytest.importorskip("wandb_workspaces", reason='wandb-workspaces is absent: pip install "slt[board]"')
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style:DeprecationWarning")  # of wandb-workspaces itself


@pytest.fixture
def view() -> dict[str, Any]:
    made = layout(entity="me", project="slt", title="signs")
    return json.loads(made._to_model().model_dump_json(by_alias=True, exclude_none=True))


def test_view_is_of_the_project_and_groups_runs_by_sweep_and_job_type(view: dict[str, Any]) -> None:
    assert (view["entity"], view["project"], view["displayName"]) == ("me", "slt", "signs")
    assert [key["name"] for key in view["spec"]["section"]["runSets"][0]["grouping"]] == ["group", "jobType"]


def test_every_curve_is_over_the_step_of_training_and_of_a_metric_that_runs_log(view: dict[str, Any]) -> None:
    panels = [p for s in view["spec"]["section"]["panelBankConfig"]["sections"] for p in s["panels"]]
    curves = [p["config"] for p in panels if p["viewType"] == "Run History Line Plot"]
    assert {config["xAxis"] for config in curves} == {"step"}
    told = {f"{split}/{name}" for split in SPLITS for names in SUMMARY.values() for name in names}
    told |= {"train/clips_per_second", "train/data_wait", "train/lr"}
    assert {name for config in curves for name in config["metrics"]} <= told


def test_tables_of_translations_and_the_sweep_have_their_panels(view: dict[str, Any]) -> None:
    sent = json.dumps(view)
    assert all(name in sent for name in ("val/examples", "test/translations", "val/neighbours", "Parallel Coordinates"))
