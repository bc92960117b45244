"""Edge cases of the module: degenerate graphs, extreme weights, its configuration, bad input."""

import pickle

import pytest
import torch
from torch_geometric.data import Data, HeteroData

from graphtf import Incidence
from graphtf.nn import LinearTransformerPE, LinearTransformerPEConfig
from graphtf.testing import graph_zoo

ZOO = graph_zoo()
STARTS = ("random-walk", "electric", "resistive", "heat", "eigenvectors", "random")
BASIS = [{"start": start, "normalization": name} for start in STARTS for name in ("sym", "spectral")]
RANDOM = [{"init": "random", "start": start} for start in STARTS]
SLOTS = [{"init": "slots", "start": start} for start in ("release", *STARTS)]
every = pytest.mark.parametrize("options", BASIS + RANDOM + SLOTS, ids=lambda o: "-".join(o.values()))


@every
def test_degenerate_graphs(options):
    encoder = LinearTransformerPE(k=3, **options).eval()
    for name in ("no nodes", "single node", "no edges", "single edge"):
        node, edge = encoder(ZOO[name], return_edge=True)
        assert node.shape == (ZOO[name].num_nodes, 3)
        assert edge.shape == (ZOO[name].num_edges, 3)
        assert torch.isfinite(node).all()
        assert torch.isfinite(edge).all()
    empty_batch = Data(edge_index=torch.empty(2, 0, dtype=torch.int64), num_nodes=2)
    assert encoder(empty_batch).shape == (2, 3)


@every
def test_weights_over_sixteen_orders_of_magnitude(options):
    graph = Incidence(torch.stack([torch.arange(8), torch.arange(1, 9)]), torch.logspace(-8, 8, 8))
    node, edge = LinearTransformerPE(k=3, **options).eval()(graph, return_edge=True)
    assert torch.isfinite(node).all()
    assert torch.isfinite(edge).all()


def test_config_and_repr_and_pickle():
    config = LinearTransformerPEConfig(k=6, init="slots", start="release")
    assert (config.num_layers, config.num_loops, config.channels) == (3, 3, 8)
    encoder = LinearTransformerPE(config)
    assert eval(repr(encoder)).config == config  # the printed form rebuilds it
    assert eval(repr(config)) == config
    clone = pickle.loads(pickle.dumps(encoder))
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(clone.state_dict()[name], value)
    assert sum(p.numel() for p in LinearTransformerPE(k=16).parameters()) < 100


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "k must be at least 1", {"k": 0}),
        (TypeError, "k must be an int", {"k": 2.0}),
        (ValueError, "init must be one of 'basis', 'slots', 'random'", {"init": "eigen"}),
        (ValueError, "start .* must be one of", {"start": "release"}),
        (ValueError, "num_layers must be 16", {"num_layers": 4}),
        (ValueError, "num_layers must be at least 1", {"init": "slots", "num_layers": 0}),
        (ValueError, "channels is an option of init='slots'", {"channels": 4}),
        (ValueError, "needs channels=9", {"k": 8, "init": "slots", "start": "eigenvectors", "channels": 4}),
        (ValueError, "num_loops must be 1", {"num_loops": 2}),
        (ValueError, "num_loops must be 16", {"shared": True, "num_loops": 2}),
        (ValueError, "got num_layers=2", {"init": "slots", "shared": True, "num_layers": 2}),
        (ValueError, "cannot be repeated", {"init": "slots", "start": "heat", "shared": True}),
        (ValueError, "cannot be repeated", {"init": "slots", "start": "resistive", "num_loops": 2}),
        (ValueError, "needs memory", {"start": "heat", "memory": False}),
        (ValueError, "needs memory", {"start": "resistive", "shared": True, "memory": False}),
        (ValueError, "memory is no option of init='slots'", {"init": "slots", "memory": True}),
        (ValueError, "num_probes is no option of init='slots'", {"init": "slots", "num_probes": 4}),
        (ValueError, "num_probes is an option of init='random'", {"num_probes": 4}),
        (ValueError, "num_probes must be at least 1", {"init": "random", "num_probes": 0}),
        (ValueError, "channels is an option of init='slots'", {"init": "random", "channels": 4}),
        (TypeError, "shared must be True or False", {"shared": 1}),
        (TypeError, "memory must be True or False", {"memory": "yes"}),
        (ValueError, "normalization must be one of", {"normalization": "rw"}),
        (TypeError, "unexpected keyword", {"walk_length": 3}),
    ],
)
def test_bad_configuration(error, message, options):
    with pytest.raises(error, match=message):
        LinearTransformerPE(**options)


@pytest.mark.parametrize("options", BASIS + RANDOM + SLOTS, ids=lambda o: "-".join(o.values()))
@pytest.mark.parametrize("more", [{}, {"shared": True}, {"memory": True}, {"shared": True, "memory": True}])
def test_every_combination_rebuilds_or_is_refused(options, more):
    """A configuration that is accepted can be printed, written as a dictionary, and runs."""
    impossible = options.get("init") == "slots" and (
        "memory" in more or ("shared" in more and options["start"] in ("heat", "resistive"))
    )
    if impossible:
        with pytest.raises(ValueError, match=r"memory|repeated"):
            LinearTransformerPEConfig(k=3, **options, **more)
        return
    config = LinearTransformerPEConfig(k=3, **options, **more)
    assert LinearTransformerPEConfig(**config.to_dict()) == config
    encoder = LinearTransformerPE(config)
    assert len(encoder.transformer.stack) == config.num_layers
    assert encoder.transformer.num_layers == config.num_layers * config.num_loops
    if config.shared:
        assert config.num_layers == 1
    node, edge = encoder(ZOO["skip-links"], return_edge=True)
    assert (node.shape, edge.shape) == ((10, 3), (20, 3))
    (node.square().sum() + edge.square().sum()).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in encoder.parameters())


def test_bad_input():
    encoder = LinearTransformerPE(k=2)
    with pytest.raises(TypeError, match="HeteroData"):
        encoder(HeteroData())
    with pytest.raises(ValueError, match="directed"):
        encoder(torch.tensor([[0, 1, 1], [1, 0, 2]]))
    with pytest.raises(ValueError, match="either a config or options"):
        LinearTransformerPE(LinearTransformerPEConfig(), k=3)
    with pytest.raises(ValueError, match=r"12 nodes, but the table has num_slots=4"):
        LinearTransformerPE(init="slots", num_slots=4)(ZOO["grid"])
