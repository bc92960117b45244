"""Imports between the modules of the package go one way, and importing it loads no optional dependency."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "graphtf"

# Everything that is not one of these belongs to the core. A part may import itself, the core and what it names here.
PARTS = {
    "nn": {"solvers", "weights"},
    "solvers": set(),
    "networkx_backend": {"solvers"},
    "incontext": {"solvers", "weights"},
    "diagnostics": {"incontext"},
    "learn": {"solvers", "incontext", "diagnostics"},
    "transforms": {"nn", "solvers", "incontext"},
    "datasets": {"nn", "transforms"},
    "models": {"nn"},
    "configs": set(),
    "weights": set(),
    "train": {"nn", "transforms", "datasets", "models", "weights"},
    "cli_parser": {"configs"},
    "cli": {"cli_parser", "configs", "nn", "transforms", "datasets", "models", "train", "learn", "weights"},
    "graphgym": {"nn", "datasets", "models"},
    "__main__": {"cli"},
    "testing": set(),
}
# Within the core, from the bottom up; a module that is not listed only has to keep the imports free of cycles.
CORE = [
    {"validate"},
    {"components", "convert", "incidence", "layout"},
    {"attention"},
    {"literal", "memory", "polynomial", "transformer"},
    {"constructions"},
]
OPTIONAL = ["lightning", "matplotlib", "networkx", "ogb", "pytorch_lightning", "rdkit", "scipy", "tensorboard"]


def modules() -> dict[str, Path]:
    """Dotted name and file of every module, the two linked folders included."""
    files = [f for pattern in ("*.py", "*/*.py", "*/*/*.py") for f in PACKAGE.glob(pattern)]
    names = {".".join(("graphtf", *f.relative_to(PACKAGE).with_suffix("").parts)): f for f in files}
    return {name.removesuffix(".__init__"): file for name, file in names.items()}


MODULES = modules()


def imported(file: Path, *, when_loaded: bool = False) -> set[str]:
    """Modules of the package that a file imports: anywhere, or only those that loading the file runs."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if when_loaded and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if when_loaded and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively on line {node.lineno}; write the full name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(name if name in MODULES else str(node.module) for name in names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(file.read_text(encoding="utf-8")))
    return {name for name in found if name.split(".")[0] == "graphtf"}


def part(module: str) -> str:
    """The part a module belongs to: a key of `PARTS`, or `"core"`."""
    first = f"{module}.".split(".")[1]
    return first if first in PARTS else "core"


def level(module: str) -> int | None:
    """The level of a module in `CORE`, if it has one."""
    first = f"{module}.".split(".")[1]
    return next((i for i, names in enumerate(CORE) if first in names), None)


def test_every_part_is_found():
    assert {"core", "nn", "transforms", "datasets"} <= {part(name) for name in MODULES}
    assert "graphtf.incidence" in imported(MODULES["graphtf.attention"]) | imported(MODULES["graphtf.transformer"])


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_one_way(module):
    own = part(module)
    allowed = {"core", own} | PARTS.get(own, set())
    wrong = sorted(name for name in imported(MODULES[module]) if part(name) not in allowed)
    assert not wrong, f"{module} ({own}) imports {wrong}, but may import only {sorted(allowed)}"


@pytest.mark.parametrize("module", sorted(name for name in MODULES if level(name) is not None))
def test_core_levels(module):
    above = [name for name in imported(MODULES[module]) if (level(name) or 0) > level(module)]
    assert not above, f"{module} imports {above}, which stand above it in the core"


def test_loading_has_no_cycles():
    # A package loads its submodules, and a submodule never needs its own package's __init__ to have finished.
    graph = {}
    for name, file in MODULES.items():
        ancestors = {".".join(name.split(".")[:i]) for i in range(1, name.count(".") + 1)}
        graph[name] = imported(file, when_loaded=True) - ancestors - {name}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def loaded(code: str) -> set[str]:
    """Top-level modules in `sys.modules` after `code` has run in a process of its own."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def test_core_loads_torch_only():
    assert not loaded("import graphtf") & {*OPTIONAL, "torch_geometric"}


def test_parts_load_no_optional_dependency():
    # What torch_geometric itself loads, in whatever version is installed, is not ours to avoid.
    theirs = loaded("import torch_geometric.data, torch_geometric.transforms, torch_geometric.datasets")
    ours = loaded("import graphtf.datasets, graphtf.nn, graphtf.transforms")
    assert not (ours - theirs) & set(OPTIONAL)
