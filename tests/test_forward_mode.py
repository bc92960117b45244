"""Derivatives by torch.func: forward mode and function transforms of models, encodings and solvers."""

import pytest
import torch
from torch_geometric.data import Batch

import graphtf.solvers as solvers
from graphtf.datasets import clean_leads_smiles, zinc_graph
from graphtf.differentiable import cholesky_inverse
from graphtf.models import GINE, GPS, GraphTransformer
from graphtf.nn import LinearTransformerPE
from graphtf.testing import graph_zoo

MOLECULES = Batch.from_data_list([zinc_graph(smiles) for smiles in clean_leads_smiles("val")[:4]])
MODELS = {
    "gine": (GINE, {}),
    "transformer": (GraphTransformer, {"heads": 4}),
    "gps": (GPS, {"heads": 4}),
    "gps, bias": (GPS, {"heads": 4, "attention_bias": True}),
}
ENCODINGS = {
    "none": None,
    "one network": {"k": 4},
    "conductances": {"k": 4, "heads": 2, "leverage": True, "node_types": 28, "edge_types": 4},
}


CASES = [(name, encoding) for name in MODELS for encoding in ENCODINGS if (name, encoding) != ("gps, bias", "none")]


@pytest.mark.parametrize(("name", "encoding"), CASES)
def test_models_by_torch_func(name, encoding):
    kind, options = MODELS[name]
    given = ENCODINGS[encoding]
    torch.manual_seed(0)
    made = None if given is None else LinearTransformerPE(**given)
    model = kind(channels=16, num_layers=2, encoding=made, **options).double().eval()
    if "attention_bias" in options:
        torch.nn.init.normal_(model.pair_weight)
    weights = dict(model.named_parameters())

    def loss(weights):
        return torch.func.functional_call(model, weights, (MOLECULES,)).square().mean()

    expected = torch.autograd.grad(loss(weights), list(weights.values()))
    weights = {key: weight.detach() for key, weight in weights.items()}
    torch.testing.assert_close(list(torch.func.grad(loss)(weights).values()), list(expected))
    direction = {key: torch.randn_like(weight) for key, weight in weights.items()}
    along = sum((g * d).sum() for g, d in zip(expected, direction.values(), strict=True))
    torch.testing.assert_close(torch.func.jvp(loss, (weights,), (direction,))[1], along)


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_attention_by_torch_func_in_training(rate):
    torch.manual_seed(0)
    model = GPS(16, 2, 4, attention_dropout=rate, norm="layer").double()
    weights = {key: weight.detach() for key, weight in model.named_parameters()}

    def loss(weights):
        torch.manual_seed(1)
        return torch.func.functional_call(model, weights, (MOLECULES,)).square().mean()

    key = "layers.0.attn.in_proj_weight"
    change = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    change[key][3, 5] = 1e-5
    up, down = ({name: weights[name] + sign * change[name] for name in weights} for sign in (1, -1))
    expected = (loss(up) - loss(down)) / 2e-5
    torch.testing.assert_close(torch.func.grad(loss)(weights)[key][3, 5], expected, rtol=1e-4, atol=1e-7)


SOLVERS = {
    "electric_potential": lambda graph: solvers.electric_potential(graph, _demand(graph)),
    "electric_flow": lambda graph: solvers.electric_flow(graph, _demand(graph)),
    "effective_resistance": solvers.effective_resistance,
    "leverage_scores": solvers.leverage_scores,
    "effective_graph_resistance": solvers.effective_graph_resistance,
    "current_flow_closeness": solvers.current_flow_closeness,
}


def _demand(graph):
    psi = torch.zeros(graph.num_nodes, dtype=torch.float64)
    psi[0], psi[-1] = 1.0, -1.0
    return psi


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_in_forward_mode(name):
    graph = graph_zoo()["grid"]
    generator = torch.Generator().manual_seed(0)
    weight, change = torch.rand(2, graph.num_edges, dtype=torch.float64, generator=generator) + 0.5

    def value(weight):
        return SOLVERS[name](graph._replace(weight=weight)).value

    step = 1e-5
    expected = (value(weight + step * change) - value(weight - step * change)) / (2 * step)
    found = torch.func.jvp(value, (weight,), (change,))[1]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_inverse_from_a_factor_in_forward_mode():
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=generator).tril()
    factor.diagonal(dim1=-2, dim2=-1).abs_().add_(1.0)
    torch.testing.assert_close(torch.func.vmap(cholesky_inverse)(factor), cholesky_inverse(factor))
    torch.autograd.gradcheck(
        lambda x: cholesky_inverse(x.tril()), factor.requires_grad_(), check_forward_ad=True, check_batched_grad=True
    )
