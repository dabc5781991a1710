"""The dashboard of real runs in a real browser: the report live, comparison, login; nothing leaves the machine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from harness.browser import DESK, PHONE, open_page, overflow, screenshot
from harness.cells import HEAT, TIP, drawn, expected, numbers, point_at, row, shown
from harness.recipes import overrides
from harness.tiny import ARITHCTL, ENV, HOSTILE, Tiny

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TOKEN = "the-token-of-the-browser-tests"
LAYER, POSITION = 1, 13


@contextmanager
def serving(tiny: Tiny, **env: str) -> Iterator[str]:
    """The command as a user starts it; the line that it prints first, which is where to go."""
    command = [str(ARITHCTL), "dashboard", "--port", "0"]
    process = subprocess.Popen(command, cwd=tiny.folder, env=ENV | env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().removeprefix("dashboard: ").strip()
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def url(tiny: Tiny) -> Iterator[str]:
    with serving(tiny, ARITH_DASHBOARD_TOKEN=TOKEN) as address:
        yield address.removesuffix("/")


@contextmanager
def opened(
    browser: Browser, url: str, path: str, size: tuple[int, int] = DESK, **options: object
) -> Iterator[Page]:
    """A page behind the login; at the end nothing may have gone wrong, nor anybody else have been asked."""
    with open_page(browser, size=size, **options) as (page, witness):
        page.goto(f"{url}/login")
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("heading", name="Runs").wait_for()
        page.goto(url + path)
        yield page
        assert witness.errors == []
        assert witness.foreign == []
        asked = [request for request in witness.requests if not request.startswith("data:")]
        assert [request for request in asked if not request.startswith(f"{url}/")] == []


def see(page: Page, picture: Locator) -> None:
    """Go to a picture and wait until it is there: drawing one takes a while."""
    picture.scroll_into_view_if_needed()
    loaded = "(image) => image.complete && image.naturalWidth > 500"
    page.wait_for_function(loaded, arg=picture.element_handle())


def test_a_wrong_token_gets_401_and_the_right_one_the_page_that_was_asked_for(browser, tiny, url):
    with open_page(browser) as (page, witness):
        answer = page.goto(f"{url}/runs/{tiny.run}")
        assert answer.status == 401
        page.get_by_label("Token").fill("wrong")
        with page.expect_response(f"{url}/login") as refused:
            page.keyboard.press("Enter")
        assert refused.value.status == 401
        expect(page.get_by_role("alert")).to_have_text("That is not the token.")
        screenshot(page, "dashboard wrong token", whole=False)
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text(tiny.run)
        page.get_by_role("button", name="Log out").click()
        page.get_by_label("Token").wait_for()
        assert page.goto(f"{url}/").status == 401
        for token, status in (("wrong", 401), (TOKEN, 200)):
            bearer = {"Authorization": f"Bearer {token}"}
            assert page.request.get(f"{url}/runs.json", headers=bearer).status == status
        # The browser itself reports each of the refusals, and nothing else happened.
        assert [error for error in witness.errors if "401" not in error] == []
        assert witness.foreign == []


def test_the_printed_link_logs_in_and_its_token_stays_in_the_browser(browser, tiny):
    with serving(tiny) as link, open_page(browser) as (page, witness):
        token = link.partition("#")[2]
        page.goto(link)
        page.get_by_role("heading", name="Runs").wait_for()
        assert token not in page.url
        assert len(token) > 40
        assert witness.errors == []
        assert not [request for request in witness.requests if token in request.partition("#")[0]]


def test_the_list_leads_to_a_run_whose_cells_show_what_the_database_has(browser, tiny, url):
    cell = row(tiny, layer=LAYER, position=POSITION, variable="A", family="ridge")
    with opened(browser, url, "/") as page:
        expect(page.locator(f"#run-{tiny.waiting}")).to_be_visible()
        expect(page.get_by_role("row").filter(has_text=tiny.waiting)).to_contain_text("active")
        screenshot(page, "dashboard runs")
        page.locator(f"#run-{tiny.run}").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(HOSTILE)
        assert drawn(page, HEAT) > 5000
        point_at(page, POSITION, LAYER)
        page.locator(f"{TIP} dl.numbers").wait_for()
        found = numbers(page, TIP)
        assert expected(cell).items() <= found.items()
        assert (found["variable"], found["layer"]) == ("A", str(LAYER))
        screenshot(page, "dashboard run hover", whole=False)
        screenshot(page, "dashboard run")


def test_variable_and_family_can_be_switched_and_a_click_shows_the_points(browser, tiny, url):
    panel = "#panel-0 .inspect"
    with opened(browser, url, f"/runs/{tiny.run}") as page:
        page.get_by_role("radio", name="B").check(force=True)
        page.get_by_label("Probe family").select_option("mlp")
        point_at(page, POSITION, LAYER, click=True)
        cell = row(tiny, layer=LAYER, position=POSITION, variable="B", family="mlp")
        found = numbers(page, panel)
        assert (found["variable"], found["family"], found["r"]) == ("B", "mlp", shown(cell["value"]))
        assert drawn(page, "#panel-0 [data-chart=points]") > 1000
        assert drawn(page, "#panel-0 [data-chart=curve]") > 1000
        screenshot(page, "dashboard run switched", whole=False)


def test_two_runs_are_marked_and_compared_as_the_command_compares_them(browser, tiny, url):
    names = ["metric", "variable", "family", "position"]
    rows = json.loads(tiny.arithctl("compare", tiny.other, tiny.run, "--json"))
    with opened(browser, url, "/") as page:
        page.get_by_label(f"Mark {tiny.run}").check()
        page.get_by_label(f"Mark {tiny.other}").check()
        page.get_by_role("button", name="Compare marked runs").click()
        page.get_by_role("heading", name="Compare runs").wait_for()
        table = page.get_by_role("table", name="Differences by variable, probe family and token")
        expect(table.locator("tbody tr")).to_have_count(len(rows))
        headings = table.locator("th").all_inner_texts()
        cells = [line.locator("td").all_inner_texts() for line in table.locator("tbody tr").all()[:30]]
        for line, wanted in zip(cells, rows, strict=False):
            found = dict(zip(headings, line, strict=True))
            assert [found[name] for name in names] == [
                "\N{EN DASH}" if wanted[name] is None else str(wanted[name]) for name in names
            ]
            for name in ("value", "baseline_value", "difference"):
                assert float(found[name]) == pytest.approx(wanted[name], abs=6e-4)
        for index in (0, 1):
            assert drawn(page, f"[data-together='{index}'] [data-chart=heat]") > 5000
        point_at(page, POSITION, LAYER, selector="[data-together='0'] [data-chart=heat]")
        page.locator("[data-together='0'] dl.numbers").wait_for()
        cell = row(tiny, layer=LAYER, position=POSITION, variable="A", family="ridge")
        assert numbers(page, "[data-together='0']")["r"] == shown(cell["value"])
        see(page, page.get_by_alt_text(re.compile("^Differences of the ridge probe")))
        screenshot(page, "dashboard compare")


def test_tables_and_figures_can_be_saved(browser, tiny, url):
    (count,) = tiny.query("SELECT count(*) FROM scores WHERE run_id = ?", tiny.run)
    with opened(browser, url, f"/runs/{tiny.run}") as page:
        with page.expect_download() as saved:
            page.get_by_role("link", name="scores as csv").click()
        lines = saved.value.path().read_text(encoding="utf-8").splitlines()
        assert saved.value.suggested_filename == f"{tiny.run}-scores.csv"
        assert len(lines) == count[0] + 1
        page.locator("#figures summary").first.click()
        see(page, page.locator("#figures details[open] img"))
        screenshot(page, "dashboard figure", whole=False)
        with page.expect_download() as saved:
            page.locator("#figures details[open]").get_by_role("link", name="pdf").click()
        assert saved.value.path().read_bytes().startswith(b"%PDF")


def test_a_run_that_goes_on_is_followed_to_its_results_without_a_hand(browser, tiny, tmp_path):
    shutil.copytree(
        tiny.folder / ".arith", tmp_path / ".arith", ignore=shutil.ignore_patterns("*.sock", "run")
    )
    copy = replace(tiny, folder=tmp_path)
    copy.arithctl("cancel", tiny.waiting)
    # LM and states are there; many resamples make the probes last for some looks at the page.
    fields = overrides(probe__families="[mlp]", probe__untrained="false", probe__resamples=2000)
    run = json.loads(copy.arithctl("submit", "tiny-specialized", "--json", *fields))["run"]
    with (
        serving(copy, ARITH_DASHBOARD_TOKEN=TOKEN) as address,
        opened(browser, address.removesuffix("/"), f"/runs/{run}") as page,
    ):
        state = page.locator("#progress-title ~ p .state")
        expect(state).to_have_text("active")
        expect(page.locator("#report")).to_contain_text("There are no scores yet")
        command = [str(ARITHCTL), "resume", run, "--wait"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, cwd=tmp_path, env=ENV, **quiet) as working:
            expect(page.locator("#fresh")).to_be_visible(timeout=120_000)
            screenshot(page, "dashboard run in progress")
            expect(state).to_have_text("done", timeout=240_000)
            assert working.wait(timeout=120) == 0
        assert drawn(page, HEAT) > 5000
        (found,) = copy.query(
            "SELECT value FROM scores WHERE run_id = ? AND layer = 1 AND position = 13 AND variable = 'A'",
            run,
        )
        point_at(page, POSITION, LAYER)
        page.locator(f"{TIP} dl.numbers").wait_for()
        assert numbers(page, TIP)["r"] == shown(found[0])


def test_workers_and_log_have_pages(browser, tiny, url):
    with opened(browser, url, "/workers") as page:
        expect(page.get_by_role("heading", level=1)).to_have_text("Workers")
        screenshot(page, "dashboard workers")
        page.goto(f"{url}/runs/{tiny.run}/log")
        expect(page.locator(".events")).to_contain_text("submitted")
        screenshot(page, "dashboard log", whole=False)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_without_scrolling_the_page_sideways(browser, tiny, url, scheme):
    pages = {
        "runs": "/",
        "run": f"/runs/{tiny.run}",
        "waiting": f"/runs/{tiny.waiting}",
        "table": f"/runs/{tiny.run}/tables/scores",
        "compare": f"/compare?run={tiny.run}&run={tiny.other}",
        "workers": "/workers",
    }
    with opened(browser, url, "/", size=PHONE, color_scheme=scheme) as page:
        for name, path in pages.items():
            page.goto(url + path)
            page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            assert overflow(page) == 0, name
            screenshot(page, f"dashboard phone {scheme} {name}")


def test_the_keyboard_alone_leads_from_the_list_to_the_cells(browser, tiny, url):
    with opened(browser, url, "/") as page:
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == f"run-{tiny.run}":
                break
        page.keyboard.press("Enter")
        page.get_by_role("heading", level=1, name=tiny.run).wait_for()
        page.locator("#panel-0 [name=layer]").select_option("0")
        page.locator("#panel-0 [name=position]").select_option("5")
        page.locator(HEAT).focus()
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowLeft")
        found = numbers(page, "#panel-0 .inspect")
        assert (found["layer"], found["token"].endswith("(position 4)")) == ("1", True)
        assert found["r"] == shown(row(tiny, layer=1, position=4, variable="A", family="ridge")["value"])


def test_without_a_script_every_page_has_its_numbers(browser, tiny, url):
    with opened(browser, url, f"/runs/{tiny.run}", java_script_enabled=False) as page:
        expect(page.locator(".no-script")).to_be_visible()
        expect(page.locator(".needs-script:visible")).to_have_count(0)
        page.locator("#panel-0 .explore details > summary").first.click()
        cell = row(tiny, layer=LAYER, position=POSITION, variable="A", family="ridge")
        matrix = page.get_by_role("table", name=re.compile("^A, ridge: r at every layer"))
        if not matrix.is_visible():
            page.locator("#panel-0 .explore details details summary").filter(has_text="ridge:").first.click()
        line = matrix.locator("tbody tr").filter(has=page.locator(f"th:text-is('{LAYER}')"))
        expect(line.locator("td").nth(POSITION)).to_have_text(shown(cell["value"], 2))
        screenshot(page, "dashboard without script")
        page.goto(f"{url}/compare?run={tiny.run}&run={tiny.other}")
        table = page.get_by_role("table", name="Differences by variable, probe family and token")
        expect(table.locator("tbody tr").first).to_be_visible()
