import contextlib
import csv
import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sentiment import predict
from sentiment.classifier import load
from sentiment.data.files.formats import CHUNK_SIZE, ReadOptions
from sentiment.data.files.layout import FileSet
from sentiment.data.files.tables import load_table
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import RunFolder
from tests.helpers import ROOT, command, time_limit

TEXTS = [
    "a convincing film",
    "null",
    "",
    'quoted, "with" commas\nand lines',
    "电影",
    "007",
    "not good " * 50,
] * 300
assert len(TEXTS) > CHUNK_SIZE


def arguments(checkpoint: Path, **settings: Any) -> Namespace:
    defaults: dict[str, Any] = {
        "text": [],
        "file": None,
        "format": "jsonl",
        "ensemble": [],
        "no_header": False,
        "min_probability": 0.0,
        "trust": [],
    }
    defaults |= dict.fromkeys(("column", "separator", "encoding", "encoding_errors"))
    return Namespace(**defaults | {"checkpoint": checkpoint} | settings)


def printed_records(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def copy_run(run: Path, folder: Path, **data: Any) -> Path:
    """A copy of a run with other settings of its data."""
    other = folder / "run"
    shutil.copytree(run, other)
    cfg = RunFolder(other).read_config()
    assert cfg is not None
    cfg.data.update(data)
    RunFolder(other).write_config(cfg)
    return other


@pytest.fixture
def tables(tmp_path: Path) -> list[Path]:
    """`TEXTS` in every format."""
    table = pd.DataFrame({"id": range(len(TEXTS)), "text": TEXTS})
    csv, tsv, jsonl, parquet = paths = [
        tmp_path / f"texts.{suffix}" for suffix in ("csv", "tsv", "jsonl", "parquet")
    ]
    table.to_csv(csv, index=False)
    table.to_csv(tsv, index=False, sep="\t")
    table.to_json(jsonl, orient="records", lines=True)
    table.to_parquet(parquet)
    return paths


def test_every_format_gives_one_prediction_per_text_in_order(
    run: Path, tables: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    expected = load(run).predict(TEXTS)
    for path in tables:
        predict.run(arguments(run, file=path))
        records = printed_records(capsys)
        assert [record["label"] for record in records] == [
            prediction.label for prediction in expected
        ]
        for record, prediction in zip(records, expected, strict=True):
            assert record["probabilities"] == pytest.approx(prediction.probabilities, abs=2e-6)


def test_texts_of_the_command_line_and_csv_output(
    run: Path, masked_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict.run(
        arguments(run, text=["a convincing film", "boring"], format="csv", ensemble=[masked_run])
    )
    header, *rows = capsys.readouterr().out.splitlines()
    assert header == "label,p(bad),p(good)"
    assert len(rows) == 2
    for row in rows:
        label, bad, good = row.split(",")
        assert label == ("good" if float(good) > float(bad) else "bad")


def test_file_without_rows_gives_only_the_csv_header(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.csv").write_text("text\n")
    predict.run(arguments(run, file=tmp_path / "x.csv", format="csv"))
    assert capsys.readouterr().out == "row,text,label,p(bad),p(good)\n"


def test_columns_of_the_file_and_row_numbers_are_kept(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.csv").write_text("label;text;stars\nA;good film;5\nB;;1\n")
    predict.run(arguments(run, file=tmp_path / "x.csv"))
    output = capsys.readouterr()
    first, second = map(json.loads, output.out.splitlines())
    assert list(first) == ["row", "file_label", "text", "stars", "label", "probabilities"]
    assert (first["row"], first["file_label"], first["text"], first["stars"]) == (
        1,
        "A",
        "good film",
        "5",
    )
    assert second["row"] == 2
    note, warning = output.err.splitlines()
    assert note == f"note: {tmp_path / 'x.csv'}: separated by semicolons"
    assert warning.startswith(
        "warning: 1 of 2 texts are empty or have no word that the model knows;"
    )
    predict.run(arguments(run, file=tmp_path / "x.csv", format="csv"))
    header, row, _ = capsys.readouterr().out.splitlines()
    assert header == "row,file_label,text,stars,label,p(bad),p(good)"
    assert row.startswith("1,A,good film,5,")


def test_no_column_of_the_file_is_lost(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.csv").write_text(
        "row,file_row,label,note,note,text,p(bad)\n7,8,A,b,c,good film,0.5\n"
    )
    predict.run(arguments(run, file=tmp_path / "x.csv"))
    (record,) = printed_records(capsys)
    names = [
        "file_file_row",
        "file_row",
        "file_label",
        "column_4",
        "column_5",
        "text",
        "file_p(bad)",
    ]
    assert [record[name] for name in names] == ["7", "8", "A", "b", "c", "good film", "0.5"]
    assert record["row"] == 1


def test_very_many_columns_take_seconds(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["text", *(f"c{n}" for n in range(60_000))]
    (tmp_path / "x.csv").write_text("\n".join([",".join(names), ",".join(["x"] * len(names))]))
    with time_limit(10):
        predict.run(arguments(run, file=tmp_path / "x.csv", format="csv"))
    header, row = csv.reader(capsys.readouterr().out.splitlines())
    assert len(header) == len(row) == len(names) + 4


def test_file_is_read_as_those_of_the_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reading = {"text_column": 2, "header": False, "encoding": "cp1252", "separator": "^"}
    other = copy_run(run, tmp_path, **reading)
    (tmp_path / "x.csv").write_bytes("1^café\n2^film\n".encode("cp1252"))
    predict.run(arguments(other, file=tmp_path / "x.csv"))
    assert [record["2"] for record in printed_records(capsys)] == ["café", "film"]
    (tmp_path / "y.csv").write_text("id,review\n1,a good film\n")
    settings = {"column": "review", "separator": ",", "encoding": "utf-8"}
    predict.run(arguments(other, file=tmp_path / "y.csv", **settings))
    assert [record["review"] for record in printed_records(capsys)] == ["a good film"]


def test_unknown_words_are_reported(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict.run(arguments(run, text=["电影 真的 很好", "a film"]))
    share, texts = capsys.readouterr().err.splitlines()
    assert share.startswith("warning: 60 % of the tokens are not in the vocabulary of the model")
    assert texts.startswith("warning: 1 of 2 texts are empty or have no word that the model knows;")


@pytest.mark.parametrize("texts", [[""], [" ", "?!"], ["zorgblatt"]])
def test_texts_without_a_known_word_are_reported(
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    texts: list[str],
) -> None:
    count = len(texts)
    warning = f"warning: {count} of {count} texts are empty or have no word that the model knows"
    monkeypatch.setattr("sys.stdin", stdin("".join(f"{text}\n" for text in texts).encode()))
    for settings in ({"text": texts}, {}):
        predict.run(arguments(run, **settings))
        assert capsys.readouterr().err.splitlines() == [
            f"{warning}; the predictions for them mean nothing"
        ]


def test_quotation_over_rows_is_read_as_in_training(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ['"I went to see it.', "a film", 'it was great fun."', "good", "bad", "dull"] * 4
    lines = "".join(f"{text},{n % 2}\n" for n, text in enumerate(texts))
    path = tmp_path / "x.csv"
    path.write_text(f"text,label\n{lines}")
    table = load_table(FileSet((path,), path.suffix), ReadOptions(), tmp_path)
    predict.run(arguments(run, file=path))
    output = capsys.readouterr()
    assert [json.loads(line)["text"] for line in output.out.splitlines()] == texts
    assert table["text"].to_pylist() == texts
    assert f"note: {path}: quotes are part of the text" in output.err


def test_nested_files_are_read_as_those_of_the_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = copy_run(run, tmp_path, text_column="review.body")
    table = pd.DataFrame({"review": [{"body": "a good film", "stars": 5}], "n": [1]})
    table.to_json(tmp_path / "x.jsonl", orient="records", lines=True)
    table.to_parquet(tmp_path / "x.parquet")
    for name in ("x.jsonl", "x.parquet"):
        predict.run(arguments(other, file=tmp_path / name))
        (record,) = printed_records(capsys)
        assert record["review"] == {"body": "a good film", "stars": 5}
        assert [*record] == ["row", "review", "n", "label", "probabilities"]


def test_damaged_bytes_are_replaced_as_in_the_run_and_counted(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.csv").write_bytes(
        "text\na café\na thé\na th\x92 film\n".encode().replace(b"\xc2\x92", b"\x92")
    )
    with pytest.raises(InputError, match="fix it, or type --encoding-errors replace to read"):
        predict.run(arguments(run, file=tmp_path / "x.csv"))
    other = copy_run(run, tmp_path, encoding_errors="replace")
    for model, settings in ((run, {"encoding_errors": "replace"}), (other, {})):
        capsys.readouterr()
        predict.run(arguments(model, file=tmp_path / "x.csv", **settings))
        output = capsys.readouterr()
        assert json.loads(output.out.splitlines()[2])["text"] == "a th\ufffd film"
        assert "warning: 1 texts have a character that could not be decoded (U+FFFD)" in output.err


def stdin(content: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)))


def test_lines_of_standard_input(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", stdin("\ufeffa film\r\n\n电影\x85x".encode()))
    predict.run(arguments(run))
    expected = load(run).predict(["a film", "", "电影\x85x"])
    for record, prediction in zip(printed_records(capsys), expected, strict=True):
        assert record["probabilities"] == pytest.approx(prediction.probabilities, abs=2e-6)


def test_undecodable_line_of_standard_input_raises(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", stdin(b"fine\n\xff\xfe\n"))
    with pytest.raises(InputError, match="standard input: line 2 is not UTF-8"):
        predict.run(arguments(run))


@pytest.mark.slow
def test_slow_pipe_is_answered_line_by_line_and_closed_output_ends_quietly(run: Path) -> None:
    program = [sys.executable, "-m", "sentiment.predict", str(run)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
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
        ("x.xls", "text\n", r"x.xls: unknown format .xls; use .csv, .tsv, "),
        ("x.csv", "", "x.csv: contains no rows; add some$"),
        (
            "x.csv",
            "review\na\n",
            "^--column text: no such column in .*x.csv; it has review; type --column NAME, or --no-header",
        ),
        (
            "x.jsonl",
            '{"text": 3}\n',
            "row 1, column text holds 3, not text; .* choose another column with --column NAME",
        ),
    ],
)
def test_invalid_file_raises_one_line(
    run: Path, tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message) as raised:
        predict.run(arguments(run, file=tmp_path / name))
    assert "\n" not in str(raised.value)


def test_texts_before_an_invalid_row_are_classified(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "good film"}\n' * 2000 + "{")
    with pytest.raises(
        InputError, match=r"x.jsonl: after row 1,024: cannot be read as jsonl \(line 2001"
    ):
        predict.run(arguments(run, file=tmp_path / "x.jsonl"))
    assert len(printed_records(capsys)) == CHUNK_SIZE


def test_texts_and_file_exclude_each_other(run: Path) -> None:
    with pytest.raises(InputError, match=r"--file x.csv: texts are given too"):
        predict.run(arguments(run, file=Path("x.csv"), text=["a film"]))


@pytest.mark.slow
def test_predictions_go_to_standard_output_beside_a_progress_bar(run: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text\ngood\nbad\n")
    controller, terminal = pty.openpty()
    program = [
        sys.executable,
        "-m",
        "sentiment.predict",
        str(run),
        "--file",
        str(tmp_path / "x.csv"),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
    bar = b""
    with (
        open(tmp_path / "output.jsonl", "wb") as output,
        subprocess.Popen(program, stdout=output, stderr=terminal, env=environment) as process,
    ):
        os.close(terminal)
        with contextlib.suppress(OSError):  # EIO when the program has ended
            while block := os.read(controller, 1 << 16):
                bar += block
        assert process.wait() == 0
    os.close(controller)
    assert "━".encode() in bar
    assert b"label" not in bar
    assert len((tmp_path / "output.jsonl").read_text().splitlines()) == 2


def test_help_does_not_import_what_takes_seconds(tmp_path: Path) -> None:
    done = command("--help", cwd=tmp_path, module="predict", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    assert not re.findall(r"\| +(torch|pandas|datasets|rich|numpy)$", done.stderr, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("module", ["predict", "explain", "neighbors", "export", "report"])
@pytest.mark.parametrize(
    "line", [["absent", "something"], ["--nonsense", "absent", "something"], []]
)
def test_invalid_command_line_gets_one_line_and_exit_code_2(
    tmp_path: Path, module: str, line: list[str]
) -> None:
    done = command(*line, cwd=tmp_path, module=module)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["ab", "r+b"])
@pytest.mark.parametrize("named", [False, True])
def test_file_is_not_read_while_it_grows_by_its_predictions(
    run: Path, tmp_path: Path, named: bool, mode: str
) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("a good film\n")
    line = [
        sys.executable,
        "-m",
        "sentiment.predict",
        str(run),
        *(["--file", str(file)] if named else []),
    ]
    with file.open("rb") as stdin, file.open(mode) as stdout:
        done = subprocess.run(
            line, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=100
        )
    assert done.returncode == 2
    assert "is standard output too; write the predictions to another file" in done.stderr
    assert file.read_text() == "a good film\n"


def test_texts_of_a_low_probability_are_unsure(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["a good film", "a bad film", "the table"]
    predictions = load(run).predict(texts)
    threshold = sorted(max(found.probabilities.values()) for found in predictions)[1]
    predict.run(arguments(run, text=texts, min_probability=threshold))
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    for line, (label, probabilities) in zip(lines, predictions, strict=True):
        is_sure = max(probabilities.values()) >= threshold
        assert line["label"] == (label if is_sure else "unsure")
    labels = [found.label for found in load(run).predict(texts, min_probability=threshold)]
    assert labels.count("unsure") == 1
    with pytest.raises(InputError, match="--min-probability=2: must be from 0 to 1"):
        predict.run(arguments(run, text=texts, min_probability=2))
