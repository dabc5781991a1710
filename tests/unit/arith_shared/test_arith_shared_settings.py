"""Settings come from the environment or `.env`; with none, everything lies below one folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from arith_shared.errors import UserError
from arith_shared.settings import Settings, load_settings


def test_nothing_configured_means_embedded_below_the_working_folder(home):
    settings = load_settings()
    assert settings.embedded
    assert settings.database == f"sqlite:///{home}/arith.db"
    assert settings.artifact_root == f"{home}/artifacts"
    assert settings.broker == f"redis+socket://{settings.broker_socket}"
    assert not home.exists()


def test_a_broker_makes_it_a_deployment(home, monkeypatch):
    monkeypatch.setenv("ARITH_BROKER_URL", "redis://:secret@host:6379/0")
    settings = load_settings()
    assert not settings.embedded
    assert settings.broker == "redis://:secret@host:6379/0"


def test_the_environment_goes_before_the_file(home, tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("ARITH_TICK_S=7\nARITH_RETRY_S=8\n# ARITH_THREADS=2\nOTHER=1\n")
    monkeypatch.setenv("ARITH_TICK_S", "9")
    settings = load_settings()
    assert (settings.tick_s, settings.retry_s, settings.threads) == (9.0, 8.0, None)


def test_secrets_are_not_shown(home, monkeypatch):
    monkeypatch.setenv("ARITH_BROKER_URL", "redis://:geheim@host")
    monkeypatch.setenv("ARITH_DATABASE_URL", "postgresql://u:geheim@host/d")
    settings = load_settings()
    assert "geheim" not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize("value", ["localhost", "http://:geheim@host", "amqp://u:geheim@host", ":geheim@h"])
def test_a_broker_of_another_kind_is_refused_without_showing_its_password(home, monkeypatch, value):
    monkeypatch.setenv("ARITH_BROKER_URL", value)
    with pytest.raises(UserError, match="ARITH_BROKER_URL: expected a URL that begins with redis") as caught:
        load_settings()
    assert "geheim" not in str(caught.value)


def test_a_lease_must_outlive_three_heartbeats(home, monkeypatch):
    monkeypatch.setenv("ARITH_LEASE_S", "29.9")
    with pytest.raises(UserError, match=r"ARITH_LEASE_S=29\.9 is shorter than three heartbeats of 10 s"):
        load_settings()
    monkeypatch.setenv("ARITH_HEARTBEAT_S", "9.9")
    assert load_settings().lease_s == 29.9


def test_the_broker_socket_fits_into_the_kernels_limit(tmp_path):
    near, deep = Settings(home=Path("/tmp/a")), Settings(home=tmp_path / ("x" * 90))
    assert near.broker_socket == Path("/tmp/a/broker.sock")
    assert len(str(deep.broker_socket)) < 104
    assert deep.broker_socket == Settings(home=tmp_path / ("x" * 90)).broker_socket
    assert deep.broker_socket != Settings(home=tmp_path / ("y" * 90)).broker_socket
