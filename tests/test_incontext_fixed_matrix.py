"""LISTA, LISTA-CP, LISTA-CPSS and ALISTA: equal to plain shrinkage at the start, and bound to their matrix."""

import pytest
import torch

from graphtf import reference
from graphtf.incontext import SparseRecoveryPrompt, UnrolledLasso, analytic_dictionary, nmse_db
from graphtf.incontext.fixed_matrix import VARIANTS, FixedMatrixLasso, select_support
from graphtf.incontext.sparse import SparsePrompt

LAM = 0.1
TASK = SparseRecoveryPrompt(m=12, n=24, vary=False)


def prompts(count: int = 6, vary: bool = False) -> SparsePrompt:
    task = SparseRecoveryPrompt(m=12, n=24, vary=vary)
    return task.sample(count, torch.Generator().manual_seed(0), torch.float64)


def trained(variant: str, lr: float, steps: int = 250) -> FixedMatrixLasso:
    model = FixedMatrixLasso(TASK.matrix.float(), 6, variant)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        batch = TASK.sample(64, generator)
        loss = (model(model.matrix, batch.y) - batch.x).square().sum() / batch.x.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.double()


@pytest.mark.parametrize("variant", ["lista", "lista-cp"])
def test_the_start_is_iterative_soft_thresholding_iterate_by_iterate(variant: str) -> None:
    prompt = prompts()
    found = FixedMatrixLasso(prompt.A[0], 9, variant, LAM)(prompt.A, prompt.y, return_all=True)
    assert (found[-1] != 0).any()
    torch.testing.assert_close(found, reference.ista(prompt.A, prompt.y, LAM, 9), rtol=1e-12, atol=1e-14)


def test_alista_is_shrinkage_with_the_analytic_dictionary_and_the_matrix_free_model_on_its_matrix() -> None:
    prompt = prompts()
    model = FixedMatrixLasso(prompt.A[0], 5, "alista", LAM)
    theta = float(model.theta.detach()[0])
    assert theta == pytest.approx(LAM / float(torch.linalg.eigvalsh(prompt.A[0] @ prompt.A[0].T)[-1]))
    found = model(model.matrix, prompt.y, return_all=True)
    W = analytic_dictionary(prompt.A[0])
    x = torch.zeros_like(prompt.x)
    for after in found[1:]:
        x = reference.soft_threshold(x + (prompt.y - x @ prompt.A[0].T) @ W, theta)
        torch.testing.assert_close(after, x, rtol=1e-12, atol=1e-14)
    free = UnrolledLasso(5, memory=False, step=1.0, threshold=theta).double()
    torch.testing.assert_close(free(prompt.A, prompt.y), found[-1], rtol=1e-6, atol=1e-8)


def test_selected_entries_are_not_shrunk() -> None:
    z = torch.randn(50, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out = select_support(z, 0.7, 5)
    for before, after in zip(z, out, strict=True):
        order = before.abs().argsort(descending=True)
        for rank, i in enumerate(order.tolist()):
            size = abs(float(before[i]))
            kept = size if rank < 5 and size > 0.7 else max(size - 0.7, 0.0)
            assert float(after[i]) == pytest.approx(kept if before[i] > 0 else -kept, abs=1e-12)
    assert torch.equal(select_support(z, 0.7, 0), reference.soft_threshold(z, 0.7))
    assert torch.equal(select_support(z, 0.0, 20), z)


def test_deeper_layers_select_more_up_to_a_largest_share() -> None:
    prompt = prompts()
    model = FixedMatrixLasso(prompt.A[0], 8, "lista-cpss", LAM, selection=(0.05, 0.25))
    assert model.selected == [1, 2, 3, 4, 6, 6, 6, 6]
    x, theta = torch.zeros_like(prompt.x), model.theta.detach()[0]
    for count in model.selected:
        step = (prompt.y - x @ prompt.A[0].T) @ model.maps.detach()[0]
        x = select_support(x + step, theta, count)
    torch.testing.assert_close(model(model.matrix, prompt.y), x, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_order_of_prompts_and_the_form_of_the_matrix_do_not_matter(variant: str) -> None:
    prompt = prompts()
    model = FixedMatrixLasso(prompt.A[0], 4, variant)
    found = model(prompt.A[0], prompt.y)
    torch.testing.assert_close(model(prompt.A, prompt.y), found, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(model(prompt.A[:3], prompt.y[:3].flip(0)), found[:3].flip(0), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("variant", "lr"), [("lista", 3e-3), ("lista-cp", 3e-3), ("lista-cpss", 3e-3), ("alista", 0.02)]
)
def test_training_beats_shrinkage_on_its_matrix_and_fails_on_others(variant: str, lr: float) -> None:
    model, own, new = trained(variant, lr), prompts(400), prompts(400, vary=True)
    with torch.no_grad():
        here = nmse_db(model(own.A, own.y), own.x)
        blind, seeing = nmse_db(model(model.matrix, new.y), new.x), nmse_db(model(new.A, new.y), new.x)
    plain = min(nmse_db(reference.ista(own.A, own.y, lam, 6)[-1], own.x) for lam in (0.03, 0.1, 0.3))
    assert here < plain - 2
    assert min(blind, seeing) > here + 6
    assert min(blind, seeing) > 0  # worse than the answer zero


def test_trained_numbers_are_counted() -> None:
    A = TASK.matrix
    counts = {variant: FixedMatrixLasso(A, 3, variant).num_parameters for variant in VARIANTS}
    maps = 3 * 12 * 24 + 3
    assert counts == {"lista": 12 * 24 + 3 * 24 * 24 + 3, "lista-cp": maps, "lista-cpss": maps, "alista": 6}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedMatrixLasso(torch.ones(2, 3), 2, "vm"), "variant must be one of"),
        (lambda: FixedMatrixLasso(torch.ones(1, 2, 3), 2), r"finite floating-point \[m, n\]"),
        (lambda: FixedMatrixLasso(torch.full((2, 3), torch.inf), 2), "finite"),
        (lambda: FixedMatrixLasso(torch.eye(2), 2, lam=-1.0), "lam must be at least 0"),
        (lambda: FixedMatrixLasso(torch.eye(2), 2, selection=(0.5, 0.1)), "selection must be two shares"),
        (lambda: FixedMatrixLasso(torch.eye(2), 0), "num_layers must be at least 1"),
        (lambda: FixedMatrixLasso(torch.eye(2), 2)(torch.eye(3), torch.ones(1, 2)), "the size of the matrix"),
        (lambda: FixedMatrixLasso(torch.eye(2), 2)(torch.eye(2), torch.ones(2)), "the size of the matrix"),
        (lambda: select_support(torch.ones(3), 1.0, 4), "count must be at most 3"),
        (lambda: analytic_dictionary(torch.ones(3, 2)), "at most as many rows as columns"),
    ],
)
def test_wrong_input_is_refused_with_a_sentence(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
