"""What an installation puts where: nothing at the top level but graphtf, and everything in wheel and sdist."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import graphtf

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = {"graphtf/datasets": "datasets", "graphtf/transforms": "transforms"}  # in the package: in the repository


@pytest.mark.parametrize("name", ["datasets", "transforms", "examples", "tests", "benchmarks", "docs", "scripts"])
def test_folder_is_not_a_top_level_module(name, tmp_path):
    code = (
        f"import importlib.util as u; s = u.find_spec({name!r});"
        "print(s and [s.origin, *(s.submodule_search_locations or [])])"
    )
    run = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert str(ROOT) not in run.stdout


@pytest.mark.parametrize("name", ["datasets", "transforms"])
def test_folder_refuses_to_be_a_top_level_module(name):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {name}"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert f"graphtf.{name}; use `python -P`" in run.stderr


def test_every_package_is_declared():
    declared = PYPROJECT["tool"]["setuptools"]["packages"]
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "graphtf").rglob("__init__.py")}
    assert set(declared) == found | {"graphtf.datasets", "graphtf.transforms"}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="archives and unpacked sdists need no links")
@pytest.mark.parametrize(("link", "folder"), FOLDERS.items())
def test_folder_is_linked_into_the_package(link, folder):
    assert (ROOT / link).resolve() == ROOT / folder


def test_version_is_the_same_everywhere():
    version = PYPROJECT["project"]["version"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.search(r"^## \[(\d[^\]]*)\]", changes, re.MULTILINE)
    assert graphtf.__version__ == version
    assert importlib.metadata.version("graphtf") == version
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE).group(1) == version
    assert released.group(1) == version


def test_python_versions_agree():
    classifiers = PYPROJECT["project"]["classifiers"]
    versions = [c.rsplit(" ", 1)[1] for c in classifiers if re.search(r":: 3\.\d+$", c)]
    assert PYPROJECT["project"]["requires-python"] == f">={versions[0]}"
    assert f"in {' | '.join(versions)})" in (ROOT / "scripts/install.sh").read_text(encoding="utf-8")


def test_constraints_pin_every_direct_dependency():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {}
    for line in lines:
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9._]+)", line)
            assert match, f"constraints.txt says {line!r}, but every line must be name==version"
            pins[canonicalize_name(match[1])] = match[2]
    project = PYPROJECT["project"]
    texts = [*project["dependencies"], *(t for extra in project["optional-dependencies"].values() for t in extra)]
    for requirement in map(Requirement, texts):
        name = canonicalize_name(requirement.name)
        if name != "graphtf":
            assert name in pins, f"constraints.txt does not pin {name}"
            assert requirement.specifier.contains(pins[name]), f"{requirement} excludes the pinned {pins[name]}"


@pytest.mark.parametrize(
    ("extra", "python", "message"),
    [
        (
            "train",
            "/nonexistent/python",
            "needs Python 3.11, 3.12 or 3.13, but /nonexistent/python is no Python that runs",
        ),
        ("dev", "false", "make PYTHON=/path/to/python3.11"),
        ("docs", sys.executable, "usage: sh scripts/install.sh train|dev, but got 'docs'"),
    ],
)
def test_install_script_says_what_is_wrong(extra, python, message):
    command = ["sh", str(ROOT / "scripts/install.sh"), extra]
    run = subprocess.run(command, env={**os.environ, "PYTHON": python}, capture_output=True, text=True)
    assert run.returncode != 0
    assert message in run.stderr


def sources() -> set[str]:
    """Paths inside the package that an installation must have: all modules, `py.typed` and the data."""
    files = {}
    for folder in ["graphtf", *FOLDERS.values()]:
        inside = "graphtf" if folder == "graphtf" else f"graphtf/{folder}"
        for file in (ROOT / folder).rglob("*"):
            files[f"{inside}/{file.relative_to(ROOT / folder).as_posix()}"] = file
    names = {name for name, file in files.items() if file.is_file() and file.suffix == ".py"}
    shipped = ("datasets/data/*", "configs/*.yaml", "weights/*.json", "weights/*.safetensors")
    data = {
        name for name, file in files.items() if file.is_file() and any(fnmatch(name, f"graphtf/{p}") for p in shipped)
    }
    return names | data | {"graphtf/py.typed"}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[str, Path, Path]:
    """The log of a build from a clean copy, the sdist, and the wheel built from the sdist."""
    folder = tmp_path_factory.mktemp("build")
    copy = folder / "copy"
    copy.mkdir()
    leave = {"build", "data", "dist", "runs", "shared"}
    ignore = shutil.ignore_patterns("__pycache__", ".*")
    for path in ROOT.iterdir():
        if path.name.startswith(".") or path.name in leave or path.suffix == ".egg-info":
            continue
        if path.is_dir():
            shutil.copytree(path, copy / path.name, symlinks=True, ignore=ignore)
        else:
            shutil.copy2(path, copy / path.name)
    command = [sys.executable, "-P", "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(copy)]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    log = run.stdout + run.stderr
    assert run.returncode == 0, log
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    (wheel,) = (folder / "dist").glob("*.whl")
    return log, sdist, wheel


@pytest.mark.slow
def test_build_is_clean(built):
    log, _, _ = built
    assert "is absent from the `packages` configuration" not in log
    assert "SetuptoolsDeprecationWarning" not in log


@pytest.mark.slow
def test_wheel_holds_the_package_and_nothing_else(built):
    _, _, wheel = built
    version = PYPROJECT["project"]["version"]
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"graphtf-{version}.dist-info"
        assert {PurePosixPath(name).parts[0] for name in names} == {"graphtf", info}
        assert {name for name in names if not name.startswith(info)} == sources()
        assert f"{info}/licenses/LICENSE" in names
        for licence in PYPROJECT["project"]["license-files"]:
            assert f"{info}/licenses/{licence}" in names
        assert "graphtf = graphtf.cli:main" in archive.read(f"{info}/entry_points.txt").decode()


@pytest.mark.slow
def test_sdist_holds_the_repository(built):
    _, sdist, _ = built
    with tarfile.open(sdist) as archive:
        names = {str(PurePosixPath(*PurePosixPath(m.name).parts[1:])) for m in archive if m.isfile()}
        assert not [m.name for m in archive if m.issym()], "an sdist must not hold links"
    for name in sources():
        assert name.removeprefix("graphtf/") in names or name in names, f"the sdist lacks {name}"
    for folder in ["examples", "scripts", "tests"]:
        expected = {f.relative_to(ROOT).as_posix() for f in (ROOT / folder).glob("*.*") if f.is_file()}
        assert expected <= names, f"the sdist lacks {sorted(expected - names)}"
    assert {"CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile", "constraints.txt"} <= names


@pytest.mark.slow
def test_unpacked_wheel_works(built, tmp_path):
    _, _, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import graphtf.datasets, graphtf.transforms\n"
        "from importlib.resources import files\n"
        "print(graphtf.__file__, *[p.name for p in files('graphtf.datasets').joinpath('data').iterdir()], sep='\\n')"
    )
    command = [sys.executable, "-I", "-c", code]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    file, *data = run.stdout.splitlines()
    assert Path(file) == tmp_path / "graphtf" / "__init__.py"
    assert set(data) == {f.name for f in (ROOT / "datasets" / "data").iterdir()}
