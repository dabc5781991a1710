"""Every row of the fault matrix has a test that is named after it and that nothing leaves out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

FAULTS = Path(__file__).parents[1] / "faults"
ROWS = 27


def named_after_rows() -> Iterator[ast.FunctionDef]:
    """The tests that are named after a row."""
    for file in FAULTS.glob("test_faults_matrix_*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_row_"):
                yield node


def test_every_row_of_the_fault_matrix_has_a_test():
    rows = {int(re.fullmatch(r"test_row_(\d\d)_[a-z].*", test.name)[1]) for test in named_after_rows()}
    assert rows == set(range(1, ROWS + 1))


def test_no_row_of_the_fault_matrix_is_left_out():
    marks = {ast.unparse(mark) for test in named_after_rows() for mark in test.decorator_list}
    assert [mark for mark in marks if "skip" in mark or "xfail" in mark] == []
