"""What an artifact consists of: its files with sizes and checksums, and the names they may have.

The digest covers names, sizes and checksums only: attempts that made equal files have equal digests, whenever
and wherever they ran. Names are checked both when a manifest is made and when it is read, since a name that
comes from a file or a database becomes a path.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from arith_shared.errors import ArtifactError

Kind = Literal["models", "states", "scores", "summaries"]

#: The manifest's own name; no other file of an artifact may have it.
MANIFEST = "manifest.json"

#: Raised when the manifest's form changes.
SCHEMA = 1

#: One part of a path: no separator, no leading dot (so neither `..` nor a hidden file).
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=-]{0,199}")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file: its name relative to the artifact (`/` between parts), bytes, and SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The list of an artifact's files, in order of their names."""

    kind: str
    key: str
    files: tuple[FileEntry, ...]
    #: Small JSON facts of the producer.
    meta: Mapping[str, Any]
    #: When it was published: seconds since 1970, by the clock of the machine that did.
    created: float

    @property
    def digest(self) -> str:
        """SHA-256 over the files' names, sizes and checksums: equal content, equal digest."""
        lines = sorted(f"{file.name}\0{file.size}\0{file.sha256}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Bytes of all files, without the manifest."""
        return sum(file.size for file in self.files)

    def to_json(self) -> bytes:
        """The bytes of `manifest.json`."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, text: bytes, where: str) -> Manifest:
        """Read what `to_json` wrote. Raises ArtifactError, naming `where`, for anything else."""
        try:
            data = json.loads(text)
            if data.pop("schema") != SCHEMA:
                raise ValueError("another schema")
            files = tuple(FileEntry(**entry) for entry in data.pop("files"))
            for file in files:
                check_file_name(file.name)
            return cls(files=files, **data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(
                f"{where}: expected a manifest of schema {SCHEMA}, found none that can be read ({error})"
            ) from error


def check_name(name: str, what: str) -> str:
    """Return `name` if it is safe as one part of a path; raise ArtifactError otherwise."""
    if not _NAME.fullmatch(name):
        raise ArtifactError(
            f"{what} {name!r}: expected 1 to 200 letters, digits or _ . = - that do not start with . = or -"
        )
    return name


def check_file_name(name: str) -> str:
    """Return `name` if each of its parts is safe; raise ArtifactError otherwise."""
    for part in name.split("/"):
        check_name(part, "file name")
    return name


def artifact_path(kind: str, key: str, token: str) -> str:
    """`kind/key/token`, checked: where an artifact lies below the root. Raises ArtifactError."""
    if kind not in get_args(Kind):
        raise ArtifactError(f"artifact kind {kind!r}: expected one of {', '.join(get_args(Kind))}")
    return "/".join((kind, check_name(key, "artifact key"), check_name(token, "artifact token")))


def check_path(path: str) -> str:
    """Return `path` if it has the form that `artifact_path` gives; raise ArtifactError otherwise."""
    parts = path.split("/")
    if len(parts) != 3:
        raise ArtifactError(f"artifact path {path!r}: expected kind/key/token")
    return artifact_path(*parts)
