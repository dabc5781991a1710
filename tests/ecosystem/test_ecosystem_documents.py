"""Every command that the README, the tour and the other pages show is run, in order, as a reader would run it.

Those of the second machine and of docker compose have tests of their own, and so has `bench/gpu.py`.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from arithctl import recipes, reference
from harness.documents import ROOT, blocks
from harness.pretrained import family, save
from harness.recipes import SMALL
from harness.tiny import ARITHCTL, ENV

#: What a reader has that a test has not: minutes, and a model of his own.
RECIPE, LM = "tiny-specialized", "/models/my-lm"


def lines_of(document: str) -> list[str]:
    found = [line.strip() for line in indented(document) if line.strip()]
    assert all(line.startswith("arithctl ") for line in found), found
    return found


def indented(document: str) -> list[str]:
    """Lines of the blocks that are marked as commands, those inside lists too."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.M | re.S)).splitlines()


def run(folder: Path, line: str) -> str:
    words = shlex.split(line, comments=True)
    if words[1] == "submit":
        words = [word.replace(RECIPE, "small.yaml") for word in words]
    if placeholders := {"FIRST", "SECOND", "GENERAL", "SPECIALISED"} & set(words):
        listed = json.loads(command(folder, [str(ARITHCTL), "status", "--json"]))
        newest = dict(zip(sorted(placeholders, reverse=True), (run["run"] for run in listed), strict=False))
        words = [newest.get(word, word) for word in words]
    words = [word.replace(LM, str(folder / "my-lm")) for word in words]
    return command(folder, [str(ARITHCTL), *words[1:]])


def command(folder: Path, words: list[str]) -> str:
    done = subprocess.run(words, cwd=folder, env=ENV, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    spec = recipes.load(RECIPE).resolve(list(SMALL.items()))
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(spec.model_dump(mode="json")), encoding="utf-8")
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tour_can_be_taken(folder):
    said = {line: run(folder, line) for line in lines_of("docs/tour.md")}
    assert len(said) > 12
    assert "claim" in said["arithctl results last --table claims"]
    assert "is what it says" in said["arithctl verify run.zip"]
    assert (folder / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert list((folder / "figures").glob("*-heatmaps.png"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_another_layout_is_a_field(folder):
    said = {line: run(folder, line) for line in lines_of("docs/howto-own-layout.md")}
    assert "layout: level-5" in said["arithctl submit tiny-specialized -s task.layout=level-5 --dry-run"]
    assert (folder / "arithctl-results").is_dir()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_pretrained_lm_of_ones_own_is_read(folder):
    save(*family("llama"), folder / "my-lm")
    said = {line: run(folder, line) for line in lines_of("docs/howto-own-lm.md")}
    assert "accuracy" in said["arithctl results last --table summary"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_the_readme_shows_after_the_first_run_works(folder):
    run(folder, f"arithctl submit {RECIPE} --wait")
    said = {line: run(folder, line) for line in lines_of("README.md")}
    assert len(said) > 8
    assert list((folder / "figures").glob("*.pdf"))
    assert any("not judged" in text or "inconclusive" in text for text in said.values())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_is_a_group_with_means(folder):
    said = {line.partition(" #")[0].strip(): run(folder, line) for line in lines_of("docs/sweeps.md")}
    assert (
        "6 runs"
        in said["arithctl submit tiny-specialized --sweep seed=1,2,3 --sweep probe.controls=1,5 --dry-run"]
    )
    assert "probe.controls=5" in said["arithctl results last"]


def test_the_reference_is_what_the_commands_say():
    written = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert written == reference.markdown(), "run `make reference`"


def test_every_page_is_in_the_index_and_every_link_of_a_page_leads_somewhere():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)", text):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_no_block_of_the_tour_is_left_out():
    assert not blocks("docs/tour.md"), "commands of the tour are marked sh, so that they are run"
