"""The notebook's tables are made from runs, again and again the same, and from their numbers alone on a fresh clone."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from slt.report import report
from slt.sweeps.notebook import rebuild

RECIPE = """# @package _global_
# Which fusion?
study:
  question: Which fusion?
  metrics: [test/bleu, seconds]
  baseline: fusion=mean
"""
NOTEBOOK = "# Notebook\n\nbefore\n\n<!-- report:fusion -->\n<!-- /report -->\n\nafter\n"


@pytest.fixture
def notebook(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "fusion.yaml").write_text(RECIPE)
    (tmp_path / "experiments" / "README.md").write_text(NOTEBOOK)
    return tmp_path / "experiments" / "README.md"


@pytest.fixture
def runs(write_run):
    """Two fusions, two seeds: 10 and 12 against 20 and 24."""
    for i, (fusion, seed, score) in enumerate([("mean", 1, 10), ("mean", 2, 12), ("gated", 1, 20), ("gated", 2, 24)]):
        write_run(f"outputs/{i}", f"fusion={fusion}", f"seed={seed}", "experiments=fusion", bleu=score)
    return Path("outputs")


def test_a_table_has_means_intervals_and_the_difference_by_seed(notebook, runs):
    assert rebuild(notebook, runs, []) == ["fusion: 4 runs, 4 of them found here"]
    text = notebook.read_text()
    assert "| fusion=mean | 1, 2 | 11.00 (-1.71 to 23.71) | 9.00 (9.00 to 9.00) |  |" in text  # t = 12.706, s = 1.41
    assert "| fusion=gated | 1, 2 | 22.00 " in text
    assert "| +11.00 (-1.71 to +23.71) |" in text  # differences 10 and 12
    said = ("fusion=mean experiments=fusion", "fusion=gated experiments=fusion")  # of any seed, once
    assert f"Command: {'; '.join(f'`python -m slt.train {words}`' for words in said)}." in text
    assert "Machine: Abacus, 2 cores." in text
    assert "Revision: `aaaaaaaaaaaa`." in text
    assert text.startswith("# Notebook\n\nbefore\n")
    assert text.endswith("\nafter\n")


def test_a_baseline_of_several_keys_is_written_as_on_a_command_line(notebook, write_run):
    recipe = notebook.parent / "fusion.yaml"
    recipe.write_text(RECIPE.replace("fusion=mean", "fusion=mean dataset.only=[face,pose]"))
    for i, (fusion, only) in enumerate([("mean", "[face,pose]"), ("mean", "null"), ("gated", "[face,pose]")]):
        write_run(f"outputs/{i}", f"fusion={fusion}", f"dataset.only={only}", "experiments=fusion", bleu=10.0 + i)
    rebuild(notebook, Path("outputs"), [])
    assert "test/bleu less fusion=mean, dataset.only=[face,pose] |" in notebook.read_text()
    assert "| fusion=gated, dataset.only=[face,pose] | 1 | 12.00 | 9.00 | +2.00 |" in notebook.read_text()


def test_a_key_of_the_baseline_that_does_not_vary_yet_has_its_value_all_the_same(notebook, runs):
    recipe = notebook.parent / "fusion.yaml"
    recipe.write_text(RECIPE.replace("fusion=mean", "fusion=mean embed_dim=default"))
    rebuild(notebook, runs, [])
    assert "test/bleu less fusion=mean |" in notebook.read_text()
    recipe.write_text(RECIPE.replace("fusion=mean", "fusion=mean embed_dim=64"))
    with pytest.raises(ValueError, match="baseline='fusion=mean embed_dim=64' is no row"):
        rebuild(notebook, runs, [])


def test_rows_stand_as_in_the_recipe_s_grid_and_others_after_them(notebook, runs, write_run):
    recipe = notebook.parent / "fusion.yaml"
    recipe.write_text(RECIPE + "hydra: {sweeper: {params: {fusion: 'concat,gated,mean', seed: '1,2'}}}\n")
    write_run("outputs/8", "fusion=own", "seed=1", "experiments=fusion", bleu=7)
    write_run("outputs/9", "fusion=concat", "seed=1", "experiments=fusion", bleu=7)
    rebuild(notebook, runs, [])
    assert settings(notebook) == ["fusion=concat", "fusion=gated", "fusion=mean", "fusion=own"]


def test_rows_are_named_by_the_recipe_and_one_without_runs_says_so(notebook, runs, write_run):
    recipe = notebook.parent / "fusion.yaml"
    recipe.write_text(RECIPE + "  rows: {Gates: fusion=gated, Sums: fusion=sum, A mean: fusion=mean}\n")
    write_run("outputs/8", "fusion=own", "seed=1", "experiments=fusion", bleu=7)
    rebuild(notebook, runs, [])
    assert settings(notebook) == ["Gates", "Sums", "A mean", "fusion=own"]
    assert "| Sums | not run yet |  |  |  |" in notebook.read_text()
    assert "test/bleu less A mean |" in notebook.read_text()
    write_run("outputs/9", "fusion=gated", "seed=1", "embed_dim=64", "experiments=fusion", bleu=7)
    rebuild(notebook, runs, [])  # runs that differ are never averaged, whatever their name
    assert settings(notebook)[:3] == ["Gates, embed_dim=default", "Gates, embed_dim=64", "Sums"]


def test_yes_and_no_are_one_value_however_they_are_written(notebook, runs, write_run):
    for seed, word in enumerate(("true", "True"), 1):
        write_run(f"outputs/1{seed}", "fusion=own", f"compile={word}", f"seed={seed}", "experiments=fusion", bleu=7)
    rebuild(notebook, runs, [])
    assert "| fusion=own, compile=true | 1, 2 | 7.00 " in notebook.read_text()


def settings(notebook: Path) -> list[str]:
    """The first cells of a notebook's table."""
    lines = [line for line in notebook.read_text().splitlines() if line.startswith("|")]
    return [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]]


def test_a_baseline_of_the_grid_that_is_not_run_yet_is_waited_for(notebook, runs):
    recipe = notebook.parent / "fusion.yaml"
    grid = "hydra: {sweeper: {params: {fusion: 'mean,gated,concat', seed: '1,2'}}}\n"
    recipe.write_text(RECIPE.replace("baseline: fusion=mean", "baseline: fusion=concat") + grid)
    rebuild(notebook, runs, [])
    text = notebook.read_text()
    assert "No comparison: fusion=concat has not been run yet." in text
    assert "| setting | seeds | test/bleu | seconds |\n" in text
    recipe.write_text(recipe.read_text().replace("baseline: fusion=concat", "baseline: fusion=cat"))
    with pytest.raises(ValueError, match="baseline='fusion=cat' is no row"):
        rebuild(notebook, runs, [])


def test_runs_of_another_study_count_where_they_are_the_same_job(notebook, runs, write_run):
    width = RECIPE.replace("baseline: fusion=mean", "baseline: null\n  shared: {embed_dim=128: 'fusion: fusion=gated'}")
    (notebook.parent / "width.yaml").write_text(width)
    notebook.write_text(NOTEBOOK + NOTEBOOK.replace("report:fusion", "report:width"))
    write_run("outputs/9", "embed_dim=64", "seed=1", "experiments=width", bleu=5)
    rebuild(notebook, runs, [])
    assert "| embed_dim=128 | 1, 2 | 22.00 " in notebook.read_text()
    write_run("outputs/10", "embed_dim=128", "seed=2", "experiments=width", bleu=40)  # a run of its own goes before
    rebuild(notebook, runs, ["width"])
    assert "| embed_dim=128 | 1, 2 | 30.00 " in notebook.read_text()
    text = notebook.read_text()
    shutil.rmtree(runs)
    rebuild(notebook, runs, [])
    assert notebook.read_text() == text
    (notebook.parent / "width.yaml").write_text(width.replace("fusion: fusion", "fusoin: fusion"))
    with pytest.raises(ValueError, match=r"width.yaml: study.shared: embed_dim=128: expected 'RECIPE: KEY=VALUE'"):
        rebuild(notebook, runs, [])


def test_a_clone_without_runs_makes_the_same_table(notebook, runs):
    rebuild(notebook, runs, [])
    text = notebook.read_text()
    shutil.rmtree(runs)
    assert rebuild(notebook, runs, []) == ["fusion: 4 runs, 0 of them found here"]
    assert notebook.read_text() == text


def test_a_study_without_runs_says_so(notebook, tmp_path):
    rebuild(notebook, tmp_path / "outputs", [])
    assert "\n<!-- report:fusion -->\nNot run here.\n<!-- /report -->\n" in notebook.read_text()
    assert not (notebook.parent / "results").exists()


def test_runs_behind_links_are_found_and_each_counts_once(notebook, runs, tmp_path):
    runs.rename(tmp_path / "disk")
    runs.mkdir()
    for name in ("a", "z"):
        (runs / name).symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "up").symlink_to(runs)  # no end, for who follows it
    assert rebuild(notebook, runs, []) == ["fusion: 4 runs, 4 of them found here"]


def test_a_run_made_again_takes_the_place_of_the_earlier_one(notebook, runs, write_run):
    write_run("outputs/9", "fusion=mean", "seed=1", "experiments=fusion", begun="2026-01-02", bleu=30)
    rebuild(notebook, runs, [])
    assert "| fusion=mean | 1, 2 | 21.00 " in notebook.read_text()


def test_runs_that_are_not_finished_are_named_and_debug_ones_are_not_meant(notebook, runs, write_run):
    write_run("outputs/8", "fusion=mean", "seed=3", "experiments=fusion", state="failed", bleu=1)
    write_run("outputs/9", "fusion=mean", "seed=3", "experiments=fusion", "debug=fast", bleu=1)
    (said,) = rebuild(notebook, runs, [])
    assert said.endswith("not in the table: outputs/8 (failed)")
    assert "1, 2, 3" not in notebook.read_text()


def test_no_folder_of_one_machine_gets_into_the_notebook(notebook, write_run):
    write_run("outputs/0", "fusion=mean", "dataset.root=/mnt/who/corpus", "experiments=fusion", bleu=1)
    rebuild(notebook, Path("outputs"), [])
    for path in (notebook, notebook.parent / "results" / "fusion.csv"):
        assert "/mnt" not in path.read_text()
        assert "dataset.root" in path.read_text()


@pytest.mark.parametrize(("change", "said"), [
    (("baseline", "baselin"), r"fusion\.yaml: study\.baselin: there is no such key; did you mean baseline\?"),
    (("test/bleu", "test/belu"), r"metrics: no run has 'test/belu'; did you mean test/bleu\?"),
    (("fusion=mean", "fusion=men"), r"baseline='fusion=men' is no row; there are: fusion=mean; fusion=gated"),
    (("metrics: [", "metrics: [["), r"not YAML: .*fusion\.yaml"),
    (("  baseline", "  rows: {Mean: mean}\n  baseline"), r"study\.rows: Mean: expected 'KEY=VALUE ...', got 'mean'"),
    (("study:", "stdy:"), r"fusion\.yaml is not there or has no mapping `study`"),
])  # fmt: skip
def test_a_study_with_a_typo_is_refused_and_the_notebook_left_alone(notebook, runs, change, said):
    recipe = notebook.parent / "fusion.yaml"
    recipe.write_text(recipe.read_text().replace(*change))
    with pytest.raises(ValueError, match=said):
        rebuild(notebook, runs, [])
    assert notebook.read_text() == NOTEBOOK


def test_a_place_without_an_end_is_refused(notebook, runs):
    notebook.write_text(NOTEBOOK.replace("<!-- /report -->", ""))
    with pytest.raises(ValueError, match="each <!-- report:NAME --> ends with a line <!-- /report -->"):
        rebuild(notebook, runs, [])


@pytest.mark.parametrize(("words", "said"), [
    (["sweep", "nowhere"], "error: nowhere: no such folder; give that of a sweep"),
    (["sweep", "."], "error: .: no sweep is there"),
    (["experiments", "fusoin"], "no place for 'fusoin'; did you mean fusion?"),
])  # fmt: skip
def test_a_report_that_cannot_be_made_is_one_message(notebook, words, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["slt.report", *words])
    with pytest.raises(SystemExit) as leaving:
        report()
    assert leaving.value.code == 1
    assert said in capsys.readouterr().err


def test_the_command_takes_the_notebook_of_the_working_directory(notebook, runs, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["slt.report", "experiments", "fusion"])
    report()
    assert "4 runs" in capsys.readouterr().out
    assert "22.00" in notebook.read_text()


@pytest.mark.parametrize("name", ["own", "budget"])  # one's own goes before the suite's of the same name
def test_training_refuses_a_study_with_a_typo(entry, tiny, notebook, name, monkeypatch):
    (notebook.parent / f"{name}.yaml").write_text(RECIPE.replace("baseline", "baselin"))
    monkeypatch.setenv("SLT_CWD", str(notebook.parent.parent))
    ran = entry("train", *tiny, f"experiments={name}")
    assert (ran.status, ran.folder) == (1, None)
    assert "there is no key 'baselin' in conf/train.yaml and the chosen groups; did you mean baseline?" in ran.err
