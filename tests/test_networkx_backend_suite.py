"""NetworkX's own tests pass with the backend switched on."""

import json
import os
import subprocess
import sys

import pytest

from graphtf.networkx_backend.interface import FUNCTIONS

# Counts the calls that reach the backend, and in which tests.
PLUGIN = """
import functools, json, os
from graphtf.networkx_backend import backend_interface
from graphtf.networkx_backend.interface import FUNCTIONS

calls, tests, outcome, current = {}, set(), {}, [None]

def counted(name, function):
    @functools.wraps(function)
    def run(*args, **kwargs):
        calls[name] = calls.get(name, 0) + 1
        tests.add(current[0])
        return function(*args, **kwargs)
    return run

for name in FUNCTIONS:
    setattr(backend_interface, name, counted(name, getattr(backend_interface, name)))

def pytest_runtest_setup(item):
    current[0] = item.nodeid

def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        outcome[report.outcome] = outcome.get(report.outcome, 0) + 1

def pytest_sessionfinish():
    with open(os.environ["GRAPHTF_CALLS"], "w") as file:
        json.dump({"calls": calls, "tests": len(tests), "outcome": outcome}, file)
"""
CENTRALITY = "networkx.algorithms.centrality.tests.test_"
THEIR_TESTS = [
    "networkx.linalg.tests.test_algebraic_connectivity",
    "networkx.linalg.tests.test_graphmatrix",
    "networkx.linalg.tests.test_laplacian",
    "networkx.linalg.tests.test_spectrum",
    CENTRALITY + "current_flow_betweenness_centrality",
    CENTRALITY + "current_flow_betweenness_centrality_subset",
    CENTRALITY + "current_flow_closeness",
    CENTRALITY + "subgraph",
    "networkx.algorithms.tests.test_communicability",
    "networkx.algorithms.tests.test_distance_measures",
]


@pytest.mark.slow
def test_networkx_own_tests_pass(tmp_path):
    (tmp_path / "count_backend_calls.py").write_text(PLUGIN, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    environment = os.environ | {
        "NETWORKX_TEST_BACKEND": "graphtf",
        "NETWORKX_FALLBACK_TO_NX": "True",
        "GRAPHTF_CALLS": str(tmp_path / "calls.json"),
        "PYTHONPATH": str(tmp_path),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "count_backend_calls", "--pyargs"]
    run = subprocess.run(
        [*command, *THEIR_TESTS], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stdout + run.stderr
    result = json.loads((tmp_path / "calls.json").read_text())
    print(result)
    assert set(result["outcome"]) <= {"passed", "skipped"}
    assert set(result["calls"]) == set(FUNCTIONS)
    assert result["tests"] >= 150
