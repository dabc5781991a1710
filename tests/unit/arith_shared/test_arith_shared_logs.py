"""A log line says what it is about, in text and in JSON, and the binding ends with its block."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from arith_shared import logs

log = logging.getLogger("arith.test")


@pytest.fixture(autouse=True)
def _own_root_handlers() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_text_carries_what_is_bound_in_the_order_of_binding(capsys):
    logs.configure("text")
    with logs.bound(run="r-1"), logs.bound(unit="train/model#1"):
        log.info("step %d", 3)
    log.info("after")
    inside, after = capsys.readouterr().err.splitlines()
    assert inside.endswith("INFO    arith.test: step 3  [r-1 train/model#1]")
    assert after.endswith("arith.test: after")


def test_json_is_one_object_per_line_whatever_the_message_holds(capsys):
    logs.configure("json")
    with logs.bound(run="r-1"):
        try:
            raise ValueError("zwei\nZeilen")
        except ValueError:
            log.exception("failed: %s", 'a "quote"\nand a line')
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert (record["run"], record["level"], record["logger"]) == ("r-1", "ERROR", "arith.test")
    assert record["message"] == 'failed: a "quote"\nand a line'
    assert record["exception"].endswith("ValueError: zwei\nZeilen")


def test_a_binding_ends_even_when_the_block_fails(capsys):
    logs.configure("json")
    with pytest.raises(RuntimeError), logs.bound(run="r-1"):
        raise RuntimeError
    log.info("after")
    assert "run" not in json.loads(capsys.readouterr().err)


def test_below_the_level_nothing_is_written(capsys):
    logs.configure("text", level=logging.WARNING)
    log.info("quiet")
    log.warning("loud")
    assert [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()] == ["loud"]


def test_configuring_twice_does_not_write_twice(capsys):
    logs.configure("text")
    logs.configure("text")
    log.info("once")
    assert len(capsys.readouterr().err.splitlines()) == 1
