"""Gaussian processes on the nodes of a graph, as prompts, and label propagation by attention."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from graphtf.incontext.kernel import kernel_transformer
from graphtf.incontext.memformer import memformer
from graphtf.incontext.prompts import Prompt
from graphtf.solvers.graphs import as_incidence
from graphtf.validate import check_choice, check_positive_int

GraphKernel = Literal["heat", "random-walk", "electric"]
GRAPH_KERNELS = ("heat", "random-walk", "electric")
COEFFICIENTS = ("adaptive", "fixed")
TOLERANCE = 1e-10  # of the depth that label propagation chooses
SINGULAR = 1e-12  # eigenvalues of a covariance below this fraction of the largest count as zero
DEEPEST = 10_000


def graph_features(
    graph: Any, kernel: GraphKernel = "heat", time: float | None = None, num_nodes: int | None = None
) -> Tensor:
    r"""Features of nodes whose inner products are a kernel of the graph.

    .. math:: X X^\top = e^{-t L}, \qquad \bigl(\tfrac12 I + \tfrac12 D^{-1/2} A D^{-1/2}\bigr)^t, \qquad L^+

    Rows of :math:`X = U f(\Lambda)^{1/2}`, from all eigenvectors of :math:`L = D - A` (of the normalized Laplacian for
    the second): O(n^3). The second is the lazy random walk, made symmetric by the degrees.

    Args:
        graph: anything :func:`graphtf.solvers.graphs.as_incidence` takes; weights are conductances.
        kernel: `"heat"`, `"random-walk"` or `"electric"`.
        time: `t`, of the heat, or the number of steps of the walk, which stays on nodes without edges; `None` is 1.
            `"electric"` has none.
        num_nodes: number of nodes, with an `edge_index`.

    Returns:
        `[n, n]` float64, a node a row.

    Raises:
        TypeError, ValueError: an argument is not as described.

    Example:
        >>> X = graph_features(torch.tensor([[0, 1], [1, 0]]), "electric")
        >>> (X @ X.T).round(decimals=6).tolist()
        [[0.25, -0.25], [-0.25, 0.25]]

    Reference: Kondor, Lafferty, "Diffusion kernels on graphs and other discrete input spaces", ICML 2002; Smola,
    Kondor, "Kernels and regularization on graphs", COLT 2003.
    """
    check_choice("kernel", kernel, GRAPH_KERNELS)
    t = _time(kernel, time)
    B, _ = as_incidence(graph, num_nodes=num_nodes, dtype=torch.float64)
    eigenvalues, U = torch.linalg.eigh((B.normalized("sym") if kernel == "random-walk" else B).laplacian_dense())
    if kernel == "heat":
        spectrum = (-t * eigenvalues).exp()
    elif kernel == "random-walk":
        spectrum = (1 - eigenvalues / 2).clamp(min=0) ** t
    else:
        labels = B.components()
        zeros = int(labels.max()) + 1 if len(labels) else 0  # one eigenvalue a component is zero, whatever it rounds to
        spectrum = torch.cat([eigenvalues[:zeros] * 0, 1 / eigenvalues[zeros:]])
    return U * spectrum.sqrt()


class GraphGaussianProcessPrompt:
    r"""Nodes of a graph with labels :math:`y \sim N(0, K)`, `K` a kernel of the graph; the demonstrations are random.

    Tokens are rows of :func:`graph_features`, so that linear attention has `K` as its score, and its layers take steps
    of descent in the functions on the graph. With `"electric"` labels sum to zero on every component.

    Args:
        graph: anything :func:`graphtf.solvers.graphs.as_incidence` takes; weights are conductances.
        kernel: `"heat"`, `"random-walk"` or `"electric"`, see :func:`graph_features`.
        time: of the heat or the walk.
        n: number of demonstrations, fewer than nodes.

    Raises:
        TypeError, ValueError: an option is not as described.

    Example:
        >>> ring = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
        >>> task = GraphGaussianProcessPrompt(torch.cat([ring, ring.flip(0)], 1), "heat", time=0.5, n=3)
        >>> prompt = task.sample(5, torch.Generator().manual_seed(0))
        >>> prompt.x.shape, prompt.target.shape
        (torch.Size([5, 4, 4]), torch.Size([5]))
    """

    def __init__(self, graph: Any, kernel: GraphKernel = "heat", time: float | None = None, n: int = 14) -> None:
        self.features = graph_features(graph, kernel, time)
        self.kernel: GraphKernel = kernel
        self.n = check_positive_int("n", n)
        if n >= len(self.features):
            raise ValueError(f"n must be below the {len(self.features)} nodes of the graph, but got {n}")

    def sample(self, num_prompts: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Prompt:
        """Draw prompts: labels of all nodes, `n` nodes to show and another one to ask for."""
        check_positive_int("num_prompts", num_prompts)
        X = self.features
        nodes = torch.rand(num_prompts, len(X), generator=generator, dtype=X.dtype).argsort(1)[:, : self.n + 1]
        z = torch.randn(num_prompts, len(X), generator=generator, dtype=X.dtype)
        y = (z @ X.T).gather(1, nodes).to(dtype)
        return Prompt(X[nodes].to(dtype), y, y[:, -1])

    def posterior_mean(self, prompt: Prompt) -> Tensor:
        r"""`[P]` best prediction of the query's label, :math:`k^\top K^+ y`, in float64."""
        x = prompt.x.double()
        K = x @ x[:, :-1].mT
        inverse = torch.linalg.pinv(K[:, :-1], rtol=SINGULAR, hermitian=True)
        return (K[:, -1:] @ inverse @ prompt.y[:, :-1, None].double())[:, 0, 0]


def label_propagation(
    graph: Any,
    y: Tensor,
    labelled: Tensor,
    kernel: GraphKernel = "heat",
    time: float | None = None,
    ridge: float = 1e-2,
    num_layers: int | None = None,
    coefficients: Literal["adaptive", "fixed"] = "adaptive",
) -> Tensor:
    r"""Predictions at all nodes from the labels of some, by one pass of a transformer: kernel ridge regression.

    .. math:: \hat y = K_{\cdot S} (K_{SS} + \rho I)^{-1} y_S

    Labelled nodes `S` are the demonstrations, all nodes are queries, and tokens are rows of :func:`graph_features`. A
    demonstration has a further entry :math:`\sqrt{\rho}` of its own, which adds :math:`\rho` to the score with itself.
    Layers are conjugate gradients (`"adaptive"`, exact after as many layers as there are labels, but for rounding) or
    Richardson's iteration :math:`r \leftarrow r - s (K + \rho I) r` with :math:`s = 2 / (\lambda_{max} + \rho)`, whose
    error falls by :math:`(\lambda_{max} - \rho) / (\lambda_{max} + \rho)` a layer.

    Args:
        graph: anything :func:`graphtf.solvers.graphs.as_incidence` takes; weights are conductances.
        y: `[n]` or `[n, c]` labels; what stands at other nodes is not looked at. For classes, a column each.
        labelled: `[n]` booleans or `[m]` numbers of the nodes with labels.
        kernel: `"heat"`, `"random-walk"` or `"electric"`.
        time: of the heat or the walk.
        ridge: variance :math:`\rho` of the noise of labels, positive.
        num_layers: depth; `None`: as deep as the bound asks for an error of 1e-10.
        coefficients: `"adaptive"` or `"fixed"`.

    Returns:
        Like `y`; computed in float64, in the type of `y`.

    Raises:
        TypeError, ValueError: an argument is not as described, or `"fixed"` would need more than 10,000 layers.

    Example:
        >>> path = torch.tensor([[0, 1, 2], [1, 2, 3]])
        >>> y = torch.tensor([1.0, 0.0, 0.0, -1.0])
        >>> label_propagation(torch.cat([path, path.flip(0)], 1), y, torch.tensor([0, 3])).sign().tolist()
        [1.0, 1.0, -1.0, -1.0]

    Reference: Zhu, Ghahramani, Lafferty, "Semi-supervised learning using Gaussian fields and harmonic functions", ICML
    2003; Smola, Kondor, COLT 2003.
    """
    check_choice("coefficients", coefficients, COEFFICIENTS)
    if not isinstance(y, Tensor) or not y.is_floating_point() or y.dim() not in (1, 2):
        what = f"{y.dtype} {list(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise TypeError(
            f"y must be a floating-point tensor [n] or [n, c], but is {what}; classes are columns of 0 and 1"
        )
    if not 0 < ridge < math.inf:
        raise ValueError(f"ridge must be positive and finite, but got {ridge}")
    X = graph_features(graph, kernel, time, len(y) if isinstance(graph, Tensor) else None)
    n = len(X)
    if len(y) != n:
        raise ValueError(f"y must have a row for each of the {n} nodes, but has {len(y)}")
    nodes = _nodes(labelled, n).to(X.device)
    m = len(nodes)
    keys = torch.cat([X[nodes], math.sqrt(ridge) * torch.eye(m, dtype=X.dtype, device=X.device)], 1)
    x = torch.cat([keys, torch.cat([X, X.new_zeros(n, m)], 1)])
    labels = X.new_zeros(1, m + n, *y.shape[1:])
    labels[0, :m] = y.to(X)[nodes]
    prompt = Prompt(x.unsqueeze(0), labels, keys=torch.arange(m + n, device=X.device) < m)
    top = float(torch.linalg.eigvalsh(keys @ keys.T)[-1])
    depth = _depth(top / ridge, m, coefficients) if num_layers is None else check_positive_int("num_layers", num_layers)
    if coefficients == "adaptive":
        model = memformer(x.shape[1], depth, coefficients="adaptive", preconditioner="scalar")
    else:
        model = kernel_transformer(x.shape[1], depth, ("id",), step=2 * m / (top + ridge), learn_maps=False)
    with torch.no_grad():
        return -model.to(X).residuals(prompt)[0, m:].to(y.dtype)


def _time(kernel: str, time: float | None) -> float:
    if kernel == "electric" and time is not None:
        raise ValueError(f"the electric kernel has no time; leave out time={time!r}")
    t = 1.0 if time is None else float(time)
    if not 0 <= t < math.inf:
        raise ValueError(f"time must be finite and not negative, but got {time}")
    if kernel == "random-walk" and t != int(t):
        raise ValueError(f"time of the random walk is a number of steps, an integer, but got {time}")
    return t


def _nodes(labelled: Tensor, n: int) -> Tensor:
    """The labelled nodes as numbers."""
    if not isinstance(labelled, Tensor) or labelled.dim() != 1 or labelled.is_floating_point():
        raise TypeError("labelled must be a tensor of booleans [n] or of the numbers of nodes [m]")
    if labelled.dtype == torch.bool:
        if len(labelled) != n:
            raise ValueError(f"labelled must have a boolean for each of the {n} nodes, but has {len(labelled)}")
        nodes = labelled.nonzero().flatten()
    else:
        nodes = labelled.long()
    if not len(nodes):
        raise ValueError("no node is labelled; label at least one")
    if int(nodes.min()) < 0 or int(nodes.max()) >= n or len(nodes.unique()) < len(nodes):
        raise ValueError(f"labelled must be different nodes 0 ... {n - 1}, but is {nodes.tolist()}")
    return nodes


def _depth(condition: float, num_labels: int, coefficients: str) -> int:
    """Layers that the bounds of conjugate gradients and of Richardson's iteration ask for."""
    root = math.sqrt(condition) if coefficients == "adaptive" else condition
    depth = max(1, math.ceil(root / 2 * math.log(2 * condition / TOLERANCE)))
    if coefficients == "fixed" and depth > DEEPEST:
        raise ValueError(
            f"fixed coefficients need {depth} layers for condition {condition:.1e}; give num_layers, a larger ridge, "
            "or coefficients='adaptive'"
        )
    # In exact arithmetic conjugate gradients end after as many steps as labels; rounding may ask for a few times more.
    return depth if coefficients == "fixed" else min(depth, 10 * num_labels + 20)
