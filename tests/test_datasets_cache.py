"""The cache of graphs: never stale, never half-written."""

import functools
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch_geometric.transforms import AddRandomWalkPE

from graphtf.datasets import SMILESDataset

TABLE = "smiles,y,z\nCCO,1,2\nC,3,4\nN,5,6\n"


class Scale:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, data):
        data.y = data.y * self.factor
        return data


def power(data, exponent):
    data.y = data.y**exponent
    return data


def scale_by(factor):
    def scale(data):
        data.y = data.y * factor
        return data

    return scale


@pytest.fixture
def read(tmp_path):
    def build(content=TABLE, **options):
        (tmp_path / "mine.csv").write_text(content)
        return SMILESDataset(tmp_path / "cache", tmp_path / "mine.csv", progress=False, **options)

    return build


def caches(tmp_path):
    return len(list((tmp_path / "cache").rglob("graphs.pt")))


def test_a_changed_table_or_option_is_noticed(read, tmp_path):
    assert read().y.tolist() == [1, 3, 5]
    assert read(TABLE.replace("5", "7")).y.tolist() == [1, 3, 7]
    assert read(target_column="z").y.tolist() == [2, 4, 6]
    assert read(features="ogb").num_node_features == 9
    assert read().num_node_features == 1
    assert read(on_error="skip").skipped == []
    assert caches(tmp_path) == 5


@pytest.mark.parametrize(
    "options",
    [
        [Scale(2.0), Scale(3.0)],
        [scale_by(2), scale_by(3)],
        [functools.partial(power, exponent=2), functools.partial(power, exponent=3)],
        [Scale(torch.tensor([1.0])), Scale(torch.tensor([2.0]))],
        [Scale(2.0).__call__, Scale(4.0).__call__],
        [lambda data: data, lambda data: power(data, 2), lambda data: power(data, 3)],
    ],
    ids=["object", "closure", "partial", "tensor", "method", "lambda"],
)
def test_functions_that_differ_in_anything_have_caches_of_their_own(read, tmp_path, options):
    targets = [read(pre_transform=option).y.tolist() for option in options]
    assert len(set(map(tuple, targets))) == len(options) == caches(tmp_path)
    assert [read(pre_transform=option).y.tolist() for option in options] == targets
    assert caches(tmp_path) == len(options)


def test_transforms_of_pyg_that_print_alike_are_told_apart(read):
    for length in (3, 5):
        # Kept apart by more than the repr, which is AddRandomWalkPE() for both.
        dataset = read("smiles,y\nCCO,1\nCC,2\n", pre_transform=AddRandomWalkPE(length, attr_name="pe"))
        assert dataset[0].pe.shape == (3, length)


def test_a_filter_is_part_of_the_cache_and_sees_smiles(read):
    assert len(read(pre_filter=lambda data: data.num_nodes > 1)) == 1
    assert len(read(pre_filter=lambda data: data.num_nodes > 0)) == 3
    assert read(pre_filter=lambda data: data.smiles == "N").y.tolist() == [5]


def test_objects_in_c_are_told_apart_or_refused(read, tmp_path):
    for pattern, count in (("C", 2), ("N", 1)):
        matching = re.compile(pattern)
        assert len(read(pre_filter=lambda data, matching=matching: bool(matching.search(data.smiles)))) == count
    lock = threading.Lock()
    with pytest.raises(TypeError, match="cannot tell when a lock changes"):
        read(pre_transform=lambda data, lock=lock: data)


SCRIPT = """
import os, signal, sys
from graphtf.datasets import SMILESDataset

count = 0

def count_or_die(data):
    global count
    count += 1
    if os.environ["DIE"] == "computing" and count == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return data

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if os.environ["DIE"] == "writing":
    os.replace = die
dataset = SMILESDataset(sys.argv[1], sys.argv[2], pre_transform=count_or_die, progress=False)
print(count, dataset.y.tolist())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills a process by a POSIX signal")
def test_a_killed_process_leaves_no_cache(tmp_path):
    (tmp_path / "mine.csv").write_text(TABLE)
    script = tmp_path / "read.py"
    script.write_text(SCRIPT)

    def run(die):
        command = [sys.executable, str(script), str(tmp_path / "cache"), str(tmp_path / "mine.csv")]
        return subprocess.run(command, env=os.environ | {"DIE": die}, capture_output=True, text=True)

    for moment in ("computing", "writing"):
        assert run(moment).returncode == -9
        assert not list((tmp_path / "cache").rglob("graphs.pt"))
    assert run("never").stdout.strip() == "3 [1.0, 3.0, 5.0]"


def test_an_interruption_leaves_no_file(read, tmp_path):
    def interrupt(data):
        if data.smiles == "N":
            raise KeyboardInterrupt
        return data

    with pytest.raises(KeyboardInterrupt):
        read(pre_transform=interrupt)
    assert not [path for path in Path(tmp_path, "cache").rglob("*") if path.is_file()]
