"""Where artifacts live: publish all or nothing, verify, fetch, remove.

    <root>/<kind>/<key>/<token>/...      published: has a manifest.json, never changes again
    <root>/tmp/<token>/...               workspace of one attempt
    <root>/scratch/<unit>/...            checkpoints, which outlive attempts

A token is fresh for each attempt, so no two attempts ever write the same file name, and nobody needs a lock:
readers take the path from the database, and what the database does not name is garbage. The cost is that two
attempts at one unit may both leave files, of which the garbage collection later removes one.

On a local root the workspace is filled, flushed to the disk and renamed into place, which is atomic. An
object store has no rename: files are uploaded first and the manifest last, and a folder without a manifest is
not an artifact. There, workspaces, scratch and fetched copies live in a cache folder on this machine; nothing
ever shrinks that cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import fsspec
from fsspec.implementations.local import LocalFileSystem

from arith_shared.errors import ArtifactError, ArtifactRootError, MissingExtraError, UnreachableError
from arith_shared.store.manifest import (
    MANIFEST,
    FileEntry,
    Kind,
    Manifest,
    artifact_path,
    check_file_name,
    check_name,
    check_path,
)

#: Folders of the workspaces and of what outlives attempts; no kind of artifact has these names.
_WORKSPACES, _SCRATCH = "tmp", "scratch"

#: What to do about an artifact that is damaged.
_REMEDY = "`arithctl resume RUN --repair` makes it again"


@dataclass(frozen=True, slots=True)
class Published:
    """What the database keeps of an artifact."""

    #: Relative to the root: kind/key/token.
    path: str
    digest: str
    size_bytes: int


class ArtifactStore:
    """Artifacts below one root: a folder, or an fsspec URL such as `s3://bucket/prefix`."""

    def __init__(self, url: str, cache: Path | None = None) -> None:
        """`cache` is a folder on this machine, needed when `url` is not one itself.

        Raises MissingExtraError when the package behind the URL's scheme is not installed, and ArtifactError
        when a remote store has no cache.
        """
        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise MissingExtraError(
                f"artifact root {url}: {error}; install that package or use a folder"
            ) from error
        self._root = str(root).rstrip("/")
        self._is_local = isinstance(self._fs, LocalFileSystem)
        if self._is_local:
            cache = Path(self._root)
        elif cache is None:
            raise ArtifactError(
                f"artifact root {url} is not on this machine: expected a cache folder, found none"
            )
        self._here = cache
        self.url = url

    @contextlib.contextmanager
    def workspace(self, kind: str, key: str) -> Iterator[Path]:
        """An empty folder of this attempt alone; what is not published when the block ends is removed."""
        token = secrets.token_hex(8)
        artifact_path(kind, key, token)  # A bad name is refused before the work, not after it.
        folder = self._here / _WORKSPACES / token
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, workspace: Path, kind: str, key: str, meta: Mapping[str, Any]) -> Published:
        """Make the files in `workspace` an artifact, all or nothing, and use the workspace up.

        Raises ArtifactError for file names that are not allowed, and OSError (a full disk, for one) with
        nothing published.
        """
        path = artifact_path(kind, key, workspace.name)
        manifest = Manifest(kind, key, tuple(_describe(workspace)), dict(meta), time.time())
        if self._is_local:
            self._move(workspace, path, manifest)
        else:
            self._upload(workspace, path, manifest)
        return Published(path, manifest.digest, manifest.size_bytes)

    def manifest(self, path: str) -> Manifest:
        """The manifest of the artifact at `path`. Raises ArtifactError: no manifest, no artifact."""
        name = f"{self._at(path)}/{MANIFEST}"
        try:
            text = self._fs.cat_file(name)
        except (FileNotFoundError, NotADirectoryError):
            raise ArtifactError(
                f"{path}: expected an artifact in {self.url}, found no {MANIFEST}; {_REMEDY}"
            ) from None
        return Manifest.from_json(text, where=name)

    def verify(self, path: str, digest: str | None = None) -> None:
        """Read the whole artifact again.

        Raises ArtifactError naming the first file that has changed, or the manifest when its digest is another
        than the one that was recorded.
        """
        self._fs.invalidate_cache()
        manifest = self.manifest(path)
        if digest is not None and manifest.digest != digest:
            raise ArtifactError(
                f"{self._at(path)}/{MANIFEST}: expected the digest {digest}, found {manifest.digest}; {_REMEDY}"
            )
        _check_files(self._fs, self._at(path), manifest)

    def read_text(self, path: str, name: str) -> str:
        """One small file of the artifact at `path`, without the others. Raises ArtifactError when it is not there."""
        where = f"{self._at(path)}/{check_file_name(name)}"
        try:
            return str(self._fs.cat_file(where).decode("utf-8"))
        except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError) as error:
            raise ArtifactError(f"{where}: expected a text, found {error}; {_REMEDY}") from error

    def fetch(self, path: str) -> Path:
        """The artifact's folder on this machine, downloaded once and verified when the root is elsewhere.

        Raises ArtifactError when there is no artifact, or the download does not match its manifest.
        """
        folder = self._here / check_path(path)
        if not (folder / MANIFEST).is_file():
            # On a local root this raises: what is not in the folder is nowhere.
            self._download(path, self.manifest(path), folder)
        return folder

    def fetch_verified(self, path: str) -> Path:
        """Like `fetch`, with every file read and compared; a copy that has changed is downloaded again."""
        folder = self.fetch(path)
        manifest = Manifest.from_json((folder / MANIFEST).read_bytes(), where=str(folder / MANIFEST))
        try:
            _check_files(fsspec.filesystem("file"), str(folder), manifest)
        except ArtifactError:
            if self._is_local:
                raise
            shutil.rmtree(folder)
            self.fetch(path)
        return folder

    def remove(self, path: str) -> None:
        """Delete an artifact or an unfinished upload; that nothing is there is fine."""
        folder = self._at(path)
        with contextlib.suppress(FileNotFoundError):
            # The manifest goes first: half a removal leaves no artifact, never half of one.
            self._fs.rm_file(f"{folder}/{MANIFEST}")
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm(folder, recursive=True)

    def paths(self) -> Iterator[str]:
        """The path of every published artifact, in order of kind, key and token."""
        for folder, names in self._folders():
            if MANIFEST in names:
                yield folder

    def unfinished(self, older_than_s: float) -> Iterator[str]:
        """Paths without a manifest: uploads and removals cut short at least `older_than_s` seconds ago."""
        for path, names in self._folders():
            if MANIFEST not in names and all(self._age_s(f"{path}/{name}") > older_than_s for name in names):
                yield path

    def stale_workspaces(self, older_than_s: float) -> Iterator[Path]:
        """Workspaces in which no file was made for `older_than_s` seconds: what killed attempts leave behind.

        A long unit may make its first file late, so give more than the longest unit takes.
        """
        for folder in sorted((self._here / _WORKSPACES).glob("*")):
            with contextlib.suppress(FileNotFoundError):  # An attempt may end while we look.
                if time.time() - folder.stat().st_mtime > older_than_s:
                    yield folder

    def stale_scratch(self, older_than_s: float) -> Iterator[Path]:
        """Scratch folders, each named as `scratch` was asked, in which nothing changed for `older_than_s` seconds."""
        for folder in sorted((self._here / _SCRATCH).glob("*")):
            with contextlib.suppress(FileNotFoundError):
                newest = max(item.stat().st_mtime for item in (folder, *folder.rglob("*")))
                if time.time() - newest > older_than_s:
                    yield folder

    def age_s(self, path: str) -> float:
        """Seconds since the artifact at `path` was published."""
        return self._age_s(f"{check_path(path)}/{MANIFEST}")

    def size_bytes(self, path: str) -> int:
        """Bytes of everything that lies at `path`, artifact or not; nothing there counts zero."""
        with contextlib.suppress(FileNotFoundError):
            return int(self._fs.du(self._at(path)))
        return 0

    @property
    def folder(self) -> Path:
        """The folder of this machine where work is done: the root itself, or the cache of a root elsewhere."""
        return self._here

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder of this machine, and so holds workspaces and scratch too."""
        return self._is_local

    def used_bytes(self) -> int:
        """Bytes of everything below the root."""
        self._fs.invalidate_cache()
        with contextlib.suppress(FileNotFoundError):
            return int(self._fs.du(self._root))
        return 0

    def scratch(self, name: str) -> Path:
        """A folder on this machine that outlives attempts, for checkpoints; made when missing."""
        folder = self._here / _SCRATCH / check_name(name, "scratch name")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def free_bytes(self) -> int | None:
        """Bytes that still fit, or None where the root does not say."""
        if not self._is_local:
            return None
        usage = shutil.disk_usage(self._existing_folder())
        # A pseudo file system such as /proc has no size: nothing is known, rather than nothing free.
        return usage.free if usage.total else None

    def check_writable(self) -> None:
        """Write a small file and leave nothing behind, not even a folder.

        On this machine the file lies in the root or, before it exists, in the nearest folder above: whoever makes
        and removes folders here would take them away from others who begin at the same time.
        Raises ArtifactRootError (a folder) or UnreachableError (elsewhere) with the remedy when that fails.
        """
        name = f"check-{secrets.token_hex(8)}"
        try:
            here = self._existing_folder() / name
            here.write_bytes(b"arith")
            here.unlink()
            if not self._is_local:
                folder = f"{self._root}/{_WORKSPACES}"
                self._fs.makedirs(folder, exist_ok=True)
                self._fs.pipe_file(f"{folder}/{name}", b"arith")
                self._fs.rm_file(f"{folder}/{name}")
        except Exception as error:  # File systems of others raise what they like.
            kind = ArtifactRootError if self._is_local else UnreachableError
            remedy = f"chmod u+w {self._root}, or" if self._is_local else "check the credentials, or"
            raise kind(
                f"artifact root {self.url}: expected to write there, found {error}; "
                f"{remedy} set ARITH_ARTIFACTS to another place"
            ) from error

    def _existing_folder(self) -> Path:
        """The folder on this machine, or the nearest above it that exists."""
        return next(folder for folder in (self._here, *self._here.parents) if folder.exists())

    def _at(self, path: str) -> str:
        return f"{self._root}/{check_path(path)}"

    def _age_s(self, name: str) -> float:
        return time.time() - float(self._fs.modified(f"{self._root}/{name}").timestamp())

    def _folders(self) -> Iterator[tuple[str, set[str]]]:
        """Each kind/key/token that has files, with the names of the files."""
        self._fs.invalidate_cache()
        for kind in get_args(Kind):
            folders: dict[str, set[str]] = {}
            for name in self._fs.find(f"{self._root}/{kind}"):
                parts = name.removeprefix(f"{self._root}/").split("/", 3)
                if len(parts) == 4:
                    folders.setdefault("/".join(parts[:3]), set()).add(parts[3])
            yield from sorted(folders.items())

    def _move(self, workspace: Path, path: str, manifest: Manifest) -> None:
        (workspace / MANIFEST).write_bytes(manifest.to_json())
        target = self._here / path
        target.parent.mkdir(parents=True, exist_ok=True)
        for item in workspace.rglob("*"):
            _flush(item)
        _flush(workspace)
        workspace.rename(target)
        for folder in (target.parent, target.parent.parent, self._here):
            _flush(folder)

    def _upload(self, workspace: Path, path: str, manifest: Manifest) -> None:
        folder = f"{self._root}/{path}"
        try:
            for file in manifest.files:
                self._fs.makedirs(f"{folder}/{file.name}".rpartition("/")[0], exist_ok=True)
                self._fs.put_file(str(workspace / file.name), f"{folder}/{file.name}")
            self._fs.pipe_file(f"{folder}/{MANIFEST}", manifest.to_json())
        except BaseException:
            with contextlib.suppress(Exception):
                self.remove(path)
            raise

    def _download(self, path: str, manifest: Manifest, folder: Path) -> None:
        with self.workspace(manifest.kind, manifest.key) as workspace:
            for file in manifest.files:
                (workspace / file.name).parent.mkdir(parents=True, exist_ok=True)
                self._fs.get_file(f"{self._at(path)}/{file.name}", str(workspace / file.name))
            _check_files(fsspec.filesystem("file"), str(workspace), manifest)
            (workspace / MANIFEST).write_bytes(manifest.to_json())
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                workspace.rename(folder)
            except OSError:
                # Another worker on this machine may have been faster; its copy is as good.
                if not (folder / MANIFEST).is_file():
                    raise


def _describe(workspace: Path) -> Iterator[FileEntry]:
    """The entry of each file in `workspace`, in order of names."""
    for file in sorted(workspace.rglob("*")):
        name = check_file_name(file.relative_to(workspace).as_posix())
        if file.is_symlink() or name == MANIFEST:
            raise ArtifactError(
                f"{file}: expected an artifact's own files, found a link or a {MANIFEST}; remove it"
            )
        if file.is_file():
            with file.open("rb") as stream:
                checksum = hashlib.file_digest(stream, "sha256").hexdigest()
            yield FileEntry(name, file.stat().st_size, checksum)


def _check_files(fs: Any, folder: str, manifest: Manifest) -> None:
    """Compare every file in `folder` with its manifest; raise ArtifactError at the first difference."""
    for file in manifest.files:
        name = f"{folder}/{file.name}"
        try:
            size = int(fs.size(name))
            if size != file.size:
                difference = f"{abs(size - file.size)} bytes {'shorter' if size < file.size else 'longer'}"
                raise ArtifactError(
                    f"{name} is {difference} than its manifest says ({file.size} bytes); {_REMEDY}"
                )
            with fs.open(name, "rb") as stream:
                checksum = hashlib.file_digest(stream, "sha256").hexdigest()
        except FileNotFoundError:
            raise ArtifactError(
                f"{name}: expected {file.size} bytes, found no such file; {_REMEDY}"
            ) from None
        if checksum != file.sha256:
            raise ArtifactError(f"{name}: expected SHA-256 {file.sha256}, found {checksum}; {_REMEDY}")


def _flush(path: Path) -> None:
    """Have the disk hold what the system holds of a file or folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
