"""The callback: measurements while a module trains, without changing it, and kept when it resumes."""

import subprocess
import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn

from graphtf.diagnostics import (
    DiagnosticsCallback,
    directional_smoothness,
    robust_condition_number,
)
from graphtf.quiet import quiet


def squares(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return (model(batch[0]).squeeze(-1) - batch[1]).square().mean()


class Net(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Dropout(0.2), nn.Linear(5, 1))

    def training_step(self, batch, batch_idx):
        return squares(self.net, batch)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.05)


def loss_of(module: Net, batch: tuple[Tensor, Tensor]) -> Tensor:
    return squares(module.net.eval(), batch)


def train(folder: Path, steps: int, callbacks: list[pl.Callback], resume: Path | None = None, logger=False) -> Net:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 4, 3, generator=generator)  # six batches an epoch
    data = torch.utils.data.TensorDataset(x, x[:, :, 0])
    module = Net()
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(1)
        trainer = pl.Trainer(
            max_steps=steps, callbacks=callbacks, accelerator="cpu", devices=1, logger=logger, default_root_dir=folder,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        loader = torch.utils.data.DataLoader(data, batch_size=None)
        trainer.fit(module, loader, ckpt_path=resume)
        trainer.save_checkpoint(folder / f"{steps}.ckpt")
    return module


def test_the_callback_measures_and_changes_nothing(tmp_path):
    fixed = (torch.eye(3), torch.ones(3))
    samples = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(3))
    callback = DiagnosticsCallback(
        lambda module, batch: squares(module.net, batch),
        fixed,
        every=3,
        measures=("loss", "condition", "smoothness", "noise"),
        noise_batches=[(x, x[:, 0]) for x in samples],
    )
    watched = train(tmp_path, 7, [callback], logger=CSVLogger(tmp_path, "logs"))
    plain = train(tmp_path, 7, [])
    assert all(torch.equal(a, b) for a, b in zip(watched.parameters(), plain.parameters(), strict=True))
    assert [row["step"] for row in callback.history] == [0, 3, 6]
    assert "curvature" not in callback.history[0]
    assert {"loss", "condition", "curvature", "gradient_norm", "noise_excess_kurtosis"} <= set(callback.history[1])
    logged = next((tmp_path / "logs").rglob("metrics.csv")).read_text()
    assert "diagnostics/condition" in logged
    assert len(logged.splitlines()) == 4


def test_the_callback_looks_along_the_last_update(tmp_path):
    fixed = (torch.eye(3), torch.ones(3))
    callback = DiagnosticsCallback(loss_of, fixed, every=4)
    after = train(tmp_path, 4, [callback])
    before = train(tmp_path, 3, [DiagnosticsCallback(loss_of, fixed, every=100)])
    update = [b.detach() - a.detach() for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    found = directional_smoothness(after, loss_of, fixed, update)
    row = callback.history[-1]
    assert row["curvature"] == pytest.approx(found.curvature, rel=1e-4)
    assert row["gradient_norm"] == pytest.approx(found.gradient_norm)
    assert row["loss"] == pytest.approx(loss_of(after, fixed).item())
    assert row["condition"] == pytest.approx(robust_condition_number(after, loss_of, fixed))


def test_a_resumed_training_goes_on_with_the_history(tmp_path):
    def make() -> list[pl.Callback]:
        return [
            DiagnosticsCallback(loss_of, (torch.eye(3), torch.ones(3)), every, measures, name=name)
            for name, every, measures in [("a", 2, ("loss", "smoothness")), ("b", 3, ("condition",))]
        ]

    whole, first, second = make(), make(), make()
    train(tmp_path, 12, whole)
    train(tmp_path, 6, first)
    train(tmp_path, 12, second, tmp_path / "6.ckpt")
    assert [row["step"] for row in second[0].history] == [0, 2, 4, 6, 8, 10, 12]
    assert [c.history[:3] for c in first] == [c.history[:3] for c in whole]
    assert [len(c.history) for c in second] == [len(c.history) for c in whole]


def test_only_the_callback_needs_lightning():
    code = "import sys, graphtf.diagnostics as d; print('lightning' in sys.modules); d.DiagnosticsCallback"
    code += "; print('lightning' in sys.modules, 'curvlinops' in sys.modules)"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "True", "False"]
