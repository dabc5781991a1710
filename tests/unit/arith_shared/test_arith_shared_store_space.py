"""A full disk is recognised however a library says it, and told with its folder."""

from __future__ import annotations

import errno

import pytest

from arith_shared.errors import DiskFullError
from arith_shared.store.space import full_disk_named


def wrapped(cause: Exception) -> Exception:
    error = RuntimeError("could not save the checkpoint")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        wrapped(OSError(errno.ENOSPC, "No space left on device")),
    ],
)
def test_a_full_disk_is_told_with_its_folder_what_is_free_and_what_to_do(tmp_path, error):
    with (
        pytest.raises(DiskFullError, match=r"bytes are free: make room there \(`arithctl gc`\)") as told,
        full_disk_named(tmp_path / "not" / "made"),
    ):
        raise error
    assert f"the disk of {tmp_path / 'not' / 'made'} is full" in str(told.value)
    assert told.value.__cause__ is error


@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O error"), ValueError("no"), wrapped(KeyError("x"))])
def test_other_errors_stay_what_they_are(tmp_path, error):
    with pytest.raises(type(error)) as told, full_disk_named(tmp_path):
        raise error
    assert told.value is error
