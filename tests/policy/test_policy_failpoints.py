"""Every failpoint that can be asked for is reached somewhere, and every one that is reached can be asked for."""

from __future__ import annotations

import ast
from pathlib import Path

from arith_shared.failpoints import FAILPOINTS

ROOT = Path(__file__).parents[2]


def test_failpoints_are_those_that_the_code_reaches():
    reached = {
        ast.literal_eval(node.args[0])
        for folder in ("shared", "cli", "services")
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "reach"
    }
    assert reached == set(FAILPOINTS)
    assert len(FAILPOINTS) == len(set(FAILPOINTS))
