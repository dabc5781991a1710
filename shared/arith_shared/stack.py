"""The compose stack of the working folder, as its host finds it: with no setting, by its file and its open ports.

`docker-compose.yml` reads the same variables with the same defaults (a test compares them). Whether the stack
runs is asked of its ports, because that takes no rights on Docker and a millisecond.
"""

from __future__ import annotations

import contextlib
import re
import socket
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

#: What opens a stack that nobody has given passwords: fit for a laptop that lets nobody else in.
DEFAULT_PASSWORD = "arith-default-password"  # noqa: S105 - public on purpose, and warned about wherever it is used
FILE = Path("docker-compose.yml")
#: Where the stack's ports are published, and nowhere else.
HOST = "127.0.0.1"
#: Seconds; on the machine itself a port answers or refuses at once.
_PROBE_S = 0.5

Port = Annotated[int, Field(ge=1, le=65535)]


class Stack(BaseSettings):
    """What `docker-compose.yml` takes from `.env`; every field is the variable `ARITH_COMPOSE_<FIELD>`."""

    model_config = SettingsConfigDict(
        env_prefix="ARITH_COMPOSE_", env_file=".env", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    redis_port: Port = 16379
    """Port of the broker on the host."""
    postgres_port: Port = 15432
    """Port of the database on the host."""
    redis_password: SecretStr = SecretStr(DEFAULT_PASSWORD)
    """Password of the broker's user `arith`."""
    postgres_password: SecretStr = SecretStr(DEFAULT_PASSWORD)
    """Password of the database's user `arith`."""
    artifacts: str = "artifacts"
    """A folder of the host (it holds a slash) or the name of a volume."""

    @property
    def broker_url(self) -> str:
        """The broker as the host reaches it, secrets included: never log it."""
        url = f"redis://arith@{HOST}:{self.redis_port}/0"
        return with_password(url, self.redis_password.get_secret_value())

    @property
    def database_url(self) -> str:
        """The database as the host reaches it, secrets included: never log it."""
        url = f"postgresql+psycopg://arith@{HOST}:{self.postgres_port}/arith"
        return with_password(url, self.postgres_password.get_secret_value())

    @property
    def artifact_folder(self) -> str | None:
        """The artifact root as the host sees it; None where Docker keeps it in a volume."""
        return str(Path(self.artifacts).absolute()) if "/" in self.artifacts else None

    def answers(self) -> bool:
        """Whether broker or database accept connections: one of the two may be restarting."""
        return any(map(_accepts, (self.redis_port, self.postgres_port)))


def is_here() -> bool:
    """Whether the working folder holds our compose file, and not just anybody's."""
    try:
        return re.search(r"^x-arithctl:", FILE.read_text(encoding="utf-8"), re.MULTILINE) is not None
    except (OSError, UnicodeDecodeError):
        return False


def with_password(url: str, password: str) -> str:
    """The URL with this password in place of whatever it held."""
    scheme, _, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}://{user.partition(':')[0] if at else ''}:{quote(password, safe='')}@{host}"


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=_PROBE_S):
        return True
    return False
