"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(destination: Path) -> Iterator[Path]:
    """Yield a temporary name beside `destination`; rename it into place if the block succeeds.

    Nothing is left behind when the block raises, and a reader never sees half a file. Missing folders are
    made. A destination that exists and is no regular file (``/dev/stdout``, a pipe) is written directly:
    renaming would replace the device.
    """
    if destination.exists() and not destination.is_file():
        yield destination
        return
    destination = destination.resolve()  # the rename must replace the target of a link, not the link
    destination.parent.mkdir(parents=True, exist_ok=True)
    temporary = destination.with_name(f".{destination.name}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        os.replace(temporary, destination)
    finally:
        temporary.unlink(missing_ok=True)
