"""A sweep that cannot be meant ends before its first job, with one message; every named sweep and launcher composes."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from types import SimpleNamespace

import hydra
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from slt.config.checks import CONF, check
from slt.config.messages import explain
from slt.sweeps import grid
from slt.sweeps.status import read_status

NAMED = sorted(path.stem for path in (CONF / "sweep").glob("*.yaml") if not path.name.startswith("wandb_"))
SEARCHES = sorted((CONF / "sweep").glob("wandb_*.yaml"))
WRONG = {
    ("max_step=1,2",): r"there is no key 'max_step' .*did you mean max_steps",
    ("fusion=concat,gatd",): r"fusion=gatd: there is no such option; did you mean gated",
    ("seed=range(1,1)",): r"the grid is empty: seed has no values to choose from; nothing was run",
    ("seed=1,2", "hydra.sweep.subdir=same"): r"two jobs into .*same: job 0 \(seed=1\) and job 1 \(seed=2\)",
    ("sweep=seedz",): r"sweep=seedz: there is no such option; did you mean seeds\? \(there are: fusion_x_[^w]*\)",
    ("sweep=wandb_bayes",): r"wandb_\*.yaml are no option of sweep=: `wandb sweep FILE` takes them",
}


@pytest.mark.parametrize("words", WRONG)
def test_a_sweep_that_cannot_be_meant_runs_nothing(entry, tiny, words):
    ran = entry("train", "-m", *tiny, *words)
    assert (ran.status, ran.folder, ran.err.count("error: ")) == (1, None, 1)
    assert re.search(WRONG[words], ran.err), ran.err
    assert not [*Path.cwd().rglob("sweep.html")]


@pytest.mark.parametrize(("words", "named"), [
    (["checkpoint=absent"], ["now", "now-2"]), (["-m", "checkpoint=a,b"], ["now/0", "now/1", "now-2/0", "now-2/1"]),
])  # fmt: skip
def test_runs_and_sweeps_of_one_moment_have_folders_of_their_own(entry, monkeypatch, words, named):
    # Whatever the clock's resolution: both see the same moment.
    moment = SimpleNamespace(now=lambda: SimpleNamespace(strftime=lambda _: "now"))
    monkeypatch.setattr("hydra.core.utils.datetime", moment)
    for _ in range(2):
        assert entry("eval", *words).status == 1
    found = {str(path.parent.parent) for path in Path("outputs").rglob(".hydra/config.yaml")}
    assert {name.split("now/", 1)[1] for name in found} == {*named}


def test_a_fixed_folder_is_gone_on_in(entry):
    for _ in range(2):
        assert entry("eval", "checkpoint=absent", "hydra.run.dir=mine").status == 1
    assert [path.name for path in Path.cwd().iterdir()] == ["mine"]


@pytest.mark.parametrize("name", NAMED)
def test_every_job_of_a_named_sweep_composes(compose, name):
    params = yaml.safe_load((CONF / "sweep" / f"{name}.yaml").read_text())["hydra"]["sweeper"]["params"]
    parsed = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in params.items()])
    keys = [one for one in parsed if one.key_or_group != "seed"]
    choices = [[f"{one.key_or_group}={value}" for value in one.sweep_string_iterator()] for one in keys]
    for job in itertools.product(*choices):
        check(compose(f"sweep={name}", *job))


def test_a_named_sweep_needs_no_flag_and_its_values_can_be_set(entry, tiny):
    ran = entry("train", *tiny, "sweep=seeds", "seed=4", "final=null", "max_steps=1", "hydra.sweep.dir=named")
    assert ran.status == 0
    assert read_status(Path("named/0")).state == "finished"
    assert "seed=4" in read_status(Path("named/0")).overrides


@pytest.mark.parametrize("name", ["parallel", "slurm", "submitit"])
def test_every_launcher_composes(name):
    plugin = {"parallel": "joblib"}.get(name, "submitit")
    pytest.importorskip(f"hydra_plugins.hydra_{plugin}_launcher")
    with hydra.initialize_config_dir(str(CONF), version_base=None):
        cfg = hydra.compose("train", overrides=[f"hydra/launcher={name}"], return_hydra_config=True)
    assert plugin in cfg.hydra.launcher._target_


def test_a_launcher_that_is_not_installed_names_its_extra():
    said = explain(ValueError("In 'hydra/launcher/slurm': Could not find 'hydra/launcher/submitit_slurm'"), "train")
    assert "pip install -e '.[cluster]'" in said


@pytest.fixture
def command_of(monkeypatch, tmp_path):
    """The command line that a wandb agent runs for a search, made by the agent itself."""
    from wandb import wandb_agent

    ran = []
    monkeypatch.setattr(wandb_agent, "AgentProcess", lambda command, **_: ran.append(command) or SimpleNamespace())
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_SWEEP_ID"):
        monkeypatch.setenv(name, "x")  # the agent sets them; afterwards they are as before

    def make(search: Path, **values: object) -> list[str]:
        definition = yaml.safe_load(search.read_text())
        given = {key: {"value": spec.get("value", (spec.get("values") or [spec.get("min")])[0])}
                 for key, spec in definition["parameters"].items()}  # fmt: skip
        given |= {key: {"value": value} for key, value in values.items()}
        agent = wandb_agent.Agent.__new__(wandb_agent.Agent)
        vars(agent).update(_sweep_command=definition["command"], _in_jupyter=False, _function=None, _run_processes={},
                           _forward_signals=False)  # fmt: skip
        agent._command_run({"run_id": "x", "args": given, "program": definition["program"]})
        return ran[-1]

    return make


@pytest.mark.parametrize("search", SEARCHES, ids=lambda path: path.stem)
def test_the_command_of_a_wandb_agent_composes(compose, command_of, search, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)  # as an agent has, and nothing is sent
    words = command_of(search)
    assert words[:4] == ["/usr/bin/env", "python", "-m", "slt.train"]
    cfg = compose(*words[4:])
    check(cfg)
    assert (cfg.final, cfg.optimizer.lr, cfg.wandb.mode) == (None, 0.0003, "online")
    assert yaml.safe_load(search.read_text())["metric"] == {"name": f"val/{cfg.select or 'bleu'}", "goal": "maximize"}


def test_the_command_of_a_wandb_agent_runs(entry, tiny, command_of):
    words = command_of(SEARCHES[0], **{"wandb.mode": "disabled"})
    ran = entry("train", *words[4:], *tiny, "max_steps=1", "hydra.run.dir=one")
    assert ran.status == 0, ran.err
    assert read_status(Path("one")).state == "finished"
    assert "optimizer.lr=0.0003" in read_status(Path("one")).overrides


@pytest.mark.parametrize("jobs", [3, [3], [{"number": 0, "folder": "x" * 300, "overrides": []}], [{"folder": "0"}]])
def test_a_damaged_list_of_jobs_is_named(tmp_path, jobs):
    (tmp_path / "sweep.json").write_text(json.dumps({"again": None, "jobs": jobs}))
    with pytest.raises(ValueError, match=r"sweep\.json: not a sweep's list of jobs"):
        grid.read_plan(tmp_path)
