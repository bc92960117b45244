"""A transformer of the user as a solver: learned or constructed layers on the scaled operator of every graph."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.solvers.linear_cg import relative_residual
from graphtf.transformer import LinearTransformer


def check_solver(transformer: LinearTransformer, max_layers: int | None) -> None:
    """Raise unless the transformer maps demands in a register `psi` to potentials, and its depth is left to it.

    Raises:
        ValueError: it has no register `psi`, reads that register out, or `max_layers` is given.

    Example:
        >>> from graphtf.constructions import electric_flow, heat_kernel
        >>> check_solver(electric_flow(2, delta=0.5), None)
    """
    if "psi" not in transformer.registers or transformer.readout == "psi":
        raise ValueError(
            "a transformer as method must read demands from a register 'psi' and leave potentials in another, but "
            f"its registers are {transformer.registers} and it reads out {transformer.readout!r}"
        )
    if max_layers is not None:
        raise ValueError(
            f"a transformer as method has a depth of its own ({transformer.num_layers}); leave max_layers out"
        )


def run_transformer(
    graph: Incidence,
    psi: Tensor,
    transformer: LinearTransformer,
    history: bool,
    start: Callable[[Incidence], dict[str, Tensor]] | None = None,
) -> tuple[Tensor, Tensor | None]:
    r"""Potentials :math:`x = T(L / \lambda_{bound}, \psi) / \lambda_{bound}`, every graph scaled by its own bound.

    Args:
        graph: plain operator.
        psi: `[n, k]` centered demands in its dtype.
        transformer: layers that run on registers `psi` and that of their readout.
        history: whether to return the residuals of all layers.
        start: the registers at the start, from the scaled operator; `None`: the demands in `psi`.

    Returns:
        Potentials `[n, k]` and `[num_layers + 1, k]` residuals, or `None`. Gradients reach the layers' weights.

    Example:
        >>> from graphtf.constructions import electric_flow
        >>> edge = Incidence(torch.tensor([[0], [1]]), torch.tensor([2.0]))
        >>> run_transformer(edge, torch.tensor([[2.0], [-2.0]]), electric_flow(1, 1.0), False)[0].flatten().tolist()
        [0.5, -0.5]
    """
    if graph.num_nodes == 0:
        return psi, psi.new_zeros(transformer.num_layers + 1, psi.shape[1]) if history else None
    bound = graph.lambda_bound()[graph.batch].unsqueeze(1)
    bound = torch.where(bound > 0, bound, 1.0).to(psi.dtype)
    scaled = graph.normalized("spectral")
    registers = {"psi": psi} if start is None else start(scaled)
    x = transformer(scaled, return_all=history, **registers)[..., : psi.shape[1]] / bound
    if not history:
        return x, None
    return x[-1], torch.stack([relative_residual(graph, psi, state).detach() for state in x])
