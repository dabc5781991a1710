"""Workers on another machine, started as the how-to says, with artifacts in a bucket.

One machine plays both: the servers listen on a loopback address of their own, behind passwords, and share no folder
with the workers. The bucket is moto's, spoken to over HTTP by s3fs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from arithctl.embedded.broker import find_server
from harness.documents import blocks
from harness.postgres import Postgres, programs
from harness.processes import until
from harness.recipes import overrides

#: Where the first machine is reached: nothing else listens there.
FIRST = "127.0.0.77"
PAGE = "docs/howto-second-machine.md"
BUCKET = "s3://states/shared"


@contextmanager
def broker(folder: Path) -> Iterator[None]:
    """A Valkey with the user and the password that the stack's Redis has."""
    password = uuid.uuid4().hex
    (folder / "redis_password").write_text(password, encoding="ascii")
    access = f"user default off\nuser arith on >{password} ~* &* +@all\nbind {FIRST}\nport 16379\nsave ''\n"
    (folder / "valkey.conf").write_text(access, encoding="ascii")
    process = subprocess.Popen([find_server(), "valkey.conf"], cwd=folder, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def bucket() -> Iterator[dict[str, str]]:
    """What a machine's environment says of an S3 server with a bucket in it."""
    server = ThreadedMotoServer(FIRST, 0, verbose=False)
    server.start()
    address, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "who", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    found = keys | {"AWS_ENDPOINT_URL": f"http://{address}:{port}"}
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in found.items():
                patch.setenv(name, value)
            boto3.client("s3").create_bucket(Bucket="states")
        yield found
    finally:
        server.stop()


def commands(database: str) -> list[str]:
    """The page's lines: settings, and the start of a worker; for the addresses of this test."""
    (text,) = blocks(PAGE, "sh")
    for shown, here in (
        ("127.0.0.1:16379", f"{FIRST}:16379"),
        ("127.0.0.1:15432/arith", database),
        ("/shared/artifacts", BUCKET),
    ):
        assert shown in text
        text = text.replace(shown, here)
    return text.strip().splitlines()


def services(worker: str) -> list[str]:
    """The page's worker, and the two others that it tells of in words."""
    page = Path(PAGE).name
    for words in (
        "`arith_extractor.worker` takes the queue `extract`",
        "`arith_prober.worker` the queue `probe`",
    ):
        assert words in (Path(__file__).parents[2] / PAGE).read_text(encoding="utf-8"), page
    names = (("arith_extractor", "extract"), ("arith_prober", "probe"))
    others = [
        worker.replace("arith_trainer", module)
        .replace("queues train", f"queues {queue}")
        .replace("gpu@", f"{queue}@")
        for module, queue in names
    ]
    assert len({worker, *others}) == 3
    return [worker, *others]


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[tuple[Path, list[str], dict[str, str]]]:
    """A folder with the password files, the page's lines, and the environment of every process."""
    where = programs()
    if where is None:
        pytest.skip("needs Debian's package postgresql")
    with ExitStack() as stack:
        server = Postgres(where, FIRST)
        stack.callback(server.close)
        (tmp_path / "postgres_password").write_text(server.password, encoding="ascii")
        database = server.new_database().rpartition("@")[2]
        stack.enter_context(broker(tmp_path))
        aws = stack.enter_context(bucket())
        nothing = {
            name: value for name, value in os.environ.items() if not name.startswith(("ARITH_", "AWS_"))
        }
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        times = {"ARITH_TICK_S": "0.5", "ARITH_HEARTBEAT_S": "1", "ARITH_LEASE_S": "60"}
        yield tmp_path, commands(database), nothing | aws | times | {"PATH": path}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_workers_started_as_the_page_says_do_a_run_whose_artifacts_lie_in_a_bucket(deployment):
    folder, (*exports, worker), env = deployment
    settings = "\n".join(exports)

    def start(command: str, home: str) -> subprocess.Popen[bytes]:
        with (folder / f"{home}.log").open("wb") as log:
            line = f"{settings}\nexport ARITH_HOME={folder}/{home}\nexec {command}"
            return subprocess.Popen(["sh", "-c", line], cwd=folder, env=env, stdout=log, stderr=log)

    def say(command: str) -> str:
        done = subprocess.run(
            ["sh", "-c", f"{settings}\nexport ARITH_HOME={folder}/first\n{command}"],
            cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def queues() -> set[str]:
        return {worker["queue"] for worker in json.loads(say("arithctl workers --json"))}

    say("arithctl db upgrade")
    started = [start("celery --quiet --app=arith_shared.scheduler beat --pidfile=", "scheduler")]
    try:
        started += [start(line, f"second-{number}") for number, line in enumerate(services(worker))]
        until(lambda: queues() == {"train", "extract", "probe"})
        run = json.loads(say(f"arithctl submit tiny-specialized --json {' '.join(overrides())}"))["run"]

        def over() -> bool:
            time.sleep(1)
            state = json.loads(say(f"arithctl status {run} --json"))["state"]
            assert state in ("active", "done"), say(f"arithctl logs {run} --errors")
            return bool(state == "done")

        until(over, 600)
        assert "0 damaged" in say(f"arithctl doctor --verify {run}")
        assert "accuracy" in say(f"arithctl results {run} --table summary")
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        ended = [process.wait(60) for process in started]
    assert ended == [0] * 4
    kept = {path.suffix for path in folder.glob("second-*/cache/**/*") if path.is_file()}
    assert {".safetensors", ".parquet"} <= kept, "what a machine reads it keeps below its ARITH_HOME"
