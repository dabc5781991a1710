"""What the documents promise is what the program has."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import arith_shared
from arith_shared.settings import Settings
from arithctl import recipes
from arithctl.main import COMMANDS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(readme, command):
    assert f"arithctl {command}" in readme


@pytest.mark.parametrize("recipe", recipes.names())
def test_every_recipe_is_in_the_readme(readme, recipe):
    assert recipe in readme


@pytest.mark.parametrize("field", ["home", "broker_url", "database_url", "artifacts"])
def test_every_setting_that_says_where_things_are_is_in_a_document(readme, field):
    assert field in Settings.model_fields
    documents = readme + (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert f"ARITH_{field.upper()}" in documents


def test_the_citation_is_of_this_version_and_names_the_paper_that_the_readme_names(readme):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == arith_shared.__version__
    paper = citation["preferred-citation"]
    assert f"{paper['authors'][0]['family-names']} et al." in readme
    assert paper["notes"].split(" (")[0].casefold() in " ".join(readme.split()).casefold()
