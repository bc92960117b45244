"""Memformers: transformers whose layers remember earlier directions, on prompts."""

from __future__ import annotations

import torch
from torch import Tensor

from graphtf.attention import Layer, StructuredAttention
from graphtf.constructions.momentum import chebyshev_steps
from graphtf.incontext.adaptive import AdaptiveDescent
from graphtf.incontext.build import fix_entries, initial_maps, prompt_layer
from graphtf.incontext.model import InContextTransformer
from graphtf.validate import check_choice, check_positive_int

MEMORIES = ("cgd", "lfom", "heavy_ball")
COEFFICIENTS = ("learned", "chebyshev", "adaptive")
PRECONDITIONERS = ("scalar", "diag", "full")
RESIDUAL = ("residual", "residual")
MOMENTUM_REGISTERS = ("residual", "last")


def memformer(
    d: int,
    num_layers: int,
    memory: str = "cgd",
    coefficients: str = "learned",
    preconditioner: str = "full",
    spectrum: tuple[float, float] | None = None,
    std: float = 0.05,
    seed: int = 0,
) -> InContextTransformer:
    r"""A transformer with memory, which runs first-order methods with more than the last gradient.

    With :math:`G_l = \tfrac1n X A_l X_{dem}^\top r_{dem}`, the attention of layer `l`,

    .. math::
        \text{cgd: } M_l = G_l + \gamma_l M_{l-1}, \; r \leftarrow r - \alpha_l M_l; \qquad
        \text{lfom: } r \leftarrow r - \sum_{j \le l} \Gamma^l_j G_j; \qquad
        \text{heavy ball: } r \leftarrow r - \alpha_l G_l + \beta_l (r - r_{last}) .

    Learned `cgd` has a number more than the formula, as what goes on in the memory and what goes into the residual are
    trained apart. With fixed coefficients the three reach the same iterates, and none gets below the best polynomial in
    the covariance (:func:`graphtf.reference.best_fixed_polynomial`), which gradient descent with unequal steps attains
    as well. What memory gives is optimality at every depth at once, and, with `"adaptive"` coefficients, conjugate
    gradients.

    Args:
        d: dimension of a sample.
        num_layers: depth.
        memory: `"cgd"`, `"lfom"` or `"heavy_ball"`.
        coefficients: `"learned"`; `"chebyshev"`: those of the Chebyshev iteration for `spectrum`, as a start that may
            be trained on (`"heavy_ball"` only); `"adaptive"`: computed from the tokens of every prompt (`"cgd"` only).
        preconditioner: `A` is 1 (`"scalar"`, steps are in the coefficients), diagonal or full.
        spectrum: `(lambda_min, lambda_max)` of :math:`\tfrac1n X^\top X`, for `"chebyshev"`.
        std: standard deviation of random weights at the start.
        seed: seed of them.

    Returns:
        A model with registers `residual` and those of its memory.

    Raises:
        TypeError, ValueError: an option is not as described, or they do not go together.

    Example:
        >>> import torch
        >>> from graphtf.incontext import InContextRegression
        >>> prompt = InContextRegression(d=3, n=9).sample(2, torch.Generator().manual_seed(0), torch.float64)
        >>> model = memformer(d=3, num_layers=3, coefficients="adaptive", preconditioner="scalar").double()
        >>> torch.allclose(model(prompt), prompt.target)  # three steps of conjugate gradients solve three dimensions
        True

    Reference: Dutta, Sra, "Memory-augmented Transformers can implement Linear First-Order Optimization Methods", 2024.
    """
    check_positive_int("d", d)
    check_positive_int("num_layers", num_layers)
    check_choice("memory", memory, MEMORIES)
    check_choice("coefficients", coefficients, COEFFICIENTS)
    check_choice("preconditioner", preconditioner, PRECONDITIONERS)
    wanted = {"chebyshev": "heavy_ball", "adaptive": "cgd"}.get(coefficients, memory)
    if memory != wanted:
        raise ValueError(f"coefficients={coefficients!r} need memory={wanted!r}, but got {memory!r}")
    if (spectrum is not None) != (coefficients == "chebyshev"):
        raise ValueError("spectrum=(lambda_min, lambda_max) belongs to coefficients='chebyshev', and these need it")
    generator = torch.Generator().manual_seed(seed)
    maps = [_preconditioner(d, preconditioner, coefficients, std, generator) for _ in range(num_layers)]
    layers: list[Layer]
    if coefficients == "adaptive":
        layers = [AdaptiveDescent(torch.ones(()), torch.ones(()), A) for A in maps]
        names: tuple[str, ...] = AdaptiveDescent.REGISTERS
    else:
        start = [1.0 if preconditioner != "scalar" else _small(std, generator) for _ in maps]
        if memory == "cgd":
            names = ("residual", "memory")
            layers = [_cgd(names, a, A) for a, A in zip(start, maps, strict=True)]
        elif memory == "lfom":
            names = ("residual", *(f"memory{j}" for j in range(num_layers - 1)))
            layers = [_lfom(names, i, a, A) for i, (a, A) in enumerate(zip(start, maps, strict=True))]
        else:
            names = MOMENTUM_REGISTERS
            steps = [(a, 0.0) for a in start] if spectrum is None else chebyshev_steps(num_layers, *spectrum)
            layers = [momentum_layer(a, b, A) for (a, b), A in zip(steps, maps, strict=True)]
    for layer in layers:
        if preconditioner == "diag":
            fix_entries(layer, "data", torch.eye(d, dtype=torch.bool).expand(1, d, d).clone())
    return InContextTransformer(layers, names)


def momentum_layer(
    alpha: float, beta: float, data: Tensor | None = None, dtype: torch.dtype = torch.float32
) -> StructuredAttention:
    r"""A step with heavy-ball memory, :math:`r \leftarrow r - \alpha G + \beta (r - r_{last})`, on two registers.

    Args:
        alpha: step.
        beta: factor of the memory.
        data: `[1, d, d]` preconditioner; `None`: the identity.
        dtype: floating type of the weights.
    """
    skip = {RESIDUAL: beta, ("last", "residual"): -beta, ("residual", "last"): 1.0, ("last", "last"): -1.0}
    trained = {("value", RESIDUAL), ("skip", RESIDUAL), ("skip", ("last", "residual"))}
    return prompt_layer(MOMENTUM_REGISTERS, {RESIDUAL: -alpha}, skip, frozenset(trained), data=data, dtype=dtype)


def _preconditioner(d: int, kind: str, coefficients: str, std: float, generator: torch.Generator) -> Tensor | None:
    if kind == "scalar":
        return None
    if coefficients != "learned":
        return torch.eye(d).unsqueeze(0)
    random = initial_maps((1, d, d), std, generator)
    return random if kind == "full" else random * torch.eye(d)


def _small(std: float, generator: torch.Generator) -> float:
    return float(initial_maps((), std, generator).abs())


def _cgd(names: tuple[str, ...], alpha: float, A: Tensor | None) -> Layer:
    value = {RESIDUAL: -alpha, ("residual", "memory"): 1.0}
    trained = {("value", RESIDUAL), ("skip", ("memory", "residual")), ("skip", ("memory", "memory"))}
    return prompt_layer(names, value, {("memory", "memory"): -1.0}, frozenset(trained), data=A)


def _lfom(names: tuple[str, ...], i: int, alpha: float, A: Tensor | None) -> Layer:
    value = {RESIDUAL: -alpha}
    if i < len(names) - 1:
        value["residual", f"memory{i}"] = 1.0
    trained = {("value", RESIDUAL), *(("skip", (f"memory{j}", "residual")) for j in range(i))}
    return prompt_layer(names, value, {}, frozenset(trained), data=A)
