"""The NetworkX backend: same answers, keys, types and errors as NetworkX, and NetworkX's own tests."""

import networkx as nx
import numpy as np
import pytest

from graphtf.networkx_backend import backend_interface, get_info
from graphtf.networkx_backend.interface import FUNCTIONS

CURRENT_FLOW = (
    "current_flow_betweenness_centrality",
    "edge_current_flow_betweenness_centrality",
    "current_flow_closeness_centrality",
    "approximate_current_flow_betweenness_centrality",
)
SPECTRAL = ("algebraic_connectivity", "fiedler_vector", "spectral_ordering")
WEIGHTED = {"weight": "weight"}
CALLS = [
    ("resistance_distance", {}),
    ("resistance_distance", WEIGHTED),
    ("resistance_distance", {"weight": "weight", "invert_weight": False}),
    ("resistance_distance", {"weight": "weight", "nodeA": "n3"}),
    ("resistance_distance", {"nodeB": "n3"}),
    ("resistance_distance", {"weight": "weight", "nodeA": "n3", "nodeB": "n8"}),
    ("resistance_distance", {"nodeA": "n3", "nodeB": "n3"}),
    ("effective_graph_resistance", {}),
    ("effective_graph_resistance", WEIGHTED),
    ("effective_graph_resistance", {"weight": "weight", "invert_weight": False}),
    ("kemeny_constant", {}),
    ("kemeny_constant", WEIGHTED),
    ("current_flow_closeness_centrality", {}),
    ("current_flow_closeness_centrality", {"weight": "weight", "solver": "full"}),
    ("current_flow_betweenness_centrality", WEIGHTED),
    ("current_flow_betweenness_centrality", {"normalized": False, "solver": "cg"}),
    ("edge_current_flow_betweenness_centrality", WEIGHTED),
    ("edge_current_flow_betweenness_centrality", {"normalized": False}),
    ("current_flow_betweenness_centrality_subset", {"sources": ["n1", "n2"], "targets": ["n2", "n9"], **WEIGHTED}),
    (
        "current_flow_betweenness_centrality_subset",
        {"sources": ["n1"], "targets": ["n2", "n2"], "normalized": False},
    ),
    ("edge_current_flow_betweenness_centrality_subset", {"sources": ["n1", "n2"], "targets": ["n2", "n9"]}),
    ("approximate_current_flow_betweenness_centrality", {"seed": 3, **WEIGHTED}),
    ("approximate_current_flow_betweenness_centrality", {"seed": 4, "solver": "lu", "normalized": False}),
    ("approximate_current_flow_betweenness_centrality", {"seed": 4, "solver": "cg", "epsilon": 0.3}),
    ("algebraic_connectivity", {}),
    ("algebraic_connectivity", {"normalized": True, "method": "lanczos", "seed": 1}),
    ("laplacian_spectrum", {}),
    ("laplacian_spectrum", {"weight": None}),
    ("laplacian_matrix", {}),
    ("laplacian_matrix", {"weight": None, "nodelist": ["n7", "n1", "n2"]}),
    ("incidence_matrix", {}),
    ("incidence_matrix", {"oriented": True, **WEIGHTED}),
    ("incidence_matrix", {"nodelist": ["n1", "n6"], "edgelist": [("n1", "n6")], "dtype": np.int8}),
    ("communicability", {}),
    ("communicability_exp", {}),
    ("subgraph_centrality", {}),
    ("subgraph_centrality", {"normalized": True}),
    ("subgraph_centrality_exp", {}),
    ("estrada_index", {}),
]


@pytest.fixture(autouse=True)
def no_cache_warning(monkeypatch):
    monkeypatch.setattr(nx.config, "warnings_to_ignore", {*nx.config.warnings_to_ignore, "cache"})


def a_graph(kind: type = nx.Graph) -> nx.Graph:
    rng = np.random.default_rng(0)
    G = kind()
    G.add_nodes_from(f"n{i}" for i in rng.permutation(14))
    nx.add_path(G, [f"n{i}" for i in range(14)])
    G.add_edges_from((f"n{i}", f"n{(i + 5) % 14}") for i in range(14))
    G.add_edge("n4", "n4")
    for _, _, data in G.edges(data=True):
        data["weight"] = float(rng.uniform(0.2, 3))
    return G


def flat(x):
    """Values by key, so that keys and order are compared as well."""
    if isinstance(x, dict):
        return [((key, *inner), value) for key, part in x.items() for inner, value in flat(part)]
    if hasattr(x, "toarray"):
        x = x.toarray()
    return list(np.ndenumerate(x)) if isinstance(x, np.ndarray) else [((), x)]


@pytest.mark.parametrize(("name", "arguments"), CALLS, ids=lambda x: x if isinstance(x, str) else "-".join(x))
def test_same_as_networkx(name, arguments):
    G = a_graph()
    if "betweenness" in name:
        G.remove_edge("n4", "n4")  # for which NetworkX counts a current; ours is tested below
    ours = getattr(nx, name)(G, backend="graphtf", **arguments)
    theirs = getattr(nx, name)(G, backend="networkx", **arguments)
    assert type(ours) is type(theirs)
    assert getattr(ours, "dtype", None) == getattr(theirs, "dtype", None)
    assert [key for key, _ in flat(ours)] == [key for key, _ in flat(theirs)]
    a, b = ([value for _, value in flat(x)] for x in (ours, theirs))
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)
    if isinstance(ours, dict):
        assert {type(value) for value in a} == {float}


def test_parallel_edges_and_loops_in_current_flow():
    M = nx.MultiGraph([(0, 1), (0, 1), (1, 2), (2, 0), (2, 3), (3, 3)])
    once = nx.Graph([(0, 1, {"weight": 2}), (1, 2), (2, 0), (2, 3)])
    for name in CURRENT_FLOW:
        seed = {"seed": 1} if name.startswith("approximate") else {}
        ours = getattr(nx, name)(M, backend="graphtf", **seed)
        theirs = getattr(nx, name)(once, weight="weight", backend="networkx", **seed)
        if seed:  # drawn in an order that depends on the degrees
            assert list(ours) == list(theirs)
            continue
        np.testing.assert_allclose([ours[key] for key in theirs], list(theirs.values()), atol=1e-12)


@pytest.mark.parametrize("normalized", [True, False])
def test_self_loops_are_keys_of_edge_current_flow(normalized):
    G = nx.Graph([("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "d"), ("a", "a")])
    for name, nodes in (
        ("edge_current_flow_betweenness_centrality", ()),
        ("edge_current_flow_betweenness_centrality_subset", (["a"], ["c", "d"])),
    ):
        ours = getattr(nx, name)(G, *nodes, normalized=normalized, backend="graphtf")
        theirs = getattr(nx, name)(G, *nodes, normalized=normalized, backend="networkx")
        assert set(ours) == set(theirs)
        loops = {("a", "a"), ("d", "d")}  # NetworkX reports potentials there, but no current flows
        assert {ours[loop] for loop in loops} == {0.0}
        others = sorted(set(theirs) - loops)
        np.testing.assert_allclose([ours[key] for key in others], [theirs[key] for key in others], atol=1e-12)
    with pytest.raises(ZeroDivisionError):
        nx.edge_current_flow_betweenness_centrality(nx.Graph([(0, 0)]), normalized=normalized, backend="graphtf")


def test_float32_is_used():
    G = a_graph()
    ours = nx.current_flow_closeness_centrality(G, dtype=np.float32, backend="graphtf")
    exact = nx.current_flow_closeness_centrality(G, backend="graphtf")
    error = max(abs(ours[node] / exact[node] - 1) for node in G)
    assert 1e-10 < error < 1e-5
    with pytest.raises(NotImplementedError):
        nx.current_flow_closeness_centrality(G, dtype=complex, backend="graphtf")


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("kind", ["empty", "single", "pair", "disconnected", "directed", "multigraph"])
def test_same_errors(name, kind):
    graphs = {
        "empty": nx.Graph(),
        "single": nx.empty_graph(1),
        "pair": nx.path_graph(2),
        "disconnected": nx.Graph([(0, 1), (2, 3)]),
        "directed": nx.DiGraph([(0, 1), (1, 2), (2, 0)]),
        "multigraph": nx.MultiGraph([(0, 1), (1, 2), (2, 0)]),
    }
    G = graphs[kind]
    arguments = {"sources": list(G)[:1], "targets": list(G)[-1:]} if name.endswith("subset") else {}
    outcomes = []
    for backend in ("networkx", "graphtf"):
        try:
            outcomes.append(type(getattr(nx, name)(G, backend=backend, **arguments)))
        except Exception as error:  # the type is what is compared
            outcomes.append(type(error))
    theirs, ours = outcomes
    assert ours is theirs


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("resistance_distance", {"nodeA": "no"}, nx.NetworkXError),
        ("resistance_distance", {"nodeB": "no"}, nx.NetworkXError),
        ("resistance_distance", {"weight": "no"}, KeyError),
        ("resistance_distance", {"weight": "zero"}, ZeroDivisionError),
        ("resistance_distance", {"weight": "negative"}, NotImplementedError),
        ("resistance_distance", {"weight": "word"}, NotImplementedError),
        ("kemeny_constant", {"weight": "negative"}, nx.NetworkXError),
        ("current_flow_closeness_centrality", {"weight": "zero"}, NotImplementedError),
        ("current_flow_closeness_centrality", {"solver": "no"}, KeyError),
        ("approximate_current_flow_betweenness_centrality", {"epsilon": 0}, nx.NetworkXError),
        ("approximate_current_flow_betweenness_centrality", {"sample_weight": 0}, nx.NetworkXError),
        ("approximate_current_flow_betweenness_centrality", {"kmax": 1}, nx.NetworkXError),
        ("current_flow_betweenness_centrality_subset", {"sources": ["no"], "targets": ["n1"]}, KeyError),
        *((name, {"method": "no"}, nx.NetworkXError) for name in SPECTRAL),
        ("laplacian_matrix", {"nodelist": []}, nx.NetworkXError),
        ("laplacian_matrix", {"nodelist": ["no"]}, nx.NetworkXError),
        ("laplacian_matrix", {"nodelist": ["n1", "n1"]}, nx.NetworkXError),
        ("incidence_matrix", {"nodelist": ["n1"]}, nx.NetworkXError),
    ],
)
def test_errors(name, arguments, error):
    G = a_graph()
    for value, attribute in ((0.0, "zero"), (-1.0, "negative"), ("x", "word")):
        nx.set_edge_attributes(G, value, attribute)
    with pytest.raises(error):
        getattr(nx, name)(G, backend="graphtf", **arguments)


def test_graphs_of_the_backend():
    G = nx.path_graph(4)
    converted = backend_interface.convert_from_nx(G)
    assert converted.__networkx_backend__ == "graphtf"
    assert nx.effective_graph_resistance(converted) == pytest.approx(10)
    assert backend_interface.convert_to_nx(converted) is G
    assert backend_interface.convert_to_nx(1.0) == 1.0
    assert nx.effective_graph_resistance(G, backend="graphtf") == pytest.approx(10)
    for u, v in G.edges:  # behind the back of NetworkX's cache of converted graphs
        G[u][v]["weight"] = 2.0
    assert nx.effective_graph_resistance(G, weight="weight", backend="graphtf") == pytest.approx(20)
    assert nx.effective_graph_resistance(converted, weight="weight", invert_weight=False) == pytest.approx(5)


def test_every_function_is_there():
    assert set(get_info()["functions"]) == set(FUNCTIONS)
    for name in FUNCTIONS:
        assert callable(getattr(backend_interface, name))
        assert name in nx.utils.backends._registered_algorithms
    with pytest.raises(AttributeError, match="no function 'pagerank'"):
        backend_interface.pagerank  # noqa: B018
    assert backend_interface.should_run("resistance_distance", (), {}) is True
    assert isinstance(backend_interface.should_run("laplacian_matrix", (), {}), str)
    assert backend_interface.can_run("pagerank", (), {}) is False
