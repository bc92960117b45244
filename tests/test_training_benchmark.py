"""The models that training is measured against are what they are said to be."""

from pathlib import Path

import pytest
import torch
from torch_geometric.data import Batch

from graphtf.datasets import clean_leads_smiles, zinc_graph
from graphtf.models import GINE

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
BATCH = Batch.from_data_list([zinc_graph(smiles) for smiles in clean_leads_smiles("val")[:40]])


@pytest.fixture
def contestants(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import contestants

    return contestants


def test_gine_out_of_the_parts_of_pyg_is_ours(contestants):
    torch.manual_seed(0)
    plain, ours = contestants.PlainGINE(), GINE(64, 4)
    named = {"node.weight": "node_embedding.tables.0.weight", "edge.weight": "edge_embedding.tables.0.weight"}
    ours.load_state_dict({named.get(key, key): value for key, value in plain.state_dict().items()})
    torch.testing.assert_close(ours(BATCH), plain(BATCH), rtol=1e-4, atol=1e-5)
