"""What GPS asks of an encoding that biases its attention."""

import pytest
import torch
from torch_geometric.data import Batch, Data

from graphtf.datasets import clean_leads_smiles, zinc_graph
from graphtf.models import GPS
from graphtf.nn import LinearTransformerPE

ATOM = Data(x=torch.tensor([[0]]), edge_index=torch.empty(2, 0, dtype=torch.int64), edge_attr=torch.empty(0).long())
BATCH = Batch.from_data_list([*(zinc_graph(smiles) for smiles in clean_leads_smiles("val")[:5]), ATOM])
OPTIONS = {
    "conductances": {"heads": 2, "leverage": True, "node_types": 28, "edge_types": 4},
    "electric": {"start": "electric"},
    "random columns": {"init": "random", "num_probes": 8, "heads": 2},
    "slots": {"init": "slots"},
}


class Apart(torch.nn.Module):
    """An encoding made by a user, of which one can ask one thing at a time."""

    def __init__(self, encoder, project):
        super().__init__()
        self.encoder, self.node_channels, self.edge_channels = encoder, encoder.node_channels, encoder.edge_channels
        if project:
            self.all_pairs = lambda data, project: encoder.all_pairs(data, project=project)
        else:
            self.all_pairs = lambda data: encoder.all_pairs(data)

    def forward(self, data, *, return_edge=False):
        return self.encoder(data, return_edge=return_edge)


def biased(encoding):
    torch.manual_seed(0)
    model = GPS(channels=16, num_layers=2, heads=4, encoding=encoding, attention_bias=True).double().eval()
    with torch.no_grad():
        model.pair_weight.normal_(generator=torch.Generator().manual_seed(0))
    return model


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("project", [False, True])
def test_asked_once_or_for_one_thing_at_a_time(options, project):
    results = []
    for wrap in (lambda encoder: encoder, lambda encoder: Apart(encoder, project)):
        model = biased(wrap(LinearTransformerPE(k=4, **options)))
        out = model(BATCH)
        out.square().mean().backward()
        results.append([out.detach(), *(p.grad for p in model.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-7)
    with torch.no_grad():
        model.pair_weight.zero_()
        assert float((model(BATCH) - results[1][0]).abs().max()) > 1e-4


def test_conductances_are_computed_once():
    for wrap, expected in ((lambda encoder: encoder, 1), (lambda encoder: Apart(encoder, True), 2)):
        encoder, calls = LinearTransformerPE(k=4, **OPTIONS["conductances"]), []
        encoder.conductances.register_forward_hook(lambda *given, calls=calls: calls.append(given))
        biased(wrap(encoder))(BATCH)
        assert len(calls) == expected
