"""Training from random weights, several seeds side by side, stopped and resumed at will."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graphtf.files import write_atomically, write_json
from graphtf.learn.models import MODELS, Model, Weights, forward, initial_weights, model_input
from graphtf.learn.symmetry import average_over_edges
from graphtf.learn.tasks import TASKS, TOPOLOGIES, Problem, Task, sample_problem
from graphtf.validate import check_positive_int

TEST_SEED = 10_000
FRESH = 10  # steps between new graphs
SAVE = 50  # steps between checkpoints
LITERAL_EIGENVECTORS_LR = 2.0  # times the learning rate of all others
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"steps": {"structured": 400, "literal": 200}, "graphs": 100, "test_graphs": 1000},
    "full": {"steps": {"structured": 2000, "literal": 1000}, "graphs": 200, "test_graphs": 5000},
}


@dataclass(frozen=True)
class LearnConfig:
    """What is trained, and for how long.

    Args:
        task: `"electric"`, `"resistive"`, `"heat"` or `"eigenvectors"`.
        layers: depths.
        models: `"structured"`, `"literal"` or both.
        seeds: seeds, of the weights and of the training graphs.
        steps: training steps of either model.
        graphs: graphs a step and seed.
        test_graphs: unseen graphs of every topology.
        lr: learning rate, divided by the depth.
    """

    task: Task
    layers: tuple[int, ...] = (1, 3, 5, 7, 9)
    models: tuple[Model, ...] = MODELS
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: dict[str, int] = field(default_factory=lambda: dict(PRESETS["quick"]["steps"]))
    graphs: int = 100
    test_graphs: int = 1000
    lr: float = 0.06

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(map(repr, TASKS))}, but got {self.task!r}")
        for name in ("layers", "models", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} must be different values, at least one, but got {values}")
        unknown = sorted(set(self.models) - set(MODELS))
        if unknown:
            raise ValueError(f"models must be some of {', '.join(map(repr, MODELS))}, but got {unknown}")
        for depth in self.layers:
            check_positive_int("layers", depth)
        for seed in self.seeds:
            check_positive_int("seeds", seed, minimum=0)
        for name in self.models:
            check_positive_int("steps", self.steps.get(name, 0))
        check_positive_int("graphs", self.graphs)
        check_positive_int("test_graphs", self.test_graphs)
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be positive and finite, but got {self.lr}")


def task_loss(task: Task, prediction: Tensor, target: Tensor) -> Tensor:
    r"""Mean loss over graphs, `[S, G, n, k], [S, G, n, k] -> [S]`; neither has a scale.

    :math:`\lVert X / \lVert X \rVert_F - Y / \lVert Y \rVert_F \rVert_F^2`; for eigenvectors the same column by column,
    up to the sign, and summed over the columns.

    Args:
        task: the task.
        prediction: answers of the model.
        target: exact answers.

    Example:
        >>> import torch
        >>> x = torch.tensor([[[[1.0], [0.0]]]])
        >>> task_loss("electric", 3 * x, x).tolist(), task_loss("electric", -x, x).tolist()
        ([0.0], [4.0])
    """
    over: tuple[int, ...] = (-2,) if task == "eigenvectors" else (-2, -1)
    tiny = torch.finfo(prediction.dtype).tiny
    x, y = (t / t.norm(dim=over, keepdim=True).clamp(min=tiny) for t in (prediction, target))
    if task == "eigenvectors":
        y = torch.where((x.detach() * y).sum(-2, keepdim=True) < 0, -y, y)
    return (x - y).square().sum((-2, -1)).mean(-1)


class Trainer:
    """All seeds of one model at one depth; its state is a checkpoint file.

    Args:
        config: what is trained.
        model: `"structured"` or `"literal"`.
        depth: number of layers.
        folder: where the checkpoint lies; one of the same configuration is gone on from.

    Raises:
        ValueError: the checkpoint belongs to another configuration.
    """

    def __init__(self, config: LearnConfig, model: Model, depth: int, folder: Path) -> None:
        self.config, self.model, self.depth = config, model, depth
        self.path = folder / f"{model}-{depth}.pt"
        self.steps, self.step = config.steps[model], 0
        parts = [initial_weights(model, config.task, depth, seed) for seed in config.seeds]
        self.weights: Weights = {name: torch.cat([part[name] for part in parts]).requires_grad_() for name in parts[0]}
        self.averaged = model == "literal" and config.task == "eigenvectors"
        self.lr = config.lr * (LITERAL_EIGENVECTORS_LR if self.averaged else 1.0)
        self.optimizer = torch.optim.AdamW(self.weights.values(), lr=self.lr, betas=(0.9, 0.99), weight_decay=0.01)
        self.curve: list[list[float]] = []
        self.identity = {
            **{key: asdict(config)[key] for key in ("task", "seeds", "graphs")},
            "lr": self.lr,
            "model": model,
            "depth": depth,
            "steps": self.steps,
        }
        if self.path.is_file():
            self._load()

    def _load(self) -> None:
        saved = torch.load(self.path, weights_only=True)
        if saved["identity"] != self.identity:
            raise ValueError(
                f"{self.path} was trained as {saved['identity']}, but asked for is {self.identity}; choose another "
                "--out, or remove the folder"
            )
        self.step, self.curve = saved["step"], saved["curve"]
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(saved["weights"][name])
        self.optimizer.load_state_dict(saved["optimizer"])

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "identity": self.identity,
            "step": self.step,
            "curve": self.curve,
            "weights": {name: weight.detach() for name, weight in self.weights.items()},
            "optimizer": self.optimizer.state_dict(),
        }
        write_atomically(self.path, lambda path: torch.save(state, path))

    def _data(self) -> tuple[Tensor, Tensor, Tensor]:
        """Graphs of this step, which depend on the seed and the step alone."""
        task, block = self.config.task, self.step // FRESH
        problems = []
        for seed in self.config.seeds:
            generator = torch.Generator().manual_seed(1_000_003 * (seed + 1) + block)
            problems.append(sample_problem(task, "skip-links", self.config.graphs, generator))
        inputs = [model_input(self.model, task, problem) for problem in problems]
        operators, registers = zip(*inputs, strict=True)
        return torch.stack(operators), torch.stack(registers), torch.stack([p.target for p in problems])

    def run(self) -> Iterable[int]:
        """Train to the end; yields the number of steps done since the last time.

        Raises:
            FloatingPointError: the loss is no longer finite.
        """
        data: tuple[Tensor, Tensor, Tensor] | None = None
        done = 0
        while self.step < self.steps:
            if data is None or self.step % FRESH == 0:
                data = self._data()
            loss = self._update(*data)
            self.step += 1
            done += 1
            if self.step % FRESH == 0 or self.step == self.steps:
                if not bool(torch.isfinite(loss).all()):
                    raise FloatingPointError(
                        f"{self.model} of depth {self.depth}: the loss is {loss.tolist()} in step {self.step}; "
                        "use a smaller lr"
                    )
                self.curve.append([float(self.step), *loss.log().tolist()])
                if self.step % SAVE == 0 or self.step == self.steps:
                    self.save()
                yield done
                done = 0

    def _update(self, operator: Tensor, registers: Tensor, target: Tensor) -> Tensor:
        warm = min(1.0, (self.step + 1) / 50)
        decay = 0.5 + 0.5 * math.cos(math.pi * self.step / self.steps)
        self.optimizer.param_groups[0]["lr"] = self.lr / self.depth * warm * decay
        loss = task_loss(
            self.config.task, forward(self.model, self.config.task, self.weights, operator, registers), target
        )
        self.optimizer.zero_grad()
        loss.sum().backward()
        gradients = [weight.grad for weight in self.weights.values() if weight.grad is not None]
        if self.averaged:
            for gradient in gradients:
                gradient.copy_(average_over_edges(gradient))
        norm = sum((g.flatten(1).square().sum(1) for g in gradients), torch.zeros(len(loss))).sqrt()
        factor = (1 / norm.clamp(min=1e-12)).clamp(max=1.0)  # every seed is clipped on its own
        for gradient in gradients:
            gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))
        self.optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def test(self, problems: dict[str, Problem]) -> dict[str, list[float]]:
        """Loss of every seed on unseen float64 graphs, by topology; an answer that overflows counts as the worst."""
        out = {}
        for topology, problem in problems.items():
            operator, registers = model_input(self.model, self.config.task, problem)
            losses = []
            for seed in range(len(self.config.seeds)):
                own = {name: weight[seed : seed + 1].double() for name, weight in self.weights.items()}
                answer = forward(self.model, self.config.task, own, operator[None], registers[None])[0]
                finite = torch.isfinite(answer.square().sum((1, 2), keepdim=True))
                answer = torch.where(finite, answer, -problem.target)
                losses.append(float(task_loss(self.config.task, answer[None], problem.target[None])))
            out[topology] = losses
        return out


def test_problems(task: Task, count: int) -> dict[str, Problem]:
    """Unseen problems in float64, the same in every run: `count` graphs of every topology."""
    generator = torch.Generator().manual_seed(TEST_SEED)
    return {topology: sample_problem(task, topology, count, generator, torch.float64) for topology in TOPOLOGIES}


test_problems.__test__ = False  # type: ignore[attr-defined]  # no test, for pytest


def learn(config: LearnConfig, out: str | Path, progress: bool = True) -> dict[str, Any]:
    """Train, test and report; called again with the same folder, go on.

    Args:
        config: what is trained.
        out: folder of the checkpoints, `metrics.json`, `table.md` and `learn.png`.
        progress: show a bar on standard error.

    Returns:
        What `metrics.json` holds.

    Raises:
        ValueError: the folder holds checkpoints of another configuration.
        FloatingPointError: training diverged.
    """
    from tqdm import tqdm

    from graphtf.learn.reference import references
    from graphtf.learn.report import log_of, plot, table

    folder = Path(out)
    problems = test_problems(config.task, config.test_graphs)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # products of ten by ten
    try:
        results, curves = [], {}
        trainers = [Trainer(config, model, depth, folder) for model in config.models for depth in config.layers]
        total = sum(t.steps * t.depth for t in trainers)
        with tqdm(
            total=total, initial=sum(t.step * t.depth for t in trainers), disable=not progress, unit="layer"
        ) as bar:
            for trainer in trainers:
                bar.set_description(f"{trainer.model} {trainer.depth} layers")
                for done in trainer.run():
                    bar.update(done * trainer.depth)
                    bar.set_postfix_str("log loss " + " ".join(f"{x:.2f}" for x in trainer.curve[-1][1:]))
                for topology, losses in trainer.test(problems).items():
                    for seed, loss in zip(config.seeds, losses, strict=True):
                        row = {"model": trainer.model, "layers": trainer.depth, "topology": topology, "seed": seed}
                        results.append({**row, "loss": loss, "log_loss": log_of(loss)})
                for i, seed in enumerate(config.seeds):
                    name = f"{trainer.model}/layers={trainer.depth}/seed={seed}"
                    curves[name] = [[int(row[0]), row[i + 1]] for row in trainer.curve]
        metrics = {
            "config": asdict(config),
            "results": results,
            "references": references(config.task, config.layers, problems),
            "curves": curves,
        }
    finally:
        torch.set_num_threads(threads)
    write_json(folder / "metrics.json", metrics)
    write_atomically(folder / "table.md", lambda path: path.write_text(table(metrics) + "\n", encoding="utf-8"))
    plot(metrics, folder / "learn.png")
    return metrics
