"""The layers: those of PyG in numbers, compiled loops against tensor operations, and attention biased by pairs."""

import pytest
import torch
from torch.nn import Linear, ReLU, Sequential
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GINEConv, GPSConv

from graphtf.datasets import clean_leads_smiles, zinc_graph
from graphtf.models import GINE, GPS, GPSLayer, GraphTransformer
from graphtf.models.dense_layout import DenseLayout
from graphtf.models.edge_loops import EdgeLoops, add_messages, attend_along_edges
from graphtf.nn import LinearTransformerPE

MOLECULES = [zinc_graph(smiles) for smiles in clean_leads_smiles("val")[:8]]
ATOM = Data(x=torch.tensor([[0]]), edge_index=torch.empty(2, 0, dtype=torch.int64), edge_attr=torch.empty(0).long())
BATCH = Batch.from_data_list([MOLECULES[0], ATOM, *MOLECULES[1:], ATOM])
NORMS = {"batch": ("batch_norm", {"allow_single_element": True}), "layer": ("layer_norm", {"mode": "node"})}


def states(dtype, channels=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = (BATCH.num_nodes, BATCH.num_edges)
    return [torch.randn(size, channels, dtype=dtype, generator=generator).requires_grad_() for size in sizes]


def loops_of(batch, ranges=1):
    """Compiled loops over the edges, split at the borders of graphs into about so many ranges."""
    pytest.importorskip("numba")
    loops = EdgeLoops.find(batch.edge_index, batch.num_nodes)
    graph = batch.batch[batch.edge_index[0]]
    cuts = [int((graph < batch.num_graphs * i // ranges).sum()) for i in range(ranges)]
    return loops._replace(ranges=list(zip(cuts, [*cuts[1:], batch.num_edges], strict=True)))


@pytest.mark.parametrize(("dtype", "tol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("compiled", [False, True])
def test_gps_layer_equals_pygs(norm, dtype, tol, compiled):
    torch.manual_seed(0)
    name, options = NORMS[norm]
    gine = GINEConv(Sequential(Linear(16, 32), ReLU(), Linear(32, 16)), train_eps=True)
    theirs = GPSConv(16, gine, heads=4, norm=name, norm_kwargs=options).to(dtype)
    with torch.no_grad():
        for p in theirs.parameters():  # biases start at zero
            p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    ours = GPSLayer(16, heads=4, norm=norm).to(dtype)
    ours.load_state_dict(theirs.state_dict())
    loops = loops_of(BATCH, 2) if compiled else None
    results = []
    for layer, extra in ((theirs, {}), (ours, {"loops": loops})):
        x, e = states(dtype)
        out = layer(x, BATCH.edge_index, BATCH.batch, edge_attr=e, **extra)
        out.mul(torch.linspace(-1, 2, 16, dtype=dtype)).sin().sum().backward()
        out_eval = layer.eval()(x, BATCH.edge_index, BATCH.batch, edge_attr=e, **extra)
        results.append([out, out_eval, x.grad, e.grad, *(p.grad for p in layer.parameters())])
    for ours_value, their_value in zip(*results, strict=True):
        scale = 1 + float(their_value.detach().abs().max())
        torch.testing.assert_close(ours_value, their_value, atol=tol * scale, rtol=tol)
    for key, value in theirs.state_dict().items():  # running statistics too
        torch.testing.assert_close(ours.state_dict()[key], value, atol=tol, rtol=tol)


def test_dropout_of_gps_layer_acts_in_training_alone():
    torch.manual_seed(0)
    (x, e), one = states(torch.float32), {"edge_attr": None}
    for options in ({"dropout": 0.5}, {"attention_dropout": 0.5}):
        layer = GPSLayer(16, 4, norm="layer", **options)
        plain = GPSLayer(16, 4, norm="layer")
        plain.load_state_dict(layer.state_dict())
        one["edge_attr"] = e
        first, second = (layer(x, BATCH.edge_index, BATCH.batch, **one) for _ in range(2))
        assert float((first - second).detach().abs().max()) > 0.1
        first.sum().backward()
        exact = plain(x, BATCH.edge_index, BATCH.batch, **one)
        torch.testing.assert_close(layer.eval()(x, BATCH.edge_index, BATCH.batch, **one), exact)


@pytest.mark.parametrize("heads", [1, 2, 4, 16])  # heads of width 16, 8 and others
@pytest.mark.parametrize("ranges", [1, 3])
def test_compiled_attention_equals_tensor_operations(heads, ranges):
    results = []
    for loops in (None, loops_of(BATCH, ranges)):
        x, e = states(torch.float64)
        qkv = x @ torch.randn(16, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        out, w = attend_along_edges(qkv, e, BATCH.edge_index, heads, loops)
        (out.sin().sum() + w.cos().sum()).backward()
        results.append([out, w, x.grad, e.grad])
    for a, b in zip(*results, strict=True):
        assert float(b.detach().abs().max()) > 0.1
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-11)


def test_compiled_loops_have_exact_gradients():
    batch = Batch.from_data_list([Data(edge_index=torch.tensor([[0, 1, 1, 2, 0], [1, 0, 2, 1, 2]]), num_nodes=3)] * 2)
    loops, generator = loops_of(batch, 2), torch.Generator().manual_seed(0)
    total, h, e, qkv = (
        torch.randn(n, c, dtype=torch.float64, generator=generator).requires_grad_()
        for n, c in [(6, 4), (6, 4), (10, 4), (6, 12)]
    )
    assert torch.autograd.gradcheck(lambda t, x, y: add_messages(1 * t, x, y, batch.edge_index, loops), (total, h, e))
    assert torch.autograd.gradcheck(lambda x, y: attend_along_edges(x, y, batch.edge_index, 2, loops), (qkv, e))


@pytest.mark.parametrize("model", [GraphTransformer, GPS, GINE])
def test_threads_and_compilation_do_not_change_a_model(model, monkeypatch):
    pytest.importorskip("numba")
    torch.manual_seed(0)
    made = model(channels=16, num_layers=2).double()
    many = Batch.from_data_list(MOLECULES * 12)
    assert many.num_edges > 2 * 2048
    results, before = [], torch.get_num_threads()
    try:
        for threads, compiled in ((1, True), (2, True), (1, False)):
            torch.set_num_threads(threads)
            monkeypatch.setattr("graphtf.models.edge_loops.has_numba", lambda compiled=compiled: compiled)
            made.zero_grad()
            out = made(many)
            out.square().mean().backward()
            results.append([out.detach(), *(p.grad.clone() for p in made.parameters())])
    finally:
        torch.set_num_threads(before)
    for one, two, plain in zip(*results, strict=True):
        torch.testing.assert_close(two, one, atol=1e-10, rtol=1e-9)
        torch.testing.assert_close(plain, one, atol=1e-10, rtol=1e-9)


def test_not_a_number_is_not_lost():
    e = torch.ones(BATCH.num_edges, 16)
    e[0, 0] = torch.nan
    x = states(torch.float32)[0].detach()
    for loops in (None, loops_of(BATCH)):
        total = add_messages(torch.zeros_like(x), x, e, BATCH.edge_index, loops)
        assert int(total.isnan().sum()) == 1
    qkv = torch.cat([x, x, x], 1)
    for loops in (None, loops_of(BATCH)):
        assert attend_along_edges(qkv, e, BATCH.edge_index, 4, loops)[0].isnan().any()


def test_edges_to_nowhere_are_refused():
    molecule = MOLECULES[0].clone()
    molecule.edge_index[0, 0] = molecule.num_nodes
    for model in (GraphTransformer, GPS, GINE):
        with pytest.raises(IndexError, match=r"edge_index|index out of range"):
            model(channels=16, num_layers=1)(molecule)


def test_nodes_of_a_batch_in_any_order():
    torch.manual_seed(0)
    model = GPS(channels=16, num_layers=2, heads=4).double().eval()
    order = torch.randperm(BATCH.num_nodes, generator=torch.Generator().manual_seed(0))
    x, batch = torch.empty_like(BATCH.x), torch.empty_like(BATCH.batch)
    x[order], batch[order] = BATCH.x, BATCH.batch
    mixed = Data(x=x, edge_index=order[BATCH.edge_index], edge_attr=BATCH.edge_attr, batch=batch)
    with torch.no_grad():
        torch.testing.assert_close(model(mixed), model(BATCH), atol=1e-10, rtol=1e-10)


class Pairs(torch.nn.Module):
    """Number of bonds between two atoms, by two encodings of it; the padding holds anything."""

    node_channels, edge_channels = 2, 0

    def __init__(self, padding=0.0, project=False, shape=None):
        super().__init__()
        self.padding, self.shape = padding, shape
        self.scale = torch.nn.Parameter(torch.tensor([0.5, 2.0]))
        if project:
            self.all_pairs = lambda data, project: self.pairs(data) @ project.to(self.scale.dtype).t()
        else:
            self.all_pairs = self.pairs

    def forward(self, data, *, return_edge=False):
        node = torch.ones(data.num_nodes, 2, dtype=self.scale.dtype)
        return (node, None) if return_edge else node

    def pairs(self, data):
        if self.shape is not None:
            return torch.zeros(self.shape)
        batch = torch.zeros(data.num_nodes, dtype=torch.int64) if data.batch is None else data.batch
        layout = DenseLayout(batch, data.num_nodes, int(batch.max()) + 1, 1)
        mask = layout.groups[0].mask
        graphs, size = mask.shape
        adjacency = torch.zeros(graphs * size, graphs * size, dtype=self.scale.dtype)
        adjacency[layout.merged[data.edge_index[0]], layout.merged[data.edge_index[1]]] = 1.0
        blocks = torch.stack([adjacency[i : i + size, i : i + size] for i in range(0, graphs * size, size)])
        real = mask[:, :, None] & mask[:, None]
        return torch.where(real, blocks, self.padding).unsqueeze(-1) * self.scale


def biased(encoding, seed=0):
    torch.manual_seed(seed)
    return GPS(channels=16, num_layers=2, heads=4, encoding=encoding, attention_bias=True).double()


def test_bias_is_added_to_the_logits():
    """A layer on a single graph, with torch's own attention and its mask."""
    torch.manual_seed(0)
    data, layer = MOLECULES[0], GPSLayer(16, heads=4).double().eval()
    x, e = torch.randn(data.num_nodes, 16).double(), torch.randn(data.num_edges, 16).double()
    bias = torch.randn(1, 4, data.num_nodes, data.num_nodes).double()
    attended = layer.attn(x[None], x[None], x[None], attn_mask=bias[0], need_weights=False)[0][0]
    h = layer.norm1(x + layer.conv(x, data.edge_index, e)) + layer.norm2(x + attended)
    expected = layer.norm3(h + layer.mlp(h))
    out = layer(x, data.edge_index, edge_attr=e, bias=bias).detach()
    torch.testing.assert_close(out, expected.detach(), atol=1e-12, rtol=1e-12)
    assert float((out - layer(x, data.edge_index, edge_attr=e).detach()).abs().max()) > 1e-2


@pytest.mark.parametrize("make", [Pairs, lambda: LinearTransformerPE(k=3, heads=2, node_types=28, edge_types=4)])
def test_bias_starts_at_nothing_and_learns(make):
    torch.manual_seed(0)
    plain = GPS(channels=16, num_layers=2, heads=4, encoding=make()).double()
    model = biased(make())
    torch.testing.assert_close(model(BATCH), plain(BATCH), atol=1e-10, rtol=1e-10)
    assert set(model.state_dict()) - set(plain.state_dict()) == {"pair_weight"}
    model(BATCH).square().mean().backward()
    assert float(model.pair_weight.grad.abs().amax(0).min()) > 0
    with torch.no_grad():
        model.pair_weight.normal_(generator=torch.Generator().manual_seed(0))
    model.zero_grad()
    model(BATCH).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    if isinstance(model.encoding, Pairs):  # which reaches the prediction in no other way
        assert float(model.encoding.scale.grad.abs().min()) > 0


@pytest.mark.parametrize("padding", [0.0, 1e6])
@pytest.mark.parametrize("project", [False, True])
def test_padding_has_no_influence(padding, project):
    model = biased(Pairs(padding, project))
    with torch.no_grad():
        model.pair_weight.normal_(generator=torch.Generator().manual_seed(0))
    loss = model(BATCH).square().mean()
    loss.backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())
    model.eval()
    with torch.no_grad():
        together = model(BATCH)
        for i, alone in enumerate(BATCH.to_data_list()):
            torch.testing.assert_close(model(alone), together[i : i + 1], atol=1e-10, rtol=1e-10)
        model.pair_weight.zero_()
        assert float((model(BATCH) - together).abs().max()) > 1e-3


def test_bias_of_learned_conductances_is_equivariant():
    torch.manual_seed(0)
    model = biased(LinearTransformerPE(k=4, heads=2, node_types=28, edge_types=4))
    with torch.no_grad():
        model.pair_weight.normal_(generator=torch.Generator().manual_seed(0))
        model(BATCH)  # running statistics
        model.eval()
        together = model(BATCH)
        molecules = BATCH.to_data_list()
        for i in (0, 1, 3):
            order = torch.randperm(molecules[i].num_nodes, generator=torch.Generator().manual_seed(i))
            x = torch.empty_like(molecules[i].x)
            x[order] = molecules[i].x
            renamed = Data(x=x, edge_index=order[molecules[i].edge_index], edge_attr=molecules[i].edge_attr)
            torch.testing.assert_close(model(renamed), together[i : i + 1], atol=1e-6, rtol=1e-5)


def test_bias_needs_pairs():
    class Nodes(torch.nn.Module):
        node_channels, edge_channels = 2, 0

    for encoding, name in ((None, "none"), (Nodes(), "Nodes")):
        with pytest.raises(TypeError, match=rf"needs an encoding with all_pairs\(data\).*but got {name}"):
            GPS(channels=16, encoding=encoding, attention_bias=True)
    with pytest.raises(
        ValueError, match=r"all_pairs of the encoding must give \[1, \d+, \d+, 2\].* gives \[1, 2, 2, 2\]"
    ):
        biased(Pairs(shape=(1, 2, 2, 2)))(MOLECULES[0])
