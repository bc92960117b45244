"""Recipes: options of `graphtf train` by name, as YAML files beside this module."""

from graphtf.configs.recipes import Recipe, load_recipe, recipe_names

__all__ = ["Recipe", "load_recipe", "recipe_names"]
