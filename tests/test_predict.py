import io
import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sentiment.classifier import load
from sentiment.errors import InputError
from sentiment.predict import CHUNK, predict

from .conftest import command

TEXTS = ["a convincing film", "null", "", 'quoted, "with" commas\nand lines', "电影", "007", "not good " * 50] * 300
assert len(TEXTS) > CHUNK


def arguments(checkpoint: Path, **settings: Any) -> Namespace:
    defaults: dict[str, Any] = {"text": [], "file": None, "column": "text", "format": "jsonl", "ensemble": []}
    return Namespace(**defaults | {"checkpoint": checkpoint} | settings)


def lines(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Path]:
    table = pd.DataFrame({"id": range(len(TEXTS)), "text": TEXTS})
    paths = {suffix: tmp_path / f"texts.{suffix}" for suffix in ("csv", "tsv", "jsonl", "parquet")}
    table.to_csv(paths["csv"], index=False)
    table.to_csv(paths["tsv"], index=False, sep="\t")
    table.to_json(paths["jsonl"], orient="records", lines=True)
    table.to_parquet(paths["parquet"])
    return paths


def test_every_kind_of_table_gives_a_line_per_text_in_order(
    run: Path, tables: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    expected = load(run).predict(TEXTS)
    for path in tables.values():
        predict(arguments(run, file=path))
        found = lines(capsys)
        assert [line["label"] for line in found] == [prediction.label for prediction in expected]
        for line, prediction in zip(found, expected, strict=True):
            assert line["probabilities"] == pytest.approx(prediction.probabilities, abs=2e-6)


def test_arguments_and_csv(run: Path, masked_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict(arguments(run, text=["a convincing film", "boring"], format="csv", ensemble=[masked_run]))
    header, *rows = capsys.readouterr().out.splitlines()
    assert header == "label,p(bad),p(good)"
    assert len(rows) == 2
    for row in rows:
        label, bad, good = row.split(",")
        assert label == ("good" if float(good) > float(bad) else "bad")


def stdin(content: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)))


def test_lines_of_standard_input(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", stdin("a film\r\n\n电影\x85x".encode()))
    predict(arguments(run))
    expected = load(run).predict(["a film", "", "电影\x85x"])
    assert [line["label"] for line in lines(capsys)] == [prediction.label for prediction in expected]
    monkeypatch.setattr("sys.stdin", stdin(b"fine\n\xff\xfe\n"))
    with pytest.raises(InputError, match="standard input: line 2 is not UTF-8"):
        predict(arguments(run))


def test_a_slow_pipe_is_answered_line_by_line_and_a_closed_one_ends_quietly(run: Path, tmp_path: Path) -> None:
    program = [sys.executable, "-m", "sentiment.predict", str(run)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        for text in (b"a film\n", b"another\n"):
            process.stdin.write(text)
            process.stdin.flush()
            assert b"label" in process.stdout.readline()
        process.stdout.close()
        process.stdin.write(b"a third\n" * 3)
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.csv", None, "absent.csv: no such file"),
        ("x.txt", b"text\n", r"x.txt: cannot read .txt; use .csv, .tsv, .jsonl, .parquet, or < for lines"),
        ("x.csv", b"", "x.csv: empty; it needs a column text"),
        ("x.csv", b"review\na\n", "--column text: no such column in .*x.csv; it has review"),
        ("x.csv", b"text\ngood\n\xff\xfe\n", "x.csv: cannot be read as csv"),
        ("x.csv", b"id,text\n1,a\n2,b,c,d\n", "x.csv: cannot be read as csv"),
        ("x.jsonl", b'{"text": "a"}\n{"text": null}\n', "x.jsonl: row 2, column text holds nothing"),
        ("x.jsonl", b'{"text": "a"}\n{"text": 3}\n', "x.jsonl: row 2, column text holds 3"),
        ("x.jsonl", b"", "x.jsonl: empty; it needs a column text"),
        ("x.csv", b"text\n" + b"good\n" * 3000 + b"\xff\n", "x.csv: cannot be read as csv after row [0-9,]+ "),
        ("x.jsonl", b'{"text": "a"\n', "x.jsonl: cannot be read as jsonl"),
        ("x.parquet", b"PAR1 cut off", "x.parquet: cannot be read as parquet"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(
    run: Path, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as refused:
        predict(arguments(run, file=tmp_path / name))
    assert "\n" not in str(refused.value)


def test_texts_and_a_file_exclude_each_other(run: Path) -> None:
    with pytest.raises(InputError, match="texts are given too"):
        predict(arguments(run, file=Path("x.csv"), text=["a film"]))


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["predict", "explain", "neighbors", "export", "report"])
def test_a_wrong_command_line_gets_one_line_and_exit_code_2(tmp_path: Path, tool: str) -> None:
    cases = [["absent", "something"], ["--nonsense", "absent", "something"], []]
    for case in cases:
        done = command(*case, cwd=tmp_path, module=tool)
        assert done.returncode == 2, case
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
