import copy
import math

import pytest
import torch
from torch_geometric.data import Batch, Data

from graphtf import Incidence
from graphtf.nn import LinearTransformerPE
from graphtf.testing import TOLERANCE, assert_permutation_equivariant, disjoint_union, graph_zoo, permuted

ZOO = graph_zoo()
zoo = pytest.mark.parametrize("name", ZOO)
STARTS = ("random-walk", "electric", "resistive", "heat", "eigenvectors", "random")
BASIS = [{"start": start, "normalization": name} for start in STARTS for name in ("sym", "spectral")]
RANDOM = [{"init": "random", "start": start} for start in STARTS]
SLOTS = [{"init": "slots", "start": start} for start in ("release", *STARTS)]
basis = pytest.mark.parametrize("options", BASIS, ids=lambda o: "-".join(o.values()))
slots = pytest.mark.parametrize("options", SLOTS, ids=lambda o: "-".join(o.values()))
every = pytest.mark.parametrize("options", BASIS + RANDOM + SLOTS, ids=lambda o: "-".join(o.values()))


def data_of(graph):
    both = torch.cat([graph.index, graph.index.flip(0)], dim=1)
    return Data(edge_index=both, edge_weight=torch.cat([graph.weight, graph.weight]), num_nodes=graph.num_nodes)


def random_weights(encoder, seed=0):
    """Move every weight away from the construction, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in encoder.parameters():
            p += 0.2 * torch.randn(p.shape, generator=generator)
    return encoder


@zoo
@basis
def test_basis_is_what_the_transformer_computes_from_the_identity(name, options):
    """The shared powers are a shortcut: the layers run one by one give the same diagonals and entries."""
    encoder = random_weights(LinearTransformerPE(k=5, **options)).double()
    graph = ZOO[name]
    normalized = graph.split_components().normalized(options["normalization"])
    start = torch.eye(graph.num_nodes, dtype=torch.float64)
    if options["start"] in ("electric", "resistive"):
        start = normalized.center(start)
    transformer = encoder.transformer
    columns = torch.eye(6, dtype=torch.float64)[1:] if encoder.memory is None else encoder.memory[0].detach()
    with torch.no_grad():
        node, edge = encoder(graph, return_edge=True)
        for layout in ("sparse", "padded"):
            if layout == "padded" and graph.num_nodes:
                whole = Incidence(graph.index, graph.weight, graph.num_nodes)
                whole.scale = normalized.scale
                states = transformer(whole, layout=layout, return_all=True, **{transformer.registers[0]: start})
            else:
                states = transformer(normalized, layout=layout, return_all=True, **{transformer.registers[0]: start})
            states = torch.einsum("lj,jab->lab", columns, states)
            diagonal = states.diagonal(dim1=1, dim2=2).t()
            entries = states[:, graph.index[0], graph.index[1]].t()
            torch.testing.assert_close(node, diagonal, atol=1e-10, rtol=1e-10)
            torch.testing.assert_close(edge, entries, atol=1e-10, rtol=1e-10)


@zoo
@basis
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_basis_is_permutation_equivariant(name, options, dtype):
    encoder = random_weights(LinearTransformerPE(k=6, **options))
    graph = ZOO[name].to(dtype)
    with torch.no_grad():
        assert_permutation_equivariant(encoder, graph, tolerance=10 * TOLERANCE[dtype])


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_encodings_do_not_depend_on_the_batch(options, dtype):
    graphs = [graph.to(dtype) for graph in ZOO.values() if graph.num_nodes]
    encoder = LinearTransformerPE(k=4, **options).eval()
    with torch.no_grad():
        alone = [encoder(graph, return_edge=True) for graph in graphs]
        union = encoder(disjoint_union(graphs), return_edge=True)
        tolerance = {"eigenvectors": 1e-3 if dtype == torch.float32 else 1e-9}.get(options["start"], 0)
        tolerance = max(tolerance, 10 * TOLERANCE[dtype])
        for i in (0, 1):
            expected = torch.cat([pair[i] for pair in alone])
            torch.testing.assert_close(union[i], expected, atol=tolerance, rtol=tolerance)


@every
def test_components_do_not_see_each_other(options):
    encoder = LinearTransformerPE(k=4, **options).eval()
    path, cycle = ZOO["path"], ZOO["cycle"]
    union = disjoint_union([path, cycle])
    one_graph = Incidence(union.index, union.weight, union.num_nodes)
    with torch.no_grad():
        expected = torch.cat([encoder(path), encoder(cycle)])
        torch.testing.assert_close(encoder(one_graph), expected, atol=1e-9, rtol=1e-9)


@every
def test_float32_is_float64_up_to_rounding(options):
    encoder = LinearTransformerPE(k=4, **options).eval()
    for name in ("path", "tree", "skip-links", "two components"):
        with torch.no_grad():
            single, double = encoder(ZOO[name].to(torch.float32)), encoder(ZOO[name])
        assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
        tolerance = 2e-3 if options["start"] == "eigenvectors" else 1e-4
        torch.testing.assert_close(single.double(), double, atol=tolerance, rtol=1e-3)


@every
def test_evaluation_is_deterministic_and_seeded(options):
    graph = ZOO["grid"]
    first = LinearTransformerPE(k=4, **options).eval()(graph)
    torch.manual_seed(123)
    torch.testing.assert_close(LinearTransformerPE(k=4, **options).eval()(graph), first, atol=0, rtol=0)
    other = LinearTransformerPE(k=4, seed=1, **options).eval()(graph)
    seeded = options.get("init", "basis") != "basis" or options["start"] == "random"
    assert torch.equal(other, first) != seeded


@slots
def test_slots_are_equivariant_in_distribution(options):
    """Over all draws of the slots, renaming the nodes changes nothing: means agree within their statistical error."""
    encoder = LinearTransformerPE(k=3, num_slots=12, **options).train()
    graph = ZOO["star"]
    order = torch.tensor([3, 0, 1, 2, 4, 5])
    torch.manual_seed(0)
    with torch.no_grad():
        draws = encoder(disjoint_union([graph] * 800)).square().view(800, 6, 3)
        renamed = encoder(disjoint_union([permuted(graph, order)] * 800)).square().view(800, 6, 3)[:, order]
    error = (draws.var(0) / 800 + renamed.var(0) / 800).sqrt()
    assert ((draws.mean(0) - renamed.mean(0)).abs() <= 5 * error + 1e-9).all()
    assert draws.std(0).max() > 1e-3  # training does draw


def test_slots_with_eigenvectors_are_eigenvectors():
    encoder = LinearTransformerPE(k=3, init="slots", start="eigenvectors", num_loops=400).eval()
    for name in ("path", "grid", "two components", "cycle", "single edge"):
        graph = ZOO[name]
        L = graph.normalized("sym").laplacian_dense()
        with torch.no_grad():
            phi = encoder(graph)
        labels = graph.components()
        for c in labels.unique():
            mask = labels == c
            size = int(mask.sum())
            if size == 1:
                assert phi[mask].abs().max() == 0
                continue
            values, vectors = torch.linalg.eigh(L[mask][:, mask])
            for count in range(1, 4):  # subspaces between the first and a gap
                if count + 1 == size or (count + 1 < size and values[count + 1] - values[count] > 0.05):
                    wanted = vectors[:, 1 : count + 1]
                    found = phi[mask][:, :count]
                    torch.testing.assert_close(found @ found.T, wanted @ wanted.T, atol=1e-6, rtol=0)
            if size <= 3:
                assert phi[mask][:, size - 1 :].abs().max() == 0  # k >= n: zero columns


def test_edges_of_data_are_in_the_order_of_edge_index():
    graph = ZOO["skip-links"]
    data = data_of(graph)
    encoder = LinearTransformerPE(k=4)
    node, edge = encoder(data, return_edge=True)
    assert (node.shape, edge.shape) == ((10, 4), (40, 4))
    torch.testing.assert_close(edge[:20], edge[20:])
    torch.testing.assert_close(edge[:20], encoder(graph, return_edge=True)[1])
    shuffle = torch.randperm(40)
    data.edge_index, data.edge_weight = data.edge_index[:, shuffle], data.edge_weight[shuffle]
    torch.testing.assert_close(encoder(data, return_edge=True)[1], edge[shuffle])
    out = encoder(data.edge_index, data.edge_weight, torch.zeros(10, dtype=torch.int64), return_edge=True)
    torch.testing.assert_close(out[1], edge[shuffle])


def test_stored_incidence_gives_the_same():
    from graphtf.transforms import AddIncidence

    graphs = [data_of(ZOO[name]) for name in ("path", "skip-links", "two components")]
    data = Batch.from_data_list(graphs)
    stored = Batch.from_data_list([AddIncidence()(graph) for graph in graphs])
    encoder = LinearTransformerPE(k=4)
    for first, second in zip(encoder(data, return_edge=True), encoder(stored, return_edge=True), strict=True):
        torch.testing.assert_close(first, second)


@basis
def test_gradients_reach_weights_and_conductances(options):
    # The cycle has repeated eigenvalues, whose eigenvectors have no gradient; this encoding has. (The largest degree of
    # the spectral normalization has a gradient only where it is attained once.)
    graph = ZOO["cycle" if options["normalization"] == "sym" else "skip-links"]
    encoder = random_weights(LinearTransformerPE(k=4, **options)).double()

    def encode(weight):
        return encoder(Incidence(graph.index, weight, graph.num_nodes), return_edge=True)

    weight = graph.weight.clone().requires_grad_()
    assert torch.autograd.gradcheck(encode, (weight,))
    node, edge = encode(weight)
    (node.sin().sum() + edge.sin().sum()).backward()
    for parameter_name, p in encoder.named_parameters():
        assert p.grad is not None, parameter_name
        assert torch.isfinite(p.grad).all(), parameter_name
        assert p.grad.abs().max() > 0, parameter_name


@slots
def test_slots_have_no_dead_parameters(options):
    depth = {"num_layers": 2} if options["start"] in ("heat", "resistive") else {"num_loops": 2}
    encoder = random_weights(LinearTransformerPE(k=4, **depth, **options)).double()
    out, edge = encoder(disjoint_union([ZOO["grid"], ZOO["skip-links"]]), return_edge=True)
    (out * torch.randn_like(out)).sum().add(edge.sum()).backward()
    for name, p in encoder.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
        assert p.grad.abs().max() > 1e-12, name


def test_trains_inside_a_pyg_model():
    """Fit the number of triangles at every node, which the walk returns determine."""
    from torch_geometric.nn import GCNConv

    torch.manual_seed(0)
    graphs = [data_of(ZOO[name]) for name in ("cycle", "complete", "barbell", "grid", "star")]
    batch = Batch.from_data_list(graphs)
    batch.edge_weight = None
    A = torch.zeros(batch.num_nodes, batch.num_nodes)
    A[batch.edge_index[0], batch.edge_index[1]] = 1.0
    target = torch.linalg.matrix_power(A, 3).diagonal()[:, None] / 6

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = LinearTransformerPE(k=6, start="random")
            self.norm = torch.nn.BatchNorm1d(6)
            self.conv = GCNConv(6, 32)
            self.out = torch.nn.Linear(38, 1)

        def forward(self, data):
            pe = self.norm(self.encoder(data))
            return self.out(torch.cat([pe, self.conv(pe, data.edge_index).relu()], dim=1))

    model = Model()
    before = copy.deepcopy(model.encoder.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(200):
        optimizer.zero_grad()
        loss = (model(batch) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.02 * losses[0]
    assert any(not torch.equal(before[name], value) for name, value in model.encoder.state_dict().items())


def test_unnormalized_electric_start_approaches_the_pseudoinverse():
    """With the spectral normalization the electric encoding tends to that of L^+, in units of 1 / (2 max degree)."""
    graph = ZOO["complete"]
    encoder = LinearTransformerPE(k=60, start="electric", normalization="spectral").double()
    exact = torch.linalg.pinv(graph.laplacian_dense()).diagonal() * 2 * float(graph.degree.max())
    torch.testing.assert_close(encoder(graph)[:, -1], exact, atol=1e-9, rtol=0)
    assert math.isclose(float(encoder(graph)[0, 0].detach()), 0.8, rel_tol=1e-6)  # I - 11^T / n after one layer
