"""The layout of the board on wandb: which panels stand where, by a script, so that every project has the same one."""

from __future__ import annotations

from typing import Any


def layout(*, entity: str, project: str, title: str) -> Any:
    """The view of a project, not yet sent: a `wandb_workspaces.workspaces.Workspace`.

    Runs stand by sweep and job type; scores that validation picks by are shown at their best.
    """
    try:
        from wandb_workspaces import expr
        from wandb_workspaces import workspaces as ws
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'the board needs wandb-workspaces: pip install "slt[board]" ({error})') from error

    return ws.Workspace(
        entity=entity,
        project=project,
        name=title,
        sections=[
            ws.Section(name=name, panels=panels, is_open=place < 3) for place, (name, panels) in enumerate(_sections())
        ],
        settings=ws.WorkspaceSettings(x_axis="step"),
        runset_settings=ws.RunsetSettings(
            groupby=[expr.Metric("Group"), expr.Metric("JobType")],
            pinned_columns=["summary:val/bleu.max", "summary:test/bleu", "summary:test/chrf", "config:seed"],
        ),
    )


def _sections() -> list[tuple[str, list[Any]]]:
    import wandb_workspaces.reports.v2 as wr

    def curves(*names: str) -> list[Any]:
        return [wr.LinePlot(x="step", y=[name], title=name) for name in names]

    def bars(*names: str) -> list[Any]:
        return [
            wr.BarPlot(metrics=[name], title=name, groupby=wr.Metric("Group"), groupby_aggfunc="mean",
                       groupby_rangefunc="stderr")
            for name in names
        ]  # fmt: skip

    def table(name: str) -> Any:
        return wr.WeavePanelSummaryTable(table_name=name, layout=wr.Layout(w=24, h=14))

    axes: list[Any] = [*map(wr.Config, ("seed", "embed_dim", "optimizer.lr")), wr.SummaryMetric("val/bleu.max")]
    return [
        ("Validation", curves("val/bleu", "val/chrf", "val/gloss_wer", "val/loss", "train/loss")),
        ("Translations", [table("val/examples"), table("test/translations")]),
        ("Test, by sweep", bars("test/bleu", "test/chrf", "test/wer", "test/rouge_l", "test/gloss_wer",
                                "test/bleu_worst_signer")),
        ("Sweep", [
            wr.ParallelCoordinatesPlot(columns=[wr.ParallelCoordinatesPlotColumn(metric=axis) for axis in axes]),
            wr.RunComparer(diff_only="split"),
        ]),
        ("Pretraining", [
            *curves("val/knn", "val/linear", "val/rank"), wr.MediaBrowser(media_keys=["val/neighbours"])
        ]),
        ("Speed", curves("train/clips_per_second", "train/data_wait", "train/lr")),
    ]  # fmt: skip
