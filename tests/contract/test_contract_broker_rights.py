"""The rights that docker-compose.yml gives to Flower, asked of a real broker: it looks, and queues nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from harness.broker import Broker

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"


@pytest.fixture(scope="module")
def flower(tmp_path_factory) -> Iterator[redis.Redis]:
    """A connection as the user `flower`, to a broker with one message in the queue `train`."""
    broker = Broker(tmp_path_factory.mktemp("rights"))
    (rights,) = re.findall(r"user flower on #\$\$\(.*\) (~.*)$", COMPOSE.read_text(), re.MULTILINE)
    broker.client.execute_command("ACL", "SETUSER", "flower", "on", ">secret", *rights.split())
    broker.client.lpush("arith.train", "message")
    connection = redis.Redis(unix_socket_path=str(broker.socket), username="flower", password="secret")
    yield connection
    connection.close()
    broker.kill()


def test_flower_reads_the_length_of_a_queue_and_asks_workers(flower):
    assert flower.llen("arith.train") == 1
    assert flower.publish("arith./0.celery.pidbox", "ping") == 0
    flower.sadd("arith._kombu.binding.reply.celery.pidbox", "x")
    flower.lpush("arith.1234.reply.celery.pidbox", "pong")
    with flower.pubsub() as listener:
        listener.psubscribe("arith./0.celeryev/*")
        assert listener.get_message(timeout=10)["type"] == "psubscribe"


@pytest.mark.parametrize(
    "command",
    [
        ("LPUSH", "arith.train", "forged"),
        ("BRPOP", "arith.train", "1"),
        ("DEL", "arith.train"),
        ("HSET", "arith.unacked", "tag", "forged"),
        ("GET", "somebody.elses"),
        ("PUBLISH", "somewhere.else", "x"),
        ("KEYS", "*"),
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
        ("ACL", "LIST"),
        ("SHUTDOWN",),
    ],
    ids=lambda command: command[0],
)
def test_flower_can_neither_queue_nor_take_nor_rule(flower, command):
    with pytest.raises(redis.exceptions.NoPermissionError):
        flower.execute_command(*command)
