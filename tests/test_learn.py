import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import networkx as nx
import pytest
import torch

from graphtf import Incidence
from graphtf.cli import main
from graphtf.learn import LearnConfig, exact_answer, learn, sample_graphs, sample_problem
from graphtf.learn.models import dense_incidence, export, forward, initial_weights, model_input
from graphtf.learn.reference import PUBLISHED, constructed, fit_polynomial, polynomial_loss
from graphtf.learn.run import Trainer, task_loss
from graphtf.learn.tasks import TASKS, TOPOLOGIES

SMALL = LearnConfig("electric", layers=(1, 2), seeds=(0, 1), steps={"structured": 60, "literal": 60}, graphs=20)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def graphs_of(batch):
    for g in range(batch.num_graphs):
        keep = batch.batch[batch.index[0]] == g
        graph = nx.Graph()
        graph.add_nodes_from(range(10))
        graph.add_weighted_edges_from(
            zip(*(batch.index[:, keep] - 10 * g).tolist(), batch.weight[keep].tolist(), strict=True)
        )
        yield graph


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_graphs_are_what_they_are_called(topology):
    for graph in graphs_of(sample_graphs(topology, 40, generator())):
        assert nx.is_connected(graph)
        weights = [w for _, _, w in graph.edges(data="weight")]
        assert math.exp(-2) <= min(weights)
        assert max(weights) <= math.exp(2)
        if topology == "tree":
            assert nx.is_tree(graph)
        elif topology == "grid":
            assert nx.is_isomorphic(graph, nx.grid_2d_graph(2, 5))
        elif topology == "skip-links":
            assert any(nx.is_isomorphic(graph, nx.circulant_graph(10, [1, skip])) for skip in (2, 4))
        else:
            assert graph.number_of_edges() == 15


def test_both_kinds_of_chords_occur_and_weights_are_log_uniform():
    batch = sample_graphs("skip-links", 200, generator())
    kinds = {nx.is_isomorphic(graph, nx.circulant_graph(10, [1, 2])) for graph in graphs_of(batch)}
    assert kinds == {True, False}
    assert batch.weight.log().mean().abs() < 0.1  # standard error 0.018
    assert abs(float(batch.weight.log().var()) - 4 / 3) < 0.1


def test_an_unknown_topology_or_task_is_refused():
    with pytest.raises(ValueError, match="topology must be one of"):
        sample_graphs("ring", 3, generator())
    with pytest.raises(ValueError, match="task must be one of"):
        sample_problem("sorting", "tree", 3, generator())
    with pytest.raises(ValueError, match="count"):
        sample_graphs("tree", 0, generator())


def test_the_same_seed_draws_the_same_problem():
    a, b = (sample_problem("resistive", "random", 5, generator(3)) for _ in range(2))
    assert torch.equal(a.target, b.target)
    assert not torch.equal(a.target, sample_problem("resistive", "random", 5, generator(4)).target)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_answers_against_pinv_and_matrix_exp(topology):
    problem = sample_problem("electric", topology, 6, generator(), torch.float64)
    L = dense_incidence(problem) @ dense_incidence(problem).transpose(1, 2)
    torch.testing.assert_close(problem.psi.sum(1), torch.zeros(6, 10, dtype=torch.float64))
    torch.testing.assert_close(problem.target, torch.linalg.pinv(L) @ problem.psi)
    root = exact_answer("resistive", L, torch.eye(10, dtype=torch.float64).expand(6, -1, -1))
    torch.testing.assert_close(root @ root, torch.linalg.pinv(L))
    torch.testing.assert_close(exact_answer("heat", L, problem.psi), torch.matrix_exp(-L / 2) @ problem.psi)
    vectors = exact_answer("eigenvectors", L, problem.psi)
    values = torch.linalg.eigvalsh(L).flip(1)
    torch.testing.assert_close(L @ vectors, vectors * values[:, None])


def test_the_loss_has_no_scale_and_eigenvectors_no_sign():
    x, y = torch.randn(2, 1, 4, 10, 10, generator=generator(), dtype=torch.float64).unbind(0)
    expected = (x / x.norm(dim=(2, 3), keepdim=True) - y / y.norm(dim=(2, 3), keepdim=True)).square().sum((2, 3)).mean()
    torch.testing.assert_close(task_loss("heat", 7 * x, y / 3), expected[None])
    assert float(task_loss("heat", -x, x)) == pytest.approx(4)
    signs = torch.sign(torch.randn(10, generator=generator(1), dtype=torch.float64))
    assert float(task_loss("eigenvectors", 5 * x * signs, x)) < 1e-20
    assert 0 < float(task_loss("eigenvectors", x, y)) < 20


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("depth", [1, 3])
def test_batched_layers_equal_the_modules(task, depth):
    topology = "random"
    problem = sample_problem(task, topology, 4, generator(), torch.float64)
    for model in ("structured", "literal"):
        parts = [initial_weights(model, task, depth, seed) for seed in (0, 1)]
        weights = {name: torch.cat([part[name] for part in parts]).double() for name in parts[0]}
        operator, registers = model_input(model, task, problem)
        stacked = forward(
            model, task, weights, operator.expand(2, *operator.shape), registers.expand(2, *registers.shape)
        )
        for seed in (0, 1):
            module = export(model, task, weights, seed)
            if model == "literal":
                tokens = torch.cat([operator, registers.permute(1, 2, 0, 3).flatten(2)], dim=2)
                answer = module(tokens.flatten(0, 1), problem.graph.batch)[:, -10:].view(4, 10, 10)
            else:
                L = dense_incidence(problem) @ dense_incidence(problem).transpose(1, 2)
                scale = (L / operator).nan_to_num(0).amax((1, 2))  # the one number that divides L in every graph
                graph = problem.graph
                weight = graph.weight / scale[graph.batch[graph.index[0]]]
                scaled = Incidence(graph.index, weight, graph.num_nodes, graph.batch, graph.num_graphs)
                names = {"e": torch.eye(10, dtype=torch.float64).repeat(4, 1)}
                start = {name: names.get(name, problem.psi.flatten(0, 1)) for name in module.registers}
                start = {name: x for name, x in start.items() if name not in ("m", "x")}
                answer = module(scaled, layout="padded", **start).view(4, 10, 10)
            torch.testing.assert_close(stacked[seed], answer, rtol=1e-8, atol=1e-9)


def test_answers_do_not_depend_on_the_other_graphs_or_seeds():
    problem = sample_problem("electric", "grid", 6, generator(), torch.float64)
    for model in ("structured", "literal"):
        weights = {name: weight.double() for name, weight in initial_weights(model, "electric", 3, 0).items()}
        operator, registers = model_input(model, "electric", problem)
        together = forward(model, "electric", weights, operator[None], registers[None])
        alone = forward(model, "electric", weights, operator[None, 2:3], registers[None, :, 2:3])
        torch.testing.assert_close(together[:, 2:3], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("task", ["electric", "resistive", "heat"])
def test_the_best_polynomial_beats_every_polynomial_construction(task):
    problem = sample_problem(task, "skip-links", 300, generator())
    losses = [polynomial_loss(task, fit_polynomial(task, degree, problem), problem) for degree in (1, 3, 5)]
    assert losses[0] > losses[1] > losses[2]
    for degree, loss in zip((1, 3, 5), losses, strict=True):
        others = {name: value for name, value in constructed(task, degree, problem).items() if name != "fast inverse"}
        assert loss < min(others.values())


def test_the_best_polynomial_is_a_minimum():
    problem = sample_problem("electric", "skip-links", 200, generator())
    best = fit_polynomial("electric", 3, problem)
    loss = polynomial_loss("electric", best, problem)
    for i in range(4):
        for step in (-0.02, 0.02):
            moved = best.clone()
            moved[i] *= 1 + step
            assert polynomial_loss("electric", moved, problem) > loss


def test_one_layer_learns_the_best_polynomial_of_degree_one(tmp_path):
    config = replace(SMALL, layers=(1,), models=("structured",), steps={"structured": 300}, graphs=100)
    metrics = learn(config, tmp_path, progress=False)
    best = next(
        row["log_loss"]
        for row in metrics["references"]
        if row["name"] == "best polynomial" and row["topology"] == "skip-links"
    )
    for row in metrics["results"]:
        if row["topology"] == "skip-links":
            assert best - 1e-3 <= row["log_loss"] < best + 0.05
            assert row["log_loss"] < PUBLISHED["electric"][1]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["electric", "resistive"])
def test_three_layers_trained_briefly_beat_the_published_value(tmp_path, task):
    config = LearnConfig(task, layers=(3,), models=("structured",), seeds=(0,), steps={"structured": 200})
    metrics = learn(config, tmp_path, progress=False)
    found = {row["topology"]: row["log_loss"] for row in metrics["results"]}
    assert found["skip-links"] < PUBLISHED[task][3]


@pytest.mark.parametrize("model", ["structured", "literal"])
def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path, model):
    whole = Trainer(SMALL, model, 2, tmp_path / "whole")
    assert sum(whole.run()) == 60
    stopped = Trainer(SMALL, model, 2, tmp_path / "stopped")
    for _ in stopped.run():
        if stopped.step == 50:
            break
    again = Trainer(SMALL, model, 2, tmp_path / "stopped")
    assert again.step == 50
    assert sum(again.run()) == 10
    assert again.curve == whole.curve
    for name, weight in whole.weights.items():
        assert torch.equal(weight, again.weights[name])


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path):
    command = [
        sys.executable,
        "-m",
        "graphtf",
        "learn",
        "--task",
        "electric",
        "--layers",
        "2",
        "--models",
        "structured",
    ]
    command += ["--seeds", "0", "--steps", "2000", "--graphs", "20", "--progress", "none", "--out", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while not (tmp_path / "structured-2.pt").is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    config = LearnConfig("electric", (2,), ("structured",), (0,), {"structured": 2000}, graphs=20)
    assert 0 < Trainer(config, "structured", 2, tmp_path).step < 2000


def test_a_seed_does_not_depend_on_its_companions(tmp_path):
    both = Trainer(SMALL, "structured", 2, tmp_path / "both")
    list(both.run())
    alone = Trainer(replace(SMALL, seeds=(1,)), "structured", 2, tmp_path / "alone")
    list(alone.run())
    for name, weight in alone.weights.items():
        torch.testing.assert_close(weight[0], both.weights[name][1], rtol=1e-3, atol=1e-3)


def test_a_folder_of_another_configuration_is_refused(tmp_path):
    config = replace(SMALL, layers=(1,), models=("structured",), steps={"structured": 10})
    learn(config, tmp_path, progress=False)
    with pytest.raises(ValueError, match="choose another --out"):
        learn(replace(config, graphs=21), tmp_path, progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "sorting"}, "task must be one of"),
        ({"layers": ()}, "layers must be different values"),
        ({"layers": (3, 3)}, "layers must be different values"),
        ({"layers": (0,)}, "layers"),
        ({"models": ("other",)}, "models must be some of"),
        ({"steps": {"structured": 0, "literal": 5}}, "steps"),
        ({"graphs": 0}, "graphs"),
        ({"lr": float("nan")}, "lr must be positive"),
    ],
)
def test_a_wrong_configuration_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


def test_the_command_writes_table_metrics_and_figure(tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["learn", "--task", "resistive", "--layers", "1,2", "--seeds", "0,1", "--steps", "10", "--graphs", "10"]
    assert main([*arguments, "--progress", "none", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    metrics = json.loads((out / "metrics.json").read_text())
    assert (out / "table.md").read_text().strip() in printed
    assert {(r["model"], r["layers"], r["topology"], r["seed"]) for r in metrics["results"]} == {
        (model, depth, topology, seed)
        for model in ("structured", "literal")
        for depth in (1, 2)
        for topology in TOPOLOGIES
        for seed in (0, 1)
    }
    assert len(metrics["curves"]["literal/layers=2/seed=1"]) == 1
    assert (out / "learn.png").read_bytes().startswith(b"\x89PNG")
    assert main([*arguments, "--progress", "none", "--out", str(out)]) == 0  # nothing left to train
    again = json.loads((out / "metrics.json").read_text())
    assert again["curves"] == metrics["curves"]
    assert [row["loss"] for row in again["results"]] == pytest.approx([row["loss"] for row in metrics["results"]])


def test_the_command_refuses_what_is_no_list_of_depths(capsys):
    with pytest.raises(SystemExit):
        main(["learn", "--task", "electric", "--layers", "1;3"])
    assert "expected integers with commas" in capsys.readouterr().err
