"""The command line: train, compare, evaluate, predict."""

import csv
import json

import pytest
import yaml

from graphtf.cli import main
from graphtf.datasets import clean_leads_smiles
from graphtf.train import compare, predict

BUDGET = ["--channels", "16", "--layers", "2", "--heads", "4", "--batch-size", "16", "--accelerator", "cpu"]


def test_wrong_data_leaves_nothing(cache, tmp_path, capsys):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.csv").write_text("smiles,y\nCC,1\nC(C,2\n")
    (folder / "val.csv").write_text("smiles,target\nCC,1\n")
    arguments = ["train", "--data", str(folder), "--root", str(cache), "--out", str(tmp_path / "run"), "--epochs", "1"]
    assert main(arguments) == 2
    assert "train.csv, line 3, 'C(C'" in capsys.readouterr().err
    (folder / "train.csv").write_text("smiles,y\nCC,1\nCCC,2\n")
    assert main(arguments) == 2
    assert "the column 'y' is missing" in capsys.readouterr().err
    for wrong in (["--accelerator", "abacus"], ["--strategy", "ddp_spawn"], ["--heads", "5"]):
        (folder / "val.csv").write_text("smiles,y\nCC,1\n")
        assert main([*arguments, *wrong]) == 2
        capsys.readouterr()
    assert not (tmp_path / "run").exists()
    assert main(arguments) == 0


@pytest.mark.slow
def test_compare(small, tmp_path):
    config = small(tmp_path / "c", epochs=2)
    rows = compare(config, ["none", "linear-transformer"], seeds=[0, 1], jobs=2)
    assert [row["pe"] for row in rows] == ["none", "linear-transformer"]
    assert all(len(row["val_mae"]) == 2 for row in rows)
    assert rows[1]["num_parameters"] > rows[0]["num_parameters"]
    text = (tmp_path / "c" / "comparison.md").read_text()
    assert "| none |" in text
    assert "±" in text
    assert (tmp_path / "c" / "comparison.png").stat().st_size > 0
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "c").rglob("best.ckpt")}
    assert compare(config, ["none", "linear-transformer"], seeds=[0, 1]) == rows  # nothing is trained twice
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "c").rglob("best.ckpt")}
    with pytest.raises(ValueError, match="holds a run with other options"):
        compare(small(tmp_path / "c", epochs=3), ["none"])
    with pytest.raises(ValueError, match=r"seeds must be at least one, each once, but got \[0, 0\]"):
        compare(config, ["none"], seeds=[0, 0])


def test_compare_says_what_it_will_train(capsys, monkeypatch):
    monkeypatch.setattr("graphtf.cli.signal.signal", lambda *_: None)
    for jobs, said in ((1, "seeds: 0, 3; 1 run at a time, in runs/x"), (2, "seeds: 0, 3; 2 runs at a time, in runs/x")):
        wrong = ["--data", "nowhere", "--out", "runs/x"]
        assert main(["compare", *wrong, "--seeds", "0", "3", "--jobs", str(jobs)]) == 2
        assert said in capsys.readouterr().out


@pytest.mark.slow
def test_compare_reports_a_failed_run_and_can_be_repeated(small, tmp_path):
    wrong = small(tmp_path / "c", epochs=1, accelerator="abacus")
    with pytest.raises(RuntimeError, match=r"none-seed0 failed: .*abacus.*log\.txt"):
        compare(wrong, ["none"])
    # Data-parallel: Lightning starts the command of the run a second time.
    rows = compare(small(tmp_path / "c", epochs=1, devices=2, strategy="ddp"), ["none"])
    assert len(rows[0]["val_mae"]) == 1


def test_predict(finished, tmp_path, capsys, monkeypatch):
    checkpoint = str(finished[0] / "best.ckpt")
    smiles = clean_leads_smiles("val")[96:99]
    rows = predict(checkpoint, smiles)
    assert [row[0] for row in rows] == smiles
    alone = predict(checkpoint, smiles[1:2])
    assert alone[0][1] == pytest.approx(rows[1][1], abs=1e-5)
    with pytest.raises(ValueError, match=r"molecule 2: RDKit cannot parse the SMILES 'C\(C'"):
        predict(checkpoint, ["CC", "C(C"])

    table = tmp_path / "in.csv"
    table.write_text("id,structure\n1,CCO\n2,C(C\n3,c1ccccc1\n")
    output = tmp_path / "out.csv"
    arguments = ["predict", "--checkpoint", checkpoint, "--input", str(table), "--smiles-column", "structure"]
    assert main([*arguments, "--output", str(output)]) == 2
    err = capsys.readouterr().err
    assert "in.csv, line 3: RDKit cannot parse" in err
    assert "(--on-error skip) leaves its prediction empty" in err
    assert not output.exists()
    assert main([*arguments, "--output", str(output), "--on-error", "skip"]) == 0
    assert "line 3 skipped" in capsys.readouterr().err
    written = list(csv.DictReader(output.read_text().splitlines()))
    assert [row["smiles"] for row in written] == ["CCO", "C(C", "c1ccccc1"]
    assert written[1]["prediction"] == ""
    assert float(written[0]["prediction"]) == pytest.approx(predict(checkpoint, ["CCO"])[0][1], abs=1e-5)

    import io

    def standard_input(text):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    standard_input("CCO ethanol\n\nCC\n")
    assert main(["predict", "--checkpoint", checkpoint]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "smiles,prediction"
    assert [line.split(",")[0] for line in lines[1:]] == ["CCO", "CC"]
    standard_input("x,mol\n1,CCO\n2,CC,3\n")
    assert main(["predict", "--checkpoint", checkpoint, "--smiles-column", "mol", "--on-error", "skip"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[2].startswith("CC,")
    assert "standard input, line 3 skipped: the row has 3 fields, but the header has 2" in err
    assert main([*arguments, "--output", str(tmp_path)]) == 2
    assert "the output must be a file" in capsys.readouterr().err


def test_command_line(molecules, cache, tmp_path, capsys):
    out = str(tmp_path / "run")
    arguments = ["--data", str(molecules), "--root", str(cache), *BUDGET, "--epochs", "1", "--subset", "30"]
    assert main(["train", *arguments, "--pe", "random-walk", "--pe-dim", "5", "--out", out, "--progress", "lines"]) == 0
    printed = capsys.readouterr().out
    assert "epoch 1/1" in printed
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["pe_dim"] == 5
    checkpoint = str(tmp_path / "run" / "best.ckpt")
    assert main(["evaluate", "--checkpoint", checkpoint, "--data", str(molecules), "--root", str(cache), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_graphs"] == 24
    assert main(["train", *arguments, "--out", out]) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert main(["train", "--data", "nowhere", "--out", str(tmp_path / "x")]) == 2
    assert "must be 'embedded', 'zinc' or a directory" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()  # nothing is written for wrong input
    assert main(["evaluate", "--checkpoint", "missing.ckpt"]) == 2
    assert "there is no checkpoint missing.ckpt" in capsys.readouterr().err
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(b"nothing")
    assert main(["evaluate", "--checkpoint", str(broken)]) == 2
    assert "no checkpoint of this version" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "--pe", "gpse"])
    assert "invalid choice: 'gpse'" in capsys.readouterr().err


def test_the_parser_knows_the_encodings_that_there_are():
    # It has names of its own, so that --help does not load torch and Lightning.
    from graphtf import cli_parser
    from graphtf.train.compare import COMPARED
    from graphtf.train.encoding_options import ENCODINGS

    assert tuple(ENCODINGS) == cli_parser.PES
    assert cli_parser.COMPARED == COMPARED
