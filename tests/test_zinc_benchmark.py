"""Tables and figures of molecular regression, from made-up results."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
CONFIG = {"data": "/somewhere/molecules", "epochs": 30, "lr": 0.002}


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import zinc

    return zinc


@pytest.fixture
def curve(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import learning_curve

    return learning_curve


def comparison(folder, errors, seeds=(0, 1, 2), **config):
    folder.mkdir(parents=True)
    rows = [
        {"pe": pe, "num_parameters": 1000, "val_mae": values, "seconds_per_epoch": [1.0] * len(seeds)}
        for pe, values in errors.items()
    ]
    content = {"config": CONFIG | config, "seeds": list(seeds), "rows": rows}
    (folder / "comparison.json").write_text(json.dumps(content))
    return folder


def history(folder, epochs, error, config=None):
    folder.mkdir(parents=True)
    rows = [{"epoch": i + 1, "train_mae": 0.5, "val_mae": 0.01 if i == 0 else 0.9} for i in range(epochs)]
    rows[-1] |= {"train_mae": error / 2, "val_mae": error}
    (folder / "history.json").write_text(json.dumps(rows))
    if config is not None:
        (folder / "config.yaml").write_text(yaml.safe_dump(config.to_dict()))
    return folder


def call(benchmark, monkeypatch, out, *arguments):
    monkeypatch.setattr(sys, "argv", ["zinc.py", *map(str, arguments), "--results", str(out), "--figures", str(out)])
    benchmark.main()


def test_differences_are_paired_by_seed(benchmark, tmp_path):
    first = comparison(tmp_path / "a", {"none": [0.4, 0.5, 0.9], "conductances": [0.1, 0.2, 0.6]})
    second = comparison(tmp_path / "b", {"conductances:heads=1": [0.7, 0.3]}, seeds=(2, 1))
    config, rows = benchmark.read([first, second])
    assert config["data"] == "molecules"
    none, full, one = rows
    assert (none["difference"], none["difference_sd"]) == (pytest.approx(0.3), pytest.approx(0, abs=1e-12))
    assert none["sd"] == pytest.approx(np.std([0.4, 0.5, 0.9], ddof=1))
    assert (full["difference"], full["off"]) == (None, "")
    assert (one["off"], one["paired_seeds"], one["difference"]) == ("one head", [1, 2], pytest.approx(0.1))
    text = "\n".join(benchmark.text(config, rows))
    encodings, ingredients = text.split("**Ingredients**")
    assert encodings.index("`none`") < encodings.index("`conductances` |")
    assert (
        "| `conductances:heads=1` | one head | 1,000 | 0.5000 ± 0.2828 | 1: 0.3000, 2: 0.7000 | +0.1000" in ingredients
    )
    assert "`none`" not in ingredients
    assert "heads=1" not in encodings


def test_folders_of_earlier_versions_go_with_later_ones(benchmark, tmp_path):
    early = comparison(tmp_path / "early", {"none": [0.4, 0.5, 0.9]})
    late = comparison(tmp_path / "late", {"conductances": [0.1, 0.2, 0.6]}, attention_dropout=0.0, precision="32-true")
    assert len(benchmark.read([early, late])[1]) == 2
    other = comparison(tmp_path / "other", {"laplacian": [0.1, 0.2, 0.6]}, attention_dropout=0.5)
    with pytest.raises(ValueError, match=r"other options \(attention_dropout\)"):
        benchmark.read([early, other])


def test_one_seed_has_no_deviation(benchmark, tmp_path):
    folder = comparison(tmp_path / "a", {"none": [0.4], "conductances": [0.1]}, seeds=(5,))
    none = benchmark.read([folder])[1][0]
    assert (none["sd"], none["difference"], none["difference_sd"]) == (None, pytest.approx(0.3), None)


def test_the_command_writes_table_and_figure(benchmark, tmp_path, monkeypatch, capsys):
    errors = {pe: [0.1 + 0.01 * i, 0.12 + 0.01 * i, 0.11] for i, pe in enumerate(benchmark.COMPARED)}
    folder = comparison(tmp_path / "runs", errors)
    call(benchmark, monkeypatch, tmp_path, "ablation", folder)
    written = json.loads((tmp_path / "zinc_ablation.json").read_text())
    assert [row["pe"] for row in written["rows"]] == list(benchmark.COMPARED)  # as check_encoding writes them
    assert (tmp_path / "zinc_ablation.md").read_text().strip() == capsys.readouterr().out.strip()
    assert (tmp_path / "zinc_ablation.png").stat().st_size > 10_000
    assert str(tmp_path) not in (tmp_path / "zinc_ablation.json").read_text()


def test_run_calls_compare_first(benchmark, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: calls.append(command[3:]))
    out = comparison(tmp_path / "runs", {"none": [0.4, 0.5, 0.6], "conductances": [0.1, 0.2, 0.3]})
    where = ["--results", str(tmp_path), "--figures", str(tmp_path)]
    for options in (["--data", "DIR", "--epochs", "2"], ["--data", "DIR", "--pe", "none"]):
        monkeypatch.setattr(sys, "argv", ["zinc.py", "ablation", str(out), *where, "--run", *options])
        benchmark.main()
    command = ["graphtf", "compare", "--out", str(out), "--data", "DIR"]
    assert calls == [[*command, "--epochs", "2", "--pe", *benchmark.COMPARED], [*command, "--pe", "none"]]
    assert len(benchmark.COMPARED) == 13


def test_what_does_not_go_together(benchmark, tmp_path):
    first = comparison(tmp_path / "a", {"none": [0.4, 0.5, 0.6]})
    with pytest.raises(ValueError, match=r"other options \(epochs\)"):
        benchmark.read([first, comparison(tmp_path / "b", {"conductances": [0.1, 0.2, 0.3]}, epochs=60)])
    with pytest.raises(ValueError, match="none with seed 1 is there twice"):
        benchmark.read([first, comparison(tmp_path / "c", {"none": [0.4, 0.7, 0.6]})])
    with pytest.raises(FileNotFoundError, match="has finished"):
        benchmark.read([tmp_path])


def test_the_law_is_found(curve):
    T = np.array([30, 60, 130, 300])
    a, b, c = curve.fit(T, 0.08 + 1.5 * T**-0.7)
    assert (a, b, c) == (pytest.approx(0.08, abs=1e-4), pytest.approx(1.5, rel=1e-2), pytest.approx(0.7, rel=1e-2))
    points = [{"epochs": int(t), "seed": 0, "val_mae": 0.08 + 1.5 * t**-0.7, "train_mae": None} for t in T]
    found = curve.extrapolate(points, [1000], noise=0.002)
    row = found["at"]["1000"]
    assert row["value"] == pytest.approx(0.08 + 1.5 * 1000**-0.7, abs=1e-4)
    low, high = row["noise"]
    assert 0.002 < high - low < 0.05
    assert low < row["value"] < high
    assert row["leave_one_out"] == pytest.approx([row["value"]] * 2, abs=2e-4)
    wider = curve.extrapolate(points, [1000], noise=0.006)["at"]["1000"]["noise"]
    assert wider[1] - wider[0] > 1.5 * (high - low)


def test_earlier_results_stand_for_their_runs(curve, tmp_path):
    earlier, run = tmp_path / "curve.json", tmp_path / "run"
    old = {"epochs": 30, "seed": 0, "val_mae": 0.2, "train_mae": None}
    earlier.write_text(json.dumps({"runs": [old]}))
    run.mkdir()
    (run / "history.json").write_text(json.dumps([{"val_mae": 0.4}, {"val_mae": 0.3}]))
    new = {"epochs": 2, "seed": None, "val_mae": 0.3, "train_mae": None}
    assert curve.read_runs([earlier, run]) == [new, old]


def test_three_points_have_no_freedom(curve):
    points = [{"epochs": t, "seed": 0, "val_mae": 0.1 + 2 / t, "train_mae": None} for t in (30, 60, 130)]
    found = curve.extrapolate(points, [1000])
    assert (found["degrees_of_freedom"], found["noise"]) == (0, None)
    assert found["at"]["1000"] == {"value": pytest.approx(0.102, abs=1e-3), "noise": None, "leave_one_out": None}
    text = "\n".join(curve.summary(points, found))
    assert "leave 0 degrees of freedom; so that it fits well says nothing" in text
    assert "there is no range" in text
    with pytest.raises(ValueError, match="runs of three lengths"):
        curve.extrapolate(points[:2], [1000])


def test_noise_comes_from_what_has_more_freedom(curve):
    def point(epochs, error):
        return {"epochs": epochs, "seed": None, "val_mae": error, "train_mae": None}

    seeds = [point(30, 0.2), point(30, 0.22), point(60, 0.15), point(60, 0.17), point(130, 0.12)]
    sd, freedom = curve.noise_of(seeds, np.zeros(5))
    assert (sd, freedom) == (pytest.approx((2 * 0.01**2) ** 0.5), 2)
    sd, freedom = curve.noise_of([point(t, 0.1) for t in (10, 20, 30, 40, 50)], np.full(5, 0.01))
    assert (sd, freedom) == (pytest.approx((5 * 0.01**2 / 2) ** 0.5), 2)


def test_the_last_epoch_counts(curve, benchmark, tmp_path, monkeypatch):
    folders = [history(tmp_path / str(T), T, 0.1 + 2 / T) for T in (40, 10, 20, 80)]
    points = curve.read_runs(folders)
    assert [point["epochs"] for point in points] == [10, 20, 40, 80]
    assert [point["val_mae"] for point in points] == pytest.approx([0.3, 0.2, 0.15, 0.125])
    call(benchmark, monkeypatch, tmp_path, "curve", *folders, "--to", "500")
    written = json.loads((tmp_path / "zinc_curve.json").read_text())
    assert written["at"]["500"]["value"] == pytest.approx(0.104, abs=1e-3)
    assert (tmp_path / "zinc_curve.png").stat().st_size > 10_000


def test_runs_must_be_comparable(curve, tmp_path):
    from graphtf.train import TrainConfig

    first = history(tmp_path / "a", 3, 0.2, TrainConfig(epochs=3))
    with pytest.raises(ValueError, match=r"more than epochs and seed: \['lr: 0.002, 0.1'\]"):
        curve.read_runs([first, history(tmp_path / "b", 4, 0.2, TrainConfig(epochs=4, seed=1, lr=0.1))])
    with pytest.raises(ValueError, match="has 3 of 5 epochs"):
        curve.read_runs([history(tmp_path / "c", 3, 0.2, TrainConfig(epochs=5))])
    with pytest.raises(FileNotFoundError, match="has finished"):
        curve.read_runs([tmp_path])
    assert curve.read_runs([first])[0]["seed"] == 0
