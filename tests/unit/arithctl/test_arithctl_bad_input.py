"""A mistake of the user's is answered with a sentence and an exit code, and leaves nothing on the disk."""

from __future__ import annotations

import re
import shutil
import socket
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from arith_shared.ledger.tables import Run
from arith_shared.testing import fresh_database
from arithctl import recipes

USAGE, NOT_REACHABLE = 2, 3


@pytest.fixture
def refused(cli, tmp_path):
    """Run a command that must fail without a trace; returns its message."""

    def run(*arguments: str, code: int = USAGE) -> str:
        before = sorted(tmp_path.rglob("*"))
        ran = cli(*arguments)
        assert (ran.code, ran.out) == (code, "")
        assert ran.err.startswith("Error: ")
        assert "Traceback" not in ran.err
        assert sorted(tmp_path.rglob("*")) == before
        return ran.err.removeprefix("Error: ")

    return run


def submit(refused, *overrides: str) -> str:
    return refused(
        "submit", "tiny-specialized", *(part for override in overrides for part in ("-s", override))
    )


def test_an_unknown_recipe_is_answered_with_the_nearest_one(refused):
    assert "unknown recipe 'tiny-specialised'; did you mean tiny-specialized?" in refused(
        "submit", "tiny-specialised"
    )
    assert f"there are {', '.join(recipes.names())} (" in refused("recipes", "qqq")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("probe.mlp.epoch=3", "probe.mlp.epoch: unknown field; did you mean epochs?"),
        ("lm.betas=[0.9, 0.98]", "lm.betas: unknown field; did you mean lm.training.betas?"),
        ("tasks.layout=eq1", "tasks: unknown field; did you mean task?"),
        ("probe.zzz=1", "probe.zzz: unknown field; valid fields are block_positions, controls, "),
    ],
)
def test_an_unknown_field_is_answered_with_a_valid_one(refused, override, message):
    assert message in submit(refused, override)


def test_all_mistakes_of_a_file_are_listed_at_once(refused, tmp_path):
    (tmp_path / "mine.yaml").write_text("task: {max_numbr: 9}\nextract: {n_train: -5, n_eval: few}\nlm:\n")
    assert refused("submit", "mine.yaml").splitlines() == [
        "task.max_numbr: unknown field; did you mean max_number?",
        "lm: expected a group of fields, found None",
        "extract.n_train: Input should be greater than or equal to 2 (found -5)",
        "extract.n_eval: Input should be a valid integer, unable to parse string as an integer (found 'few')",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lm.width=wide", "lm.width: Input should be a valid integer, .*found 'wide'"),
        ("lm.width=-128", r"lm.width: Input should be greater than 0 \(found -128\)"),
        ("lm.width=130", "lm: width 130 is not a multiple of heads 4; choose one that is"),
        ("lm.dropout=1", r"lm.dropout: Input should be less than 1 \(found 1\)"),
        ("lm.training.lr=.inf", r"lm.training.lr: Input should be a finite number \(found inf\)"),
        ("lm.tie_head=true", "lm: tie_head would freeze the output head too; set freeze_embeddings to false"),
        ("extract.shard_problems=0", "extract.shard_problems: Input should be greater than 0"),
        ("extract.layers=[0,4]", "extract.layers names layer 4; this LM has layers 0 to 3"),
        ("task.layout=eq2", r"task.layout: Input should be 'eq1', .* \(found 'eq2'\)"),
        ("task.max_number=0", "task.max_number: Input should be greater than or equal to 1"),
        ("task.names=2", "names 2: layout eq1 needs 3 variable names; choose 3 to 26"),
        ("probe.families=[]", r"probe: families \[\] must name each family once, and at least one"),
        ("probe.families=[mlp,mlp]", "probe: families .* must name each family once"),
        ("seed=-1", r"seed: Input should be greater than or equal to 0 \(found -1\)"),
        ("seed", "override 'seed': expected FIELD=VALUE, for example probe.mlp.epochs=60"),
        ("extract.layers=[1", "override 'extract.layers=.1': '.1' is not a YAML value"),
        ("seed.a=1", "seed.a: seed is a value, not a group of fields"),
    ],
)
def test_an_impossible_value_is_named_with_what_is_possible(refused, override, message):
    assert re.search(message, submit(refused, override))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("task:\n  layout: eq1\n lm: [1\n", "line 3, column 2: expected <block end>"),
        ("task: {layout: eq1, layout: eq1}", "line 1, column 21: layout stands here for the second time"),
        ("lm: !!python/object/apply:os.getcwd []", "line 1, column 5: could not determine a constructor"),
        ("- task", "expected the groups task, lm, extract and probe, found list"),
        ("", "expected the groups task, lm, extract and probe, found NoneType"),
    ],
)
def test_a_file_that_is_no_recipe_is_named_with_the_place(refused, tmp_path, content, message):
    (tmp_path / "mine.yaml").write_text(content)
    found = refused("submit", "mine.yaml")
    assert found.startswith("mine.yaml: ")
    assert message in found


def test_a_file_that_cannot_be_read_is_named(refused, tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert refused("submit", "gone.yaml").startswith("gone.yaml: no such file")
    assert refused("submit", "binary.yaml").startswith("binary.yaml: cannot be read: ")


def test_a_file_whose_name_cannot_be_part_of_a_run_id_is_refused(refused, tmp_path):
    (tmp_path / "My recipe.yaml").write_text("seed: 1")
    message = refused("submit", "My recipe.yaml")
    assert message.startswith("recipe name 'My recipe': expected up to 50 lower-case letters")


@pytest.mark.parametrize("command", ["status", "logs", "results", "figures", "cancel", "resume", "workers"])
def test_a_question_before_the_first_run_is_answered_and_creates_nothing(refused, command):
    arguments = () if command == "workers" else ("last",)
    assert refused(command, *arguments).startswith("there are no runs yet in ")


@pytest.mark.parametrize("command", ["status", "logs", "results", "figures", "cancel", "resume"])
def test_a_run_that_does_not_exist_is_named(submitted, refused, command):
    assert refused(command, "nosuch").startswith("no run is called 'nosuch' or begins so")


def test_a_prefix_of_several_runs_is_answered_with_all_of_them(submitted, refused, cli):
    second = cli("submit", "tiny-specialized", "--json").json["run"]
    message = refused("status", "tiny")
    assert message.startswith("'tiny' could be any of 2 runs: ")
    assert submitted in message
    assert second in message


@pytest.mark.parametrize("root", ["a-file/root", "/proc/arith"])
def test_an_artifact_root_that_cannot_be_written_is_named_with_the_remedy(
    refused, tmp_path, monkeypatch, root
):
    (tmp_path / "a-file").write_text("")
    monkeypatch.setenv("ARITH_ARTIFACTS", root)
    message = refused("submit", "tiny-specialized")
    assert re.match(f"artifact root .*{root}: expected to write there, found .*set ARITH_ARTIFACTS", message)


def test_a_home_that_cannot_be_made_is_named_with_the_remedy(refused, tmp_path, monkeypatch):
    (tmp_path / "a-file").write_text("")
    monkeypatch.setenv("ARITH_HOME", "a-file/home")
    monkeypatch.setenv("ARITH_ARTIFACTS", str(tmp_path))
    message = refused("submit", "tiny-specialized", code=NOT_REACHABLE)
    assert re.match(".*a-file/home: .*Not a directory.*set ARITH_HOME", message)


def test_an_artifact_root_on_an_unknown_service_names_the_scheme(refused, monkeypatch):
    monkeypatch.setenv("ARITH_ARTIFACTS", "nosuch://bucket")
    assert "artifact root nosuch://bucket: " in refused("submit", "tiny-specialized")


def test_a_run_that_does_not_fit_on_the_disk_is_refused_with_both_sizes(refused, monkeypatch):
    usage = type(shutil.disk_usage("/"))(10**12, 10**12 - 10**8, 10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    message = refused("submit", "opt-specialized")
    # States alone: 12,000 problems x 20 positions x 9 layers x 1024 features x 2 bytes = 4.4 GB.
    assert re.search(
        r"would write about \d\.\d GB to .*artifacts, where 100 MB are free: lower extract.n_train", message
    )


def test_a_database_of_a_newer_version_is_refused_with_both_versions(refused, home):
    database = fresh_database(f"sqlite:///{home / 'arith.db'}")
    with database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    for command in (("submit", "tiny-specialized"), ("status",), ("db", "upgrade")):
        message = refused(*command)
        assert "has schema 9999, which is newer than this arithctl (it knows 0006)" in message


def test_a_database_that_is_older_is_upgraded_only_by_the_command_for_it(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("ARITH_DATABASE_URL", f"sqlite:///{tmp_path}/own.db")
    ran = cli("submit", "tiny-specialized")
    assert ran.code == USAGE
    assert "own.db is empty, this arithctl needs 0006: run `arithctl db upgrade`" in ran.err
    assert cli("db", "upgrade").code == 0
    assert cli("submit", "tiny-specialized").code == 0


def test_a_broker_that_does_not_answer_is_named_without_its_password(refused, monkeypatch, tmp_path):
    monkeypatch.setenv("ARITH_BROKER_URL", "redis://user:geheim@127.0.0.1:1/0")
    fresh_database(f"sqlite:///{tmp_path}/own.db").close()
    monkeypatch.setenv("ARITH_DATABASE_URL", f"sqlite:///{tmp_path}/own.db")
    message = refused("submit", "tiny-specialized", code=NOT_REACHABLE)
    assert message.startswith("broker redis://127.0.0.1:1/0 does not answer: ")
    assert "geheim" not in message
    database = fresh_database(f"sqlite:///{tmp_path}/own.db")
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Run)) == 0
    database.close()


def test_a_broker_that_accepts_and_says_nothing_counts_as_not_reachable(refused, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("ARITH_BROKER_URL", f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        monkeypatch.setattr("arith_shared.queue.BROKER_TIMEOUT_S", 0.2)
        assert "does not answer" in refused("submit", "tiny-specialized", code=NOT_REACHABLE)


def test_a_database_server_that_does_not_answer_is_named_without_its_password(refused, monkeypatch):
    monkeypatch.setenv("ARITH_DATABASE_URL", "postgresql+psycopg://user:geheim@127.0.0.1:1/arith")
    for command in (("submit", "tiny-specialized"), ("status",)):
        message = refused(*command, code=NOT_REACHABLE)
        assert message.startswith("database postgresql+psycopg://user:***@127.0.0.1:1/arith: ")
        assert "geheim" not in message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("LEASE_S", "soon", "ARITH_LEASE_S='soon': Input should be a valid number"),
        ("TICK_S", "0", "ARITH_TICK_S='0': Input should be greater than 0"),
        ("LEASE_S", "4", "ARITH_LEASE_S=4 is shorter than three heartbeats of 10 s; raise it or lower"),
        ("THREADS", "none", "ARITH_THREADS='none': Input should be a valid integer"),
        (
            "COMPILE",
            "fast",
            "ARITH_COMPILE='fast': Input should be 'default', 'reduce-overhead' or 'max-autotune'",
        ),
        ("LOG_FORMAT", "xml", "ARITH_LOG_FORMAT='xml': Input should be 'text' or 'json'"),
        ("BROKER_URL", "http://:geheim@host", "ARITH_BROKER_URL: expected a URL that begins with redis://"),
        ("BROKER_URL", "localhost", "ARITH_BROKER_URL: expected a URL that begins with redis://"),
        ("DATABASE_URL", "nonsense", "ARITH_DATABASE_URL is not a database URL"),
        ("DATABASE_URL", "mysql://u:geheim@h/d", "ARITH_DATABASE_URL is not a database URL that begins with"),
    ],
)
def test_a_bad_setting_is_named_with_its_value_and_what_is_expected(
    refused, monkeypatch, name, value, message
):
    monkeypatch.setenv(f"ARITH_{name}", value)
    found = refused("submit", "tiny-specialized")
    assert found.startswith(message)
    assert "geheim" not in found


def test_a_setting_in_a_file_is_read_and_checked_like_the_environment(refused, tmp_path):
    Path(tmp_path / ".env").write_text("ARITH_TICK_S=never\n")
    assert refused("status").startswith("ARITH_TICK_S='never': Input should be a valid number")


def test_a_command_or_option_that_does_not_exist_is_a_usage_error(cli):
    for arguments in (("frobnicate",), ("submit",), ("status", "--frob"), ("results", "x", "--table", "y")):
        ran = cli(*arguments)
        assert ran.code == USAGE
        assert "Usage: arithctl" in ran.err
