"""The compose stack keeps its promises on paper: locked down, reproducible, nothing shared that need not be."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from arith_shared import queue, stack

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
GPU = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
WORKERS = {"trainer": "train", "extractor": "extract", "prober": "probe"}
#: What watches the others, where it is asked for; these images are the public ones, but for Flower's.
MONITORING = {"flower", "prometheus", "grafana"}
DOCKERFILES = {name: ROOT / f"services/{name}/Dockerfile" for name in WORKERS} | {
    "cli": ROOT / "cli/Dockerfile"
}
LOCKS = {name: path.with_name("requirements.lock") for name, path in DOCKERFILES.items()}


def default_of(variable: str) -> str:
    """What docker-compose.yml puts where nobody has set the variable."""
    (found,) = set(re.findall(rf"\$\{{{variable}:-([^}}]*)\}}", (ROOT / "docker-compose.yml").read_text()))
    return found


def test_the_services_are_those_that_the_readme_promises():
    assert set(SERVICES) == {
        "redis",
        "postgres",
        "migrate",
        "scheduler",
        "cli",
        "dashboard",
        *WORKERS,
        *MONITORING,
    }
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"cli": ["cli"]} | {name: ["monitoring"] for name in MONITORING}


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_rights_that_it_does_not_need(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert service["labels"] == {"arithctl.secrets": "${ARITH_COMPOSE_SECRETS:-default}"}
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices", "container_name"} & set(
        service
    )
    user = service["user"]
    own = re.fullmatch(r"\$\{ARITH_COMPOSE_UID:-1000\}:1000|[1-9]\d*:\d+", user)
    assert user in ("redis", "postgres") or own
    assert all("docker.sock" not in str(volume) for volume in service.get("volumes", []))


@pytest.mark.parametrize("name", SERVICES)
def test_what_runs_for_long_comes_back_and_is_looked_after(name):
    one_shot = name in ("migrate", "cli")
    assert SERVICES[name]["restart"] == ("no" if one_shot else "unless-stopped")
    if not one_shot:
        files = DOCKERFILES | {"flower": ROOT / "deploy/monitoring/flower/Dockerfile"}
        assert "healthcheck" in SERVICES[name] or "HEALTHCHECK" in files[name].read_text()


def test_ports_are_open_on_this_machine_only():
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(ports) == {"redis", "postgres", "dashboard", *MONITORING}
    assert all(port.startswith("127.0.0.1:") for published in ports.values() for port in published)


def test_the_dashboard_gets_nothing_that_it_could_change_something_with():
    service = SERVICES["dashboard"]
    assert service["volumes"] == ["${ARITH_COMPOSE_ARTIFACTS:-artifacts}:/artifacts:ro"]
    assert set(service["secrets"]) == {"postgres_password", "dashboard_token"}
    assert not [name for name in service["environment"] if "BROKER" in name or "HF_" in name]


def test_the_command_line_knows_the_stack_by_the_same_defaults():
    known = stack.Stack(_env_file=None)
    assert default_of("ARITH_COMPOSE_REDIS_PORT") == str(known.redis_port)
    assert default_of("ARITH_COMPOSE_POSTGRES_PORT") == str(known.postgres_port)
    assert default_of("ARITH_COMPOSE_ARTIFACTS") == known.artifacts
    assert COMPOSE["x-arithctl"]["default-password"] == stack.DEFAULT_PASSWORD


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_starts_as_the_engine_starts_its_own(name):
    command = re.search(r"^CMD (\[.*?\])$", DOCKERFILES[name].read_text(), re.MULTILINE | re.DOTALL)[1]
    words = ast.literal_eval(command.replace("\\\n", ""))
    embedded = queue.worker_arguments(f"arith_{name}.worker", WORKERS[name], name)
    assert embedded[:2] == ["-A", words[2].removeprefix("--app=")]
    # Heartbeats of Celery's are for Flower, which the embedded mode has not.
    assert set(words[3:]) == set(embedded[2:]) - {"--without-heartbeat"}


def test_the_scheduler_starts_as_the_tests_start_it():
    assert SERVICES["scheduler"]["command"] == ["celery", *queue.SCHEDULER_ARGUMENTS]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_holds_the_shared_packages_and_its_own(name):
    text = DOCKERFILES[name].read_text(encoding="utf-8")
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE)
        for source in line.split()[:-1]
    }
    own = {"cli": "cli/arithctl"}.get(name, f"services/{name}/arith_{name}")
    shared = "shared/arith_shared" if name == "cli" else "shared"
    lock = str(LOCKS[name].relative_to(ROOT))
    assert copied == {"pyproject.toml", "README.md", "LICENSE", shared, own, lock}
    assert re.search(r"^USER 1000:1000$", text, re.MULTILINE)
    assert "# syntax=" not in text


@pytest.mark.parametrize("name", WORKERS)
def test_an_image_has_the_torch_that_the_tests_ran_with(name):
    pinned = re.search(r'trainer = \["(torch==[^"]+)"', (ROOT / "pyproject.toml").read_text())[1]
    assert set(re.findall(r"torch==[\w.]+", DOCKERFILES[name].read_text())) == {pinned}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_everything_by_hash_and_names_no_index(name):
    text = LOCKS[name].read_text(encoding="utf-8")
    pins = re.findall(r"^([a-z0-9-]+)==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert pins == re.findall(r"^([a-z0-9.\[\]-]+)==", text, re.MULTILINE)
    assert "://" not in text
    assert not [pin for pin in pins if pin == "torch" or pin.startswith("nvidia")]
    assert ("transformers" in pins) == (name in ("trainer", "extractor"))


@pytest.mark.parametrize("name", WORKERS)
def test_the_gpu_file_reserves_one_gpu_for_a_worker(name):
    assert set(GPU["services"]) == set(WORKERS)
    (device,) = GPU["services"][name]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert device["capabilities"] == ["gpu"]
    assert len(device["device_ids"]) == 1


def test_both_files_together_are_a_valid_project_and_show_no_password(tmp_path):
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    ):
        pytest.skip("docker compose is not installed; tests/acceptance/compose.py needs it anyway")
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    shutil.copy(ROOT / "docker-compose.gpu.yml", tmp_path)
    subprocess.run(["sh", str(ROOT / "services/env.sh")], cwd=tmp_path, check=True, capture_output=True)
    files = ["-f", "docker-compose.yml", "-f", "docker-compose.gpu.yml"]
    command = ["docker", "compose", *files, "--profile", "*", "config"]
    shown = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert yaml.safe_load(shown)["services"]["trainer"]["build"]["args"] == {"TORCH": "cuda"}
    passwords = [path.read_text() for path in (tmp_path / ".secrets").iterdir() if path.read_text()]
    assert len(set(passwords)) == 4
    assert not [password for password in passwords if password in shown]


def test_make_env_writes_strong_passwords_for_its_owner_alone_and_overwrites_nothing(tmp_path):
    def make_env() -> subprocess.CompletedProcess[str]:
        command = ["sh", str(ROOT / "services/env.sh")]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"HF_TOKEN": "hf_x"}
        )

    assert make_env().returncode == 0
    env, folder = tmp_path / ".env", tmp_path / ".secrets"
    assert (env.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    written = env.read_text()
    settings = stack.Stack(_env_file=env)
    for name in ("monitoring_password", "dashboard_token"):
        assert re.fullmatch("[0-9a-f]{64}", (folder / name).read_text())
    for name in ("redis_password", "postgres_password"):
        password = getattr(settings, name).get_secret_value()
        assert re.fullmatch("[0-9a-f]{64}", password)
        assert (folder / name).read_text() == password
    assert settings.redis_password != settings.postgres_password
    assert settings.artifact_folder == str(Path("artifacts").absolute())
    assert (folder / "hf_token").read_text() == "hf_x"
    again = make_env()
    assert again.returncode == 1
    assert ".env is there already" in again.stderr
    assert env.read_text() == written
