"""The error at the end of training against the number of epochs, and what it may become with more of them."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from graphtf.train import TrainConfig

EXPONENTS, DRAWS = (0.05, 3.0), 400


def read_runs(folders: list[Path]) -> list[dict[str, Any]]:
    """Epochs, seed and last errors of finished runs, by epochs.

    Under a one-cycle schedule only the last epoch is comparable between runs: in the middle of a longer run the
    learning rate is still large. Results of an earlier call (`NAME.json`) stand for its runs.

    Raises:
        FileNotFoundError: a run is not finished.
        ValueError: a run stopped early, or runs differ in more than epochs and seed.
    """
    points: list[dict[str, Any]] = []
    first: TrainConfig | None = None
    for folder in folders:
        if folder.suffix == ".json" and folder.is_file():
            points += json.loads(folder.read_text(encoding="utf-8"))["runs"]
            continue
        path = folder / "history.json"
        if not path.is_file():
            raise FileNotFoundError(f"there is no {path}; give a run that has finished")
        history = json.loads(path.read_text(encoding="utf-8"))
        seed = None
        if (folder / "config.yaml").is_file():
            config = TrainConfig.load(folder / "config.yaml")
            if len(history) != config.epochs:
                raise ValueError(f"{folder} has {len(history)} of {config.epochs} epochs; its last one is not annealed")
            first, seed = first or config, config.seed
            different = [text for text in first.differences(config) if text.split(":")[0] not in ("epochs", "seed")]
            if different:
                raise ValueError(f"{folder} differs from the first run in more than epochs and seed: {different}")
        last = history[-1]
        points.append(
            {"epochs": len(history), "seed": seed, "val_mae": last["val_mae"], "train_mae": last.get("train_mae")}
        )
    return sorted(points, key=lambda point: (point["epochs"], point["seed"] or 0))


def fit(epochs: np.ndarray, errors: np.ndarray) -> tuple[float, float, float]:
    """`a, b, c >= 0` of the power law `a + b T^-c`, by least squares; `c` within `EXPONENTS`."""
    from scipy.optimize import minimize_scalar, nnls

    t = np.log(epochs)
    center = t.mean()

    def solve(c: float) -> tuple[np.ndarray, float]:
        return nnls(np.stack([np.ones_like(t), np.exp(-c * (t - center))], 1), errors)

    grid = np.geomspace(*EXPONENTS, 40)
    best = int(np.argmin([solve(c)[1] for c in grid]))
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    c = float(minimize_scalar(lambda c: solve(c)[1], bounds=bounds, method="bounded").x)
    a, b = solve(c)[0]
    return float(a), float(b * np.exp(c * center)), c


def value(law: tuple[float, float, float], epochs: Any) -> Any:
    return law[0] + law[1] * np.asarray(epochs, float) ** -law[2]


def noise_of(points: list[dict[str, Any]], residuals: np.ndarray) -> tuple[float | None, int]:
    """Standard deviation of the error of a run and its degrees of freedom: from seeds or residuals, what has more."""
    lengths = {point["epochs"] for point in points}
    repeats = [[point["val_mae"] for point in points if point["epochs"] == length] for length in lengths]
    squares = [(len(values) - 1, statistics.variance(values)) for values in repeats if len(values) > 1]
    between, left = sum(count for count, _ in squares), len(points) - 3
    if not between and left <= 0:
        return None, 0
    if between >= left:
        return (sum(count * variance for count, variance in squares) / between) ** 0.5, between
    return float(np.sqrt(residuals @ residuals / left)), left


def extrapolate(points: list[dict[str, Any]], to: list[int], noise: float | None = None) -> dict[str, Any]:
    """Fit the power law, and give its value at other numbers of epochs with ranges.

    Ranges: refits to `DRAWS` draws of the fitted errors with noise, 5 % to 95 %; and, from four lengths on, refits
    without one length, least to largest. Noise that is given is Gaussian; noise that is estimated has Student's
    distribution, which is wide where few degrees of freedom tell its size.

    Raises:
        ValueError: there are fewer than three lengths.
    """
    T, y = (np.array([point[name] for point in points], float) for name in ("epochs", "val_mae"))
    lengths = np.unique(T)
    if len(lengths) < 3:
        raise ValueError(f"a law with three parameters needs runs of three lengths, but got {lengths.astype(int)}")
    law = fit(T, y)
    sd, freedom = noise_of(points, y - value(law, T)) if noise is None else (noise, 0)
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(0 if sd is None else DRAWS):
        size = sd * (freedom / rng.chisquare(freedom)) ** 0.5 if freedom else sd
        draws.append(fit(T, value(law, T) + size * rng.standard_normal(len(T))))
    without = [fit(T[left != T], y[left != T]) for left in lengths] if len(lengths) > 3 else []

    def ranges(of: Any) -> dict[str, Any]:
        drawn, left = [of(one) for one in draws], [of(one) for one in without]
        return {
            "value": float(of(law)),
            "noise": [float(q) for q in np.quantile(drawn, [0.05, 0.95])] if drawn else None,
            "leave_one_out": [float(min(left)), float(max(left))] if left else None,
        }

    path = np.geomspace(T.min(), max([T.max(), *to]), 60)
    bands = [np.quantile([value(one, t) for one in draws], [0.05, 0.95]).tolist() for t in path] if draws else None
    return {
        "law": dict(zip("abc", law, strict=True)),
        "at_limit": not EXPONENTS[0] * 1.01 < law[2] < EXPONENTS[1] * 0.99 or law[0] == 0,
        "degrees_of_freedom": len(T) - 3,
        "lengths": len(lengths),
        "noise": sd,
        "noise_degrees_of_freedom": freedom,
        "infinity": ranges(lambda one: one[0]),
        "exponent": ranges(lambda one: one[2]),
        "at": {str(t): ranges(lambda one, t=t: float(value(one, t))) for t in to},
        "path": {"epochs": path.tolist(), "fit": value(law, path).tolist(), "band": bands},
    }


def summary(points: list[dict[str, Any]], found: dict[str, Any]) -> list[str]:
    """What was measured, the fit, and how far to trust it, in Markdown."""

    def span(pair: list[float] | None) -> str:
        return "-" if pair is None else f"{pair[0]:.4f} to {pair[1]:.4f}"

    lines = ["| epochs | seed | validation MAE, last epoch | training MAE, last epoch |", "|---|---|---|---|"]
    for p in points:
        train = "-" if p["train_mae"] is None else f"{p['train_mae']:.4f}"
        lines.append(f"| {p['epochs']} | {'-' if p['seed'] is None else p['seed']} | {p['val_mae']:.4f} | {train} |")
    a, b, c = found["law"].values()
    lines += ["", f"Least squares: MAE(T) = {a:.4f} + {b:.3f} T^-{c:.3f}.", ""]
    lines += [
        "| epochs | extrapolated MAE | range by noise, 5 to 95 % | range without one length |",
        "|---|---|---|---|",
    ]
    rows = [*found["at"].items(), ("no end", found["infinity"])]
    lines += [f"| {t} | {r['value']:.4f} | {span(r['noise'])} | {span(r['leave_one_out'])} |" for t, r in rows]
    free, longest = found["degrees_of_freedom"], points[-1]["epochs"]
    farthest = max(int(t) for t in found["at"])
    lines += [
        "",
        f"{len(points)} runs of {found['lengths']} lengths for 3 parameters leave {free} degree{'s' * (free != 1)} of "
        "freedom" + ("; so that it fits well says nothing for the law." if free == 0 else "."),
    ]
    if found["noise"] is None:
        lines.append("The noise is not known, so that there is no range; repeat runs with other seeds.")
    else:
        known = found["noise_degrees_of_freedom"]
        source = f"estimated with {known} degree{'s' * (known != 1)} of freedom" if known else "given"
        lines.append(f"Noise of a run: standard deviation {found['noise']:.4f}, {source}.")
    if found["at_limit"]:
        lines.append("The floor or the exponent lies at a limit of the fit: the points do not determine it.")
    lines.append(
        f"The longest run has {longest} epochs; {farthest} are {farthest / longest:.1f} times as many. The ranges "
        "know the noise of the runs, not whether the law goes on to hold there.\n"
    )
    return lines
