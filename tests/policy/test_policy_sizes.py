"""Files and functions stay small enough to be read, and services speak through logs."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (
    ROOT / "shared/arith_shared",
    ROOT / "shared/arith_model",
    ROOT / "cli/arithctl",
    ROOT / "services/trainer/arith_trainer",
    ROOT / "services/extractor/arith_extractor",
    ROOT / "services/prober/arith_prober",
)
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
FILES = sorted(file for package in PACKAGES for file in package.rglob("*.py"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def functions(file: Path) -> Iterator[ast.FunctionDef]:
    yield from (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, FUNCTIONS))


def test_all_packages_are_looked_at():
    assert {file.parent for file in FILES} >= set(PACKAGES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_and_its_functions_are_short_and_say_what_they_are_for(file):
    text = file.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    assert ast.get_docstring(ast.parse(text)), "a module's docstring says which choices were made"
    # A migration describes a whole schema at one moment and is never edited again.
    if "migrations" not in file.parts:
        too_long = [
            node.name for node in functions(file) if node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
        ]
        assert too_long == []


def test_no_package_prints():
    printing = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert printing == []


def test_every_package_is_typed_for_its_users():
    assert [package.name for package in PACKAGES if not (package / "py.typed").is_file()] == []


def test_the_names_of_test_files_are_unique():
    counts = Counter(file.name for file in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in counts.items() if count > 1] == []
