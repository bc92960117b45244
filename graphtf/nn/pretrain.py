"""Pre-training of a slots encoder to eigenvectors, as in the paper's release."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from graphtf.convert import disjoint_union, from_data
from graphtf.incidence import Incidence
from graphtf.nn.linear_transformer_pe import LinearTransformerPE
from graphtf.validate import check_positive_int


def pretrain_to_eigenvectors(
    encoder: LinearTransformerPE,
    graphs: Iterable[Any],
    *,
    epochs: int = 120,
    batch_size: int = 128,
    lr: float = 1e-2,
    weight_decay: float = 1e-2,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> list[float]:
    r"""Train a slots encoder towards the lowest eigenvectors of the normalized Laplacian, each up to its sign.

    .. math:: \mathrm{loss} = \frac{1}{c} \sum_{\text{components}} \sum_{j=1}^{k}
        \min_{s = \pm 1} \lVert \phi_j - s v_j \rVert^2

    with :math:`v_1, v_2, \dots` the unit eigenvectors after the trivial one, zero where a component has none left. A
    component that no column fits costs as many as it has eigenvectors, at most `k`. Eigenvectors of a repeated
    eigenvalue are an arbitrary basis, which no encoder can learn: on symmetric graphs the loss stays well above zero.

    Args:
        encoder: an encoder with `init="slots"`; trained in place on the device of its parameters, its mode restored.
        graphs: PyG `Data` objects or incidence operators, not empty.
        epochs: passes over the graphs, 0 or more.
        batch_size: graphs a step.
        lr: learning rate of AdamW, positive.
        weight_decay: that of AdamW.
        seed: of the order of the graphs and of the slots; torch's global generator is left as it was.
        progress: called after every epoch with its number (from 1) and its loss.

    Returns:
        The mean loss of every epoch, `epochs` numbers.

    Raises:
        TypeError: `encoder` is no `LinearTransformerPE`, or a graph is none.
        ValueError: the encoder has no slots or nothing to train, there are no graphs, or an option is out of range.
        FloatingPointError: the loss is no longer finite.

    Example:
        >>> import torch
        >>> path = Incidence(torch.tensor([[0, 1, 2], [1, 2, 3]]))
        >>> encoder = LinearTransformerPE(k=2, init="slots", num_slots=8)
        >>> history = pretrain_to_eigenvectors(encoder, [path] * 16, epochs=20)
        >>> len(history), history[-1] < history[0]
        (20, True)

    Source: Cheng, Carin, Sra, "Graph Transformers Dream of Electric Flow", ICLR 2025, section 6 and its release
    (120 epochs to six eigenvectors).
    """
    if not isinstance(encoder, LinearTransformerPE):
        raise TypeError(f"encoder must be a LinearTransformerPE, but got {type(encoder).__name__}")
    if encoder.config.init != "slots":
        raise ValueError(f"only init='slots' is pre-trained, but the encoder has init={encoder.config.init!r}")
    check_positive_int("epochs", epochs, minimum=0)
    check_positive_int("batch_size", batch_size)
    check_positive_int("seed", seed, minimum=0)
    if not 0 < lr < float("inf"):
        raise ValueError(f"lr must be positive and finite, but got {lr}")
    parameters = [p for p in encoder.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("no parameter of the encoder requires gradients; call encoder.requires_grad_()")
    operators = [graph if isinstance(graph, Incidence) else from_data(graph) for graph in graphs]
    operators = [graph.to(parameters[0].device) for graph in operators if graph.num_nodes]
    if not operators:
        raise ValueError("graphs holds no graph with a node, but there must be something to train on")
    targets = [eigenvector_targets(graph, encoder.config.k) for graph in operators]

    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)
    was_training, history = encoder.training, []
    devices = [parameters[0].device] if parameters[0].is_cuda else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        torch.manual_seed(seed)
        encoder.train()
        for epoch in range(1, epochs + 1):
            total = 0.0
            for chosen in torch.randperm(len(operators)).split(batch_size):
                graph = disjoint_union([operators[i] for i in chosen])
                loss = sign_minimized_loss(graph, encoder(graph), torch.cat([targets[i] for i in chosen]))
                if not bool(torch.isfinite(loss)):
                    encoder.train(was_training)
                    raise FloatingPointError(f"the loss is {loss.item()} in epoch {epoch}; use a smaller lr than {lr}")
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                total += float(loss.detach()) * len(chosen)
            history.append(total / len(operators))
            if progress is not None:
                progress(epoch, history[-1])
    encoder.train(was_training)
    return history


def sign_minimized_loss(graph: Incidence, phi: Tensor, target: Tensor) -> Tensor:
    """Mean over the components of the summed squared distance of every column to its target, up to the sign.

    Args:
        graph: the operator, whose components are taken one by one.
        phi: `[n, k]` encoding.
        target: `[n, k]` eigenvectors.

    Returns:
        A scalar.

    Example:
        >>> import torch
        >>> edge = Incidence(torch.tensor([[0], [1]]))
        >>> v = eigenvector_targets(edge, 1)
        >>> float(sign_minimized_loss(edge, -v, v))
        0.0
    """
    labels = graph.components()
    zero = phi.new_zeros(int(labels.max()) + 1, phi.shape[1])
    distance = [zero.index_add(0, labels, (phi - sign * target.to(phi.dtype)).square()) for sign in (1, -1)]
    return torch.minimum(*distance).sum(1).mean()


@torch.no_grad()
def eigenvector_targets(graph: Incidence, k: int) -> Tensor:
    """`[n, k]` eigenvectors of the normalized Laplacian after the trivial one, component by component, zero-padded.

    Args:
        graph: a plain operator (not normalized).
        k: number of columns.

    Returns:
        `[n, k]` in the dtype of the operator, computed in float64; unit columns on every component.

    Example:
        >>> import torch
        >>> eigenvector_targets(Incidence(torch.tensor([[0], [1]])), 2).abs().round(decimals=4)
        tensor([[0.7071, 0.0000],
                [0.7071, 0.0000]])
    """
    L = graph.to(torch.float64).normalized("sym").laplacian_dense()
    out = L.new_zeros(graph.num_nodes, k)
    labels = graph.components()
    for component in range(int(labels.max()) + 1 if labels.numel() else 0):
        nodes = (labels == component).nonzero().squeeze(1)
        vectors = torch.linalg.eigh(L[nodes][:, nodes])[1][:, 1 : k + 1]
        out[nodes, : vectors.shape[1]] = vectors
    return out.to(graph.dtype)
