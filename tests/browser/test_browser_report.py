"""The report in a real browser, opened from disk: what a reader points at is what the database has."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from harness.browser import PHONE, open_page, overflow, screenshot
from harness.tiny import HOSTILE

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HEAT = "#panel-0 .explore [data-chart=heat]"
#: Where a cell is on the screen: asked from the chart, then the real mouse goes there.
_PIXEL = """([selector, position, layer]) => {
  const element = document.querySelector(selector);
  element.scrollIntoView({block: "center"});
  const box = element.getBoundingClientRect();
  const [x, y] = echarts.getInstanceByDom(element).convertToPixel({seriesIndex: 0}, [position, layer]);
  return [box.x + x, box.y + y];
}"""
#: How many pixels of a chart carry something; a chart may be several canvases on top of each other.
_INK = """(selector) => {
  let count = 0;
  for (const canvas of document.querySelectorAll(`${selector} canvas`)) {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    for (let i = 3; i < pixels.length; i += 4) count += pixels[i] > 0;
  }
  return count;
}"""
LAYER, POSITION = 1, 13


@contextmanager
def opened(browser: Browser, path: Path, **options: object) -> Iterator[Page]:
    """The report from disk; at the end nothing may have gone wrong, nor anything have been asked for."""
    with open_page(browser, **options) as (page, witness):
        page.goto(path.as_uri())
        yield page
        assert witness.errors == []
        assert [url for url in witness.requests if not url.startswith("data:")] == [path.as_uri()]
        assert witness.foreign == []


def shown(value: float | None, digits: int = 3) -> str:
    """A correlation as the page writes it."""
    if value is None:
        return "\N{EN DASH}"
    text = f"{abs(value):.{digits}f}".removeprefix("0") if abs(value) < 1 else f"{abs(value):.{digits}f}"
    return f"\N{MINUS SIGN}{text}" if value < 0 and float(text) else text


def numbers(page: Page, inside: str) -> dict[str, str]:
    """Names and values of the list of numbers that is found inside an element."""
    return dict(
        page.evaluate(
            "(inside) => [...document.querySelectorAll(`${inside} dl.numbers dt`)]"
            ".map((name) => [name.textContent, name.nextElementSibling.textContent])",
            inside,
        )
    )


def point_at(page: Page, position: int, layer: int, *, selector: str = HEAT, click: bool = False) -> None:
    x, y = page.evaluate(_PIXEL, [selector, position, layer])
    page.mouse.move(x - 2, y - 2)
    page.mouse.move(x, y)
    if click:
        page.mouse.click(x, y)


def drawn(page: Page, selector: str) -> int:
    """How many pixels of a chart carry something, once it has been drawn: charts draw with the next frame."""
    page.evaluate("new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(next)))")
    return int(page.evaluate(_INK, selector))


def row(tiny, **cell: object) -> dict[str, object]:
    names = ["value", "ci_low", "ci_high", "n_train", "n_eval", "ceiling", "control"]
    where = " AND ".join(f"{name} = ?" for name in cell)
    (found,) = tiny.query(
        f"SELECT {', '.join(names)} FROM scores WHERE run_id = ? AND {where}",  # noqa: S608 - names of our own
        tiny.run,
        *cell.values(),
    )
    return dict(zip(names, found, strict=True))


def expected(found: dict[str, object]) -> dict[str, str]:
    return {
        "r": shown(found["value"]),
        "95 % interval": f"{shown(found['ci_low'])} to {shown(found['ci_high'])}",
        "n": f"{found['n_eval']} (fitted on {found['n_train']})",
        "ceiling": shown(found["ceiling"]),
        "control": shown(found["control"]),
    }


def test_pointing_at_a_cell_shows_the_numbers_that_the_database_has(browser, tiny, report):
    cell = row(tiny, layer=LAYER, position=POSITION, variable="A", family="ridge")
    with opened(browser, report(tiny.run)) as page:
        point_at(page, POSITION, LAYER)
        page.locator(f"{HEAT} dl.numbers").wait_for()
        found = numbers(page, HEAT)
        assert expected(cell).items() <= found.items()
        assert found["layer"] == str(LAYER)
        assert found["token"] == f"= (position {POSITION})"
        assert found["variable"] == "A"
        screenshot(page, "report desk hover", whole=False)
        screenshot(page, "report desk")


def test_variable_and_family_and_measure_can_be_switched(browser, tiny, report):
    panel, caption = "#panel-0 .inspect", "#panel-0 .heat-caption"
    with opened(browser, report(tiny.run)) as page:
        page.get_by_role("radio", name="B").check(force=True)
        page.locator("#panel-0 [name=layer]").select_option(str(LAYER))
        page.locator("#panel-0 [name=position]").select_option(str(POSITION))
        cell = row(tiny, layer=LAYER, position=POSITION, variable="B", family="ridge")
        twin = row(tiny, layer=LAYER, position=POSITION, variable="B", family="ridge@untrained")
        assert numbers(page, panel)["r"] == shown(cell["value"])
        assert numbers(page, panel)["untrained LM"] == shown(twin["value"])
        measures = page.get_by_label("Colour shows")
        measures.select_option("untrained")
        expect(page.locator(caption)).to_contain_text("before training")
        point_at(page, POSITION, LAYER)
        page.locator(f"{HEAT} dl.numbers").wait_for()
        difference = numbers(page, HEAT)["r minus untrained"].replace("\N{MINUS SIGN}", "-")
        assert float(difference) == pytest.approx(cell["value"] - twin["value"], abs=6e-4)
        screenshot(page, "report minus untrained", whole=False)
        page.get_by_label("Probe family").select_option("mlp")
        found = numbers(page, panel)
        other = row(tiny, layer=LAYER, position=POSITION, variable="B", family="mlp")
        assert (found["family"], found["r"]) == ("mlp", shown(other["value"]))
        # This family has neither shuffled control nor untrained twin: no difference can be asked for.
        for measure in ("control", "untrained"):
            expect(measures.locator(f"option[value={measure}]")).to_be_disabled()
        expect(measures).to_have_value("r")
        page.get_by_label("Probe family").select_option("ridge@untrained")
        assert numbers(page, panel)["r"] == shown(twin["value"])
        expect(page.locator(caption)).to_contain_text("on the untrained LM")


def test_a_click_on_a_cell_shows_its_predictions_which_have_the_same_correlation(browser, tiny, report):
    with opened(browser, report(tiny.run)) as page:
        point_at(page, 8, LAYER, click=True)
        cell = row(tiny, layer=LAYER, position=8, variable="A", family="ridge")
        expect(page.locator("#panel-0 [data-points-caption]")).to_contain_text(f"r = {shown(cell['value'])}")
        pairs = page.evaluate(
            "echarts.getInstanceByDom(document.querySelector('#panel-0 [data-chart=points]'))"
            ".getOption().series[0].data"
        )
        assert len(pairs) == cell["n_eval"] == 200
        # All problems are there, a byte each: their correlation is that of the table.
        assert np.corrcoef(np.array(pairs).T)[0, 1] == pytest.approx(cell["value"], abs=5e-3)
        assert drawn(page, "#panel-0 [data-chart=points]") > 1000
        screenshot(page, "report scatter", whole=False)


def test_a_cell_without_a_correlation_has_a_word_and_no_number(browser, tiny, report):
    failed = "run_id = ? AND family = 'ridge' AND status <> 'ok'"
    query = f"SELECT layer, position, status FROM scores WHERE {failed} LIMIT 1"  # noqa: S608 - words of our own
    ((layer, position, status),) = tiny.query(query, tiny.run)
    with opened(browser, report(tiny.run)) as page:
        point_at(page, position, layer, click=True)
        assert numbers(page, "#panel-0 .inspect")["r"] == f"none: {status}"
        expect(page.locator("#panel-0 [data-points-note]")).to_be_visible()
        expect(page.locator("#panel-0 [data-chart=points]")).to_be_hidden()


def test_the_keyboard_reaches_every_cell(browser, tiny, report):
    with opened(browser, report(tiny.run)) as page:
        page.locator("#panel-0 [name=layer]").select_option("0")
        page.locator("#panel-0 [name=position]").select_option("5")
        page.locator(HEAT).focus()
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        found = numbers(page, "#panel-0 .inspect")
        assert (found["layer"], found["token"]) == ("1", "+ (position 3)")
        assert found["r"] == shown(row(tiny, layer=1, position=3, variable="A", family="ridge")["value"])


def test_several_runs_have_a_tab_each_and_stand_side_by_side(browser, tiny, report):
    with opened(browser, report(tiny.run, tiny.other, tiny.waiting)) as page:
        tabs = page.get_by_role("tab")
        expect(tabs).to_have_count(4)
        expect(page.locator("#panel-1")).to_be_hidden()
        tabs.nth(0).focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#panel-1")).to_be_visible()
        expect(page.locator("#panel-0")).to_be_hidden()
        tabs.nth(2).click()
        expect(page.locator("#panel-2")).to_contain_text("There are no scores yet")
        expect(page.locator("#panel-2 .state")).to_have_text("active")
        screenshot(page, "report unfinished run")
        tabs.nth(3).click()
        for index in (0, 1):
            selector = f"[data-together='{index}'] [data-chart=heat]"
            assert drawn(page, selector) > 5000
        point_at(page, POSITION, LAYER, selector="[data-together='1'] [data-chart=heat]")
        page.locator("[data-together='1'] dl.numbers").wait_for()
        cell = row(tiny, layer=LAYER, position=POSITION, variable="A", family="ridge")
        assert numbers(page, "[data-together='1']")["r"] == shown(cell["value"])
        page.locator("#panel-together").get_by_label("Probe family").select_option("mlp")
        expect(page.locator("[data-together='1'] .note")).to_be_visible()
        screenshot(page, "report side by side")


def test_the_name_of_a_run_is_text_and_nothing_else(browser, tiny, report):
    with opened(browser, report(tiny.run, tiny.other)) as page:
        assert page.title() != "owned"
        expect(page.locator("#panel-0 .run-head .name")).to_have_text(HOSTILE)
        expect(page.locator("img")).to_have_count(0)
        assert page.evaluate("ArithNumbers.data.runs[0].name") == HOSTILE


def test_the_page_forbids_itself_the_network(browser, tiny, report):
    with open_page(browser) as (page, witness):
        page.goto(report(tiny.run).as_uri())
        page.evaluate("fetch('http://127.0.0.1:9/').catch(() => {})")
        page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))")
        page.wait_for_timeout(200)
        assert any("Content Security Policy" in error for error in witness.errors)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_without_scrolling_the_page_sideways(browser, tiny, report, scheme):
    with opened(browser, report(tiny.run, tiny.other), size=PHONE, color_scheme=scheme) as page:
        for tab in (0, 1, 2):
            page.get_by_role("tab").nth(tab).click()
            page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            assert overflow(page) == 0
            screenshot(page, f"report phone {scheme} {tab}")


def test_texts_have_enough_contrast_in_light_and_dark(browser, tiny, report):
    for scheme in ("light", "dark"):
        with opened(browser, report(tiny.run), color_scheme=scheme) as page:
            screenshot(page, f"report desk {scheme}")
            ratios = page.evaluate(_CONTRAST)
            assert min(ratios.values()) >= 4.5, ratios


#: WCAG's contrast of each colour of text with both backgrounds.
_CONTRAST = """() => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const hex = style.getPropertyValue(name).trim().slice(1);
    const [r, g, b] = [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
      .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = {};
  for (const text of ["--ink", "--quiet", "--link", "--pass", "--fail", "--open"])
    for (const back of ["--page", "--card"]) {
      const [high, low] = [light(text), light(back)].sort((a, b) => b - a);
      found[text + back] = (high + 0.05) / (low + 0.05);
    }
  return found;
}"""


def test_without_a_script_every_number_is_in_a_table(browser, tiny, report):
    with opened(browser, report(tiny.run, tiny.other), java_script_enabled=False) as page:
        expect(page.locator(".no-script")).to_be_visible()
        expect(page.locator(".needs-script:visible")).to_have_count(0)
        expect(page.locator("#panel-1")).to_be_visible()
        page.locator("#panel-0 .explore details > summary").first.click()
        cell = row(tiny, layer=LAYER, position=POSITION, variable="A", family="ridge")
        family = page.locator("#panel-0 .explore details details").filter(
            has_text="A, ridge: r at every layer"
        )
        if family.get_attribute("open") is None:
            family.locator("summary").click()
        matrix = family.locator("table.matrix").first
        line = matrix.locator("tbody tr").filter(has=page.locator(f"th:text-is('{LAYER}')"))
        expect(line.locator("td").nth(POSITION)).to_have_text(shown(cell["value"], 2))
        screenshot(page, "report without script")


def test_the_command_that_repeats_a_run_submits_the_same_spec(browser, tiny, report):
    with opened(browser, report(tiny.run)) as page:
        command = page.locator("#panel-0 pre.command code").first.inner_text()
    program, *words = shlex.split(command)
    assert (program, words[-1]) == ("arithctl", "--wait")
    again = json.loads(tiny.arithctl(*words[:-1], "--json"))["run"]
    (keys,) = zip(*tiny.query("SELECT spec_key FROM runs WHERE id IN (?, ?)", tiny.run, again), strict=True)
    assert len(keys) == 2
    assert len(set(keys)) == 1
