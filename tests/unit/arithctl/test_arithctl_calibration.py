"""A calibration is fitted, kept, believed where it fits and only there, and compared with what a run took."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

import pytest

from arith_prober import distinct
from arith_shared import problems
from arith_shared.keys import spec_key
from arith_shared.ledger import runs
from arith_shared.ledger.tables import Artifact, Attempt, Stage, Unit
from arith_shared.settings import load_settings
from arith_shared.testing import fresh_database, small_spec
from arithctl import recipes
from arithctl.forecast import actual, amounts, counts, forecast, in_all, measure
from arithctl.forecast.calibration import FILE, VERSION, Calibration, load, machine, parse, save
from arithctl.forecast.rates import fit, makespan, seconds_of
from arithctl.forecast.trials import all_trials
from arithctl.snapshot import take

#: Rates of a machine that does 1e9 FLOPs a second in every stage, and takes a second around each unit.
RATES = {
    "train": {"unit": 5.0, "opt@8": 1e-9},
    "extract": {"start": 2.0, "unit": 1.0, "bytes": 0.0, "opt@8": 0.0},
    "probe": {"start": 3.0, "unit": 1.0, "bootstrap": 0.0, "ridge@8": 0.0, "mlp@8": 0.0},
    "summarize": {"unit": 0.5},
}


def calibration(settings=None, **changes) -> Calibration:
    fields = {
        "version": VERSION, "made": "2026-01-01 00:00 UTC", "took_s": 60.0, "probers": 2, "device": "cpu",
        "machine": machine(settings or load_settings()), "between_s": 4.0, "rates": RATES,
    }  # fmt: skip
    return Calibration(**{**fields, **changes})


@pytest.fixture
def settings(home):
    return load_settings()


def test_rates_are_found_again_in_the_units_they_were_made_with():
    rates = {"unit": 0.25, "bytes": 3e-9, "opt@160": 2e-11}
    units = [
        {"unit": 1.0, "bytes": size, "opt@160": flops}
        for size, flops in [(1e7, 1e10), (1e8, 1e10), (1e7, 9e10), (0, 0)]
    ]
    found = fit([(one, seconds_of(rates, one)) for one in units])
    assert found == pytest.approx(rates)


def test_no_work_takes_less_than_no_time():
    # More bytes, and yet faster: the bytes cost nothing then.
    found = fit([({"unit": 1.0, "bytes": 1e6}, 2.0), ({"unit": 1.0, "bytes": 2e6}, 1.0)])
    assert found["bytes"] == 0
    assert 1.0 < found["unit"] < 2.0


def test_units_of_the_same_work_together_take_what_they_took():
    """Some are lucky and some are not; a forecast of many is right only if none of them counts for more."""
    units = [({"unit": 1.0, "mlp@8": much}, much * each) for much in (1.0, 10.0) for each in (0.5, 1.0, 3.0)]
    found = fit(units)
    assert sum(seconds_of(found, one) for one, _ in units) == pytest.approx(
        sum(took for _, took in units), 1e-3
    )


def test_between_two_widths_a_flop_costs_what_its_share_of_surroundings_says():
    # 1e-10 + 1e-8 / width.
    rates = {"mlp@100": 2e-10, "mlp@1000": 1.1e-10, "ridge@100": 7.0}
    assert seconds_of(rates, {"mlp@200": 1e10}) == pytest.approx(1.5)
    assert seconds_of(rates, {"mlp@4096": 1e10}) == pytest.approx(1.1)
    assert seconds_of(rates, {"mlp@8": 1e10}) == pytest.approx(2.0)
    assert seconds_of(rates, {"unheard-of@8": 1e10}) == 0


def test_units_go_to_the_worker_that_is_free_first():
    # One worker does 3, the other 1, 1 and then 2.
    assert makespan([3.0, 1.0, 1.0, 2.0], workers=2, start_s=0.5) == 4.5
    assert makespan([3.0], workers=2, start_s=0.5) == 3.5
    assert makespan([], workers=2, start_s=0.5) == 0.0


def test_a_forecast_is_the_sum_of_its_parts(settings):
    spec = small_spec()
    stages = {stage.stage: stage for stage in forecast(spec, calibration(settings))}
    assert stages["train"].seconds == pytest.approx(5.0 + stages["train"].flops * 1e-9)
    # Three shards one after the other; four blocks on two probers.
    assert stages["extract"].seconds == pytest.approx(2.0 + 3 * 1.0)
    assert stages["probe"].seconds == pytest.approx(3.0 + 2 * 1.0)
    parts = sum(stage.seconds for stage in stages.values())
    assert in_all(list(stages.values()), calibration(settings)) == pytest.approx(parts + 4.0)


def probe_work(spec, layer: int, positions: list[int], family: str) -> float:
    asked = {"layer": layer, "positions": positions, "families": [family]}
    return amounts.of_unit(spec, "probe", asked)[f"{family}@{spec.lm.width}"]


def test_equal_hidden_states_are_work_once_and_punctuation_at_layer_0_is_none():
    spec = recipes.load("tiny-specialized").resolve([("extract.n_train", 3_000)])
    task = spec.task
    ids = problems.encode(
        problems.sample(task.evaluation(), "probe", 0, 3_000, seed=0), task.evaluation(), task.chain
    ).ids
    whole = probe_work(spec, 1, [18], "mlp")
    for position in range(20):
        # What the hidden state depends on: the tokens up to there, at the embeddings the one alone.
        for layer, read in ((1, slice(0, position + 1)), (0, slice(position, position + 1))):
            states = {tuple(row) for row in ids[:, read].tolist()}
            share = len(states) / 3_000 if len(states) <= 1_500 else 1.0
            share = 0.0 if layer == 0 and len(states) == 1 else share
            assert probe_work(spec, layer, [position], "mlp") == pytest.approx(share * whole)
    assert probe_work(spec, 0, [1, 5, 19], "ridge") == 0
    # Eigenvectors are of the features, however few problems there are.
    assert probe_work(spec, 0, [0], "ridge") > 10 * spec.lm.width**3
    assert distinct.WORTH == counts._WORTH


def test_a_calibration_is_kept_and_found_again(settings):
    made = calibration(settings)
    assert save(made, settings) == settings.home / FILE
    assert load(settings) == (made, "calibrated on this machine (cpu), 2026-01-01 00:00 UTC")
    assert [path.name for path in settings.home.iterdir()] == [FILE]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"machine": {}}, "of another machine or version (processor None then"),
        ({"version": 0}, f"expected version {VERSION} of a calibration"),
        ({"rates": {"train": {"unit": -1.0}}}, "expected seconds per amount, found -1.0"),
        ({"rates": {"train": {"unit": "x"}}}, "expected the fields of a calibration"),
    ],
)
def test_a_calibration_that_does_not_fit_is_left_aside_with_the_reason(settings, change, said):
    save(calibration(settings, **change), settings)
    found, why = load(settings)
    assert found is None
    assert why.startswith("not calibrated: ")
    assert said in why
    assert "arithctl doctor --calibrate" in why


@pytest.mark.parametrize("text", ["{", "[]", "null", "{}", '{"version": 1}', "\xff"])
def test_a_broken_file_is_a_message_and_no_traceback(cli, home, text):
    home.mkdir()
    (home / FILE).write_bytes(text.encode("latin-1"))
    ran = cli("submit", "tiny-specialized", "--dry-run")
    assert ran.code == 0
    assert f"{FILE} cannot be read" in ran.out
    assert "to a factor of about two" in ran.out


def test_other_threads_make_it_another_machine(settings, monkeypatch):
    save(calibration(settings), settings)
    monkeypatch.setenv("ARITH_THREADS", "7")
    assert "threads None then, 7 now" in load(load_settings())[1]


def test_a_machine_that_only_submits_is_not_asked_how_fast_it_is(cli, settings, monkeypatch):
    save(calibration(settings), settings)
    monkeypatch.setenv("ARITH_BROKER_URL", "redis://127.0.0.1:1/0")
    said = cli("submit", "tiny-specialized", "--dry-run").out
    assert "not calibrated: the work is done by services" in said
    ran = cli("doctor", "--calibrate")
    assert (ran.code, "ARITH_MODE=embedded arithctl doctor --calibrate" in ran.err) == (2, True)


def test_a_dry_run_says_what_it_believes(cli, settings):
    before = cli("submit", "tiny-specialized", "--dry-run").out
    assert "not calibrated: run `arithctl doctor --calibrate`" in before
    save(calibration(settings), settings)
    after = cli("submit", "tiny-specialized", "--dry-run").out
    assert after.splitlines()[-1] == "Time: calibrated on this machine (cpu), 2026-01-01 00:00 UTC."
    assert "calibrated" in cli("submit", "tiny-specialized", "--sweep", "seed=1,2", "--dry-run").out


def test_the_command_keeps_what_was_measured_and_warns_of_a_busy_machine(cli, settings, monkeypatch):
    # The measuring itself takes a minute and is put to the test in tests/pipeline.
    monkeypatch.setattr(measure, "calibrate", lambda settings, trials, tell: calibration(settings))
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    ran = cli("doctor", "--calibrate", "--json")
    assert (ran.code, parse(ran.json)) == (0, calibration(settings))
    assert load(settings)[0] == calibration(settings)
    assert "warning" not in ran.err
    monkeypatch.setattr("os.getloadavg", lambda: (99.5, 0.0, 0.0))
    ran = cli("doctor", "--calibrate")
    assert "warning: the load average is 99.5" in ran.err
    assert ran.out.startswith("calibrated in 1 m: ")


def test_verify_and_calibrate_exclude_each_other(cli):
    assert cli("doctor", "--verify", "last", "--calibrate").code == 2


@pytest.mark.parametrize(("steps_per_s", "seconds"), [(2.0, [1.0]), (0.0, [])])
def test_the_steps_of_a_training_are_timed_apart_from_its_start_if_it_said_how_fast_they_are(
    cli, database, steps_per_s, seconds
):
    run_id = cli("submit", "tiny-specialized", "--json").json["run"]
    spec = small_spec(lm={"training": {"problems": 64, "epochs": 2}})
    with database.transaction() as session:
        session.query(Unit).filter_by(run_id=run_id, stage="train").one().progress_rate = steps_per_s
        found = measure._steps(session, run_id, spec)
    assert [one.seconds for one in found] == seconds
    flops = forecast(spec, flops_per_s=1.0)[0].flops
    assert [one.amounts for one in found] == [{"opt@8": flops}] * len(seconds)


def test_a_run_keeps_the_calibration_of_its_submission_and_the_key_of_its_spec(cli, settings, database):
    save(calibration(settings), settings)
    run_id = cli("submit", "tiny-specialized", "--json").json["run"]
    (settings.home / FILE).unlink()
    with database.reading() as session:
        run = runs.find(session, run_id)
        assert parse(run.provenance[actual.PROVENANCE]) == calibration(settings)
        assert run.spec_key == spec_key(recipes.load("tiny-specialized").resolve())
        assert actual.compare(session, run_id)[0].forecast_s > 5.0


def test_a_run_whose_spec_another_version_wrote_has_no_forecast_and_can_still_be_watched(
    cli, settings, database
):
    save(calibration(settings), settings)
    run_id = cli("submit", "tiny-specialized", "--json").json["run"]
    with database.transaction() as session:
        assert take(session, [run_id], {}).forecast_s[run_id, "train"] > 5.0
        run = runs.find(session, run_id)
        run.spec = {**run.spec, "unheard": "of"}
        session.flush()
        assert actual.compare(session, run_id) == []
        assert take(session, [run_id], {}).forecast_s == {}


def test_what_a_run_was_forecast_is_worked_out_once_however_often_it_is_looked_at(
    cli, settings, database, monkeypatch
):
    save(calibration(settings), settings)
    run_id = cli("submit", "tiny-specialized", "--json").json["run"]
    asked, known = [], {}
    monkeypatch.setattr("arithctl.snapshot.forecast_s", lambda _, run: asked.append(run) or {"train": 7.0})
    with database.reading() as session:
        looks = [take(session, [run_id], known).forecast_s for _ in range(3)]
    assert looks == [{(run_id, "train"): 7.0}] * 3
    assert asked == [run_id]


def finished(folder, spec, *, steps: int | None = None, reused: int = 0, calibrated: bool = True):
    """A ledger with a run of `spec` that is done: training 20 s, a shard every 2 s, blocks of 3 s two at a time."""
    database = fresh_database(f"sqlite:///{folder / 'arith.db'}")
    facts = {actual.PROVENANCE: asdict(calibration())} if calibrated else {}
    spans = {
        "train": [(0.0, 20.0)],
        "extract": [(20.0 + 2 * i, 22.0 + 2 * i) for i in range(4)],
        "probe": [(30.0, 33.0), (30.0, 33.0), (33.0, 36.0), (33.0, 36.0)],
        "summarize": [(37.0, 38.0)],
    }
    with database.transaction() as session:
        run = runs.submit(session, spec, recipe="test", provenance=facts)
        for unit in session.query(Unit):
            session.delete(unit)
        for stage in session.query(Stage):
            stage.state, stage.total, stage.done, stage.reused = (
                "done", len(spans[stage.name]), len(spans[stage.name]), reused,
            )  # fmt: skip
        for name, each in spans.items():
            for number, (start, end) in enumerate(each):
                key, meta = f"{name}-{number}", {"steps": steps} if name == "train" else {}
                session.add(
                    Artifact(
                        key=key,
                        kind=name,
                        path=key,
                        digest=key,
                        size_bytes=1_000,
                        meta=meta,
                        created_at=0,
                        used_at=0,
                    )
                )
                session.flush()
                unit = Unit(run_id=run.id, stage=name, key=key, queue="probe", payload={}, content_key=key,
                            state="done", artifact_key=key)  # fmt: skip
                session.add(unit)
                session.flush()
                session.add(Attempt(unit_id=unit.id, number=1, owner="o", worker_id="w", host="h", started_at=start,
                                    ended_at=end, outcome="done"))  # fmt: skip
        return database, run.id


def compared(folder, spec=None, **how):
    database, run_id = finished(folder, spec or small_spec(), **how)
    with database.reading() as session:
        found = {one.stage: one for one in actual.compare(session, run_id)}
    database.close()
    return found


def test_what_was_forecast_stands_beside_what_it_took_and_wrote(home, tmp_path):
    found = compared(tmp_path)
    assert [found[stage].took_s for stage in found] == [20.0, 8.0, 6.0, 1.0]
    assert found["probe"].time_ratio == pytest.approx(6.0 / 5.0)
    assert found["summarize"].time_ratio == pytest.approx(2.0)
    assert found["probe"].written_bytes == 4_000
    assert found["probe"].bytes_ratio == pytest.approx(4_000 / found["probe"].forecast_bytes)
    assert found["summarize"].bytes_ratio is None


def test_shards_that_nobody_could_foresee_are_counted_out_of_the_ratio(home, tmp_path):
    extract = compared(tmp_path)["extract"]
    # Three shards forecast, 2 s + 3 x 1 s; there were four.
    assert (extract.forecast_s, extract.note) == (pytest.approx(5.0), "4 units, 3 forecast")
    assert extract.for_done_s == pytest.approx(2 + 1 + (5 - 3) * 4 / 3)


def test_a_training_that_stopped_early_is_held_against_the_steps_it_took(home, tmp_path):
    # Each of ten epochs is one step.
    training = {"problems": 64, "epochs": 10, "stop_at_accuracy": 0.9}
    spec = small_spec(lm={"training": training})
    train = compared(tmp_path, spec, steps=4)["train"]
    assert (train.at_most, train.note) == (True, "4 of 10 steps")
    flops = forecast(spec, flops_per_s=1.0)[0].flops
    assert train.forecast_s == pytest.approx(5.0 + flops * 1e-9)
    assert train.for_done_s == pytest.approx(5.0 + 0.4 * flops * 1e-9)
    assert train.time_ratio == pytest.approx(20.0 / train.for_done_s)


def test_reused_units_and_a_missing_calibration_leave_no_ratio(home, tmp_path):
    (tmp_path / "reused").mkdir()
    assert compared(tmp_path / "reused", reused=1)["probe"].time_ratio is None
    plain = compared(tmp_path, calibrated=False)["probe"]
    assert (plain.forecast_s, plain.time_ratio, plain.took_s) == (None, None, 6.0)
    assert plain.bytes_ratio is not None


def test_status_shows_forecast_and_actual_figures(cli, home, settings):
    home.mkdir()
    database, run_id = finished(home, small_spec())
    database.close()
    lines = cli("status", run_id).out.splitlines()
    (probe,) = [line for line in lines if line.startswith("probe ")]
    assert probe.split()[:6] == ["probe", "5", "s", "5", "s", "6"]
    rows = cli("status", run_id, "--json").json["forecast"]
    assert [row["stage"] for row in rows] == ["train", "extract", "probe", "summarize"]
    assert rows[2]["time_ratio"] == pytest.approx(1.2)


def test_a_run_of_a_version_with_other_fields_still_has_a_status(cli, home):
    home.mkdir()
    database, run_id = finished(home, small_spec())
    with database.transaction() as session:
        runs.find(session, run_id).spec = {"of": "another version"}
    database.close()
    ran = cli("status", run_id, "--json")
    assert (ran.code, ran.json["forecast"]) == (0, [])
    assert cli("status", run_id).code == 0


def test_trials_are_real_recipes_that_share_no_artifact():
    trials = all_trials()
    assert len({trial.spec.seed for trial in trials}) == len(trials) == 3
    # Small enough for a minute: none trains for more than a twentieth of what tiny-specialized does.
    whole = sum(
        stage.flops for stage in forecast(recipes.load("tiny-specialized").resolve(), flops_per_s=1.0)
    )
    assert all(
        sum(stage.flops for stage in forecast(trial.spec, flops_per_s=1.0)) < 0.2 * whole for trial in trials
    )


def test_neither_forecast_nor_calibration_loads_torch(home):
    program = (
        "import sys, arithctl.forecast.measure, arithctl.forecast.actual\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == []
