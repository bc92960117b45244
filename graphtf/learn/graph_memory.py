"""Memory on incidence matrices: skip-link graphs, a Memformer trained on them, and what bounds it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from graphtf import reference
from graphtf.incidence import Incidence
from graphtf.incontext import GraphMemformer
from graphtf.incontext.graph_memformer import error_measure
from graphtf.incontext.laplacian_prompt import LaplacianSystem
from graphtf.layout import PaddedLayout
from graphtf.learn.experiment import Curve, Panel
from graphtf.learn.fit import Fit
from graphtf.learn.report import log_of

NODES, SKIPS, COLUMNS = 10, (2, 3, 4), 4
GRAPH_DEPTHS = (1, 3, 5, 7)
LAMBDA_MIN = 0.05
"""Below nearly all positive eigenvalues of the scaled operators of these graphs."""


def skip_link_systems(number: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> LaplacianSystem:
    """Circular graphs with skip links and conductances `exp(U[-1, 1])`, with normal demands.

    Example:
        >>> system = skip_link_systems(3, torch.Generator().manual_seed(0), torch.float64)
        >>> torch.allclose(system.graph.laplacian @ system.x, system.psi)
        True
    """
    nodes = torch.arange(NODES)
    skips = torch.tensor(SKIPS)[torch.randint(len(SKIPS), (number,), generator=generator)]
    ring = torch.stack([nodes, (nodes + 1) % NODES]).expand(number, 2, NODES)
    links = torch.stack([nodes.expand(number, -1), (nodes + skips.unsqueeze(1)) % NODES], 1)
    index = torch.cat([ring, links], 2) + NODES * torch.arange(number).view(-1, 1, 1)
    index = index.transpose(0, 1).reshape(2, -1)
    weight = torch.exp(2 * torch.rand(index.shape[1], generator=generator, dtype=torch.float64) - 1)
    batch = torch.arange(number).repeat_interleave(NODES)
    graph = Incidence(index, weight, num_nodes=NODES * number, batch=batch).normalized("spectral")
    psi = graph.center(torch.randn(NODES * number, COLUMNS, generator=generator, dtype=torch.float64))
    blocks = PaddedLayout(graph).laplacian_blocks
    x = (torch.linalg.pinv(blocks, hermitian=True) @ psi.view(number, NODES, COLUMNS)).view_as(psi)
    return LaplacianSystem(graph.to(dtype), psi.to(dtype), x.to(dtype))


def relative_error(x: Tensor, exact: Tensor) -> Tensor:
    """Mean over graphs and columns of the squared error relative to the solution's square."""
    error, square = ((v.view(-1, NODES, COLUMNS)).square().sum(1) for v in (x - exact, exact))
    return (error / square).mean()


def loss(model: nn.Module, system: LaplacianSystem) -> Tensor:
    """Mean relative squared error of a model's potentials."""
    return relative_error(model(system.graph, psi=system.psi), system.x)


def graph_fits(seeds: Iterable[int], steps: int) -> list[Fit]:
    """Memformers on skip-link graphs, from Chebyshev's coefficients."""
    return [
        Fit(
            name=f"graph-memory-{depth}-seed{seed}",
            build=lambda _, depth=depth: GraphMemformer.from_spectrum(  # type: ignore[misc]
                depth, LAMBDA_MIN, dtype=torch.float32
            ),
            sample=lambda generator: skip_link_systems(64, generator),
            loss=loss,
            steps=steps,
            lr=0.03,
            seed=seed,
            options={"nodes": NODES, "skips": SKIPS, "lambda_min": LAMBDA_MIN},
        )
        for depth in GRAPH_DEPTHS
        for seed in seeds
    ]


def graph_panel(models: dict[str, nn.Module], seeds: Iterable[int], number: int, seed: int) -> Panel:
    """Losses on `number` unseen graphs, beside the best polynomial, Chebyshev's and conjugate gradients."""
    system = skip_link_systems(number, torch.Generator().manual_seed(seed), torch.float64)

    def log(model: nn.Module) -> float:
        with torch.no_grad():
            return log_of(float(loss(model.double(), system)))

    trained = [[log(models[f"graph-memory-{depth}-seed{s}"]) for depth in GRAPH_DEPTHS] for s in seeds]
    values, weights = error_measure(system.graph, system.psi)
    powers = torch.stack([values**k * (weights * len(values)).sqrt() for k in range(max(GRAPH_DEPTHS) + 1)])
    best = reference.best_fixed_polynomial(powers).loss
    blocks = PaddedLayout(system.graph).laplacian_blocks.unsqueeze(1)  # [G, 1, N, N]
    b = system.psi.view(-1, NODES, COLUMNS).mT
    iterates = reference.conjugate_gradient(blocks.expand(-1, COLUMNS, -1, -1), b, max(GRAPH_DEPTHS))
    gradients = [log_of(float(relative_error(iterates[d].mT.reshape_as(system.x), system.x))) for d in GRAPH_DEPTHS]
    chebyshev = [log(GraphMemformer.from_spectrum(depth, LAMBDA_MIN)) for depth in GRAPH_DEPTHS]
    curves = [
        Curve("trained memory", "trained", trained),
        Curve("best fixed steps", "exact", [[log_of(best[depth - 1]) for depth in GRAPH_DEPTHS]]),
        Curve("conjugate gradients on every graph", "baseline", [gradients]),
        Curve("Chebyshev of all spectra", "baseline", [chebyshev]),
    ]
    return Panel("incidence matrices, unseen graphs", "layers", list(map(float, GRAPH_DEPTHS)), curves)
