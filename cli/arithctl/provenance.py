"""Where a run comes from: what a reader needs to reproduce it and a reviewer to trust it. No secrets."""

from __future__ import annotations

import contextlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import arith_shared

_PACKAGES = ("numpy", "torch", "transformers", "pyarrow", "SQLAlchemy", "celery")


def collect() -> dict[str, Any]:
    """Versions, machine and, in a checkout, the git commit and whether it had changes."""
    return {
        "arithctl": arith_shared.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages(),
        "git": _git(),
    }


def packages() -> dict[str, str]:
    """The versions of what results depend on, as far as it is installed."""
    return {name: version for name in _PACKAGES if (version := _version(name))}


def _version(package: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _git() -> dict[str, Any] | None:
    folder = Path(__file__).parent
    try:
        commit = _run_git(folder, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_run_git(folder, "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _run_git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
