"""The dashboard lets in who has the token, tells no stranger anything, and can change nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from starlette.routing import Mount
from starlette.testclient import TestClient

from arith_shared.errors import UserError
from arith_shared.settings import Settings
from arithctl.dashboard import logins, serving
from arithctl.dashboard.app import application, routes
from arithctl.dashboard.guard import Guard
from arithctl.dashboard.ledger import Ledger
from arithctl.dashboard.logins import MAX_FAILURES, SESSION_S, WINDOW_S, Logins

TOKEN = "a-token-of-twenty-one"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
HERE = "http://127.0.0.1:8765"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(home, clock) -> Iterator[TestClient]:
    """A browser on this machine that has not logged in."""
    door = Logins(TOKEN, clock)
    app = Guard(routes(Ledger(Settings(home=home)), door), door)
    with TestClient(app, base_url=HERE, follow_redirects=False) as browser:
        yield browser


def log_in(client: TestClient, token: str = TOKEN, **form: str):
    return client.post("/login", data={"token": token, **form})


def all_paths() -> list[str]:
    """One path of every route that there is."""
    app = routes(Ledger(Settings(home="nowhere")), Logins(TOKEN))
    names = {"table": "scores", "file": "csv"}
    found = [route.path for route in app.routes if not isinstance(route, Mount)]
    return [re.sub(r"{(\w+)}", lambda field: names.get(field[1], "x"), path) for path in found]


def test_all_routes_are_looked_at():
    assert {"/", "/runs/x", "/workers", "/compare", "/runs/x/tables/scores.csv", "/login"} <= set(all_paths())


@pytest.mark.parametrize("path", all_paths())
def test_no_route_takes_a_method_that_could_change_something(client, path):
    log_in(client)
    allowed = {"/login": {"GET", "HEAD", "POST"}, "/logout": {"POST"}}.get(path, {"GET", "HEAD"})
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
        status = client.request(method, path).status_code
        assert (status == 405) == (method not in allowed), method


@pytest.mark.parametrize("path", [*all_paths(), "/nowhere", "/docs", "/openapi.json", "/redoc"])
def test_a_stranger_gets_401_everywhere_but_at_the_door(client, path):
    wrong = {"Authorization": "Bearer wrong"}
    answer = client.get(path)
    if path in ("/login", "/health"):
        assert answer.status_code == 200
    elif path.startswith("/static/"):
        # What pages look like, which everybody can read in the repository.
        assert answer.status_code == 404
    else:
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="arithctl"'
        assert client.get(path, headers=wrong).status_code == 401


def test_a_script_comes_in_with_the_token_as_bearer_and_a_wrong_one_does_not(client):
    assert client.get("/runs.json", headers=BEARER).json() == []
    for given in ("Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer", f"Bearer {TOKEN}x"):
        refused = client.get("/runs.json", headers={"Authorization": given})
        assert refused.status_code == 401
        assert refused.json() == {"error": "Log in first."}


def test_a_browser_logs_in_with_the_form_and_out_again(client):
    assert 'name="token"' in client.get("/workers").text
    answer = log_in(client, back="/workers")
    assert (answer.status_code, answer.headers["location"]) == (303, "/workers")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    assert "<h1>Workers</h1>" in client.get("/workers").text
    session = dict(client.cookies)
    assert client.post("/logout").status_code == 303
    client.cookies.update(session)
    assert client.get("/workers").status_code == 401


def test_a_wrong_token_is_told_so_with_401_and_never_shown_again(client):
    answer = log_in(client, "<script>wrong")
    assert answer.status_code == 401
    assert "That is not the token." in answer.text
    assert "wrong<" not in answer.text
    assert "<script>wrong" not in answer.text
    assert "set-cookie" not in answer.headers


def test_a_session_ends_after_half_a_day(client, clock):
    log_in(client)
    clock.now += SESSION_S - 1
    assert client.get("/").status_code == 200
    clock.now += 2
    assert client.get("/").status_code == 401


def test_guessing_is_slowed_down_for_forms_and_scripts_but_not_for_who_is_in(client, clock):
    log_in(client)
    for number in range(MAX_FAILURES):
        guess = {"Authorization": f"Bearer {number}"}
        answer = log_in(client, str(number)) if number % 2 else client.get("/runs.json", headers=guess)
        assert answer.status_code in (401, 200)
    stranger = TestClient(client.app, base_url=HERE, follow_redirects=False)
    for _ in range(MAX_FAILURES):
        log_in(stranger, "guess")
    braked = log_in(stranger)
    assert braked.status_code == 429
    assert 0 < int(braked.headers["retry-after"]) <= WINDOW_S
    assert stranger.get("/runs.json", headers=BEARER).status_code == 429
    assert client.get("/").status_code == 200
    clock.now += WINDOW_S + 1
    assert log_in(stranger).status_code == 303


@pytest.mark.parametrize(
    "back", ["//evil.example", "/\\evil.example", "https://evil.example", "x", "/\n/evil"]
)
def test_after_the_login_nobody_is_sent_to_another_machine(client, back):
    assert log_in(client, back=back).headers["location"] == "/"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "[", ""])
def test_a_name_that_was_pointed_at_this_machine_gets_nothing(client, host):
    log_in(client)
    for path in ("/", "/login", "/static/live.js", "/health"):
        assert client.get(path, headers={"Host": host}).status_code == 400
    assert client.post("/login", data={"token": TOKEN}, headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1:18080", "localhost", "[::1]:8765"])
def test_this_machine_may_be_called_by_any_of_its_names(client, host):
    assert client.get("/login", headers={"Host": host}).status_code == 200


def test_a_form_that_another_page_sends_is_refused(client):
    for headers in (
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:9999"},
    ):
        assert client.post("/login", data={"token": TOKEN}, headers=headers).status_code == 403
    for headers in ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, {"Origin": HERE}):
        assert client.post("/login", data={"token": TOKEN}, headers=headers).status_code == 303


def test_a_form_that_is_too_large_is_not_read_to_its_end(client):
    body = b"token=" + b"x" * 5000 + f"&token={TOKEN}".encode()
    assert client.post("/login", content=body, headers=FORM).status_code == 401


@pytest.mark.parametrize(
    "path", ["/", "/login", "/nowhere", "/runs.json", "/static/style.css", "/health", "/compare"]
)
def test_every_answer_forbids_scripts_of_others_frames_sniffing_and_referrers(client, path):
    for headers in ({}, BEARER, {"Host": "evil.example"}):
        sent = client.get(path, headers=headers).headers
        policy = dict(part.strip().split(" ", 1) for part in sent["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert policy["style-src"] == "'self'"
        assert policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert policy["base-uri"] == "'none'"
        assert sent["x-content-type-options"] == "nosniff"
        assert sent["referrer-policy"] == "no-referrer"
        assert sent["x-frame-options"] == "DENY"
        assert sent["cross-origin-resource-policy"] == "same-origin"
        kept = "private, no-cache" if path.startswith("/static/") else "no-store"
        assert sent["cache-control"] == kept
        assert "server" not in sent


def test_pages_hold_no_inline_script_or_style_and_name_no_other_machine(client):
    log_in(client)
    for path in ("/", "/workers", "/nowhere", "/login"):
        text = client.get(path).text
        assert re.findall(r"<script(?![^>]*\bsrc=)", text) == []
        assert re.findall(r"\sstyle=|\son\w+=|<style", text) == []
        assert re.findall(r'(?:src|href)="(?!/|#)', text) == []


def test_what_was_not_found_is_a_page_for_people_and_json_for_programs(client):
    log_in(client)
    page = client.get("/runs/<b>")
    assert page.status_code == 404
    assert "there are no runs yet" in page.text
    assert client.get("/runs/x.json").json()["error"].startswith("there are no runs yet")
    assert client.get("/runs/x/tables/passwords").status_code == 404
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/%2e%2e/app.py").status_code == 404
    for path in ("/docs", "/redoc", "/openapi.json", "/login/", "/loginx", "/healthz"):
        assert client.get(path).status_code == 404


def test_before_the_first_run_pages_say_how_to_start_one_and_nothing_is_created(client, home):
    log_in(client)
    assert "arithctl submit" in client.get("/").text
    assert "No worker" in client.get("/workers").text
    assert not home.exists()


def test_a_database_that_does_not_answer_is_said_so_without_its_password(tmp_path):
    url = f"postgresql+psycopg://arith:very-secret@127.0.0.1:1/arith?host={tmp_path}"
    app = application(Settings(home=tmp_path, database_url=url), TOKEN)
    with TestClient(app, base_url=HERE, headers=BEARER) as client:
        answer = client.get("/")
    assert answer.status_code == 503
    assert "very-secret" not in answer.text


@pytest.mark.parametrize(
    "token", ["short", "fifteen-letters", "with a space in it", "nö-ascii-at-all-here", ""]
)
def test_a_token_that_can_be_guessed_or_sent_by_nobody_is_refused(token):
    with pytest.raises(UserError, match="expected at least 16 characters"):
        serving.check_token(token)
    serving.check_token(serving.new_token())


def test_tokens_are_compared_in_constant_time(monkeypatch):
    seen = []
    monkeypatch.setattr(logins.hmac, "compare_digest", lambda a, b: seen.append((len(a), len(b))) or a == b)
    door = Logins(TOKEN)
    assert [door.accepts(token) for token in (TOKEN, "x", TOKEN + "x")] == [True, False, False]
    assert seen == [(32, 32)] * 3


def test_two_dashboards_on_one_machine_do_not_take_each_others_cookies():
    assert Logins("a" * 20).cookie != Logins("b" * 20).cookie


def test_sessions_do_not_grow_without_end():
    door = Logins(TOKEN)
    first = door.open_session()
    for _ in range(1000):
        last = door.open_session()
    assert (door.knows(first), door.knows(last)) == (False, True)
