"""An artifact is there completely or not at all, and says which file is no longer what was published."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from arith_shared.errors import ArtifactError, ArtifactRootError, MissingExtraError
from arith_shared.store.artifacts import ArtifactStore
from arith_shared.store.manifest import MANIFEST, artifact_path

FILES = {"weights.bin": b"0123456789" * 50, "sub/config.json": b"{}", "empty": b""}


@pytest.fixture(params=["folder", "remote"])
def store(request, tmp_path):
    """The same promises hold on a folder and on a file system that knows no rename."""
    if request.param == "folder":
        yield ArtifactStore(str(tmp_path / "root"))
    else:
        bucket = f"memory://{tmp_path.name}"
        yield ArtifactStore(f"{bucket}/prefix", cache=tmp_path / "cache")
        with contextlib.suppress(FileNotFoundError):
            fsspec.filesystem("memory").rm(bucket, recursive=True)


def fill(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def publish(store, files=None, kind="states", key="abc", meta=None):
    with store.workspace(kind, key) as workspace:
        fill(workspace, FILES if files is None else files)
        return store.publish(workspace, kind, key, meta or {})


def content(folder):
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }


def put(store, path, name, data):
    """Write behind the store's back, as a failing disk or a careless hand would."""
    fs, root = fsspec.core.url_to_fs(store.url)
    fs.pipe_file(f"{root}/{path}/{name}", data)


def test_what_was_published_is_fetched_verified_and_listed(store):
    published = publish(store, meta={"tried": 3})
    store.verify(published.path)
    files = content(store.fetch(published.path))
    files.pop(MANIFEST)
    assert files == FILES
    assert list(store.paths()) == [published.path]
    assert published.size_bytes == 502
    manifest = store.manifest(published.path)
    assert (manifest.kind, manifest.key, manifest.meta) == ("states", "abc", {"tried": 3})
    assert (manifest.digest, manifest.size_bytes) == (published.digest, published.size_bytes)


def test_equal_content_has_an_equal_digest_and_other_content_another(store):
    digest = publish(store).digest
    assert publish(store, meta={"other": 1}, key="xyz").digest == digest
    assert publish(store, FILES | {"empty": b"x"}).digest != digest
    renamed = {("void" if name == "empty" else name): data for name, data in FILES.items()}
    assert publish(store, renamed).digest != digest


def test_two_attempts_at_one_key_do_not_share_a_path(store):
    paths = {publish(store).path, publish(store).path}
    assert len(paths) == 2
    assert set(store.paths()) == paths


def test_a_workspace_that_is_not_published_leaves_nothing(store, tmp_path):
    def attempt():
        with store.workspace("states", "abc") as workspace:
            fill(workspace, FILES)
            folders.append(workspace)
            raise RuntimeError

    folders = []
    with pytest.raises(RuntimeError):
        attempt()
    assert not folders[0].exists()
    assert list(store.paths()) == []
    publish(store)
    assert list(store.stale_workspaces(older_than_s=-1)) == []


def test_a_removed_artifact_is_gone_and_can_be_removed_again(store):
    published = publish(store)
    store.remove(published.path)
    store.remove(published.path)
    assert list(store.paths()) == []
    with pytest.raises(ArtifactError, match=rf"{published.path}: expected an artifact .*; `arithctl resume"):
        store.fetch(published.path)
    with pytest.raises(ArtifactError, match=r"found no manifest.json"):
        store.verify(published.path)


def test_a_flipped_bit_is_named_with_its_file(store):
    published = publish(store)
    flipped = bytes([FILES["weights.bin"][0] ^ 1]) + FILES["weights.bin"][1:]
    put(store, published.path, "weights.bin", flipped)
    with pytest.raises(
        ArtifactError, match=r"weights.bin: expected SHA-256 \w{64}, found \w{64}; `arithctl resume"
    ):
        store.verify(published.path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            FILES["weights.bin"][:-12],
            r"is 12 bytes shorter than its manifest says \(500 bytes\); `arithctl resume",
        ),
        (
            FILES["weights.bin"] + b"x",
            r"is 1 bytes longer than its manifest says \(500 bytes\); `arithctl resume",
        ),
    ],
)
def test_a_file_of_another_length_is_named_with_the_difference(store, data, message):
    published = publish(store)
    put(store, published.path, "weights.bin", data)
    with pytest.raises(ArtifactError, match=rf"weights.bin {message}"):
        store.verify(published.path)


def test_files_that_agree_with_a_manifest_of_other_files_are_no_artifact_either(store):
    published = publish(store)
    store.verify(published.path, published.digest)
    with pytest.raises(ArtifactError, match=r"manifest.json: expected the digest 0000, found \w{64}"):
        store.verify(published.path, "0000")


def test_a_damaged_copy_of_a_remote_artifact_is_downloaded_again_and_a_damaged_original_refused(store):
    published = publish(store)
    file = store.fetch(published.path) / "weights.bin"
    file.write_bytes(b"damaged")
    if store.is_local:
        with pytest.raises(ArtifactError, match=r"weights.bin is 493 bytes shorter"):
            store.fetch_verified(published.path)
    else:
        assert (store.fetch_verified(published.path) / "weights.bin").read_bytes() == FILES["weights.bin"]


def test_a_missing_file_is_named(store):
    published = publish(store)
    fs, root = fsspec.core.url_to_fs(store.url)
    fs.rm_file(f"{root}/{published.path}/sub/config.json")
    with pytest.raises(
        ArtifactError, match=r"config.json: expected 2 bytes, found no such file; `arithctl resume"
    ):
        store.verify(published.path)


@pytest.mark.parametrize("text", [b"", b"[]", b'{"schema": 2}', b'{"schema": 1}', b"\xff"])
def test_an_unreadable_manifest_is_an_error_that_names_it(store, text):
    published = publish(store)
    put(store, published.path, MANIFEST, text)
    with pytest.raises(ArtifactError, match=r"manifest.json: expected a manifest of schema 1, found none"):
        store.verify(published.path)


BAD_NAMES = ["", ".", "..", "a/b", "../x", "/etc", ".hidden", "-rf", "a\0b", "a b", "é", "a\n", "x" * 201]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_could_leave_the_root_are_refused(store, name):
    with pytest.raises(ArtifactError), store.workspace("states", name):
        pass
    with pytest.raises(ArtifactError):
        store.scratch(name)
    for ask in (store.fetch, store.verify, store.remove, store.manifest):
        for path in (name, f"states/{name}/x", f"states/abc/{name}", f"states/abc/def/{name}"):
            with pytest.raises(ArtifactError):
                ask(path)


def test_an_unknown_kind_is_answered_with_the_known_ones():
    with pytest.raises(ArtifactError, match="kind 'tmp': expected one of models, states, scores, summaries"):
        artifact_path("tmp", "abc", "def")


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "sub/../../evil", ""])
def test_a_manifest_cannot_make_a_reader_write_elsewhere(store, name):
    published = publish(store)
    fs, root = fsspec.core.url_to_fs(store.url)
    manifest = json.loads(fs.cat_file(f"{root}/{published.path}/{MANIFEST}"))
    manifest["files"][0]["name"] = name
    put(store, published.path, MANIFEST, json.dumps(manifest).encode())
    with pytest.raises(ArtifactError, match="file name"):
        store.verify(published.path)


@pytest.mark.parametrize("name", [MANIFEST, "a file", ".hidden"])
def test_files_that_could_not_be_read_back_are_refused_and_nothing_is_published(store, name):
    with pytest.raises(ArtifactError, match=r"expected"):
        publish(store, {name: b"x"})
    assert list(store.paths()) == []


def test_links_are_refused(store):
    with store.workspace("states", "abc") as workspace:
        (workspace / "link").symlink_to("/etc/passwd")
        with pytest.raises(ArtifactError, match="found a link"):
            store.publish(workspace, "states", "abc", {})


def test_a_scratch_folder_outlives_attempts(store):
    (store.scratch("train-1") / "checkpoint").write_bytes(b"x")
    assert (store.scratch("train-1") / "checkpoint").read_bytes() == b"x"


def test_a_writable_root_passes_the_check_and_stays_empty(store):
    store.check_writable()
    assert list(store.paths()) == []
    assert list(store.stale_workspaces(older_than_s=-1)) == []


def test_the_check_neither_makes_nor_removes_a_folder(tmp_path):
    ArtifactStore(str(tmp_path / "root" / "deep")).check_writable()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "root" / "tmp").mkdir(parents=True)
    ArtifactStore(str(tmp_path / "root")).check_writable()
    assert (tmp_path / "root" / "tmp").is_dir()


def test_a_root_that_cannot_be_written_is_named_with_the_remedy(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    store = ArtifactStore(str(tmp_path / "file" / "root"))
    with pytest.raises(ArtifactRootError, match=r"file/root: expected to write .*ARITH_ARTIFACTS"):
        store.check_writable()


def test_free_bytes_are_those_of_the_disk_even_before_the_root_exists(tmp_path):
    free = ArtifactStore(str(tmp_path / "root" / "deep")).free_bytes()
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    assert ArtifactStore("memory://bucket", cache=tmp_path).free_bytes() is None


def test_a_remote_root_needs_a_cache_and_its_package():
    with pytest.raises(ArtifactError, match="expected a cache folder"):
        ArtifactStore("memory://bucket")
    with pytest.raises(MissingExtraError, match=r"nosuch://bucket.*use a folder"):
        ArtifactStore("nosuch://bucket")


# A child process that stops for ever at the n-th flush of a publication, to be killed exactly there.
CHILD = """
import os, signal, sys
from pathlib import Path
from arith_shared.store.artifacts import ArtifactStore

store, steps, fsync = ArtifactStore(sys.argv[1]), iter(range(int(sys.argv[2]), -1, -1)), os.fsync

def stop_or_flush(descriptor):
    if next(steps) == 0:
        print("stopped", flush=True)
        signal.pause()
    fsync(descriptor)

with store.workspace("states", "abc") as workspace:
    for number in range(3):
        (workspace / f"file-{number}").write_bytes(bytes(1000))
    os.fsync = stop_or_flush
    store.publish(workspace, "states", "abc", {})
print("published", flush=True)
"""


def run_and_kill(root, step):
    """Kill a publication at its `step`-th flush; False when it was over by then."""
    command = [sys.executable, "-c", CHILD, str(root), str(step)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        line = child.stdout.readline()
        child.send_signal(signal.SIGKILL)
    return line == "stopped\n"


def test_a_publication_killed_at_any_step_shows_all_or_nothing(tmp_path):
    visible = []
    for step in range(20):
        store = ArtifactStore(str(tmp_path / str(step)))
        if not run_and_kill(tmp_path / str(step), step):
            break
        for path in store.paths():
            store.verify(path)
        visible.append(len(list(store.paths())))
        assert visible[-1] + len(list(store.stale_workspaces(older_than_s=-1))) == 1
        assert list(store.stale_workspaces(older_than_s=3600)) == []
    # Three files, the manifest and the folder are flushed before it shows, three parent folders after.
    assert visible == [0, 0, 0, 0, 0, 1, 1, 1]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "arith-test", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_leaves_no_artifact_and_no_workspace(small_disk):
    store = ArtifactStore(str(small_disk))
    kept = publish(store, {"small": bytes(1000)})
    with pytest.raises(OSError, match="No space left"):
        publish(store, {"large": bytes(2**20)})
    assert list(store.paths()) == [kept.path]
    assert list(store.stale_workspaces(older_than_s=-1)) == []
    store.verify(kept.path)
    publish(store, {"medium": bytes(2**17)})


def test_a_disk_too_full_for_the_manifest_publishes_nothing(small_disk):
    store = ArtifactStore(str(small_disk))
    with store.workspace("states", "abc") as workspace:
        with contextlib.suppress(OSError):
            (workspace / "large").write_bytes(bytes(2**20))
        with pytest.raises(OSError, match="No space left"):
            store.publish(workspace, "states", "abc", {})
    assert list(store.paths()) == []
    assert not workspace.exists()


def test_a_read_only_disk_is_named_with_the_remedy(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(ArtifactRootError, match=r"Read-only file system.*chmod u\+w"):
        ArtifactStore(str(small_disk)).check_writable()


@pytest.fixture
def remote(tmp_path):
    return ArtifactStore(f"memory://{tmp_path.name}", cache=tmp_path / "cache")


def test_an_upload_that_fails_leaves_nothing(remote, monkeypatch):
    upload = fsspec.implementations.memory.MemoryFileSystem.put_file

    def fail_at_the_last(self, local, target, **options):
        if target.endswith("weights.bin"):
            raise ConnectionError("the line went dead")
        upload(self, local, target, **options)

    monkeypatch.setattr(fsspec.implementations.memory.MemoryFileSystem, "put_file", fail_at_the_last)
    with pytest.raises(ConnectionError):
        publish(remote)
    assert list(remote.paths()) == []
    assert list(remote.unfinished(older_than_s=-1)) == []


def test_an_upload_cut_short_is_no_artifact_and_can_be_cleared(remote):
    put(remote, "states/abc/dead", "weights.bin", b"01234")
    assert list(remote.paths()) == []
    with pytest.raises(ArtifactError, match="found no manifest"):
        remote.fetch("states/abc/dead")
    assert list(remote.unfinished(older_than_s=3600)) == []
    assert list(remote.unfinished(older_than_s=-1)) == ["states/abc/dead"]
    remote.remove("states/abc/dead")
    assert list(remote.unfinished(older_than_s=-1)) == []


def test_a_remote_artifact_is_downloaded_once(remote):
    published = publish(remote)
    folder = remote.fetch(published.path)
    put(remote, published.path, "weights.bin", b"changed since")
    assert remote.fetch(published.path) == folder
    assert (folder / "weights.bin").read_bytes() == FILES["weights.bin"]


def test_a_damaged_download_is_refused_and_not_kept(remote):
    published = publish(remote)
    put(remote, published.path, "weights.bin", b"01234")
    for _ in range(2):
        with pytest.raises(ArtifactError, match=r"weights.bin is 495 bytes shorter"):
            remote.fetch(published.path)
    put(remote, published.path, "weights.bin", FILES["weights.bin"])
    assert content(remote.fetch(published.path))["weights.bin"] == FILES["weights.bin"]


def test_two_workers_that_download_at_once_both_get_the_artifact(remote, monkeypatch):
    published = publish(remote)
    rename = Path.rename

    def be_overtaken(workspace, target):
        shutil.copytree(workspace, target)
        return rename(workspace, target)

    monkeypatch.setattr(Path, "rename", be_overtaken)
    assert content(remote.fetch(published.path))["weights.bin"] == FILES["weights.bin"]
