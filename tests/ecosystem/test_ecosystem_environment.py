"""What the environment asks of every program is honoured: NO_COLOR, HF_HOME, HF_HUB_OFFLINE, HF_TOKEN."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness import hub, pretrained
from harness.tiny import ARITHCTL, ENV, Tiny

#: The first test to ask for the runs waits for them, on a busy machine for minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: SGR sequences that choose a colour: 30-37, 38, 40-47, 48, 90-107. Bold is none.
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9\d|10[0-7])(?:;\d+)*m")
REPOSITORY, TOKEN = "somebody/tiny-lm", "hf_aSecretOfTheTest"
FIND = """
from arith_model.pretrained import find
from arith_shared.errors import PretrainedError
from arith_shared.specs import PretrainedSpec
try:
    print(find(PretrainedSpec(kind="pretrained", path="somebody/tiny-lm", layers=2, width=32)))
except PretrainedError as error:
    print("refused:", error)
"""


def on_a_terminal(folder: Path, *arguments: str, **env: str) -> str:
    """What a command writes when its output is a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(ARITHCTL), *arguments], cwd=folder, env={"TERM": "xterm-256color"} | ENV | env,
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 65_536):
            written += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0, written
    return written.decode()


def test_no_color_leaves_no_colour_on_a_terminal(tiny: Tiny):
    command = ("status", tiny.run, "--watch")
    colourful = on_a_terminal(tiny.folder, *command, NO_COLOR="")
    assert COLOUR.search(colourful)
    plain = on_a_terminal(tiny.folder, *command, NO_COLOR="1")
    assert not COLOUR.search(plain)
    assert "summarize" in plain


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A small LM as its repository has it."""
    return pretrained.save(*pretrained.family("opt"), tmp_path_factory.mktemp("repository"))


@pytest.fixture
def served(folder):
    """The stand-in for the Hub."""
    with hub.serve(folder, REPOSITORY, TOKEN) as server:
        yield server


def find(server: hub.Hub, home: Path, **env: str) -> str:
    """What a worker finds under the LM's name, in a process of its own."""
    plain = {name: value for name, value in ENV.items() if not name.startswith("HF_")}
    settings = {"HF_ENDPOINT": server.url, "HF_HOME": str(home), "HOME": str(home / "nobody")}
    done = subprocess.run(
        [sys.executable, "-c", FIND], env=plain | settings | env, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return done.stdout.strip()


def test_hf_token_opens_a_gated_lm_and_hf_home_keeps_it_for_hf_hub_offline(served, folder, tmp_path):
    found = Path(find(served, tmp_path, HF_TOKEN=TOKEN))
    assert found.is_relative_to(tmp_path / "hub")
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (found / name).read_bytes() == (folder / name).read_bytes()
    asked = len(served.asked)
    assert asked > 0
    assert find(served, tmp_path, HF_HUB_OFFLINE="1") == str(found)
    assert len(served.asked) == asked


def test_offline_nothing_is_asked_for_an_lm_that_is_not_here(served, tmp_path):
    assert find(served, tmp_path, HF_HUB_OFFLINE="1", HF_TOKEN=TOKEN).startswith("refused: lm.path: ")
    assert served.asked == []


def test_without_a_token_a_gated_lm_is_refused_with_what_to_do(served, tmp_path):
    said = find(served, tmp_path)
    assert said.startswith(f"refused: lm.path: {REPOSITORY} is no folder")
    assert "gated LMs need HF_TOKEN" in said
    assert served.asked
