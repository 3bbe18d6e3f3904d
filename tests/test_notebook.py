"""The notebook in `examples/`, as a kernel executes it."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.helpers import ROOT


@pytest.fixture
def notebook() -> Any:
    """The stored notebook."""
    return nbformat.read(ROOT / "tests" / "examples" / "notebook.ipynb", as_version=4)  # type: ignore[no-untyped-call]


def test_stored_notebook_is_valid_and_has_no_outputs(notebook: Any) -> None:
    nbformat.validate(notebook)
    assert not [
        cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")
    ]


@pytest.mark.slow
def test_notebook_shows_a_line_per_epoch_tables_and_figures_but_no_bar(
    notebook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    printed = "".join(output.text for output in outputs if output.get("name") == "stdout")
    assert not [
        word for word in ("Tip", "litlogger", "GPU available", "Lightning") if word in printed
    ]
    assert [line[:9] for line in printed.splitlines() if line.startswith("epoch ")] == [
        "epoch 1/3", "epoch 2/3", "epoch 3/3", "epoch 4/5", "epoch 5/5"
    ]  # fmt: skip

    shown = [output.data for output in outputs if "data" in output]
    assert not any("━" in data["text/plain"] for data in shown)
    assert sum("image/png" in data for data in shown) == 3
    assert sum("<table" in data.get("text/html", "") for data in shown) == 2
    run, last = (data["text/plain"] for data in shown if data["text/plain"].startswith("Run("))
    assert run.partition(":")[0] == last.partition(":")[0]
    assert len([*(tmp_path / "outputs" / "runs").glob("2*")]) == 2
