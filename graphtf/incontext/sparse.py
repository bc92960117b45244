"""Sparse recovery in context: layers that run shrinkage algorithms on a matrix that every prompt brings anew."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from graphtf.attention import Layer
from graphtf.bipartite_layout import MatrixLayout
from graphtf.incidence import Incidence
from graphtf.incontext.build import count_trained, prompt_layer
from graphtf.products import per_row
from graphtf.prox import SoftThreshold, soft_threshold
from graphtf.transformer import LinearTransformer
from graphtf.validate import check_choice, check_positive_int

REGISTERS = ("x", "last", "residual", "y", "weight")
DICTIONARIES = ("transpose", "analytic", "learned")


class SparsePrompt(NamedTuple):
    """Measurements `y = A x` of sparse vectors: `A` `[P, m, n]`, `y` `[P, m]`, `x` `[P, n]`."""

    A: Tensor
    y: Tensor
    x: Tensor


class SparseRecoveryPrompt:
    r"""Prompts of sparse recovery: Gaussian matrices with unit columns, Bernoulli-Gauss vectors.

    Args:
        m, n: measurements and unknowns.
        sparsity: probability that an entry of `x` is not zero; it is then normal.
        vary: another matrix in every prompt; else one for all, drawn by `matrix_seed`.
        matrix_seed: seed of that matrix.
        support: only the first so many entries may be nonzero; `None`: all.

    Raises:
        TypeError, ValueError: an option is out of its range.

    Example:
        >>> prompt = SparseRecoveryPrompt(m=25, n=50).sample(3, torch.Generator().manual_seed(0))
        >>> prompt.A.shape, prompt.y.shape, prompt.x.shape
        (torch.Size([3, 25, 50]), torch.Size([3, 25]), torch.Size([3, 50]))
    """

    def __init__(
        self,
        m: int = 25,
        n: int = 50,
        sparsity: float = 0.1,
        vary: bool = True,
        matrix_seed: int = 0,
        support: int | None = None,
    ) -> None:
        self.m, self.n = check_positive_int("m", m), check_positive_int("n", n)
        if not 0 < sparsity <= 1:
            raise ValueError(f"sparsity is a probability above 0, but got {sparsity}")
        self.support = n if support is None else check_positive_int("support", support)
        if self.support > n:
            raise ValueError(f"support must be at most n={n}, but got {support}")
        self.sparsity, self.vary = sparsity, vary
        self.matrix = self._matrices(1, torch.Generator().manual_seed(matrix_seed), torch.float64)[0]
        """`[m, n]` the common matrix, where it does not vary."""

    def _matrices(self, count: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        A = torch.randn(count, self.m, self.n, generator=generator, dtype=dtype)
        return A / A.norm(dim=1, keepdim=True)

    def sample(self, num_prompts: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> SparsePrompt:
        """Draw prompts."""
        check_positive_int("num_prompts", num_prompts)
        if self.vary:
            A = self._matrices(num_prompts, generator, dtype)
        else:
            A = self.matrix.to(dtype).expand(num_prompts, -1, -1)
        there = torch.rand(num_prompts, self.n, generator=generator) < self.sparsity
        there[:, self.support :] = False
        x = torch.randn(num_prompts, self.n, generator=generator, dtype=dtype) * there
        return SparsePrompt(A, (A @ x.unsqueeze(-1)).squeeze(-1), x)


def analytic_dictionary(A: Tensor) -> Tensor:
    r"""The dictionary `W` of least coherence with `A`, column by column.

    .. math:: w_i = \frac{(A A^\top)^{-1} a_i}{a_i^\top (A A^\top)^{-1} a_i}
        \quad = \arg\min \|W^\top A\|_F^2 \text{ with } w_i^\top a_i = 1

    Args:
        A: `[..., m, n]` with rank `m`.

    Raises:
        ValueError: `A` has more rows than columns.

    Example:
        >>> analytic_dictionary(torch.eye(2, 3)[:, :2])
        tensor([[1., 0.],
                [0., 1.]])

    Reference: Liu, Chen, Wang, Yin, "ALISTA: Analytic weights are as good as learned weights in LISTA", ICLR 2019.
    """
    if A.shape[-2] > A.shape[-1]:
        raise ValueError(f"A must have at most as many rows as columns, but has shape {list(A.shape)}")
    Q, R = torch.linalg.qr(A.mT)  # (A A^T)^{-1} A = R^{-1} Q^T, without squaring the condition
    inverse = torch.linalg.solve_triangular(R, Q.mT, upper=True)
    return inverse / (A * inverse).sum(-2, keepdim=True)


class UnrolledLasso(nn.Module):
    r"""Layers that shrink towards a sparse solution of `A x = y`, on rows and columns of `A` as tokens.

    .. math:: x_{l+1} = S_{\theta_l}\bigl(x_l - \gamma_l W^\top (A x_l - y) + \mu_l (x_l - x_{l-1})\bigr)

    Two layers of the core a step: rows attend to columns, columns to rows. The matrix comes with the prompt, so nothing
    that is learned belongs to one matrix: :math:`\gamma, \theta, \mu` are numbers, and `W` is `A` (`"transpose"`:
    LISTA-form of ISTA), computed from it (`"analytic"`) or `A M_l` with learned :math:`M_l` (`"learned"`, LISTA-VM).
    What memory gives to :math:`x_l` and to :math:`x_{l-1}` is trained apart, so that there are up to four numbers a
    step. :meth:`forward` computes the steps with fewer operations than the layers of `transformer`, which hold them.

    Args:
        num_layers: number of steps.
        dictionary: which `W`.
        memory: learn :math:`\mu`, the memory of the last step; else it stays 0.
        n: number of unknowns, for learned maps.
        step: :math:`\gamma` at the start; `None`: 1 for the analytic dictionary, else 0.2.
        threshold: :math:`\theta` at the start.

    Shapes:
        A `[P, m, n]`, y `[P, m]` -> x `[P, n]`.

    Raises:
        TypeError, ValueError: an option is not as described, or `n` does not go with the dictionary.

    Example:
        >>> prompt = SparseRecoveryPrompt().sample(2, torch.Generator().manual_seed(0))
        >>> UnrolledLasso(num_layers=4)(prompt.A, prompt.y).shape
        torch.Size([2, 50])

    Reference: Liu et al., "On the learn-to-optimize capabilities of transformers in in-context sparse recovery", ICLR
    2025; memory as in Dutta, Sra, 2024.
    """

    def __init__(
        self,
        num_layers: int,
        dictionary: str = "analytic",
        memory: bool = True,
        n: int | None = None,
        step: float | None = None,
        threshold: float = 0.05,
    ) -> None:
        super().__init__()
        check_positive_int("num_layers", num_layers)
        self.dictionary = check_choice("dictionary", dictionary, DICTIONARIES)
        if (n is not None) != (dictionary == "learned"):
            raise ValueError(f"n belongs to dictionary='learned', and that needs it, but got {dictionary!r} and n={n}")
        step = step if step is not None else (1.0 if dictionary == "analytic" else 0.2)
        data = None if n is None else torch.eye(n).unsqueeze(0)
        layers = [layer for _ in range(num_layers) for layer in _shrinkage_step(step, threshold, memory, data)]
        self.transformer = LinearTransformer(layers, REGISTERS, readout="x")

    @property
    def num_parameters(self) -> int:
        """Number of trained numbers."""
        return count_trained(self)

    def forward(self, A: Tensor, y: Tensor, *, return_all: bool = False) -> Tensor:
        """Estimate `x`; with `return_all` also before the first and after every step, `[L + 1, P, n]`."""
        if y.shape != A.shape[:-1]:
            raise ValueError(
                f"y must have shape {list(A.shape[:-1])}, a number for every row of A, but {list(y.shape)}"
            )
        layout = MatrixLayout(A, analytic_dictionary(A) if self.dictionary == "analytic" else None)
        back, (at, last_at, residual_at) = layout.W.mT, map(REGISTERS.index, ("x", "last", "residual"))
        x = last = y.new_zeros(*A.shape[:-2], A.shape[-1])
        iterates = [x]
        for layer in self.transformer.stack[1::2]:
            skip, gamma = layer.skip[:, at, 0].to(x.dtype), -layer.value[0, residual_at, at, 0].to(x.dtype)
            step = (back @ (y.unsqueeze(-1) - A @ x.unsqueeze(-1))).squeeze(-1)
            if layer.data is not None:
                step = step @ layer.data[0].mT.to(x.dtype)
            z = x + gamma * step + skip[at] * x + skip[last_at] * last
            x, last = soft_threshold(z, cast(SoftThreshold, layer.prox).threshold.clamp(min=0).to(x.dtype)), x
            iterates = [*iterates, x] if return_all else [x]
        return torch.stack(iterates) if return_all else x


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
        layers = [layer for _ in range(num_layers) for layer in _shrinkage_step(step, threshold, False, None)]
        for layer in layers[1::2] if memory else ():
            skip = cast(Tensor, layer.skip)
            parametrize.register_parametrization(layer, "skip", _Momentum(skip.requires_grad_()))
        self.transformer = LinearTransformer(layers, REGISTERS, readout="x")

    @classmethod
    def from_coefficients(cls, coefficients: Tensor) -> ShortestPathTransformer:
        """The model with `[L, 3]` given numbers `gamma, theta, mu`, see :meth:`coefficients`."""
        if coefficients.dim() != 2 or coefficients.shape[1] != 3 or not bool(torch.isfinite(coefficients).all()):
            raise ValueError(f"coefficients must be [L, 3] finite numbers, but have shape {list(coefficients.shape)}")
        model = cls(len(coefficients)).to(coefficients.dtype)
        x, last, residual = (REGISTERS.index(name) for name in ("x", "last", "residual"))
        with torch.no_grad():
            for layer, (gamma, theta, mu) in zip(model.transformer.stack[1::2], coefficients, strict=True):
                value, skip = layer.value.clone(), layer.skip.clone()
                value[0, residual, x, 0], skip[x, x, 0], skip[last, x, 0] = -gamma, mu, -mu
                setattr(layer, "value", value)  # noqa: B010 - a parametrization takes it
                setattr(layer, "skip", skip)  # noqa: B010
                cast(SoftThreshold, layer.prox).threshold.fill_(theta)
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
        if not isinstance(graph, Incidence):
            raise TypeError(f"expected a graphtf.Incidence, but got {type(graph).__name__}; see Incidence.from_data")
        if length.shape != (graph.num_edges,) or not bool(torch.isfinite(length).all()):
            raise ValueError(f"length must be {graph.num_edges} finite numbers, but has shape {list(length.shape)}")
        if demand.dim() not in (1, 2) or len(demand) != graph.num_nodes or not bool(torch.isfinite(demand).all()):
            raise ValueError(
                f"demand must be {graph.num_nodes} finite numbers (and columns), but has shape {list(demand.shape)}"
            )
        if bool((length < 0).any()):
            raise ValueError("lengths must not be negative")
        if graph.scale is not None or bool((graph.weight != 1).any()):
            raise ValueError("the graph must be plain, with weights 1; lengths of its edges are given on their own")
        return flow_steps(self.coefficients(), graph, length, demand, return_all)


def flow_steps(
    coefficients: Tensor, graph: Incidence, length: Tensor, demand: Tensor, return_all: bool = False
) -> Tensor:
    """The steps of :class:`ShortestPathTransformer` from numbers `[L, 3]`; its other arguments, without checks."""
    (u, v), length = graph.index, per_row(length, demand)
    flow = last = length.new_zeros(graph.num_edges, *demand.shape[1:])
    flows = [flow]
    for gamma, theta, mu in coefficients.to(length.dtype):
        missing = demand.index_add(0, u, -flow).index_add(0, v, flow)
        step = gamma * (missing.index_select(0, u) - missing.index_select(0, v)) + mu * (flow - last)
        last, flow = flow, soft_threshold(flow + step, theta * length)
        flows = [*flows, flow] if return_all else [flow]
    return torch.stack(flows) if return_all else flow


class _Momentum(nn.Module):
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


def nmse_db(estimate: Tensor, truth: Tensor) -> float:
    r"""Normalised error in decibels, :math:`10 \log_{10}(\sum \|\hat x - x\|^2 / \sum \|x\|^2)`.

    Example:
        >>> round(nmse_db(torch.tensor([[1.1]]), torch.tensor([[1.0]])), 3)
        -20.0
    """
    return 10 * math.log10(float((estimate - truth).square().sum() / truth.square().sum()))


def _shrinkage_step(step: float, threshold: float, memory: bool, data: Tensor | None) -> tuple[Layer, Layer]:
    measure = {("residual", "residual"): -1.0, ("y", "residual"): -1.0}
    first = prompt_layer(REGISTERS, {("x", "residual"): 1.0}, measure)
    keep = {("x", "last"): 1.0, ("last", "last"): -1.0}
    trained = {("value", ("residual", "x"))}
    if memory:
        trained |= {("skip", ("x", "x")), ("skip", ("last", "x"))}
    prox = SoftThreshold(REGISTERS.index("x"), threshold, REGISTERS.index("weight"))
    value = {("residual", "x"): -step}
    return first, prompt_layer(REGISTERS, value, keep, frozenset(trained), data=data, prox=prox)
