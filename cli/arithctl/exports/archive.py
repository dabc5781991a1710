"""The file itself: a zip with a manifest; equal contents are equal bytes, and what is read is not believed.

Members are in order of their names and have one date, 1980-01-01. The manifest comes last and holds size and
SHA-256 of every other member. Nothing is ever extracted under a name from the file: members are read as streams,
never beyond the size that the manifest gives, and names, kinds, sizes and places are checked before the first byte.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from arith_shared.errors import ArtifactError, UserError

MANIFEST = "manifest.json"
#: Says what the file is; raised when its form changes.
FORMAT = {"format": "arithctl export", "version": 1}
#: Bytes of the manifest, and members of the file, that are read at most.
_MAX_MANIFEST, _MAX_MEMBERS = 64 * 2**20, 200_000
#: Bytes that a member read as a whole may have: tables; hidden states are streamed.
_MAX_TABLE = 512 * 2**20
#: How much smaller than its contents a member may be. Our tables reach 20; a file made to fill a disk has 1,000.
_MAX_RATIO = 200
_CHUNK = 2**20
_DATE = (1980, 1, 1, 0, 0, 0)
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=@-]{0,199}")
_COMPRESSED = (".csv", ".json", ".html", ".svg", ".yaml", ".md")


class Writer:
    """Collects members and writes them with their manifest."""

    def __init__(self) -> None:
        self._members: dict[str, bytes | Path] = {}

    def add(self, name: str, content: bytes | Path) -> None:
        """Add bytes, or a file of this machine that is read when the zip is written."""
        self._members[_safe(name)] = content

    def write(self, destination: Path, run: str, version: str) -> None:
        """Write the zip to `destination`, in one go; the caller renames it into place."""
        files = []
        with zipfile.ZipFile(destination, "w", allowZip64=True) as archive:
            for name, content in sorted(self._members.items()):
                files.append({"name": name, **self._write(archive, name, content)})
            manifest = {**FORMAT, "run": run, "arithctl": version, "files": files}
            text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
            self._write(archive, MANIFEST, text.encode())

    def _write(self, archive: zipfile.ZipFile, name: str, content: bytes | Path) -> dict[str, Any]:
        info = zipfile.ZipInfo(name, _DATE)
        info.create_system, info.external_attr = 3, 0o100644 << 16
        info.compress_type = zipfile.ZIP_DEFLATED if name.endswith(_COMPRESSED) else zipfile.ZIP_STORED
        digest, size = hashlib.sha256(), 0
        with archive.open(info, "w", force_zip64=isinstance(content, Path)) as target:
            for chunk in _chunks(content):
                digest.update(chunk)
                size += len(chunk)
                target.write(chunk)
        return {"size": size, "sha256": digest.hexdigest()}


class Reader:
    """An exported file that somebody gave us."""

    def __init__(self, path: Path) -> None:
        """Open it and check names, kinds and sizes; raises UserError for anything that is not such a file."""
        try:
            self._archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise UserError(
                f"{path}: expected a zip that `arithctl export` wrote, found none: {error}"
            ) from None
        self._path = path
        try:
            infos = self._archive.infolist()
            self._infos = {info.filename: info for info in infos}
            self._refuse_hostile(infos)
            self.manifest = self._manifest()
        except BaseException:
            self._archive.close()
            raise
        self.files: dict[str, Mapping[str, Any]] = {file["name"]: file for file in self.manifest["files"]}

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: object) -> None:
        self._archive.close()

    @property
    def names(self) -> set[str]:
        """Members but for the manifest."""
        return set(self._infos) - {MANIFEST}

    def read(self, name: str) -> bytes:
        """A small member as a whole. Raises ArtifactError when it is missing, too large or damaged."""
        if name not in self._infos:
            raise ArtifactError(f"{name} is missing")
        if self._infos[name].file_size > _MAX_TABLE:
            raise ArtifactError(
                f"{name} has {self._infos[name].file_size:,} bytes, more than a table can have"
            )
        return b"".join(self._stream(name))

    def digest(self, name: str) -> str:
        """SHA-256 of a member, in hexadecimal. Raises ArtifactError when it cannot be read."""
        digest = hashlib.sha256()
        for chunk in self._stream(name):
            digest.update(chunk)
        return digest.hexdigest()

    def size(self, name: str) -> int:
        """Bytes that a member says it has; reading never gives more."""
        return self._infos[name].file_size

    def copy(self, name: str, destination: Path) -> None:
        """Write a member to a file whose name the caller has chosen."""
        with destination.open("wb") as target:
            for chunk in self._stream(name):
                target.write(chunk)

    def _stream(self, name: str) -> Iterator[bytes]:
        left = self._infos[name].file_size
        try:
            with self._archive.open(name) as member:
                while chunk := member.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise ArtifactError(f"{name} is longer than the zip says")
                    yield chunk
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise ArtifactError(f"{name} cannot be read: {error}") from None

    def _refuse_hostile(self, infos: list[zipfile.ZipInfo]) -> None:
        if len(infos) > _MAX_MEMBERS:
            raise UserError(f"{self._path}: {len(infos):,} members, expected at most {_MAX_MEMBERS:,}")
        if len(self._infos) < len(infos):
            raise UserError(f"{self._path}: a member's name stands in the zip twice")
        packed = sum(info.compress_size for info in infos)
        if packed > self._path.stat().st_size:
            raise UserError(f"{self._path}: its members share bytes, which only a hostile zip does")
        for info in infos:
            self._refuse_hostile_member(info)

    def _refuse_hostile_member(self, info: zipfile.ZipInfo) -> None:
        kind = info.external_attr >> 28
        reasons = {
            "its name is not one that this program gives": not _is_safe(info.filename),
            "it is no regular file": kind not in (0, 0o10),
            "it is encrypted": bool(info.flag_bits & 1),
            "it is compressed in an unknown way": info.compress_type
            not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
            "it unpacks to far more than a table can": info.file_size
            > _MAX_RATIO * info.compress_size + _CHUNK,
        }
        if reason := next((text for text, holds in reasons.items() if holds), None):
            raise UserError(f"{self._path}: member {info.filename[:80]!r} was refused: {reason}")

    def _manifest(self) -> dict[str, Any]:
        info = self._infos.get(MANIFEST)
        if info is None or info.file_size > _MAX_MANIFEST:
            raise UserError(f"{self._path}: expected a zip that `arithctl export` wrote, found no {MANIFEST}")
        try:
            manifest: dict[str, Any] = json.loads(b"".join(self._stream(MANIFEST)))
            if {name: manifest[name] for name in FORMAT} != FORMAT:
                raise ValueError(f"version {manifest['version']!r} of {manifest['format']!r}")
            known = all(
                isinstance(file["name"], str)
                and isinstance(file["sha256"], str)
                and type(file["size"]) is int
                for file in manifest["files"]
            )
            if not known or not isinstance(manifest["run"], str):
                raise ValueError("entries of other types")
        except (ValueError, KeyError, TypeError, ArtifactError, RecursionError) as error:
            raise UserError(
                f"{self._path}: {MANIFEST}: expected {FORMAT['format']} of version {FORMAT['version']}, "
                f"found something else ({error})"
            ) from None
        return manifest


def _safe(name: str) -> str:
    if not _is_safe(name):
        raise UserError(f"{name!r} cannot be the name of a file in an export")
    return name


def _is_safe(name: str) -> bool:
    return len(name) < 1_000 and all(_PART.fullmatch(part) for part in name.split("/"))


def _chunks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
