"""A transformer on incidence matrices whose flows cost least within capacities."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from graphtf.attention import Layer
from graphtf.incidence import Incidence
from graphtf.incontext.build import count_trained, prompt_layer, set_entries
from graphtf.incontext.shortest_path_transformer import MomentumSkip, check_flow_input, flow_steps, set_step
from graphtf.incontext.sparse import REGISTERS
from graphtf.prox import SoftThreshold
from graphtf.transformer import LinearTransformer
from graphtf.validate import check_positive_int

FLOW_REGISTERS = (*REGISTERS, "capacity", "price")
X, RESIDUAL, CAPACITY, PRICE = map(FLOW_REGISTERS.index, ("x", "residual", "capacity", "price"))


class FlowTransformer(nn.Module):
    r"""Layers that learn flows of least cost within capacities, :class:`ShortestPathTransformer` with prices.

    .. math:: \min_f \sum_e \ell_e |f_e| \quad\text{with}\quad B f = d, \; |f_e| \le u_e

    .. math:: r_l = d - B f_l, \qquad p_l = p_{l-1} + r_l, \qquad
        f_{l+1} = \Pi_u S_{\theta_l \ell}\bigl(f_l + \gamma_l B^\top r_l + \beta_l B^\top p_l
        + \mu_l (f_l - f_{l-1})\bigr)

    :math:`\Pi_u` clips to the capacities, after the soft threshold :math:`S`. What is missing at a node adds up to its
    price `p`, a register that remembers all steps; without prices a demand that is not met costs a finite penalty, and
    is met in the end only where thresholds go to zero. A step has four trained numbers,
    :math:`\gamma, \theta, \mu, \beta`, whatever the graph, and is two layers of the core, where nodes attend to edges
    and edges to nodes; :meth:`forward` computes the same with fewer operations.

    Args:
        num_layers: number of steps.
        memory: learn :math:`\mu`, the memory of the last step; else it stays 0.
        prices: learn :math:`\beta`, the weight of prices; else it stays 0.
        lambda_max: steps start at 1 / it.
        threshold: thresholds at the start, of edges of length 1; without prices small ones, such as 0.02.

    Shapes:
        a graph or batch, lengths `[m]`, demand `[n]` or `[n, k]`, capacity `[m]` -> flows `[m]` or `[m, k]`.

    Raises:
        TypeError, ValueError: an option or an input is not as described.

    Example:
        >>> B = Incidence(torch.tensor([[0, 1, 0], [1, 2, 2]]))  # a triangle, with a long edge from 0 to 2
        >>> model = FlowTransformer.primal_dual(num_layers=200, lambda_max=3.0)
        >>> demand, capacity = torch.tensor([3.0, 0.0, -3.0]), torch.tensor([2.0, 5.0, 5.0])
        >>> [round(f, 3) for f in model(B, torch.tensor([1.0, 1.0, 4.0]), demand, capacity).tolist()]
        [2.0, 2.0, 1.0]

    Reference: Chambolle, Pock, "A first-order primal-dual algorithm for convex problems with applications to imaging",
    J. Math. Imaging Vis. 40, 2011.
    """

    def __init__(
        self,
        num_layers: int,
        memory: bool = True,
        prices: bool = True,
        lambda_max: float = 8.0,
        threshold: float = 1.0,
    ) -> None:
        super().__init__()
        check_positive_int("num_layers", num_layers)
        self.prices, step = prices, 1 / _positive(lambda_max)
        layers = [layer for _ in range(num_layers) for layer in _step(step, threshold, memory, prices)]
        self.transformer = LinearTransformer(layers, FLOW_REGISTERS, readout="x")

    @classmethod
    def from_coefficients(cls, coefficients: Tensor) -> FlowTransformer:
        """The model with `[L, 4]` given numbers `gamma, theta, mu, beta`; without prices `[L, 3]`."""
        shape = list(coefficients.shape)
        if coefficients.dim() != 2 or shape[1] not in (3, 4) or not bool(torch.isfinite(coefficients).all()):
            raise ValueError(f"coefficients must be [L, 4] or [L, 3] finite numbers, but have shape {shape}")
        model = cls(shape[0], prices=shape[1] == 4).to(coefficients.dtype)
        for layer, (gamma, theta, mu, *beta) in zip(model.transformer.stack[1::2], coefficients, strict=True):
            set_step(layer, gamma, theta, mu)
            for weight in beta:
                set_entries(layer, FLOW_REGISTERS, "value", {("price", "x"): weight})
        return model

    @classmethod
    def primal_dual(cls, num_layers: int, lambda_max: float = 12.0, threshold: float = 1.0) -> FlowTransformer:
        r"""Not trained: the primal-dual algorithm of Chambolle and Pock, which converges to a flow of least cost.

        Equal steps :math:`\gamma = \beta = 1 / \lambda_{max}` and no memory: :math:`\theta` is the step of the flow,
        :math:`1 / (\lambda_{max} \theta)` that of the potentials :math:`y = \beta p / \theta`, which are extrapolated.
        On average over the steps the gap is O(1 / L) where every eigenvalue of `L` is below `lambda_max`.

        Args:
            num_layers: number of steps.
            lambda_max: above the largest eigenvalue of the Laplacians; :meth:`graphtf.Incidence.lambda_bound` is.
            threshold: :math:`\theta`, decides how fast; a typical flow through an edge by a typical length of a path.

        Raises:
            TypeError, ValueError: a number is out of its range.

        Example:
            >>> FlowTransformer.primal_dual(1, lambda_max=10.0).coefficients().detach()
            tensor([[0.1000, 1.0000, 0.0000, 0.1000]])
        """
        step = 1 / _positive(lambda_max)
        numbers = torch.tensor([[step, threshold, 0.0, step]])
        return cls.from_coefficients(numbers.expand(check_positive_int("num_layers", num_layers), 4))

    @property
    def num_parameters(self) -> int:
        """Number of trained numbers."""
        return count_trained(self)

    def coefficients(self) -> Tensor:
        """`[L, 4]` the numbers `gamma, theta, mu, beta` of every step, without prices `[L, 3]`."""
        rows = []
        for layer in self.transformer.stack[1::2]:
            theta, value = cast(SoftThreshold, layer.prox).threshold.clamp(min=0), layer.value[0, :, X, 0]
            row = [-value[RESIDUAL], theta, layer.skip[X, X, 0], value[PRICE]]
            rows.append(torch.stack(row if self.prices else row[:3]))
        return torch.stack(rows)

    def forward(
        self,
        graph: Incidence,
        length: Tensor,
        demand: Tensor,
        capacity: Tensor | None = None,
        *,
        return_all: bool = False,
    ) -> Tensor:
        """Flows, their sign along `graph.index`; with `return_all` also before the first and after every step.

        Args:
            graph: plain operator of a graph or batch, with weights 1.
            length: `[m]` lengths (costs of a unit) of its edges, not negative.
            demand: `[n]`, what flows out of every node; `[n, k]` for several demands, each on its own, at once.
            capacity: `[m]` the largest flow of every edge, in either direction, infinity where there is none; `None`:
                no limits.
            return_all: return `[L + 1, m]` (`[L + 1, m, k]`).
        """
        check_flow_input(graph, length, demand, capacity)
        return flow_steps(self.coefficients(), graph, length, demand, return_all, capacity)


def _step(step: float, threshold: float, memory: bool, prices: bool) -> tuple[Layer, Layer]:
    """The two layers of a step: what is missing at nodes, and its sum; then flows, shrunk and clipped."""
    measure = {("residual", "residual"): -1.0, ("y", "residual"): -1.0, ("y", "price"): 1.0}
    first = prompt_layer(FLOW_REGISTERS, {("x", "residual"): 1.0, ("x", "price"): -1.0}, measure)
    keep = {("x", "last"): 1.0, ("last", "last"): -1.0}
    value, trained = {("residual", "x"): -step}, {("value", ("residual", "x"))}
    if prices:
        value |= {("price", "x"): step}
        trained |= {("value", ("price", "x"))}
    prox = SoftThreshold(X, threshold, FLOW_REGISTERS.index("weight"), CAPACITY)
    second = prompt_layer(FLOW_REGISTERS, value, keep, frozenset(trained), prox=prox)
    if memory:
        skip = cast(Tensor, second.skip)
        parametrize.register_parametrization(second, "skip", MomentumSkip(skip.requires_grad_()))
    return first, second


def _positive(lambda_max: float) -> float:
    if not 0 < lambda_max < float("inf"):
        raise ValueError(f"lambda_max must be positive and finite, but got {lambda_max}")
    return lambda_max
