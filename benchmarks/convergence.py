"""Error of the constructions against the number of layers, with the proven bounds: a figure and a JSON file.

    python benchmarks/convergence.py                       # writes docs/figures/convergence.png and .json

The graph is a 12 x 12 grid with conductances exp(U[-1, 1]); everything is float64, and the answers to compare with come
from its eigenvectors. Errors are the largest over eight random columns: for linear systems in the energy norm, for heat
relative to the start, for eigenvectors the tangent of the largest angle to the wanted subspace.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from graphtf import Incidence
from graphtf.constructions import (
    bounds,
    chebyshev,
    chebyshev_subspace_iteration,
    conjugate_gradient,
    electric_flow,
    fast_inverse,
    heat_kernel,
    heat_kernel_squaring,
    heavy_ball,
    inverse_registers,
    one_hot,
    resistive_embedding,
    subspace_iteration,
)

SIDE, COLUMNS, FLOOR = 12, 8, 1e-14
FIGURE = Path(__file__).resolve().parents[1] / "docs" / "figures" / "convergence.png"


@dataclass
class Curve:
    """Errors of a method at some depths, and its bound there."""

    label: str
    color: str
    layers: list[int]
    errors: list[float]
    bounds: list[float] = field(default_factory=list)
    rounding: float = 100 * FLOOR  # how far above its bound an error may lie

    def summary(self) -> dict[str, object]:
        """Layers to an error of 1e-8, factors a layer of error and bound over the same layers, and some errors."""
        fitted_to = [i for i, error in enumerate(self.errors) if self.rounding < error < 1]
        tail = fitted_to[len(fitted_to) // 2 :]
        reached = [layer for layer, error in zip(self.layers, self.errors, strict=True) if error <= 1e-8]
        broken = [
            layer
            for layer, error, bound in zip(self.layers, self.errors, self.bounds, strict=False)
            if error > bound * (1 + 1e-6) + self.rounding
        ]
        shown = np.unique(np.geomspace(1, len(self.layers), 12).astype(int)) - 1
        return {
            "layers_to_1e-8": reached[0] if reached else None,
            "factor_a_layer": factor(self.layers, self.errors, tail),
            "factor_a_layer_of_bound": factor(self.layers, self.bounds, tail) if self.bounds else None,
            "layers_above_bound": broken if self.bounds else None,
            "errors": {self.layers[i]: float(f"{self.errors[i]:.3g}") for i in shown},
        }


def factor(layers: list[int], values: list[float], chosen: list[int]) -> float:
    """Factor a layer: straight line through the logarithms of the chosen values."""
    slope = np.polyfit([layers[i] for i in chosen], [math.log(values[i]) for i in chosen], 1)[0]
    return float(f"{math.exp(slope):.5g}")


def weighted_grid(seed: int = 0) -> Incidence:
    """The grid; its conductances are drawn from a seeded generator."""
    node = torch.arange(SIDE * SIDE).view(SIDE, SIDE)
    right, down = torch.stack([node[:, :-1], node[:, 1:]]), torch.stack([node[:-1], node[1:]])
    index = torch.cat([right.flatten(1), down.flatten(1)], 1)
    uniform = torch.rand(index.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return Incidence(index, torch.exp(2 * uniform - 1), SIDE * SIDE)


def gaussian(graph: Incidence, columns: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(graph.num_nodes, columns, dtype=torch.float64, generator=generator)


def linear_systems(graph: Incidence, values: Tensor, vectors: Tensor) -> list[Curve]:
    low, high = float(values[1]), float(values[-1])
    delta, psi = 1 / high, graph.center(gaussian(graph, COLUMNS))
    exact = vectors[:, 1:] @ ((vectors[:, 1:].T @ psi) / values[1:, None])
    L = graph.laplacian_dense()

    def errors(states: Tensor) -> list[float]:
        wrong = graph.center(states[1:].transpose(0, 1).flatten(1)).view(graph.num_nodes, -1, COLUMNS) - exact[:, None]
        energy = torch.einsum("ilk,ij,jlk->lk", wrong, L, wrong) / (exact * (L @ exact)).sum(0)
        return energy.clamp(min=0).sqrt().amax(1).tolist()

    def curve(label: str, color: str, states: Tensor, bound: list[float]) -> Curve:
        return Curve(label, color, list(range(1, len(states))), errors(states), bound)

    deep, short = 4500, 300
    optimal = [math.sqrt(bounds.chebyshev_bound(i, low, high)) for i in range(1, short + 1)]
    gradient = [bounds.gradient_bound(i, delta, low) for i in range(1, deep + 1)]
    start = inverse_registers(graph, delta, psi)
    root = vectors[:, 1:] @ ((vectors[:, 1:].T @ psi) / values[1:, None].sqrt())
    embedding = resistive_embedding(deep, delta)(graph, psi=psi, return_all=True)[1:]
    embedding_errors = ((embedding - root).norm(dim=1) / root.norm(dim=0)).amax(1).tolist()
    return [
        curve("gradient (electric flow)", "C0", electric_flow(deep, delta)(graph, psi=psi, return_all=True), gradient),
        Curve("resistive embedding", "C5", list(range(1, deep + 1)), embedding_errors, gradient),
        curve(
            "memory: heavy ball",
            "C1",
            heavy_ball(short, low, high)(graph, psi=psi, return_all=True),
            [bounds.heavy_ball_bound(i, low, high) for i in range(1, short + 1)],
        ),
        curve("memory: Chebyshev", "C2", chebyshev(short, low, high)(graph, psi=psi, return_all=True), optimal),
        curve(
            "memory: conjugate gradient",
            "C3",
            conjugate_gradient(short)(graph, psi=psi, return_all=True),
            optimal,
        ),
        curve(
            "multiplicative (squaring)",
            "C4",
            fast_inverse(13)(graph, **start, return_all=True)[:, :, :COLUMNS],
            [bounds.squaring_bound(i, delta, low) for i in range(1, 14)],
        ),
    ]


def heat(graph: Incidence, values: Tensor, vectors: Tensor) -> list[Curve]:
    high, s = float(values[-1]), 1.0
    psi = gaussian(graph, COLUMNS)
    exact = vectors @ (torch.exp(-s * values)[:, None] * (vectors.T @ psi))
    depth = 60

    def error(x: Tensor) -> float:
        return float(((x - exact).norm(dim=0) / psi.norm(dim=0)).max())

    def curve(label: str, color: str, form: str, rounding: float) -> Curve:
        layers = list(range(1, depth + 1))
        runs = [heat_kernel(i, s, high, form=form)(graph, psi=psi) for i in layers]  # type: ignore[arg-type]
        limits = [bounds.heat_kernel_bound(i, s, high, form=form) for i in layers]  # type: ignore[arg-type]
        return Curve(label, color, layers, [error(x) for x in runs], limits, rounding)

    squarings = math.ceil(math.log2(s * high))
    a, terms, identity = s * high / 2**squarings, range(1, 17), one_hot(graph)
    kernels = [heat_kernel_squaring(i, squarings, s)(graph, identity=identity, psi=identity) for i in terms]
    return [
        curve("Taylor series", "C0", "taylor", FLOOR * math.exp(s * high)),  # the terms grow that large, and cancel
        curve("Chebyshev expansion", "C2", "chebyshev", 100 * FLOOR),
        Curve(
            f"Taylor, then {squarings} squarings",
            "C4",
            [i + squarings for i in terms],
            [error(M @ psi) for M in kernels],
            [2**squarings * a ** (i + 1) / math.factorial(i + 1) for i in terms],
        ),
    ]


def eigenvectors(graph: Incidence, values: Tensor, vectors: Tensor, k: int = 4, degree: int = 8) -> list[Curve]:
    mu, start = float(values[-1]), gaussian(graph, k)

    def tangent(phi: Tensor) -> float:
        return float(torch.linalg.matrix_norm(vectors[:, k:].T @ phi @ torch.linalg.inv(vectors[:, :k].T @ phi), 2))

    def curve(label: str, color: str, states: Tensor, rate: float, stride: int) -> Curve:
        layers = list(range(0, len(states), stride))[1:]
        limits = [tangent(start) * rate ** (i // stride) for i in layers]
        return Curve(label, color, layers, [tangent(states[i]) for i in layers], limits)

    lambda_k, cut = float(values[k - 1]), float(values[k])
    return [
        curve(
            "subspace iteration",
            "C0",
            subspace_iteration(3000, mu)(graph, phi=start, return_all=True),
            bounds.subspace_rate(lambda_k, cut, mu),
            1,
        ),
        curve(
            f"memory: Chebyshev filter of {degree} layers",
            "C2",
            chebyshev_subspace_iteration(40, degree, cut, mu)(graph, phi=start, return_all=True),
            bounds.filter_rate(degree, lambda_k, cut, mu),
            degree,
        ),
    ]


def draw(panels: dict[str, list[Curve]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D

    figure, axes = plt.subplots(1, len(panels), figsize=(13.5, 4.9), sharey=True, layout="constrained")
    for ax, (title, curves) in zip(axes, panels.items(), strict=True):
        handles = []
        for curve in curves:
            errors = np.maximum(curve.errors, 0.2 * FLOOR)
            marker = "o" if len(curve.layers) < 50 else None
            handles += ax.plot(curve.layers, errors, color=curve.color, label=curve.label, marker=marker, ms=3, lw=1.8)
            if curve.bounds and curve.color != "C3":  # that of conjugate gradients is Chebyshev's
                ax.plot(curve.layers, curve.bounds, color=curve.color, ls="--", lw=1.1, alpha=0.8)
        if title.startswith("Heat"):
            ax.set_xlim(0, curves[0].layers[-1])
        else:
            ax.set_xscale("log")
            ax.set_xlim(left=1)
        ax.set(title=title, xlabel="layers", yscale="log", ylim=(0.2 * FLOOR, 1e6))
        ax.grid(alpha=0.25)
        bound = Line2D([], [], color="0.3", ls="--", lw=1.1, label="proven bound")
        ax.legend(
            handles=[*handles, bound],
            fontsize=9,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.14),
            frameon=False,
            ncols=2 if len(handles) > 2 else 1,
        )
    axes[0].set_ylabel("relative error")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, default=FIGURE, help="PNG to write; the JSON file goes beside it")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    graph = weighted_grid()
    values, vectors = torch.linalg.eigh(graph.laplacian_dense())
    panels = {
        r"Potentials $L^+\psi$, resistive embedding": linear_systems(graph, values, vectors),
        r"Heat kernel $e^{-L}\psi$": heat(graph, values, vectors),
        "Four smallest eigenvectors": eigenvectors(graph, values, vectors),
    }
    draw(panels, args.figure)
    report = {
        "graph": {
            "name": f"grid {SIDE} x {SIDE}, conductances exp(U[-1, 1]), seed 0",
            "nodes": graph.num_nodes,
            "edges": graph.num_edges,
            "lambda_2": float(values[1]),
            "lambda_max": float(values[-1]),
        },
        "methods": {title: {c.label: c.summary() for c in curves} for title, curves in panels.items()},
    }
    args.figure.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for title, curves in panels.items():
        print(f"\n| {title} | layers to 1e-8 | factor a layer | of the bound | layers above the bound |")
        print("|---|---:|---:|---:|---:|")
        for c in curves:
            row = c.summary()
            above = row["layers_above_bound"]
            print(
                f"| {c.label} | {row['layers_to_1e-8']} | {row['factor_a_layer']} | {row['factor_a_layer_of_bound']} | "
                f"{'' if above is None else len(above)} |"  # type: ignore[arg-type]
            )


if __name__ == "__main__":
    main()
