"""The table and the figure of a run."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

from graphtf.files import write_atomically

COLORS = {"structured": "tab:blue", "literal": "tab:orange"}
STYLES = {
    "published": ("black", "s", "-"),
    "best polynomial": ("tab:green", "", ":"),
    "gradient": ("0.6", "", "--"),
    "heat kernel": ("0.6", "", "--"),
    "subspace iteration": ("0.6", "", "--"),
    "fast inverse": ("tab:purple", "", "--"),
}


def log_of(loss: float) -> float:
    """Natural logarithm of a loss; a loss of zero counts as 1e-30."""
    return math.log(max(loss, 1e-30))


def _trained(metrics: dict[str, Any], topology: str) -> dict[str, dict[int, list[float]]]:
    out: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in metrics["results"]:
        if row["topology"] == topology:
            out[row["model"]][row["layers"]].append(row["log_loss"])
    return out


def _reference(metrics: dict[str, Any], topology: str) -> dict[str, dict[int, float]]:
    out: dict[str, dict[int, float]] = defaultdict(dict)
    for row in metrics["references"]:
        if row["topology"] == topology:
            out[row["name"]][row["layers"]] = row["log_loss"]
    return out


def _topologies(metrics: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(row["topology"] for row in metrics["results"]))


def table(metrics: dict[str, Any]) -> str:
    """Markdown tables, one a topology: mean log-loss over the seeds, the best seed in brackets.

    Args:
        metrics: what :func:`graphtf.learn.learn` returns.

    Returns:
        The tables, with a row a model or reference and a column a depth.

    Example:
        >>> row = {"model": "structured", "layers": 1, "topology": "skip-links", "seed": 0, "log_loss": -2.0}
        >>> print(table({"config": {"task": "heat", "layers": [1]}, "results": [row], "references": []}))
        heat, skip-links: natural log of the loss, mean over seeds (best seed)
        <BLANKLINE>
        | layers | 1 |
        |---|---|
        | trained, structured | -2.00 (-2.00) |
    """
    layers = metrics["config"]["layers"]
    parts = []
    for topology in _topologies(metrics):
        lines = [
            f"{metrics['config']['task']}, {topology}: natural log of the loss, mean over seeds (best seed)",
            "",
            f"| layers | {' | '.join(map(str, layers))} |",
            "|---" * (len(layers) + 1) + "|",
        ]
        for model, by_depth in _trained(metrics, topology).items():
            cells = [f"{mean(by_depth[depth]):.2f} ({min(by_depth[depth]):.2f})" for depth in layers]
            lines.append(f"| trained, {model} | {' | '.join(cells)} |")
        for name, values in _reference(metrics, topology).items():
            cells = [f"{values[depth]:.2f}" if depth in values else "" for depth in layers]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def plot(metrics: dict[str, Any], path: Path) -> None:
    """Draw log-loss against depth, a panel a topology: mean over seeds with a band from least to most, references.

    Args:
        metrics: what :func:`graphtf.learn.learn` returns.
        path: the PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    topologies = _topologies(metrics)
    figure = Figure(figsize=(3.3 * len(topologies), 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(topologies), sharey=True, squeeze=False)[0]
    layers = metrics["config"]["layers"]
    shown: dict[str, Any] = {}
    trained_losses = [row["log_loss"] for row in metrics["results"]]
    for axis, topology in zip(axes, topologies, strict=True):
        for model, by_depth in _trained(metrics, topology).items():
            depths = sorted(by_depth)
            color = COLORS[model]
            shown[f"trained, {model}"] = axis.plot(
                depths, [mean(by_depth[d]) for d in depths], "o-", color=color, zorder=3
            )[0]
            low, high = [min(by_depth[d]) for d in depths], [max(by_depth[d]) for d in depths]
            axis.fill_between(depths, low, high, color=color, alpha=0.2, linewidth=0)
        for name, values in _reference(metrics, topology).items():
            color, marker, style = STYLES[name]
            label = name if name in ("published", "best polynomial") else f"constructed, {name}"
            shown[label] = axis.plot(
                sorted(values), [values[d] for d in sorted(values)], style, color=color, marker=marker, linewidth=1.3
            )[0]
        axis.set(title="skip-links (trained on)" if topology == "skip-links" else topology, xlabel="layers")
        axis.set_xticks(layers)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    bottom = min(
        trained_losses + [min(v.values()) for n, v in _reference(metrics, topologies[0]).items() if n != "fast inverse"]
    )
    top = max([*trained_losses, 0.0])
    # The fast inverse leaves the picture once it is exact.
    axes[0].set_ylim(bottom - min(1.0, 0.15 * (top - bottom)), top + 0.5)
    axes[0].set_ylabel("ln loss")
    figure.suptitle(f"{metrics['config']['task']}: linear transformers trained from random weights")
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=3, frameon=False)
    write_atomically(path, lambda p: figure.savefig(p, dpi=150))
