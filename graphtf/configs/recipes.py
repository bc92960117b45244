"""Recipes by name."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, NamedTuple

FOLDER = files("graphtf.configs")


class Recipe(NamedTuple):
    """Options of a training run.

    Args:
        description: what the recipe is for, one line.
        max_parameters: the most parameters that its model may have.
        options: options of :class:`graphtf.train.TrainConfig`.
    """

    description: str
    max_parameters: int
    options: dict[str, Any]


def recipe_names() -> tuple[str, ...]:
    """Names of all recipes.

    Example:
        >>> "500k" in recipe_names()
        True
    """
    return tuple(sorted(file.name.removesuffix(".yaml") for file in FOLDER.iterdir() if file.name.endswith(".yaml")))


def load_recipe(name: str) -> Recipe:
    """Read a recipe.

    Raises:
        ValueError: there is none of this name.
        ImportError: PyYAML is not installed.

    Example:
        >>> load_recipe("cpu-30min").options["channels"]
        64
    """
    if name not in recipe_names():
        raise ValueError(f"there is no recipe {name!r}, only {', '.join(recipe_names())}")
    try:
        import yaml
    except ImportError as error:
        raise ImportError('graphtf needs pyyaml for recipes; install it with: pip install "graphtf[train]"') from error
    options = yaml.safe_load(FOLDER.joinpath(f"{name}.yaml").read_text(encoding="utf-8"))
    return Recipe(options.pop("description"), options.pop("max_parameters"), options)
