"""The compose stack, really run: `python tests/acceptance/compose.py` in a clone with its .venv and a Docker Engine.

In a fresh copy of this clone, under a project name and ports of its own: build, `up --wait`, a small run from the
host while a worker is killed and broker and database are restarted, the same scores as embedded, and every door
that must be shut tried from inside and outside. Everything is removed at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from harness.recipes import overrides  # noqa: E402 - run as a script, outside pytest

ARITHCTL = Path(sys.executable).with_name("arithctl")
# Long enough that the trainer can still be killed in the middle by commands that take seconds each.
SUBMIT = ["submit", "tiny-specialized", *overrides(lm__training__problems=160_000)]
LONG_RUNNING = {"redis", "postgres", "scheduler", "trainer", "extractor", "prober", "dashboard"}
PORTS = {"redis": 26379, "postgres": 25432, "dashboard": 28080}
#: Beside these, nothing is set: the command line finds the stack by itself.
ENV = {
    **{name: value for name, value in os.environ.items() if not name.startswith("ARITH_")},
    "COMPOSE_PROJECT_NAME": "arith-acceptance",
    "ARITH_COMPOSE_REDIS_PORT": str(PORTS["redis"]),
    "ARITH_COMPOSE_POSTGRES_PORT": str(PORTS["postgres"]),
    "ARITH_COMPOSE_DASHBOARD_PORT": str(PORTS["dashboard"]),
    # One thread everywhere: sums in another order would differ in the last bits.
    "ARITH_COMPOSE_THREADS": "1",
    "ARITH_THREADS": "1",
    # A killed worker's unit is given away soon.
    "ARITH_HEARTBEAT_S": "3",
    "ARITH_LEASE_S": "20",
    "OMP_WAIT_POLICY": "passive",
}
#: Seconds; a busy machine takes minutes for what takes a quiet one seconds.
PATIENCE_S = 900.0


class Stack:
    """A fresh copy of this clone and the commands that are run in it."""

    def __init__(self, folder: Path) -> None:
        """Copies what git knows, as it is now."""
        self.folder = folder / "clone"
        self.failed = 0
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
        for name in filter(None, listed.decode().split("\0")):
            if (ROOT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.folder / name)

    def run(self, *command: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone; its output is kept."""
        place = cwd or self.folder
        return subprocess.run(command, cwd=place, env=ENV | env, capture_output=True, text=True, timeout=1800)

    def compose(self, *arguments: str) -> str:
        """Run `docker compose`; what it prints, or the end if it fails."""
        done = self.run("docker", "compose", *arguments)
        if done.returncode:
            sys.exit(
                f"docker compose {' '.join(arguments)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
            )
        return done.stdout

    def arithctl(self, *arguments: str, cwd: Path | None = None, **env: str) -> str:
        """Run arithctl; what it prints, or the end if it fails."""
        done = self.run(str(ARITHCTL), *arguments, cwd=cwd, **env)
        if done.returncode:
            sys.exit(f"arithctl {' '.join(arguments)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done.stdout

    def inside(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a service's container."""
        return self.run("docker", "compose", "exec", "-T", service, *command)

    def check(self, promise: str, kept: bool, found: object = "") -> None:
        """Print one promise and whether it is kept."""
        self.failed += not kept
        say(f"{'ok  ' if kept else 'FAIL'} {promise}{f': {found}' if found != '' else ''}")


def say(text: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def timed(what: str, action: Callable[[], Any]) -> Any:
    """Do it and say how long it took."""
    start = time.monotonic()
    result = action()
    say(f"{what}: {time.monotonic() - start:.0f} s")
    return result


def until(stack: Stack, run: str, happened: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait for something to show in `arithctl status RUN --json`; fails when the run ends without it."""
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        # Database and broker are being restarted below: then there is no answer.
        asked = stack.run(str(ARITHCTL), "status", run, "--json")
        with suppress(json.JSONDecodeError):
            if happened(view := json.loads(asked.stdout)):
                return dict(view)
            if view["state"] in ("failed", "cancelled"):
                break
        time.sleep(0.5)
    sys.exit(f"it never happened; the last answer: {asked.stdout}{asked.stderr}")


def stage(view: dict[str, Any], name: str) -> dict[str, Any]:
    """A stage of the run."""
    return next(dict(found) for found in view["stages"] if found["name"] == name)


def containers(stack: Stack) -> dict[str, dict[str, Any]]:
    """What `docker compose ps --all` shows, by service."""
    lines = stack.compose("ps", "--all", "--format", "json").splitlines()
    return {row["Service"]: row for row in map(json.loads, lines)}


def check_health(stack: Stack) -> None:
    """All that should run is healthy, and the migration has ended well."""
    found = containers(stack)
    healthy = {name for name, row in found.items() if row["Health"] == "healthy"}
    stack.check("everything is healthy", healthy == LONG_RUNNING, ", ".join(sorted(healthy)))
    stack.check("migrate has ended with 0", found["migrate"]["ExitCode"] == 0)


def check_images(stack: Stack) -> None:
    """Each image holds what its service needs."""
    for service in ("trainer", "extractor", "prober"):
        list_ours = "import importlib.util as u; print(*[n for n in NAMES if u.find_spec(n)])"
        names = (
            "arith_shared",
            "arith_model",
            "arith_trainer",
            "arith_extractor",
            "arith_prober",
            "arithctl",
            "tests",
        )
        script = list_ours.replace("NAMES", repr((*names, "transformers")))
        found = set(stack.inside(service, "python", "-c", script).stdout.split())
        own = {"arith_shared", "arith_model", f"arith_{service}"}
        if service != "prober":
            own.add("transformers")
        stack.check(
            f"{service} holds its own package and the shared ones", found == own, ", ".join(sorted(found))
        )
        stack.check(
            f"{service} is nobody special", stack.inside(service, "id", "-u").stdout.strip() == "1000"
        )
        stack.check(
            f"{service} cannot write its own code", stack.inside(service, "touch", "/usr/x").returncode != 0
        )


def accepts(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    with suppress(OSError), socket.create_connection((host, port), timeout=3):
        return True
    return False


def foreign_addresses() -> list[str]:
    """Addresses under which other machines reach this one."""
    shown = subprocess.run(["hostname", "-I"], check=True, capture_output=True, text=True).stdout
    return [address for address in shown.split() if ":" not in address]


def redis_says(stack: Stack, user: str, password: str, *command: str) -> str:
    """The broker's answer to one command, asked from inside its network."""
    script = (
        "import redis, sys\n"
        "user, password, *command = sys.argv[1:]\n"
        "client = redis.Redis('redis', username=user or None, password=password or None)\n"
        "try: print(client.execute_command(*command))\n"
        "except redis.RedisError as error: print(type(error).__name__, error)"
    )
    return stack.inside("prober", "python", "-c", script, user, password, *command).stdout.strip()


def postgres_says(stack: Stack, password: str) -> str:
    """The database's answer to a connection from inside its network."""
    script = (
        "import psycopg, sys\n"
        "try: print(psycopg.connect(host='postgres', user='arith', dbname='arith', password=sys.argv[1]).info.user)\n"
        "except psycopg.Error as error: print(error)"
    )
    return stack.inside("prober", "python", "-c", script, password).stdout.strip()


def dashboard_says(token: str, path: str = "/runs.json") -> int:
    """The status with which the dashboard answers a script."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORTS['dashboard']}{path}", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def check_doors(stack: Stack, password: dict[str, str], wrong: str) -> None:
    """Who may come in, and what the workers' user may do."""
    for name, port in PORTS.items():
        stack.check(f"{name} is open on 127.0.0.1", accepts("127.0.0.1", port))
        for address in foreign_addresses():
            stack.check(f"{name} is shut on {address}", not accepts(address, port))
    pong = redis_says(stack, "arith", password["redis"], "PING")
    stack.check("the broker knows its password", pong == "True", pong)
    for user, given in (("", ""), ("arith", wrong), ("default", ""), ("default", wrong)):
        answer = redis_says(stack, user, given, "PING")
        stack.check(
            f"the broker refuses {user or 'nobody'} with {'a wrong' if given else 'no'} password",
            "Error" in answer,
            answer,
        )
    for command in (
        "FLUSHALL",
        "CONFIG GET requirepass",
        "KEYS *",
        "SHUTDOWN",
        "SET foreign 1",
        "ACL LIST",
        "DEBUG SLEEP 0",
    ):
        answer = redis_says(stack, "arith", password["redis"], *command.split())
        stack.check(
            f"the workers' user may not {command}",
            "NoPermission" in answer or "not allowed" in answer,
            answer,
        )
    stack.check("the database knows its password", postgres_says(stack, password["postgres"]) == "arith")
    for given in (wrong, ""):
        answer = postgres_says(stack, given)
        stack.check(
            f"the database refuses {'a wrong' if given else 'no'} password",
            "password" in answer,
            answer.splitlines()[-1],
        )
    stack.check("the dashboard knows its token", dashboard_says(password["dashboard"]) == 200)
    for given in (wrong, ""):
        status = dashboard_says(given)
        stack.check(f"the dashboard refuses {'a wrong' if given else 'no'} token", status == 401, status)
    refused = stack.run(str(ARITHCTL), "status", ARITH_COMPOSE_POSTGRES_PASSWORD=wrong)
    stack.check(
        "arithctl with a wrong password exits with 3",
        refused.returncode == 3,
        refused.stderr.strip().splitlines()[-1],
    )


def disturbed_run(stack: Stack) -> str:
    """A run during which a worker is killed, and broker and database are restarted; its id."""
    run = str(json.loads(stack.arithctl(*SUBMIT, "--json"))["run"])
    say(f"run {run}")
    until(stack, run, lambda view: stage(view, "train")["fraction"] > 0.1)
    stack.compose("kill", "--signal", "SIGKILL", "trainer")
    reached = until(stack, run, lambda _: True)
    stack.check(
        "the trainer was killed in the middle of its unit",
        stage(reached, "train")["done"] == 0,
        f"{stage(reached, 'train')['fraction']:.0%}",
    )
    say(
        "killed the trainer with its unit; Docker takes that for a wish of the operator's, who starts it again"
    )
    stack.compose("up", "--detach", "--no-recreate", "trainer")
    until(stack, run, lambda view: stage(view, "extract")["done"] > 0)
    stack.compose("restart", "redis", "postgres")
    say("restarted redis and postgres")
    until(stack, run, lambda view: stage(view, "probe")["done"] > 0)
    stack.inside("prober", "sh", "-c", "kill -9 $(cat /proc/1/task/1/children)")
    say("killed the prober's main process; the restart policy starts it again")
    view = until(stack, run, lambda view: view["state"] == "done")
    stack.check("the run is done", view["state"] == "done")
    errors = stack.arithctl("logs", run)
    stack.check("the log tells of the killed trainer", "lost" in errors or "lease" in errors)
    return run


def scores(stack: Stack, run: str, **where: Any) -> list[dict[str, Any]]:
    """All score rows but the run's name."""
    rows = json.loads(stack.arithctl("results", run, "--table", "scores", "--format", "json", **where))
    return [{name: value for name, value in row.items() if name != "run"} for row in rows]


def check_scores(stack: Stack, run: str) -> None:
    """The stack's scores and those of an embedded run, row by row."""
    folder = stack.folder.parent / "embedded"
    folder.mkdir()
    reference = str(json.loads(stack.arithctl(*SUBMIT, "--wait", "--json", cwd=folder))["run"])
    ours, theirs = scores(stack, run), scores(stack, reference, cwd=folder)
    differing = [(a, b) for a, b in zip(ours, theirs, strict=False) if a != b]
    stack.check("as many scores as embedded", len(ours) == len(theirs), len(ours))
    stack.check("all scores equal those of an embedded run", not differing, differing[:2] or "row by row")


def check_figures(stack: Stack, run: str) -> None:
    """Figures are drawn on the host, and in the container for people without Python."""
    stack.arithctl("figures", run, "-o", "drawn", "--format", "png")
    drawn = sorted(path.name for path in (stack.folder / "drawn").rglob("*.png"))
    stack.check("figures are drawn on the host", bool(drawn), ", ".join(drawn))
    shown = stack.compose("run", "--rm", "cli", "arithctl", "status", run)
    stack.check("the cli container shows the run", f"{run}: done" in shown)
    page = dashboard_says("arith-default-password", f"/runs/{run}")
    stack.check("the dashboard has a page of the run", page == 200, page)


def check_secrets(stack: Stack) -> dict[str, str]:
    """`make env` and up again: new passwords hold, and nothing shows them. Returns them."""
    # As the containers' user, who may be another one than ours: the folder of artifacts is theirs.
    made = stack.run("make", "env")
    stack.check("make env writes .env", made.returncode == 0, made.stdout.strip() or made.stderr.strip())
    lines = (stack.folder / ".env").read_text(encoding="utf-8").splitlines()
    values = dict(line.split("=", 1) for line in lines if "_PASSWORD=" in line)
    password = {name: values[f"ARITH_COMPOSE_{name.upper()}_PASSWORD"] for name in ("redis", "postgres")}
    password["dashboard"] = (stack.folder / ".secrets" / "dashboard_token").read_text(encoding="utf-8")
    timed("up --wait with new passwords", lambda: stack.compose("up", "--wait", "--detach"))
    shown = (
        stack.compose("config")
        + stack.compose("logs")
        + stack.arithctl("doctor")
        + stack.arithctl("logs", "last")
    )
    stack.check(
        "no password in config, logs or doctor", not any(secret in shown for secret in password.values())
    )
    warned = stack.run(str(ARITHCTL), "status")
    stack.check("no warning about passwords any more", "default password" not in warned.stderr)
    return password


def main() -> int:
    """Run everything; 0 if every promise was kept."""
    with tempfile.TemporaryDirectory(prefix="arith-acceptance-") as temporary:
        stack = Stack(Path(temporary))
        try:
            # With its profile, or an older image of the command line would be kept.
            timed("build", lambda: stack.compose("--profile", "cli", "build"))
            timed("up --wait", lambda: stack.compose("up", "--wait", "--detach"))
            sys.stdout.write(stack.compose("ps", "--all"))
            check_health(stack)
            check_images(stack)
            default = "arith-default-password"
            check_doors(stack, dict.fromkeys(PORTS, default), wrong="wrong")
            run = timed("run with faults", lambda: disturbed_run(stack))
            timed("embedded run", lambda: check_scores(stack, run))
            check_figures(stack, run)
            check_doors(stack, check_secrets(stack), wrong=default)
        finally:
            stack.run(
                "docker",
                "compose",
                "--profile",
                "cli",
                "down",
                "--volumes",
                "--remove-orphans",
                "--timeout",
                "30",
            )
        stack.check("nothing is left of the stack", not stack.compose("ps", "--all", "--quiet").strip())
        stack.check("arithctl is embedded again", "embedded: " in stack.arithctl("doctor"))
    say(f"{stack.failed} failed")
    return min(stack.failed, 1)


if __name__ == "__main__":
    sys.exit(main())
