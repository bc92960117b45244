"""What an experiment on prompts trains, and the curves that it reports."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from graphtf.learn.fit import Fit
from graphtf.validate import check_choice

KINDS = ("trained", "exact", "baseline")


@dataclass(frozen=True)
class Curve:
    """One curve of a figure.

    Args:
        name: its label, unique in a panel.
        kind: `"trained"`, `"exact"` or `"baseline"`.
        values: one list a seed (one for what has no seed), over the positions of the panel.
    """

    name: str
    kind: str
    values: list[list[float]]

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS)


@dataclass(frozen=True)
class Panel:
    """Curves over common positions.

    Args:
        title: its title, unique in an experiment.
        label: what the positions mean.
        positions: the positions.
        curves: the curves.
        measure: what their values are.
        scale: of the positions, `"linear"` or `"log"`.
    """

    title: str
    label: str
    positions: list[float]
    curves: list[Curve]
    measure: str = "natural log of the loss"
    scale: str = "linear"

    def __post_init__(self) -> None:
        check_choice("scale", self.scale, ("linear", "log"))


@dataclass(frozen=True)
class Experiment:
    """What a task trains and reports.

    Args:
        task: its name.
        fits: what is trained.
        panels: the panels, from the trained models by name.
        note: a sentence under the table.
        results: further numbers for `metrics.json`, from the trained models by name.
    """

    task: str
    fits: list[Fit]
    panels: Callable[[dict[str, nn.Module]], list[Panel]]
    note: str = ""
    results: Callable[[dict[str, nn.Module]], dict[str, Any]] | None = None


def describe(experiment: Experiment, models: dict[str, nn.Module]) -> dict[str, Any]:
    """The curves as plain data, by title of the panel and name of the curve.

    Returns:
        `{"panels": {title: {"axis", "measure", "curves": {name: {"kind", "seeds", "mean"}}}}, ...}`.

    Raises:
        ValueError: a curve does not have a value for every position.
    """
    panels: dict[str, Any] = {}
    for panel in experiment.panels(models):
        wrong = [c.name for c in panel.curves if any(len(v) != len(panel.positions) for v in c.values)]
        if wrong:
            raise ValueError(f"curves {wrong} of {panel.title!r} do not have {len(panel.positions)} values")
        panels[panel.title] = {
            "axis": {"label": panel.label, "values": panel.positions, "scale": panel.scale},
            "measure": panel.measure,
            "curves": {
                c.name: {
                    "kind": c.kind,
                    "seeds": c.values,
                    "mean": [math.fsum(column) / len(column) for column in zip(*c.values, strict=True)],
                }
                for c in panel.curves
            },
        }
    results = {} if experiment.results is None else experiment.results(models)
    return {"task": experiment.task, "panels": panels, "note": experiment.note} | results
