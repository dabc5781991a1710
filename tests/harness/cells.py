"""Cells of the charts on a page: where one is on the screen, what the page says of it, what the database has."""

from __future__ import annotations

from playwright.sync_api import Page

from harness.tiny import Tiny

HEAT = "#panel-0 .explore [data-chart=heat]"
#: What stands beside the pointer.
TIP = "#panel-0 .explore figure:has([data-chart=heat])"
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


def row(tiny: Tiny, **cell: object) -> dict[str, object]:
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
