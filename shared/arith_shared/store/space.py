"""A full disk, told as such: which folder, and how much is free there.

Libraries report it in many ways (`OSError`, Rust's and torch's own errors), so the text is looked at too.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arith_shared.errors import DiskFullError

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Turn the errors of a full disk inside the block into DiskFullError; `folder` is where the block writes."""
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        if not is_disk_full(error):
            raise
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        free = shutil.disk_usage(existing).free
        raise DiskFullError(
            f"the disk of {folder} is full, {free:,} bytes are free: make room there (`arithctl gc`) "
            "or set ARITH_ARTIFACTS to a larger disk"
        ) from error


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, says that no space is left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
