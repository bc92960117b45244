"""The examples run, and the programs in the README are the examples."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def body(file: Path) -> str:
    """A script without its docstring."""
    text = file.read_text(encoding="utf-8")
    end = ast.parse(text).body[0].end_lineno
    return "\n".join(text.splitlines()[end:]).strip() + "\n"


@pytest.mark.slow
@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_example_runs(file, tmp_path):
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    run = subprocess.run(
        [sys.executable, "-P", str(file)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.strip(), "an example prints what it found"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_programs_in_the_docs_define_what_they_use(page):
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for block in blocks:
        command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", "-"]
        found = subprocess.run(command, input=block, capture_output=True, text=True)
        assert found.returncode == 0, found.stdout + found.stderr


def test_readme_programs_are_the_examples():
    bodies = {body(file): file.name for file in EXAMPLES}
    for block in BLOCKS:
        assert block in bodies, f"no file in examples/ holds this program of README.md:\n{block}"
    assert {"01_positional_encoding.py", "02_electric_flow.py"} <= {bodies[block] for block in BLOCKS}


@pytest.mark.slow
def test_both_optimizers_start_from_the_same_loss(tmp_path):
    run = subprocess.run(
        [sys.executable, "-P", str(ROOT / "examples/11_training_dynamics.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    starts = [line.split()[1:4] for line in run.stdout.splitlines() if re.match(r"(SGD|Adam) +0 ", line)]
    assert len(starts) == 2, run.stdout + run.stderr
    assert starts[0] == starts[1]  # step, loss and condition number


def test_electric_flow_is_networkx_resistance():
    run = subprocess.run(
        [sys.executable, str(ROOT / "examples/02_electric_flow.py")], capture_output=True, text=True, timeout=300
    )
    ours, theirs = map(float, run.stdout.split())
    assert ours == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_readme_links_to_files_that_exist(target):
    assert (ROOT / target).exists(), f"README.md links to {target}, which does not exist"


def test_readme_commands_are_those_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    train = re.search(r"^TRAIN = (.*)$", makefile, re.MULTILINE).group(1)
    assert f".venv/bin/graphtf {train}\n" in README
