"""Pictures of a run and of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphtf.files import write_atomically
from graphtf.train.task import Task, metric_label

COLORS = {
    "none": "0.55",
    "laplacian": "tab:orange",
    "random-walk": "tab:green",
    "linear-transformer": "tab:blue",
    "conductances": "tab:purple",
    "signnet": "tab:red",
    "release": "tab:brown",
    "path-flow": "tab:cyan",
}


def plot_curves(epochs: list[dict[str, float]], path: Path, title: str, task: Task | None = None) -> None:
    """Draw the training and validation metric over the epochs, and mark the best.

    Args:
        epochs: rows with `epoch`, `train_mae`, `val_mae`, or what the task records instead.
        path: the PNG to write.
        title: what it shows.
        task: what was trained for; by default the mean absolute error.
    """
    task = task or Task()
    name = f"val_{task.metric}"
    figure, axes = _figure()
    number = [row["epoch"] for row in epochs]
    if task.train_log == "train_mae":  # a loss has another unit
        axes.plot(number, [row["train_mae"] for row in epochs], color="0.6", label="training")
    axes.plot(number, [row[name] for row in epochs], color="tab:blue", label="validation")
    best = (max if task.mode == "max" else min)(epochs, key=lambda row: row[name])
    axes.plot(best["epoch"], best[name], "o", color="tab:blue", label=f"best: {best[name]:.3f}")
    label = "mean absolute error" if task.metric == "mae" else metric_label(task.metric)
    _finish(figure, axes, path, title, label)


def plot_comparison(histories: dict[str, list[list[dict[str, float]]]], path: Path, title: str) -> None:
    """Draw the validation MAE over the epochs for every encoding: the mean over seeds, with a band from least to most.

    The legend has the mean of the best epochs, as the table; where runs stopped early, a curve ends with the shortest.

    Args:
        histories: for every encoding, the rows of every seed.
        path: the PNG to write.
        title: what it shows.
    """
    figure, axes = _figure()
    for pe, runs in histories.items():
        length = min(len(run) for run in runs)
        columns = [[run[i]["val_mae"] for run in runs] for i in range(length)]
        number = [row["epoch"] for row in runs[0][:length]]
        mean = [sum(column) / len(column) for column in columns]
        color = COLORS.get(pe)
        best = sum(min(row["val_mae"] for row in run) for run in runs) / len(runs)
        axes.plot(number, mean, color=color, label=f"{pe}, best {best:.3f}")
        if len(runs) > 1:
            low, high = [min(c) for c in columns], [max(c) for c in columns]
            axes.fill_between(number, low, high, color=color, alpha=0.2, linewidth=0)
    _finish(figure, axes, path, title)


def _figure() -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _finish(figure: Any, axes: Any, path: Path, title: str, label: str = "mean absolute error") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if min(min(line.get_ydata()) for line in axes.get_lines()) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for line in axes.get_lines():
        if len(line.get_xdata()) == 1:  # one epoch is a point, of which a line shows nothing
            line.set_marker("o")
    axes.set(xlabel="epoch", ylabel=label, title=title)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    write_atomically(path, lambda p: figure.savefig(p, dpi=150))
