"""Muon for the matrices, AdamW for the rest."""

import copy
import json

import pytest
import torch
from torch import nn

from graphtf.models import GPS, GraphTransformer
from graphtf.train import TrainConfig, train
from graphtf.train.encodings import build_encoding
from graphtf.train.muon import MuonWithAdamW, hidden_matrices
from graphtf.train.optimizer import layer_weights, one_cycle

OPTIONS = {"lr": 0.02, "weight_decay": 0.1}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))


def gradients(model, seed):
    model.zero_grad()
    model(torch.randn(8, 16, generator=torch.Generator().manual_seed(seed))).square().sum().backward()


def together(model):
    rest = [{"params": [p for p in model.parameters() if p.ndim == 1]}]
    return MuonWithAdamW(rest, hidden_matrices(model), **OPTIONS)


def test_every_parameter_has_one_group_and_the_encoding_keeps_adamw():
    model = GPS(32, 2, 4, encoding=build_encoding("conductances", 4))
    for scale in (1.0, 3.0):
        optimizer, _ = one_cycle(model, 1e-2, 1e-5, 50, pe_lr_scale=scale, name="muon")
        ids = [id(p) for group in optimizer.param_groups for p in group["params"]]
        assert sorted(ids) == sorted(id(p) for p in model.parameters())
        muon = {id(p) for p in optimizer.param_groups[-1]["params"]}
        assert not muon & {id(p) for p in layer_weights(model)}
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                assert id(module.weight) not in muon
        inner = sum(p.numel() for p in optimizer.param_groups[-1]["params"])
        assert inner > 0.7 * sum(p.numel() for p in model.parameters())


def test_steps_are_those_of_the_two_optimisers_of_torch():
    model, other = network(), network()
    optimizer = together(model)
    matrices, rest = hidden_matrices(other), [p for p in other.parameters() if p.ndim == 1]
    separate = [
        torch.optim.AdamW(rest, **OPTIONS),
        torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw", **OPTIONS),
    ]
    for seed in range(5):
        for m, optimizers in ((model, [optimizer]), (other, separate)):
            gradients(m, seed)
            for o in optimizers:
                o.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert not torch.equal(model[0].weight, network()[0].weight)


def test_a_closure_is_evaluated_once_and_its_loss_returned():
    model, calls = network(), []
    optimizer = together(model)

    def closure():
        calls.append(torch.is_grad_enabled())
        gradients(model, 0)
        return 3.0

    with torch.no_grad():
        assert optimizer.step(closure) == 3.0
    assert calls == [True]


def test_state_goes_on_where_it_was_saved():
    model = network()
    optimizer = together(model)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    for seed in range(3):
        gradients(model, seed)
        optimizer.step()
        schedule.step()
    again = network()
    again.load_state_dict(model.state_dict())
    restored = together(again)
    following = torch.optim.lr_scheduler.StepLR(restored, 1, 0.5)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    following.load_state_dict(schedule.state_dict())
    for m, o, s in ((model, optimizer, schedule), (again, restored, following)):
        for seed in range(3, 6):
            gradients(m, seed)
            o.step()
            s.step()
    assert [group["lr"] for group in restored.param_groups] == pytest.approx([0.02 / 64] * 2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("steps", [1, 10, 50])
def test_one_cycle_moves_all_rates_together(steps):
    model = GraphTransformer(16, 2, 4, encoding=build_encoding("conductances", 4))
    optimizer, schedule = one_cycle(model, 1e-2, 1e-5, steps, pe_lr_scale=3.0, name="muon")
    rates = []
    for _ in range(steps):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        if len(rates) < steps:
            schedule.step()
    for rest, layers, matrices in rates:
        assert layers == pytest.approx(3 * rest, rel=1e-12)
        assert matrices == rest
    assert steps < 50 or max(rates)[0] == pytest.approx(1e-2)


def test_a_run_resumes_exactly(small, tmp_path, resumes_exactly):
    whole = resumes_exactly(channels=32, optimizer="muon")
    train(small(tmp_path / "adamw", epochs=4, channels=32))
    assert json.loads((tmp_path / "adamw" / "history.json").read_text())[-1]["train_mae"] != whole[-1]["train_mae"]


def test_the_last_layer_and_small_models_are_not_for_muon():
    model = GraphTransformer(64, 2, 4, out_channels=20)
    last = model.head[-1].weight
    for output in ([], [last]):
        optimizer, _ = one_cycle(model, 1e-2, 0.0, 5, name="muon", output=output)
        assert any(p is last for p in optimizer.param_groups[-1]["params"]) == (not output)
    with pytest.raises(ValueError, match=r"no matrix of at least 16 rows and columns .* more channels"):
        one_cycle(GraphTransformer(8, 2, 4), 1e-2, 0.0, 5, name="muon")


def test_copies_step_as_well_and_parameters_cannot_join():
    model = network()
    optimizer = together(model)
    gradients(model, 0)
    optimizer.step()
    again, other = copy.deepcopy((model, optimizer))
    for m, o in ((model, optimizer), (again, other)):
        gradients(m, 1)
        o.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    with pytest.raises(ValueError, match="cannot join MuonWithAdamW later"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]})


def test_what_is_missing_is_said(monkeypatch, small, tmp_path):
    with pytest.raises(ValueError, match="optimizer must be one of 'adamw', 'muon', but got 'sgd'"):
        TrainConfig(optimizer="sgd")
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ImportError, match=r"needs torch 2\.9 or newer"):
        one_cycle(network(), 1e-2, 0.0, 5, name="muon")
    with pytest.raises(ImportError, match="optimizer='muon' needs torch"):
        train(small(tmp_path / "run", optimizer="muon"))
    assert not (tmp_path / "run").exists()
