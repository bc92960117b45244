"""Flows of least cost in context: random graphs with capacities, their exact flows and prices, and scores of flows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.incontext.random_graphs import RandomGraphs, check_spread, log_uniform, random_ends
from graphtf.incontext.shortest_path import exact_flow
from graphtf.incontext.shortest_path_transformer import check_flow_input
from graphtf.validate import check_positive_int


class FlowProblem(NamedTuple):
    """A batch of graphs, and in each of them a flow of least cost.

    `length` (cost of a unit) and `capacity` `[m]` of the edges, `demand` `[n]` (what flows out of every node), `flow`
    `[m]` (exact, against the orientation of an edge negative) and `potential` `[n]` (its prices: what one more unit of
    demand costs).
    """

    graph: Incidence
    length: Tensor
    capacity: Tensor
    demand: Tensor
    flow: Tensor
    potential: Tensor


class FlowScore(NamedTuple):
    """How far flows are from the best ones, `[G]` each, a graph a number; see :func:`flow_score`."""

    gap: Tensor
    demand: Tensor
    capacity: Tensor


class MinCostFlowPrompt:
    r"""Random graphs with lengths, capacities, several sources and sinks, and a flow that meets the demands.

    .. math:: \min_f \sum_e \ell_e |f_e| \quad\text{with}\quad B f = d, \; |f_e| \le u_e

    Lengths are :math:`\exp(U[-a, a])`. Pairs of nodes of one component want to exchange 1 to `units` units each, and
    `d` is the sum. Capacities are 1 to `capacity`, and as much more as the sum of paths needs that are shortest for
    other lengths: there is always a flow, and the cheapest one often has to make a detour. Demands and capacities are
    integers, hence so is the cheapest flow. It is unique for almost all lengths, if `a` is not 0.

    Args:
        n, topology, num_edges: of the graphs, see :class:`graphtf.incontext.random_graphs.RandomGraphs`.
        spread: `a`.
        pairs: pairs of nodes, equally likely; every pair is directed by an order of the nodes drawn for the graph, so
            that demands do not cancel.
        units: largest demand of a pair.
        capacity: largest capacity that is drawn.

    Raises:
        TypeError, ValueError: an option is out of its range.

    Example:
        >>> problem = MinCostFlowPrompt().sample(3, torch.Generator().manual_seed(0))
        >>> problem.graph
        Incidence(num_nodes=36, num_edges=66, num_graphs=3, dtype=torch.float32)
        >>> torch.equal(problem.graph @ problem.flow, problem.demand)
        True
        >>> bool((problem.flow.abs() <= problem.capacity).all())
        True

    Reference: Ahuja, Magnanti, Orlin, "Network Flows", 1993, chapter 9.
    """

    def __init__(
        self,
        n: int = 12,
        topology: str = "random",
        num_edges: int | None = None,
        spread: float = 1.0,
        pairs: int = 3,
        units: int = 3,
        capacity: int = 3,
    ) -> None:
        self.graphs, self.spread = RandomGraphs(n, topology, num_edges), check_spread(spread)
        self.n, self.topology = self.graphs.n, self.graphs.topology
        self.pairs, self.units = check_positive_int("pairs", pairs), check_positive_int("units", units)
        self.capacity = check_positive_int("capacity", capacity)

    def sample(self, num_graphs: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> FlowProblem:
        """Draw problems, one a graph.

        Raises:
            ImportError: SciPy, whose linear program solver finds the flows, is not installed.
        """
        graph = self.graphs.sample(num_graphs, generator, dtype)
        n, m, graph_of = graph.num_nodes, graph.num_edges, graph.batch[graph.index[0]]
        length = log_uniform(self.spread, m, generator, dtype)
        order = torch.rand(n, generator=generator)
        demand, witness = length.new_zeros(n), length.new_zeros(m)
        for _ in range(self.pairs):
            ends = torch.stack(random_ends(graph.components().view(num_graphs, self.n), generator))
            source, target = ends.gather(0, order[ends].argsort(0))
            units = torch.randint(1, self.units + 1, (num_graphs,), generator=generator).to(dtype)
            other = 1 - torch.rand(m, generator=generator, dtype=dtype)  # above 0
            witness = witness + units[graph_of] * exact_flow(graph, other, source, target)
            demand = demand.index_add(0, source, units).index_add(0, target, -units)
        drawn = torch.randint(1, self.capacity + 1, (m,), generator=generator).to(dtype)
        capacity = torch.maximum(drawn, witness.abs())
        flow, potential = exact_min_cost_flow(graph, length, demand, capacity)
        return FlowProblem(graph, length, capacity, demand, flow, potential)


def exact_min_cost_flow(graph: Incidence, length: Tensor, demand: Tensor, capacity: Tensor) -> tuple[Tensor, Tensor]:
    """A flow of least cost and its prices, by the dual simplex method on one linear program for a batch (HiGHS, SciPy).

    Args:
        graph: plain operator of a graph or batch, with weights 1.
        length: `[m]` costs of a unit, not negative.
        demand: `[n]`, with sum 0 on every component.
        capacity: `[m]` of either direction, infinity where there is none.

    Returns:
        `[m]` flow, of integers where demands and capacities are, and `[n]` potentials, the optimal dual variables.

    Raises:
        ImportError: SciPy is not installed.
        ValueError: an input is not as described, or no flow meets the demands.

    Example:
        >>> B = Incidence(torch.tensor([[0, 1, 0], [1, 2, 2]]))
        >>> length, demand, capacity = torch.tensor([1.0, 1, 4]), torch.tensor([3.0, 0, -3]), torch.tensor([2.0, 5, 5])
        >>> exact_min_cost_flow(B, length, demand, capacity)[0]
        tensor([2., 2., 1.])
    """
    try:
        from scipy.optimize import linprog
        from scipy.sparse import coo_array
    except ImportError as error:
        raise ImportError("exact flows need SciPy; install it with: pip install scipy") from error
    check_flow_input(graph, length, demand, capacity)
    if demand.dim() != 1:
        raise ValueError(f"demand must be [{graph.num_nodes}], one for all graphs, but has {list(demand.shape)}")
    d = _balanced(graph, demand)
    if not graph.num_edges:
        return torch.zeros_like(length), torch.zeros_like(demand)
    m, index = graph.num_edges, torch.cat([graph.index, graph.index.flip(0)], 1)  # an arc in either direction
    arcs, ones = torch.arange(2 * m, device=index.device), torch.ones(2 * m, device=index.device)
    rows, columns = index.flatten(), torch.cat([arcs, arcs])
    entries = (torch.cat([ones, -ones]).cpu().numpy(), (rows.cpu().numpy(), columns.cpu().numpy()))
    cost, most = (v.detach().cpu().double().numpy() for v in (length.repeat(2), capacity.repeat(2)))
    found = linprog(
        cost,
        A_eq=coo_array(entries, shape=(graph.num_nodes, 2 * m)).tocsc(),
        b_eq=d.cpu().numpy(),
        bounds=torch.stack([torch.zeros(2 * m, dtype=torch.float64), torch.from_numpy(most)], 1).numpy(),
        method="highs-ds",  # ends at a vertex, which is integer
    )
    if found.status:
        raise ValueError(f"no flow meets these demands within the capacities ({found.message}); raise the capacities")
    there, back = torch.from_numpy(found.x).to(length).view(2, m)
    whole = all(bool((v == v.round()).all()) for v in (demand, capacity))
    flow = (there - back).round() + 0.0 if whole else there - back  # no -0
    return flow, torch.from_numpy(found.eqlin.marginals).to(length)


def _balanced(graph: Incidence, demand: Tensor) -> Tensor:
    """The demand in float64, without what rounding left in the sums over the components; raise if that is more."""
    demand, labels = demand.detach(), graph.components()
    sums, sizes = (
        torch.zeros(graph.num_nodes, dtype=torch.float64, device=demand.device).index_add(0, labels, x.double())
        for x in (demand, demand.abs())
    )
    wrong = sums.abs() > 100 * torch.finfo(demand.dtype).eps * sizes
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0])
        raise ValueError(
            f"demands must sum to 0 on every connected component, but those of the component of node "
            f"{int((labels == at).nonzero()[0])} sum to {float(sums[at]):.3g}; graph.center(demand) does"
        )
    return graph.to(torch.float64).center(demand.double())


def flow_score(problem: FlowProblem, flow: Tensor) -> FlowScore:
    r"""Relative gap of the cost, and how much of demands and capacities is violated, graph by graph.

    .. math:: \frac{\sum_e \ell_e |f_e| + y^\top (d - B f)}{\sum_e \ell_e |f^*_e|} - 1, \qquad
        \frac{\|d - B f\|_1}{\|d\|_1}, \qquad \frac{\|(|f| - u)_+\|_1}{\|d\|_1}

    The cost alone would reward flows that leave demands out. Here what is missing is paid at the exact prices `y`; by
    duality the gap is then never negative for a flow within the capacities, up to rounding. It is the relative
    difference in cost where all demands are met. A flow is optimal if and only if all three numbers are 0.

    Args:
        problem: with the exact flows and prices.
        flow: `[m]`.

    Raises:
        ValueError: the flow has another shape, or a graph has no demand, to which the numbers are relative.

    Example:
        >>> problem = MinCostFlowPrompt().sample(2, torch.Generator().manual_seed(0), torch.float64)
        >>> [round(part, 6) for part in flow_score(problem, 0.9 * problem.flow).demand.tolist()]
        [0.1, 0.1]
        >>> float(flow_score(problem, problem.flow).gap.abs().max()) < 1e-9
        True
    """
    _check_flow(problem, flow)
    graph, f = problem.graph, flow.double()
    missing = problem.demand.double() - graph.to(torch.float64) @ f
    length, nodes, edges = problem.length.double(), graph.batch, graph.batch[graph.index[0]]

    def total(of: Tensor, x: Tensor) -> Tensor:
        return x.new_zeros(graph.num_graphs).index_add(0, of, x)

    exact, demand = total(edges, length * problem.flow.double().abs()), total(nodes, problem.demand.double().abs())
    if not bool((exact > 0).all()):
        raise ValueError("a graph has no demand, or edges of length 0 meet it; its score has nothing to be relative to")
    cost = total(edges, length * f.abs()) + total(nodes, problem.potential.double() * missing)
    excess = (f.abs() - problem.capacity.double()).clamp(min=0)
    return FlowScore(cost / exact - 1, total(nodes, missing.abs()) / demand, total(edges, excess) / demand)


def exact_rate(problem: FlowProblem, flow: Tensor) -> float:
    """Part of the graphs where the flow, rounded to integers, is the exact one on every edge.

    Rounding is all that is left to do there. Without meaning where several flows are cheapest.

    Example:
        >>> problem = MinCostFlowPrompt().sample(5, torch.Generator().manual_seed(0))
        >>> exact_rate(problem, problem.flow + 0.4), exact_rate(problem, problem.flow + 0.6)
        (1.0, 0.0)
    """
    _check_flow(problem, flow)
    wrong = flow.round() != problem.flow
    graph_of = problem.graph.batch[problem.graph.index[0]]
    return float((torch.bincount(graph_of[wrong], minlength=problem.graph.num_graphs) == 0).double().mean())


def _check_flow(problem: FlowProblem, flow: Tensor) -> None:
    if flow.shape != problem.flow.shape:
        raise ValueError(f"flow must be {list(problem.flow.shape)}, but has shape {list(flow.shape)}")
