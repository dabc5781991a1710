"""Every test that the page on reliability names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(test_[a-z0-9_]+)`", PAGE)))
FILES = sorted(set(re.findall(r"`(tests/[A-Za-z0-9_/*.]+)`", PAGE)))
ROWS = 27


@pytest.fixture(scope="module")
def defined() -> set[str]:
    """The names of all tests."""
    sources = (file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    return {
        name for source in sources for name in re.findall(r"^def (test_[a-z0-9_]+)\(", source, re.MULTILINE)
    }


def test_every_test_that_the_page_names_exists(defined):
    assert NAMED
    assert [name for name in NAMED if name not in defined] == []


def test_every_file_that_the_page_names_exists():
    assert [pattern for pattern in FILES if not list(ROOT.glob(pattern))] == []


def test_the_page_has_every_row_of_the_fault_matrix_and_a_test_for_each():
    rows = dict(re.findall(r"^\| (\d+) \|(.*)\|$", PAGE, re.MULTILINE))
    assert sorted(map(int, rows)) == list(range(1, ROWS + 1))
    assert [number for number, row in rows.items() if f"`test_row_{int(number):02d}_" not in row] == []


def test_every_test_of_a_row_of_the_fault_matrix_is_on_the_page(defined):
    assert sorted(name for name in defined if name.startswith("test_row_") and name not in NAMED) == []
