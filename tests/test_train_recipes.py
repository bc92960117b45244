"""Recipes: options of a training run by name."""

import json

import pytest
import yaml

from graphtf.cli import main
from graphtf.configs import load_recipe, recipe_names
from graphtf.train import TrainConfig, train
from graphtf.train.config import WHERE

TINY = ["--subset", "20", "--epochs", "1", "--accelerator", "cpu", "--threads", "1", "--progress", "none"]


@pytest.mark.parametrize("name", recipe_names())
def test_the_model_of_a_recipe_is_within_its_budget(name, molecules, cache, tmp_path):
    recipe = load_recipe(name)
    where = {"data": str(molecules), "root": str(cache), "out": str(tmp_path / "run"), "accelerator": "cpu"}
    short = {"epochs": 1, "subset": 20, "progress": "none", "threads": 1}
    metrics = train(TrainConfig(**recipe.options | where | short))
    assert recipe.max_parameters / 2 < metrics["num_parameters"] <= recipe.max_parameters
    assert recipe.description
    assert not set(recipe.options) & (set(WHERE) - {"threads"} | {"data", "seed"})


def test_the_command_line_overrides_a_recipe(molecules, cache, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["train", "--recipe", "cpu-30min", "--data", str(molecules), "--root", str(cache), "--out", str(out)]
    more = ["--layers", "1", "--pe-options", "heads=2,leverage=false", "--pe-dim", "4", *TINY]
    assert main([*arguments, *more]) == 0
    config = yaml.safe_load((out / "config.yaml").read_text())
    recipe = load_recipe("cpu-30min").options
    assert (config["layers"], config["pe"], config["pe_dim"]) == (1, "conductances:heads=2,leverage=false", 4)
    for name in set(recipe) - {"layers", "pe", "epochs", "threads"}:
        assert config[name] == recipe[name], name
    capsys.readouterr()
    assert main([*arguments, *more, "--resume"]) == 0  # the same command goes on
    assert main(["train", "--out", str(out), "--resume"]) == 0
    assert "nothing to resume" in capsys.readouterr().out
    assert main([*arguments, *TINY, "--pe", "none", "--out", str(tmp_path / "none"), "--layers", "1"]) == 0
    assert json.loads((tmp_path / "none" / "metrics.json").read_text())["pe"] == "none"


def test_recipes_are_listed_and_errors_come_before_any_work(tmp_path, capsys):
    assert main(["train", "--recipe", "list"]) == 0
    printed = capsys.readouterr().out
    for name in recipe_names():
        assert f"{name}: {load_recipe(name).description}" in printed
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert ", ".join(recipe_names()) in " ".join(capsys.readouterr().out.split())
    out = str(tmp_path / "run")
    assert main(["train", "--recipe", "gpu", "--out", out]) == 2
    assert "there is no recipe 'gpu', only 500k, cpu-10min, cpu-30min" in capsys.readouterr().err
    assert main(["train", "--recipe", "500k", "--config", "config.yaml", "--out", out]) == 2
    assert "either --config or --recipe" in capsys.readouterr().err
    assert main(["train", "--pe", "conductances:heads=many", "--out", out]) == 2
    assert "must be a whole number" in capsys.readouterr().err
    assert main(["train", "--pe", "none", "--pe-options", "heads=1", "--out", out]) == 2
    assert "pe='none' has no option 'heads'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
