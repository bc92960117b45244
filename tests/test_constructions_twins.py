"""Every construction equals its literal twin, on every graph of the zoo, in both layouts and in a batch."""

import pytest
import torch

from graphtf.constructions import (
    CONSTRUCTIONS,
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
    random_walk,
    resistive_embedding,
    subspace_iteration,
)
from graphtf.testing import disjoint_union, graph_zoo

# Scaled, so that the errors are relative to the largest eigenvalue: the zoo's weights span eight orders of magnitude.
ZOO = {name: graph.normalized("spectral") for name, graph in graph_zoo().items()}
UNION = disjoint_union(list(graph_zoo().values())).normalized("spectral")


def start(register):
    def make(graph):
        generator = torch.Generator().manual_seed(1)
        return {register: graph.center(torch.randn(graph.num_nodes, 4, dtype=torch.float64, generator=generator))}

    return make


def one_hots(graph):
    return {"identity": one_hot(graph), "psi": one_hot(graph)}


# The layers, and what they start from.
CASES = {
    "electric": (electric_flow(12, delta=1.0), start("psi")),
    "resistive": (resistive_embedding(12, delta=1.0), start("psi")),
    "heat": (heat_kernel(10, s=3.0, lambda_max=1.0), start("psi")),
    "heat taylor": (heat_kernel(10, s=3.0, lambda_max=1.0, form="taylor"), start("psi")),
    "heat-squaring": (heat_kernel_squaring(6, num_squarings=3, s=3.0), one_hots),
    "multiplicative": (fast_inverse(5), lambda graph: inverse_registers(graph, delta=1.0)),
    "chebyshev": (chebyshev(12, lambda_min=0.01, lambda_max=1.0), start("psi")),
    "heavy-ball": (heavy_ball(12, lambda_min=0.01, lambda_max=1.0), start("psi")),
    "conjugate-gradient": (conjugate_gradient(5), start("psi")),
    "conjugate-gradient jacobi": (conjugate_gradient(5, preconditioner="jacobi"), start("psi")),
    "eigenvectors": (subspace_iteration(6, mu=1.0), start("phi")),
    "eigenvectors largest": (subspace_iteration(6, mu=1.0, which="largest"), start("phi")),
    "eigenvectors-chebyshev": (chebyshev_subspace_iteration(2, 3, cut=0.2, lambda_max=1.0), start("phi")),
    "random-walk": (random_walk(5), start("phi")),
}


def test_no_construction_is_left_out():
    elsewhere = {"eigenvectors-lobpcg"}  # test_lobpcg.py: its subspace is unique where no eigenspace is cut
    assert {case.split()[0] for case in CASES} | elsewhere == set(CONSTRUCTIONS)


def twin_of(transformer, graph, batch=None, **registers):
    channels = next(iter(registers.values())).shape[1]
    Z = transformer.literal(graph.num_edges, channels)(transformer.tokens(graph, **registers), batch)
    position = graph.num_edges + transformer.registers.index(transformer.readout) * channels
    return Z[:, position : position + channels]


@pytest.mark.parametrize("layout", ["sparse", "padded"])
@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_construction_equals_its_literal_twin(case, name, layout):
    transformer, registers = CASES[case]
    registers = registers(ZOO[name])
    out = transformer(ZOO[name], layout=layout, **registers)
    torch.testing.assert_close(out, twin_of(transformer, ZOO[name], **registers), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_in_a_batch_too(case):
    transformer, registers = CASES[case]
    if case.startswith("eigenvectors"):
        # Random columns: the centred ones of small graphs are dependent, and which of them is zero is rounding.
        state = torch.randn(UNION.num_nodes, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        registers = {"phi": state}
    else:
        registers = registers(UNION)
    twin = twin_of(transformer, UNION, UNION.batch, **registers)
    for layout in ("sparse", "padded", "auto"):
        out = transformer(UNION, layout=layout, **registers)
        torch.testing.assert_close(out, twin, atol=1e-10, rtol=1e-10)
    for i, graph in enumerate(ZOO.values()):
        nodes = UNION.batch == i
        own = {key: value[nodes] for key, value in registers.items()}
        torch.testing.assert_close(transformer(graph, **own), twin[nodes], atol=1e-10, rtol=1e-10)
