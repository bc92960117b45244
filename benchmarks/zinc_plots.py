"""Figures of molecular regression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

OURS, OTHERS, LIGHT = "#2166ac", "0.45", "0.75"


def plot_ablation(groups: dict[str, list[dict[str, Any]]], path: Path, title: str) -> None:
    """Draw a panel a group: an encoding a row, a dot a seed, a bar the mean.

    Args:
        groups: rows with `pe`, `off`, `ours`, `val_mae` and `mean`, from the top down.
        path: the PNG to write.
        title: what it shows.
    """
    figure = _figure(10, 0.9 + 0.42 * max(map(len, groups.values())))
    for axes, (name, rows) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True):
        values = [value for row in rows for value in row["val_mae"].values()]
        low, high = min(values), max(values)
        width = (high - low) or high
        for place, row in enumerate(rows):
            color = OURS if row["ours"] else OTHERS
            seeds = list(row["val_mae"].values())
            axes.axhline(place, color=LIGHT, lw=0.6, zorder=0)
            axes.scatter(seeds, [place] * len(seeds), s=28, color=color, alpha=0.55, linewidths=0, zorder=2)
            axes.plot([row["mean"]] * 2, [place - 0.28, place + 0.28], color=color, lw=2.2, zorder=3)
            label = f"{row['mean']:.3f}"
            axes.annotate(label, (max(seeds), place), (8, 0), textcoords="offset points", va="center", color=color)
        names = [row["off"] or row["pe"] for row in rows]
        axes.set_yticks(range(len(rows)), names)
        for label, row in zip(axes.get_yticklabels(), rows, strict=True):
            label.set_color(OURS if row["ours"] else OTHERS)
        if any(row["off"] for row in rows):
            axes.axvline(min(row["mean"] for row in rows if not row["off"]), color=LIGHT, lw=0.8, ls="--", zorder=0)
        axes.set(ylim=(len(rows) - 0.4, -0.6), xlim=(low - 0.06 * width, high + 0.2 * width), title=name)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.xaxis.set_major_locator(_few())
    colors = {row["ours"] for rows in groups.values() for row in rows}
    figure.suptitle(title + ("; blue: linear transformers" if len(colors) > 1 else ""), fontsize=10.5)
    _save(figure, path)


def plot_curve(points: list[dict[str, Any]], found: dict[str, Any], path: Path) -> None:
    """Draw the errors of the runs against their epochs, the fitted law and its range.

    Args:
        points: runs with `epochs`, `val_mae` and perhaps `train_mae`.
        found: what `extrapolate` returns.
        path: the PNG to write.
    """
    figure = _figure(7, 4.2)
    axes = figure.subplots()
    line, longest = found["path"], points[-1]["epochs"]
    if line["band"]:
        low, high = zip(*line["band"], strict=True)
        axes.fill_between(line["epochs"], low, high, color=OURS, alpha=0.15, linewidth=0)
    for inside, style in ((True, "-"), (False, "--")):
        part = [(t, y) for t, y in zip(line["epochs"], line["fit"], strict=True) if (t <= longest) == inside]
        if part:
            axes.plot(*zip(*part, strict=True), style, color=OURS, lw=1.6)
    x = [point["epochs"] for point in points]
    axes.plot(x, [point["val_mae"] for point in points], "o", color=OURS, ms=6)
    last = (x[-1], points[-1]["val_mae"])
    axes.annotate("validation", last, (-8, -6), textcoords="offset points", color=OURS, ha="right", va="top")
    train = [(point["epochs"], point["train_mae"]) for point in points if point["train_mae"] is not None]
    if train:
        axes.plot(*zip(*train, strict=True), "o", color=OTHERS, ms=4)
        axes.annotate("training", train[-1], (-8, -4), textcoords="offset points", color=OTHERS, ha="right")
    for number, (epochs, row) in enumerate(found["at"].items()):
        text = f"{row['value']:.3f}" + (f"\n({row['noise'][0]:.3f}–{row['noise'][1]:.3f})" if row["noise"] else "")
        where = {"xytext": (0, -10), "va": "top"} if number % 2 else {"xytext": (0, 10), "va": "bottom"}
        axes.plot(int(epochs), row["value"], "o", mfc="white", color=OURS, ms=6)
        axes.annotate(text, (int(epochs), row["value"]), textcoords="offset points", ha="center", color=OURS, **where)
    ticks = sorted({*x, *map(int, found["at"])})
    axes.set(xscale="log", xlabel="epochs of the run (one-cycle schedule)", ylabel="MAE of the last epoch")
    axes.set_xlim(ticks[0] / 1.15, ticks[-1] * 1.7)
    axes.set_ylim(0, 1.1 * max(axes.get_ylim()[1], *line["fit"]))
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    free = found["degrees_of_freedom"]
    axes.set_title(
        f"a + b T^-c, {free} degree{'s' * (free != 1)} of freedom; band: noise of the runs, 5 to 95 %", fontsize=10
    )
    _save(figure, path)


def _few() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
