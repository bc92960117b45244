"""Models that train against each other, in threads of this process or in processes that average their gradients."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GINEConv, GPSConv, global_add_pool

from graphtf.models import GPS, GraphTransformer


class Example(nn.Module):
    """The model of PyG's example for ZINC."""

    def __init__(self, attention_dropout: float) -> None:
        super().__init__()
        self.node, self.edge = nn.Embedding(28, 56), nn.Embedding(4, 64)
        self.norm, self.walk = nn.BatchNorm1d(20), nn.Linear(20, 8)
        self.layers = nn.ModuleList(
            GPSConv(
                64,
                GINEConv(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))),
                heads=4,
                attn_type="multihead",
                attn_kwargs={"dropout": attention_dropout},
            )
            for _ in range(10)
        )
        self.head = nn.Sequential(
            nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1)
        )  # fmt: skip

    def forward(self, data: Any) -> Tensor:
        """Predict for every graph."""
        x = torch.cat([self.node(data.x.squeeze(-1)), self.walk(self.norm(data.random_walk_pe))], 1)
        e = self.edge(data.edge_attr)
        for layer in self.layers:
            x = layer(x, data.edge_index, data.batch, edge_attr=e)
        return self.head(global_add_pool(x, data.batch))


class PlainGINE(nn.Module):
    """`graphtf.models.GINE` out of PyG's and torch's own parts."""

    def __init__(self, channels: int = 64, num_layers: int = 4) -> None:
        super().__init__()
        self.node, self.edge = nn.Embedding(28, channels), nn.Embedding(4, channels)
        networks = [
            nn.Sequential(nn.Linear(channels, 2 * channels), nn.ReLU(), nn.Linear(2 * channels, channels))
            for _ in range(num_layers)
        ]
        self.layers = nn.ModuleList(GINEConv(network, train_eps=True) for network in networks)
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in networks)
        self.head = nn.Sequential(
            nn.Linear(channels, channels // 2), nn.ReLU(), nn.Linear(channels // 2, channels // 4), nn.ReLU(),
            nn.Linear(channels // 4, 1),
        )  # fmt: skip

    def forward(self, data: Any) -> Tensor:
        """Predict for every graph."""
        x, e = self.node(data.x.squeeze(-1)), self.edge(data.edge_attr)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = norm(x + layer(x, data.edge_index, e).relu())
        return self.head(global_add_pool(x, data.batch))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "PyG example": lambda: Example(0.5),
    "PyG example, no attention dropout": lambda: Example(0.0),
    "GPS, 8 x 64": lambda: GPS(64, 8, 4),
    "GPS, 10 x 64": lambda: GPS(64, 10, 4),
    "GraphTransformer, 6 x 72": lambda: GraphTransformer(72, 6, 8),
    "GraphTransformer, 7 x 72": lambda: GraphTransformer(72, 7, 8),
}
HALF = ", bf16-mixed"
"""What stands behind the name of a model that is trained under autocast to bfloat16."""
for _name in ("PyG example, no attention dropout", "GPS, 8 x 64", "GraphTransformer, 6 x 72"):
    MODELS[_name + HALF] = MODELS[_name]


def backward(model: nn.Module, batch: Batch) -> None:
    """Forward, loss and gradients."""
    (model(batch).squeeze(1) - batch.y).abs().mean().backward()


def steps(model: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer, half: bool = False) -> None:
    """One pass over the loader, `half` under autocast to bfloat16."""
    model.train()
    for batch in loader:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = model(batch).squeeze(1).float()
        (out - batch.y).abs().mean().backward()
        optimizer.step()


class Threads:
    """A contestant in this process."""

    def __init__(self, name: str, graphs: list[Data], batch_size: int) -> None:
        torch.manual_seed(0)
        self.model, self.half = MODELS[name](), name.endswith(HALF)
        self.loader = DataLoader(graphs, batch_size, shuffle=True)  # type: ignore[arg-type]
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-3, fused=True)

    def __call__(self) -> None:
        """One pass over the molecules."""
        steps(self.model, self.loader, self.optimizer, self.half)


class Processes:
    """Contestants in processes of one thread each, that wait between their turns."""

    def __init__(self, names: list[str], graphs: list[Data], batch_size: int, count: int) -> None:
        self.pipes: list[Connection] = []
        context = multiprocessing.get_context("spawn")
        meeting = tempfile.NamedTemporaryFile(delete=False).name  # noqa: SIM115
        for rank in range(count):
            here, there = context.Pipe()
            share = graphs[rank::count][: len(graphs) // count]  # equally many
            arguments = (there, names, share, batch_size // count, rank, count, meeting)
            context.Process(target=_process, args=arguments, daemon=True).start()
            self.pipes.append(here)
        for pipe in self.pipes:
            pipe.recv()

    def close(self) -> None:
        """Let the processes end."""
        for pipe in self.pipes:
            pipe.send(None)

    def run(self, name: str) -> None:
        """One pass over the molecules, each process over its share."""
        for pipe in self.pipes:
            pipe.send(name)
        for pipe in self.pipes:
            pipe.recv()


def _process(
    pipe: Connection, names: list[str], graphs: list[Data], batch_size: int, rank: int, count: int, meeting: str
) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    loader = DataLoader(graphs, batch_size, shuffle=True)  # type: ignore[arg-type]
    ready = {}
    for name in names:
        torch.manual_seed(0)
        model = nn.parallel.DistributedDataParallel(MODELS[name](), gradient_as_bucket_view=True)
        ready[name] = model, torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    torch.manual_seed(rank)
    pipe.send("ready")
    while (name := pipe.recv()) is not None:
        model, optimizer = ready[name]
        steps(model, loader, optimizer, name.endswith(HALF))
        pipe.send("done")
    torch.distributed.destroy_process_group()
