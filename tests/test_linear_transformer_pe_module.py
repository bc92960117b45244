"""What the module does as a PyTorch module: dtypes, half precision, autocast, resets, its arguments."""

import pytest
import torch
from torch_geometric.data import Batch, Data

from graphtf import Incidence
from graphtf.nn import LinearTransformerPE
from graphtf.testing import graph_zoo

ZOO = graph_zoo()
OPTIONS = [
    {},
    {"start": "electric"},
    {"start": "heat"},
    {"init": "random", "start": "resistive"},
    {"init": "slots"},
    {"init": "slots", "start": "eigenvectors", "num_loops": 8},
]
every = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())) or "default")


def ring(n=6, **attributes):
    tail = torch.arange(n)
    head = (tail + 1) % n
    return Data(edge_index=torch.stack([torch.cat([tail, head]), torch.cat([head, tail])]), num_nodes=n, **attributes)


@every
def test_dtype_is_the_wider_of_weights_and_parameters(options):
    encoder = LinearTransformerPE(k=3, **options).eval()
    double = ring(edge_weight=torch.ones(12, dtype=torch.float64))
    assert encoder(ring()).dtype == torch.float32
    assert encoder(double).dtype == torch.float64
    expected = encoder(double)
    torch.testing.assert_close(encoder.double()(ring()), expected, atol=1e-6, rtol=1e-6)
    assert encoder(ring()).dtype == torch.float64


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_float32(options, dtype):
    encoder = LinearTransformerPE(k=3, **options).eval()
    expected, edges = encoder(ring(), return_edge=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(encoder(ring()), expected, atol=0, rtol=0)
    node, edge = encoder.to(dtype)(ring(), return_edge=True)
    assert (node.dtype, edge.dtype) == (dtype, dtype)
    if options in ({}, {"start": "electric"}):  # the walk's weights are exact in half precision
        rounding = {"atol": 2.0**-24, "rtol": float(torch.finfo(dtype).eps)}  # 2^-24 is the smallest float16
        torch.testing.assert_close(node.float(), expected, **rounding)
        torch.testing.assert_close(edge.float(), edges, **rounding)


@every
def test_reset_keeps_the_parameters_an_optimizer_holds(options):
    encoder = LinearTransformerPE(k=3, **options)
    start = {name: value.clone() for name, value in encoder.state_dict().items()}
    held = list(encoder.parameters())
    with torch.no_grad():
        for p in held:
            p.add_(1.0)
    encoder.reset_parameters()
    assert all(p is q for p, q in zip(held, encoder.parameters(), strict=True))
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, start[name])


@every
def test_building_does_not_touch_the_global_generator(options):
    state = torch.get_rng_state()
    LinearTransformerPE(k=3, **options)
    assert torch.equal(torch.get_rng_state(), state)


@every
def test_pairs_of_different_components_and_graphs_are_zero(options):
    encoder = LinearTransformerPE(k=3, **options).eval()
    graph = ZOO["two components"]  # nodes 0-5, 6-8 and 9
    pairs = torch.tensor([[0, 0, 6, 9, 6], [1, 6, 9, 2, 8]])
    _, edge = encoder.encode(graph, pairs)
    assert edge[1:4].abs().max() == 0
    alone = encoder.encode(ZOO["cycle"], torch.tensor([[0], [1]]))[1]
    torch.testing.assert_close(edge[:1], alone, atol=1e-9, rtol=1e-9)
    batch = Batch.from_data_list([ring(3), ring(5)])
    assert encoder.encode(Incidence.from_data(batch), torch.tensor([[0], [3]]))[1].abs().max() == 0


def test_parts_of_the_graph_given_twice_are_refused():
    encoder = LinearTransformerPE(k=2)
    for options in ({"edge_weight": torch.ones(12)}, {"batch": torch.zeros(6, dtype=torch.int64)}, {"num_nodes": 6}):
        for graph in (ring(), Incidence.from_data(ring())):
            with pytest.raises(ValueError, match="go with an edge_index"):
                encoder(graph, **options)


def test_large_graph_needs_no_square_memory():
    n = 3000
    tail = torch.arange(n)
    encoder = LinearTransformerPE(k=4).requires_grad_(False)
    node, edge = encoder(Incidence(torch.stack([tail, (tail + 1) % n])), return_edge=True)
    torch.testing.assert_close(node, torch.tensor([0.0, 0.5, 0.0, 0.375]).expand(n, 4))
    torch.testing.assert_close(edge, torch.tensor([0.5, 0.0, 0.375, 0.0]).expand(n, 4))
