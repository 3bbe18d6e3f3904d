"""Tokenizing by one process or several."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from joblib import Parallel, delayed

from sentiment.data.encoded import tokenizing
from sentiment.data.encoded.store import is_complete, read_array, write_encoded
from sentiment.data.encoded.tokenizing import EMPTY, RowError, hash_tokens
from sentiment.data.text.tokenizers import Tokenizer
from tests.data.encoded.test_store import LABELS, SPLITS, WORDS, in_two_chunks
from tests.helpers import ROOT


def test_hashes_of_copies_are_equal_in_every_process(tmp_path: Path) -> None:
    folder = tmp_path / "encoded"
    write_encoded(in_two_chunks, LABELS, SPLITS, WORDS, 100, folder, {})
    hashes = read_array(folder, "hashes")
    assert hashes[1] == hashes[3] == hash_tokens(["c", "b", "a"]) == 4379254717260235852
    assert hashes[4] == EMPTY
    assert len(set(hashes.tolist())) == 5


def test_row_on_which_a_tokenizer_fails_is_named(tmp_path: Path) -> None:
    split = Tokenizer({"_target_": "tests.data.encoded.test_store.Lines"}, trust=["tests"])
    message = r"Lines fails on 'C b, a', ValueError: no such text \(test_store\.py, line \d+\)$"
    with pytest.raises(RowError, match=message) as failed:
        write_encoded(in_two_chunks, LABELS, SPLITS, split, 9, tmp_path / "encoded", {})
    assert failed.value.row == 3
    assert not is_complete(tmp_path / "encoded")


def use_two_processes(patch: pytest.MonkeyPatch) -> None:
    """Have few texts tokenized as many are."""
    patch.setattr(tokenizing, "MIN_PARALLEL", 1)
    patch.setattr(tokenizing, "cpu_count", lambda: 2)


def test_several_processes_write_what_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "alone"
    write_encoded(in_two_chunks, LABELS, SPLITS, WORDS, 100, folder, {"language": "en"})
    use_two_processes(monkeypatch)
    write_encoded(
        in_two_chunks, LABELS, SPLITS, WORDS, 100, tmp_path / "parallel", {"language": "en"}
    )
    for path in folder.iterdir():
        assert (tmp_path / "parallel" / path.name).read_bytes() == path.read_bytes()
    (tmp_path / "failed").mkdir()
    test_row_on_which_a_tokenizer_fails_is_named(tmp_path / "failed")


# Not below an `if __name__ == "__main__"`; a test writes it to a file, or sends it to the standard input.
SCRIPT = """
import multiprocessing, sys
from pathlib import Path
import numpy as np
from sentiment.data.encoded import store, tokenizing
from sentiment.data.text.tokenizers import Tokenizer
print("started")
tokenizing.MIN_PARALLEL = 1
tokenizing.cpu_count = lambda: 2
rows = np.arange(4)
texts = [["a b", "a"], ["b", "c a"]]
splits = dict.fromkeys(("train", "val", "test"), rows)
arguments = (lambda _: texts, rows, splits, Tokenizer("words"), 9, Path("encoded"), {})
if sys.argv[1] == "daemon":
    process = multiprocessing.get_context("fork").Process(target=store.write_encoded, args=arguments, daemon=True)
    process.start()
    process.join()
else:
    store.write_encoded(*arguments)
    assert not multiprocessing.active_children()
"""


@pytest.mark.slow
@pytest.mark.parametrize("place", ["file", "stdin", "daemon"])
def test_texts_are_tokenized_in_scripts_of_any_kind(tmp_path: Path, place: str) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    line = [sys.executable, "-" if place == "stdin" else "script.py", place]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        line, input=SCRIPT, capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "started\n")
    assert is_complete(tmp_path / "encoded")


def encode_with_two_processes(folder: Path) -> int:
    """Encode to a folder; the number of this process."""
    with pytest.MonkeyPatch.context() as patch:
        use_two_processes(patch)
        write_encoded(in_two_chunks, LABELS, SPLITS, WORDS, 100, folder, {"language": "en"})
    return os.getpid()


@pytest.mark.slow
def test_workers_of_joblib_can_encode_and_live_on(tmp_path: Path) -> None:
    """They are a notebook's own, or the jobs of a sweep, and can start no processes."""
    workers = Parallel(2)(delayed(encode_with_two_processes)(tmp_path / name) for name in "ab")
    encode_with_two_processes(tmp_path / "c")
    assert {*workers} & {*Parallel(2)(delayed(os.getpid)() for _ in range(50))}
    assert all(is_complete(tmp_path / name) for name in "abc")
