"""The command line finds the compose stack of its folder while that runs, and nobody else's stack ever."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from arith_shared import stack
from arith_shared.errors import UserError
from arith_shared.settings import load_settings
from arith_shared.stack import with_password

OURS = "x-arithctl: {}\nservices: {}\n"


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this machine that accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> int:
    """A port that accepts none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        number: int = server.getsockname()[1]
    return number


@pytest.fixture
def ports(home, monkeypatch):
    """Put our compose file here, with these ports for broker and database."""

    def put(redis: int, postgres: int, text: str = OURS) -> None:
        Path("docker-compose.yml").write_text(text)
        monkeypatch.setenv("ARITH_COMPOSE_REDIS_PORT", str(redis))
        monkeypatch.setenv("ARITH_COMPOSE_POSTGRES_PORT", str(postgres))

    return put


def test_a_stack_that_runs_is_found_with_nothing_configured(ports, port):
    ports(port, port)
    settings = load_settings()
    assert settings.mode == "compose"
    assert settings.broker == f"redis://arith:{stack.DEFAULT_PASSWORD}@127.0.0.1:{port}/0"
    assert settings.database == f"postgresql+psycopg://arith:{stack.DEFAULT_PASSWORD}@127.0.0.1:{port}/arith"
    assert not settings.embedded
    assert "ARITH_MODE=embedded leaves it alone" in settings.reason


@pytest.mark.parametrize("broker_is_up", [True, False])
def test_one_of_the_two_may_be_restarting(ports, port, closed, broker_is_up):
    ports(*((port, closed) if broker_is_up else (closed, port)))
    assert load_settings().mode == "compose"


def test_a_stack_that_is_down_leaves_the_embedded_mode(ports, closed, home):
    ports(closed, closed)
    settings = load_settings()
    assert settings.embedded
    assert settings.artifact_root == f"{home}/artifacts"
    assert "no stack of docker-compose.yml answers" in settings.reason


def test_another_projects_compose_file_is_not_ours(ports, port):
    ports(port, port, "services: {}\n# x-arithctl:\n")
    assert load_settings().embedded


def test_urls_go_before_the_stack(ports, port, monkeypatch):
    ports(port, port)
    monkeypatch.setenv("ARITH_BROKER_URL", "redis://elsewhere:6379/0")
    settings = load_settings()
    assert settings.broker == "redis://elsewhere:6379/0"
    assert settings.mode == "auto"


def test_the_mode_can_be_said(ports, port, closed, home, monkeypatch):
    ports(port, port)
    monkeypatch.setenv("ARITH_MODE", "embedded")
    monkeypatch.setenv("ARITH_DATABASE_URL", "postgresql://elsewhere/d")
    settings = load_settings()
    assert settings.embedded
    assert settings.database == f"sqlite:///{home}/arith.db"
    monkeypatch.delenv("ARITH_DATABASE_URL")
    monkeypatch.setenv("ARITH_MODE", "compose")
    ports(closed, closed)
    assert load_settings().mode == "compose"
    Path("docker-compose.yml").unlink()
    with pytest.raises(UserError, match=r"this folder has no docker-compose\.yml of arithctl"):
        load_settings()


def test_artifacts_in_a_volume_are_out_of_sight_and_those_in_a_folder_are_not(
    ports, port, monkeypatch, tmp_path
):
    ports(port, port)
    settings = load_settings()
    assert not settings.sees_artifacts
    with pytest.raises(UserError, match="docker compose run --rm cli arithctl"):
        _ = settings.artifact_root
    monkeypatch.setenv("ARITH_COMPOSE_ARTIFACTS", "./artifacts")
    assert load_settings().artifact_root == f"{tmp_path}/artifacts"


def test_passwords_come_from_the_file_that_make_env_writes(ports, port):
    ports(port, port)
    assert "default password opens the broker and the database" in load_settings().insecure
    Path(".env").write_text("ARITH_COMPOSE_REDIS_PASSWORD=a/b@c\nARITH_COMPOSE_POSTGRES_PASSWORD=geheim\n")
    settings = load_settings()
    assert settings.broker == f"redis://arith:a%2Fb%40c@127.0.0.1:{port}/0"
    assert settings.insecure is None
    assert "geheim" not in repr(settings) + repr(stack.Stack())


@pytest.mark.parametrize(
    ("url", "completed"),
    [
        ("redis://arith@redis:6379/0", "redis://arith:p@redis:6379/0"),
        ("redis://redis:6379/0", "redis://:p@redis:6379/0"),
        ("redis://arith:old@redis:6379/0", "redis://arith:p@redis:6379/0"),
        (
            "postgresql+psycopg://u@[::1]:5432/d?sslmode=require",
            "postgresql+psycopg://u:p@[::1]:5432/d?sslmode=require",
        ),
    ],
)
def test_a_password_finds_its_place_in_a_url(url, completed):
    assert with_password(url, "p") == completed


def test_a_password_may_come_from_a_file(home, monkeypatch, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("geheim\n")
    monkeypatch.setenv("ARITH_BROKER_URL", "redis://arith@redis:6379/0")
    monkeypatch.setenv("ARITH_BROKER_PASSWORD_FILE", str(secret))
    settings = load_settings()
    assert settings.broker == "redis://arith:geheim@redis:6379/0"
    assert settings.insecure is None
    secret.write_text("")
    assert "default password opens the broker:" in load_settings().insecure
    secret.unlink()
    with pytest.raises(UserError, match=r"password file .*secret: No such file"):
        _ = load_settings().broker


def test_a_password_file_without_a_url_is_a_mistake(home, monkeypatch):
    monkeypatch.setenv("ARITH_DATABASE_PASSWORD_FILE", "/dev/null")
    with pytest.raises(UserError, match="ARITH_DATABASE_PASSWORD_FILE is set without ARITH_DATABASE_URL"):
        load_settings()
