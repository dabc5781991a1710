"""A log line says what it is about, in text and in JSON, and the binding ends with its block."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from arith_shared import logs
from arith_shared.testing import fresh_database

log = logging.getLogger("arith.test")


@pytest.fixture(autouse=True)
def _own_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for owner, name in ((sys, "excepthook"), (threading, "excepthook"), (sys, "__stdout__")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    loggers = [logging.getLogger(name) for name in ("", "multiprocessing", "alembic")]
    kept = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    logging.captureWarnings(False)
    if sys.__stdout__.name == os.devnull:
        sys.__stdout__.close()
    for logger, handlers, level, propagate in kept:
        logger.handlers[:], logger.level, logger.propagate = handlers, level, propagate


def test_text_carries_what_is_bound_in_the_order_of_binding(capsys):
    logs.configure("text")
    with logs.bound(run="r-1"), logs.bound(unit="train/model#1"):
        log.info("step %d", 3)
    log.info("after")
    inside, after = capsys.readouterr().err.splitlines()
    assert inside.endswith("INFO    arith.test: step 3  [r-1 train/model#1]")
    assert after.endswith("arith.test: after")


def test_looking_at_the_schema_of_a_database_writes_no_line(capsys, tmp_path):
    logs.configure("text")
    fresh_database(f"sqlite:///{tmp_path / 'arith.db'}").close()
    assert capsys.readouterr().err == ""


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


def test_json_gives_the_time_in_utc(capsys):
    logs.configure("json")
    log.info("now")
    at = datetime.fromisoformat(json.loads(capsys.readouterr().err)["at"])
    assert at.utcoffset() == datetime.now(UTC).utcoffset()
    assert abs(at.timestamp() - time.time()) < 60


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@host:6379/0",
        "rediss://arith:hunter2@host/0",
        "postgresql+psycopg://arith:hunter2@host/arith",
        "redis://arith:hun/ter@hunter2@host",
    ],
)
def test_the_password_of_a_url_is_never_written(capsys, style, url):
    logs.configure(style)
    try:
        raise ConnectionError(f"cannot connect to {url}")
    except ConnectionError:
        log.exception("tried %s, mail someone@example.org", url)
    text = capsys.readouterr().err
    assert "hunter2" not in text
    assert text.count(":***@host") == 2
    assert "someone@example.org" in text


def test_what_ends_a_thread_and_what_a_process_pool_says_are_objects_too(capsys):
    logs.configure("json")
    with logs.bound(run="r-1"):
        thread = threading.Thread(target=lambda: 1 / 0, name="adder")
        thread.start()
        thread.join()
    logging.getLogger("multiprocessing").error("Process %r exited", "Worker-1")
    sys.excepthook(ValueError, ValueError("bad"), None)
    uncaught, pool, last = map(json.loads, capsys.readouterr().err.splitlines())
    assert uncaught["message"] == "uncaught ZeroDivisionError in adder"
    assert uncaught["exception"].endswith("ZeroDivisionError: division by zero")
    assert pool["message"] == "Process 'Worker-1' exited"
    assert (last["level"], last["message"]) == ("CRITICAL", "uncaught ValueError")
