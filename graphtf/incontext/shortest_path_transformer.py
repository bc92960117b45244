"""A transformer on incidence matrices whose flows are shortest paths."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from graphtf.attention import StructuredAttention
from graphtf.incidence import Incidence
from graphtf.incontext.build import count_trained, set_entries, warn_divergence
from graphtf.incontext.sparse import REGISTERS, shrinkage_step
from graphtf.products import per_row
from graphtf.prox import SoftThreshold, soft_threshold
from graphtf.transformer import LinearTransformer
from graphtf.validate import check_positive_int


class ShortestPathTransformer(nn.Module):
    r"""Layers that learn flows of least length, which are shortest paths: :class:`UnrolledLasso` on incidence matrices.

    .. math:: \min_f \sum_e \ell_e |f_e| \quad\text{with}\quad B f = d, \qquad
        f_{l+1} = S_{\theta_l \ell}\bigl(f_l + \gamma_l B^\top (d - B f_l) + \mu_l (f_l - f_{l-1})\bigr)

    For :math:`d = e_s - e_t` the optimum is the shortest path from s to t. A step has three trained numbers
    :math:`\gamma, \theta, \mu`, without memory two. It is two layers of the core, where nodes attend to edges and edges
    to nodes; :meth:`forward` computes the same with fewer operations.

    Args:
        num_layers: number of steps.
        memory: learn a memory of the last step.
        max_degree: the steps start at 1 / it.
        threshold: thresholds at the start, of edges of length 1.

    Shapes:
        a graph or batch, lengths `[m]`, demand `[n]` or `[n, k]` -> flows `[m]` or `[m, k]`.

    Raises:
        TypeError, ValueError: an option or an input is not as described.

    Example:
        >>> from graphtf import Incidence
        >>> B = Incidence(torch.tensor([[0, 1, 0], [1, 2, 2]]))  # a triangle, with a long edge from 0 to 2
        >>> model = ShortestPathTransformer(num_layers=100, max_degree=3, threshold=0.01)
        >>> flow = model(B, torch.tensor([1.0, 1.0, 4.0]), torch.tensor([1.0, 0.0, -1.0]))
        >>> [round(abs(f), 1) for f in flow.tolist()]
        [1.0, 1.0, 0.0]
    """

    def __init__(self, num_layers: int, memory: bool = True, max_degree: int = 8, threshold: float = 0.02) -> None:
        super().__init__()
        check_positive_int("num_layers", num_layers)
        step = 1 / check_positive_int("max_degree", max_degree)
        layers = [layer for _ in range(num_layers) for layer in shrinkage_step(step, threshold, False, None)]
        for layer in layers[1::2] if memory else ():
            skip = cast(Tensor, layer.skip)
            parametrize.register_parametrization(layer, "skip", MomentumSkip(skip.requires_grad_()))
        self.transformer = LinearTransformer(layers, REGISTERS, readout="x")

    @classmethod
    def from_coefficients(cls, coefficients: Tensor) -> ShortestPathTransformer:
        """The model with `[L, 3]` given numbers `gamma, theta, mu`, see :meth:`coefficients`."""
        if coefficients.dim() != 2 or coefficients.shape[1] != 3 or not bool(torch.isfinite(coefficients).all()):
            raise ValueError(f"coefficients must be [L, 3] finite numbers, but have shape {list(coefficients.shape)}")
        model = cls(len(coefficients)).to(coefficients.dtype)
        for layer, (gamma, theta, mu) in zip(model.transformer.stack[1::2], coefficients, strict=True):
            set_step(layer, gamma, theta, mu)
        return model

    @classmethod
    def with_decreasing_thresholds(
        cls, num_layers: int, max_degree: int = 12, memory: float = 0.9, first: float = 0.1, last: float = 1e-4
    ) -> ShortestPathTransformer:
        r"""Not trained: equal steps, heavy-ball memory, and thresholds that decrease geometrically.

        Large thresholds come first, where few edges have a flow, and a bias of :math:`\theta / \gamma` remains at the
        end; many layers find every shortest path.

        Args:
            num_layers: number of steps.
            max_degree: the steps are 1 / it; they are stable up to degrees of `(1 + memory)` times it.
            memory: the number `mu`.
            first: threshold of the first step.
            last: threshold of the last step.

        Raises:
            TypeError, ValueError: a number is out of its range.

        Example:
            >>> ShortestPathTransformer.with_decreasing_thresholds(3, last=0.001).coefficients()[:, 1]
            tensor([0.1000, 0.0100, 0.0010], grad_fn=...)
        """
        step = 1 / check_positive_int("max_degree", max_degree)
        if not (0 <= memory < 1 and 0 < last <= first < float("inf")):
            raise ValueError(
                f"memory must be in [0, 1) and 0 < last <= first, but got memory={memory}, first={first}, last={last}"
            )
        thetas = torch.logspace(math.log10(first), math.log10(last), check_positive_int("num_layers", num_layers))
        numbers = torch.stack([torch.full_like(thetas, step), thetas, torch.full_like(thetas, memory)], 1)
        return cls.from_coefficients(numbers)

    @classmethod
    def from_pretrained(cls, name: str | Path) -> ShortestPathTransformer:
        """The trained model that comes with graphtf, `"shortest-path"`, or that of a JSON file of this form.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it does not hold coefficients.

        Example:
            >>> ShortestPathTransformer.from_pretrained("shortest-path").num_parameters
            96
        """
        file = files("graphtf.weights") / "shortest-path.json" if name == "shortest-path" else Path(name)
        if not file.is_file():
            raise FileNotFoundError(
                f"there are no weights {str(name)!r}; give 'shortest-path' or the path of a JSON file"
            )
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or "coefficients" not in content:
            raise ValueError(f"{file} has no 'coefficients', the numbers of every step; give another file")
        return cls.from_coefficients(torch.tensor(content["coefficients"])).eval()

    @property
    def num_parameters(self) -> int:
        """Number of trained numbers."""
        return count_trained(self)

    def coefficients(self) -> Tensor:
        """`[L, 3]` the numbers `gamma, theta, mu` of every step; thresholds that count as 0 are 0."""
        x, last, residual = (REGISTERS.index(name) for name in ("x", "last", "residual"))
        rows = []
        for layer in self.transformer.stack[1::2]:
            theta = cast(SoftThreshold, layer.prox).threshold.clamp(min=0)
            rows.append(torch.stack([-layer.value[0, residual, x, 0], theta, -layer.skip[last, x, 0]]))
        return torch.stack(rows)

    def forward(self, graph: Incidence, length: Tensor, demand: Tensor, *, return_all: bool = False) -> Tensor:
        """Flows, their sign along `graph.index`; with `return_all` also before the first and after every step.

        Args:
            graph: plain operator of a graph or batch, with weights 1.
            length: `[m]` lengths of its edges, not negative.
            demand: `[n]`, what flows out of every node; `[n, k]` for several demands at once.
            return_all: return `[L + 1, m]` (`[L + 1, m, k]`).
        """
        check_flow_input(graph, length, demand)
        return flow_steps(self.coefficients(), graph, length, demand, return_all)


def set_step(layer: StructuredAttention, gamma: Tensor, theta: Tensor, mu: Tensor) -> None:
    """Give the second layer of a step its numbers, also one that has further registers after these."""
    set_entries(layer, REGISTERS, "value", {("residual", "x"): -gamma})
    set_entries(layer, REGISTERS, "skip", {("x", "x"): mu, ("last", "x"): -mu})
    cast(SoftThreshold, layer.prox).threshold.data.fill_(theta)


def check_flow_input(graph: Incidence, length: Tensor, demand: Tensor, capacity: Tensor | None = None) -> None:
    """Raise unless the graph is plain, and lengths, demands and capacities are numbers as they should be."""
    if not isinstance(graph, Incidence):
        raise TypeError(f"expected a graphtf.Incidence, but got {type(graph).__name__}; see Incidence.from_data")
    if length.shape != (graph.num_edges,) or not bool(torch.isfinite(length).all()):
        raise ValueError(f"length must be {graph.num_edges} finite numbers, but has shape {list(length.shape)}")
    if demand.dim() not in (1, 2) or len(demand) != graph.num_nodes or not bool(torch.isfinite(demand).all()):
        raise ValueError(
            f"demand must be {graph.num_nodes} finite numbers (and columns), but has shape {list(demand.shape)}"
        )
    if not length.is_floating_point() or demand.dtype != length.dtype:
        raise TypeError(
            f"length and demand must be floating-point tensors of one type, but are {length.dtype} and "
            f"{demand.dtype}; convert them with .float()"
        )
    if bool((length < 0).any()):
        raise ValueError("lengths must not be negative")
    if graph.scale is not None or bool((graph.weight != 1).any()):
        raise ValueError("the graph must be plain, with weights 1; lengths of its edges are given on their own")
    if capacity is not None and (capacity.shape != length.shape or not bool((capacity >= 0).all())):
        raise ValueError(
            f"capacity must be {graph.num_edges} numbers of at least 0 (infinity where there is no limit), but has "
            f"shape {list(capacity.shape)}"
        )


def flow_steps(
    coefficients: Tensor,
    graph: Incidence,
    length: Tensor,
    demand: Tensor,
    return_all: bool = False,
    capacity: Tensor | None = None,
) -> Tensor:
    """The steps of :class:`ShortestPathTransformer` from numbers `[L, 3]`; its other arguments, without checks.

    With numbers `[L, 4]` and `capacity` `[m]` those of :class:`graphtf.incontext.FlowTransformer`.
    """
    (u, v), length = graph.index, per_row(length, demand)
    bound = None if capacity is None else per_row(capacity.to(length.dtype), demand)
    flow = last = length.new_zeros(graph.num_edges, *demand.shape[1:])
    price, flows = torch.zeros_like(demand), [flow]
    for gamma, theta, mu, *beta in coefficients.to(length.dtype):
        missing = demand.index_add(0, u, -flow).index_add(0, v, flow)
        step = gamma * (missing.index_select(0, u) - missing.index_select(0, v)) + mu * (flow - last)
        if beta:
            price = price + missing
            step = step + beta[0] * (price.index_select(0, u) - price.index_select(0, v))
        last, flow = flow, soft_threshold(flow + step, theta * length, bound)
        flows = [*flows, flow] if return_all else [flow]
    warn_divergence(flow, demand, len(coefficients))
    return torch.stack(flows) if return_all else flow


class MomentumSkip(nn.Module):
    """Parametrization of a skip map by one number `mu`: `mu (x - last)` is added to `x`."""

    def __init__(self, skip: Tensor) -> None:
        super().__init__()
        x, last = REGISTERS.index("x"), REGISTERS.index("last")
        pattern = torch.zeros_like(skip, requires_grad=False)
        pattern[x, x], pattern[last, x] = 1.0, -1.0
        self.register_buffer("pattern", pattern)
        self.register_buffer("fixed", torch.where(pattern == 0, skip.detach(), 0.0))
        self.pattern: Tensor
        self.fixed: Tensor

    def forward(self, mu: Tensor) -> Tensor:
        """The map."""
        return self.fixed.to(mu.dtype) + mu * self.pattern.to(mu.dtype)

    def right_inverse(self, skip: Tensor) -> Tensor:
        """What an assignment of a map stores."""
        return skip[REGISTERS.index("x"), REGISTERS.index("x"), 0].clone()
