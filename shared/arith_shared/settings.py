"""Where things are: read from the environment or `.env`, once, by entry points.

Nothing configured means embedded: SQLite, files and a private broker under `ARITH_HOME`. What the
experiment is never stands here (`specs.py`), and a setting never changes a result.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from arith_shared.errors import UserError

#: Bytes; the kernel's limit is 108 on Linux and 104 on macOS.
_MAX_SOCKET_PATH = 100

#: What a broker URL may begin with: Redis and Valkey over TCP, TLS and a unix socket.
_BROKERS = ("redis://", "rediss://", "redis+socket://")

Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """Typed environment; every field is the variable `ARITH_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="ARITH_", env_file=".env", frozen=True, extra="ignore")

    home: Path = Path(".arith")
    """State of the embedded mode, logs and caches."""
    broker_url: SecretStr | None = None
    """Redis or Valkey, e.g. redis://:password@host:6379/0; unset = a private broker started on demand."""
    database_url: SecretStr | None = None
    """SQLAlchemy URL, e.g. postgresql+psycopg://user:password@host/arith; unset = SQLite under `home`."""
    artifacts: str | None = None
    """Folder or fsspec URL (s3://bucket/prefix) of models, hidden states and scores; unset = `home`/artifacts."""
    max_bytes: Annotated[int, Field(ge=0)] | None = None
    """Bytes that the artifact root is brought down to by `gc` and before each submission, by deleting the hidden
    states of finished runs, least recently used first; unset = no limit."""
    heartbeat_s: Seconds = 10.0
    """Seconds between two heartbeats of a running unit."""
    lease_s: Seconds = 60.0
    """Seconds without a heartbeat after which a unit is given to another worker."""
    tick_s: Seconds = 2.0
    """Seconds between two rounds of the reconciler."""
    resend_s: Seconds = 30.0
    """Seconds after which an unanswered message is sent again; doubles with each try, up to ten minutes."""
    retry_s: Seconds = 10.0
    """Base of the delay before a failed unit is tried again; doubles with each failure, up to ten minutes."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Compute threads per worker; unset = all cores (embedded: cores divided by workers of the stage)."""
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """Port of the endpoint /metrics of this process; unset or 0 = none."""
    metrics_host: str = "127.0.0.1"
    """Address that the endpoint is bound to; 0.0.0.0 only inside a container."""
    log_format: Literal["text", "json"] = "text"

    @field_validator("broker_url")
    @classmethod
    def _broker_is_known(cls, url: SecretStr | None) -> SecretStr | None:
        # Celery would take a bare host name for a RabbitMQ, and wait for it.
        if url is not None and not url.get_secret_value().startswith(_BROKERS):
            raise ValueError(
                f"expected a URL that begins with {', '.join(_BROKERS[:-1])} or {_BROKERS[-1]}, "
                "e.g. redis://:password@host:6379/0"
            )
        return url

    @model_validator(mode="after")
    def _lease_outlives_heartbeats(self) -> Settings:
        if self.lease_s < 3 * self.heartbeat_s:
            raise ValueError(
                f"ARITH_LEASE_S={self.lease_s:g} is shorter than three heartbeats of {self.heartbeat_s:g} s; "
                "raise it or lower ARITH_HEARTBEAT_S"
            )
        return self

    @property
    def embedded(self) -> bool:
        """Whether broker and workers are ours to start."""
        return self.broker_url is None

    @cached_property
    def database(self) -> str:
        """The database's URL, secrets included: never log it."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{(self.home / 'arith.db').absolute()}"

    @property
    def artifact_root(self) -> str:
        """The artifact root as a folder or URL."""
        return self.artifacts or str((self.home / "artifacts").absolute())

    @property
    def broker_socket(self) -> Path:
        """The unix socket of the embedded broker; in the temporary folder if the path under `home` is too long."""
        path = self.home.absolute() / "broker.sock"
        if len(str(path)) <= _MAX_SOCKET_PATH:
            return path
        short = hashlib.sha256(str(path).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"arith-{os.getuid()}-{short}" / "broker.sock"

    @property
    def broker(self) -> str:
        """The broker's URL, secrets included: never log it."""
        if self.broker_url is not None:
            return self.broker_url.get_secret_value()
        return f"redis+socket://{self.broker_socket}"


def load_settings() -> Settings:
    """Read the environment; raise UserError naming the variable, the value and what is expected."""
    try:
        return Settings()
    except ValidationError as error:
        lines = []
        for detail in error.errors(include_url=False):
            name = "_".join(["ARITH", *(str(part).upper() for part in detail["loc"])])
            message = str(detail["msg"]).removeprefix("Value error, ")
            # A URL may hold a password, however badly it is written.
            found = "" if name.endswith("_URL") else f"={detail['input']!r}"
            lines.append(f"{name}{found}: {message}" if detail["loc"] else message)
        raise UserError("\n".join(lines)) from None
