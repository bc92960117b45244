import copy
import importlib
import pickle

import pytest
import torch
from torch_geometric import transforms as T  # noqa: N812
from torch_geometric.data import Batch, Data, HeteroData, InMemoryDataset
from torch_geometric.loader import DataLoader

import graphtf.transforms.incidence
import graphtf.transforms.linear_transformer_pe
from graphtf.nn import LinearTransformerPE, LinearTransformerPEConfig
from graphtf.testing import graph_zoo
from graphtf.transforms import AddIncidence, AddLinearTransformerPE

ZOO = graph_zoo()
PE = "linear_transformer_pe"
BOTH = [AddIncidence(), AddLinearTransformerPE(k=4, edge_attr_name="pair_pe")]
both = pytest.mark.parametrize("transform", BOTH, ids=["incidence", "pe"])
STARTS = [
    {},
    {"start": "electric"},
    {"start": "random", "normalization": "spectral"},
    {"init": "slots"},
    {"init": "slots", "start": "eigenvectors"},
]
starts = pytest.mark.parametrize("options", STARTS, ids=lambda o: "-".join(o.values()) or "default")


def data_of(graph, **attributes):
    both = torch.cat([graph.index, graph.index.flip(0)], dim=1)
    weight = torch.cat([graph.weight, graph.weight])
    return Data(edge_index=both, edge_weight=weight, num_nodes=graph.num_nodes, **attributes)


def path(**attributes):
    return Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3, **attributes)


class Paths(InMemoryDataset):
    def __init__(self, root, pre_transform=None):
        super().__init__(root, pre_transform=pre_transform)
        self.load(self.processed_paths[0])

    @property
    def processed_file_names(self):
        return ["data.pt"]

    def process(self):
        graphs = [data_of(ZOO[name].to(torch.float32)) for name in ("path", "cycle", "two components", "single node")]
        self.save([self.pre_transform(graph) for graph in graphs], self.processed_paths[0])


def test_directed_graphs_on_request():
    data = Data(edge_index=torch.tensor([[0, 1, 1], [1, 0, 2]]), num_nodes=3)
    for transform in (AddIncidence, AddLinearTransformerPE):
        with pytest.raises(ValueError, match=r"directed graph.*symmetrize=True"):
            transform()(data)
    stored = AddIncidence(symmetrize=True)(data)
    assert stored.incidence_weight.tolist() == [1.0, 0.5]
    expected = LinearTransformerPE()(stored).detach()
    torch.testing.assert_close(AddLinearTransformerPE(symmetrize=True)(data)[PE], expected)


@both
def test_input_is_untouched(transform):
    data = path(x=torch.ones(3, 2), edge_attr=torch.ones(4, 1), y=torch.ones(1))
    before = copy.deepcopy(data.to_dict())
    out = transform(data)
    assert out is not data
    after = data.to_dict()
    assert after.keys() == before.keys()
    for key, value in before.items():
        assert torch.equal(torch.as_tensor(after[key]), torch.as_tensor(value)), key


@both
def test_heterogeneous_graphs_are_refused(transform):
    data = HeteroData()
    data["a"].x = torch.ones(2, 1)
    with pytest.raises(TypeError, match=r"HeteroData.*to_homogeneous"):
        transform(data)


@both
def test_pickle_and_compose(transform):
    clone = pickle.loads(pickle.dumps(transform))
    assert repr(clone) == repr(transform)
    composed = T.Compose([T.ToUndirected(), transform, T.Constant()])
    first, second = composed(path()), clone(path())
    for key in second.keys():  # noqa: SIM118 (Data iterates over pairs)
        torch.testing.assert_close(first[key], second[key])


def test_functional_names_survive_a_reload():
    from torch.utils.data.datapipes.datapipe import IterDataPipe

    assert {"add_incidence", "add_linear_transformer_pe"} <= set(IterDataPipe.functions)
    for module in (graphtf.transforms.incidence, graphtf.transforms.linear_transformer_pe):
        fresh = importlib.reload(module)
        assert fresh is module
    assert {"add_incidence", "add_linear_transformer_pe"} <= set(IterDataPipe.functions)


def test_functional_name_is_not_taken_from_someone_else():
    from torch_geometric.data.datapipes import functional_transform

    from graphtf.transforms._register import unique_functional_name

    taken = "graphtf_test_name_of_somebody_else"

    functional_transform(taken)(type("Other", (T.BaseTransform,), {}))
    with pytest.raises(Exception, match="already taken"):
        functional_transform(unique_functional_name(taken))(type("Mine", (T.BaseTransform,), {}))


def test_functional_form():
    from torch_geometric.data.datapipes import DatasetAdapter

    out = list(DatasetAdapter([path(), path()]).add_incidence().add_linear_transformer_pe(k=3))
    assert out[1].incidence_index.tolist() == [[0, 1], [1, 2]]
    assert out[1][PE].shape == (3, 3)


def test_repr_names_every_parameter_and_the_weights():
    assert repr(AddIncidence()) == "AddIncidence(symmetrize=False)"
    text = repr(AddLinearTransformerPE(k=3))
    for part in (
        "k=3",
        "init='basis'",
        "start='random-walk'",
        "normalization='sym'",
        "seed=0",
        "attr_name=",
        "symmetr",
    ):
        assert part in text
    encoder = LinearTransformerPE(k=3)
    before = repr(AddLinearTransformerPE(encoder))
    with torch.no_grad():
        encoder.transformer.stack[0].skip.add_(1e-3)
    assert repr(AddLinearTransformerPE(encoder)) != before
    assert "weights=" in before
    half = repr(AddLinearTransformerPE(LinearTransformerPE(k=4).bfloat16()))
    assert half != repr(AddLinearTransformerPE(LinearTransformerPE(k=4)))


def test_pre_transform_caches_and_notices_a_change(tmp_path):
    first = Paths(tmp_path, T.Compose([AddIncidence(), AddLinearTransformerPE(k=4)]))
    assert first[0][PE].shape == (7, 4)
    assert Paths(tmp_path, T.Compose([AddIncidence(), AddLinearTransformerPE(k=4)]))[2].incidence_index.shape == (2, 8)
    with pytest.warns(UserWarning, match="pre_transform"):
        Paths(tmp_path, T.Compose([AddIncidence(), AddLinearTransformerPE(k=5)]))


@pytest.mark.slow
def test_loader_workers_give_the_same(tmp_path):
    dataset = Paths(tmp_path, AddIncidence())
    dataset.transform = AddLinearTransformerPE(k=4, init="slots", edge_attr_name="pair_pe")
    alone = Batch.from_data_list(list(dataset))
    for batch in (next(iter(DataLoader(dataset, batch_size=4, num_workers=workers))) for workers in (0, 2)):
        for key in (PE, "pair_pe", "incidence_index", "incidence_weight"):
            torch.testing.assert_close(batch[key], alone[key])


def test_attr_name_none_appends_to_x():
    transform = AddLinearTransformerPE(k=2, attr_name=None)
    pe = AddLinearTransformerPE(k=2)(path())[PE]
    torch.testing.assert_close(transform(path()).x, pe)
    out = transform(path(x=torch.tensor([1.0, 2, 3], dtype=torch.float64)))  # one feature a node
    torch.testing.assert_close(out.x, torch.cat([torch.tensor([[1.0], [2], [3]]), pe], 1).double())
    with pytest.raises(TypeError, match=r"x holds integers \(torch.int64\)"):
        transform(path(x=torch.ones(3, 1, dtype=torch.int64)))
    assert torch.equal(AddLinearTransformerPE(k=2, attr_name="x")(path(x=torch.ones(3, 5))).x, pe)


@starts
def test_result_is_seeded_and_deterministic(options):
    first = AddLinearTransformerPE(k=4, **options)
    state = torch.get_rng_state()
    out = first(path())[PE]
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is not used
    torch.manual_seed(7)
    assert torch.equal(AddLinearTransformerPE(k=4, **options)(path())[PE], out)
    assert torch.equal(first(path())[PE], out)
    assert not out.requires_grad


def test_trained_encoder():
    encoder = LinearTransformerPE(k=3, init="slots", start="random")
    transform = AddLinearTransformerPE(encoder)
    expected = encoder.eval()(path()).detach()
    encoder.train()
    torch.testing.assert_close(transform(path())[PE], expected)
    assert encoder.training
    assert all(p.requires_grad for p in encoder.parameters())
    with torch.no_grad():
        encoder.table.zero_()
    torch.testing.assert_close(transform(path())[PE], expected)  # a copy
    config = LinearTransformerPEConfig(k=3)
    torch.testing.assert_close(AddLinearTransformerPE(config)(path())[PE], AddLinearTransformerPE(k=3)(path())[PE])
    double = AddLinearTransformerPE(LinearTransformerPE(k=3).double())(path())[PE]
    assert double.dtype == torch.float64


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, "pass k=8", {"config": 8}),
        (TypeError, "config must be a LinearTransformerPEConfig", {"config": "basis"}),
        (TypeError, "attr_name must be a str or None", {"attr_name": 3}),
        (ValueError, "must differ, but are both 'pe'", {"attr_name": "pe", "edge_attr_name": "pe"}),
        (ValueError, "k must be at least 1", {"k": 0}),
        (ValueError, "either a trained encoder or options", {"config": LinearTransformerPE(k=2), "k": 3}),
        (TypeError, "unexpected keyword", {"walk_length": 3}),
    ],
)
def test_bad_arguments(error, message, arguments):
    with pytest.raises(error, match=message):
        AddLinearTransformerPE(**arguments)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@both
def test_cuda_gives_the_same(transform):
    data = data_of(ZOO["skip-links"])
    expected, out = transform(data), transform(data.to("cuda"))
    for key in expected.keys():  # noqa: SIM118
        torch.testing.assert_close(torch.as_tensor(out[key]).cpu(), torch.as_tensor(expected[key]).cpu())
