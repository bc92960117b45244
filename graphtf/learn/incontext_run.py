"""Runs an experiment on prompts: trains its models, tabulates and draws its curves."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

from graphtf.files import write_atomically, write_json
from graphtf.learn.dynamics_task import dynamics, dynamics_covariates
from graphtf.learn.experiment import Experiment, describe
from graphtf.learn.fit import fit
from graphtf.learn.functional_task import functional
from graphtf.learn.incontext_tasks import memory, regression
from graphtf.learn.min_cost_flow_task import min_cost_flow
from graphtf.learn.shortest_path_task import shortest_path
from graphtf.learn.sparse_task import sparse

EXPERIMENTS: dict[str, Callable[[tuple[int, ...], int, int], Experiment]] = {
    "regression": regression,
    "memformer": memory,
    "functional": functional,
    "sparse": sparse,
    "dynamics": dynamics,
    "dynamics-covariates": dynamics_covariates,
    "shortest-path": shortest_path,
    "min-cost-flow": min_cost_flow,
}
"""Experiments, from seeds, training steps of a model and test prompts."""
PRESETS: dict[str, dict[str, tuple[int, int]]] = {
    "regression": {"quick": (800, 20_000), "full": (4000, 100_000)},
    "memformer": {"quick": (800, 20_000), "full": (4000, 100_000)},
    "functional": {"quick": (300, 10_000), "full": (2000, 50_000)},
    "sparse": {"quick": (400, 1000), "full": (2500, 5000)},
    "dynamics": {"quick": (1500, 1000), "full": (10_000, 10_000)},
    "dynamics-covariates": {"quick": (500, 1000), "full": (2500, 1000)},
    "shortest-path": {"quick": (500, 2000), "full": (2500, 5000)},
    "min-cost-flow": {"quick": (300, 2000), "full": (2500, 5000)},
}
"""Training steps of a model, and test prompts, of every task and preset."""
STYLES: dict[str, list[dict[str, Any]]] = {
    "trained": [{"marker": "o"}],
    "exact": [{"linestyle": "--", "color": c} for c in ("black", "0.35", "0.6")],
    "baseline": [{"linestyle": style, "color": c} for style, c in ((":", "0.35"), ("-.", "0.6"), (":", "0.7"))],
}
"""How curves of a kind are drawn, one after the other; trained ones in the colours of matplotlib."""


def learn_in_context(
    task: str,
    out: str | Path,
    preset: str = "quick",
    seeds: tuple[int, ...] = (0, 1, 2),
    steps: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train what a task compares, test it against the exact answers, and report; called again, go on.

    Args:
        task: a key of :data:`EXPERIMENTS`.
        out: folder of the models, `metrics.json`, `table.md` and `learn.png`.
        preset: `"quick"` or `"full"`, see :data:`PRESETS`.
        seeds: seeds of weights and batches.
        steps: training steps instead of the preset's.
        progress: show a bar on standard error.

    Returns:
        What `metrics.json` holds: see :func:`graphtf.learn.experiment.describe`.

    Raises:
        ValueError: there is no such task or preset, or the folder holds models that were trained otherwise.
        FloatingPointError: training diverged.
    """
    from tqdm import tqdm

    from graphtf.validate import check_choice, check_positive_int

    check_choice("task", task, tuple(EXPERIMENTS))
    check_choice("preset", preset, tuple(PRESETS[task]))
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds must be different numbers, at least one, but got {seeds}")
    number, prompts = PRESETS[task][preset]
    number = number if steps is None else check_positive_int("steps", steps)
    experiment, folder = EXPERIMENTS[task](seeds, number, prompts), Path(out)
    models = {}
    total = sum(f.steps for f in experiment.fits)
    with tqdm(total=total, disable=not progress, unit="step") as bar:
        for spec in experiment.fits:
            bar.set_description(spec.name)
            models[spec.name] = fit(spec, folder / "models", lambda done: bar.update(done))[0]
    metrics = describe(experiment, models) | {"preset": preset, "steps": number, "seeds": list(seeds)}
    write_json(folder / "metrics.json", metrics)
    write_atomically(folder / "table.md", lambda path: path.write_text(table(metrics) + "\n", encoding="utf-8"))
    plot(metrics, folder / "learn.png")
    return metrics


def table(metrics: dict[str, Any]) -> str:
    """Markdown tables, one a panel: the mean over the seeds, and the spread from least to most.

    Example:
        >>> curve = {"kind": "trained", "seeds": [[-1.0], [-2.0]], "mean": [-1.5]}
        >>> axis = {"label": "layers", "values": [1.0], "scale": "linear"}
        >>> panel = {"axis": axis, "measure": "ln loss", "curves": {"ours": curve}}
        >>> print(table({"task": "regression", "panels": {"prompts": panel}, "note": ""}))
        regression, prompts: ln loss, mean over seeds [least, most]
        <BLANKLINE>
        | layers | 1 |
        |---|---|
        | ours (trained) | -1.50 [-2.00, -1.00] |
    """
    parts = []
    for title, panel in metrics["panels"].items():
        axis = panel["axis"]
        lines = [
            f"{metrics['task']}, {title}: {panel['measure']}, mean over seeds [least, most]",
            "",
            f"| {axis['label']} | {' | '.join(f'{x:g}' for x in axis['values'])} |",
            "|---" * (len(axis["values"]) + 1) + "|",
        ]
        for name, curve in panel["curves"].items():
            cells = []
            for mean, column in zip(curve["mean"], zip(*curve["seeds"], strict=True), strict=True):
                spread = f" [{min(column):.2f}, {max(column):.2f}]" if len(column) > 1 else ""
                cells.append(f"{mean:.2f}{spread}")
            lines.append(f"| {name} ({curve['kind']}) | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, *([metrics["note"]] if metrics["note"] else [])])


def plot(metrics: dict[str, Any], path: Path) -> None:
    """Draw the curves, a panel each: means, a band from least to most over the seeds, exact answers dashed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = metrics["panels"]
    shared = len(panels) > 1 and len({tuple(panel["curves"]) for panel in panels.values()}) == 1
    figure = Figure(figsize=(4.6 * len(panels) + 0.6, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, panel) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        axis, styles = panel["axis"], {kind: cycle(each) for kind, each in STYLES.items()}
        for name, curve in panel["curves"].items():
            x, style = axis["values"], next(styles[curve["kind"]])
            line = axes.plot(x, curve["mean"], label=name, linewidth=1.6, markersize=4, **style)[0]
            columns = list(zip(*curve["seeds"], strict=True))
            low, high = [min(c) for c in columns], [max(c) for c in columns]
            axes.fill_between(x, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        axes.set(title=title, xlabel=axis["label"], ylabel=panel["measure"], xscale=axis["scale"])
        if len(axis["values"]) <= 12:
            axes.set_xticks(axis["values"], [f"{x:g}" for x in axis["values"]], minor=False)
            axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if not shared:
            axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    if shared:
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False, fontsize=9)
    figure.suptitle(metrics["task"])
    write_atomically(path, lambda p: figure.savefig(p, dpi=150))
