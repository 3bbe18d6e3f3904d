"""The package has one direction: a module imports only from its own floor or from those below."""

import ast
import functools
from pathlib import Path

import sentiment

PACKAGE = Path(sentiment.__file__).parent
FLOORS = [
    *("runtime", "data", "model", "baselines", "classifier", "file_predictions"),
    *("analysis", "training", "serving"),
]


def imported(file: Path) -> set[str]:
    """The modules of the package that a file imports, lazy imports included."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    types_only = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    skipped = {id(child) for node in types_only for child in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if id(node) not in skipped and isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & modules().keys() or {node.module}
    return {name for name in found if name.startswith("sentiment.")}


@functools.cache
def modules() -> dict[str, Path]:
    names = {}
    for file in PACKAGE.rglob("*.py"):
        parts = ["sentiment", *file.relative_to(PACKAGE).with_suffix("").parts]
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return names


def test_imports_have_one_direction() -> None:
    for name, file in modules().items():
        floor = name.split(".")[1] if "." in name else ""
        if floor in FLOORS:
            above = {*FLOORS[FLOORS.index(floor) + 1 :]} - {floor}
            wrong = [other for other in imported(file) if other.split(".")[1] in above]
            assert not wrong, f"{name} imports {wrong}"


def test_no_modules_import_each_other() -> None:
    files = modules()
    below = {name: (imported(file) & files.keys()) - {name} for name, file in files.items()}
    below["sentiment"] = set()  # `load` is imported on first use, and the version by all
    while ends := {name for name, others in below.items() if not others & below.keys()}:
        below = {name: others for name, others in below.items() if name not in ends}
    assert not below, f"in a circle, or above one: {sorted(below)}"
