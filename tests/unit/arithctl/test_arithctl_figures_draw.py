"""The files of the figures: which, in what format, the same every time; and letters that can be read in print."""

from __future__ import annotations

import csv
import struct
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PatchCollection, QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from arith_shared.errors import MissingExtraError, UserError
from arithctl.figures import FigureData, draw, draw_together
from arithctl.figures.heatmaps import heatmap_figure
from arithctl.figures.page import wrap
from arithctl.figures.paper import paper_figure
from arithctl.figures.style import COLOURS, SMALL, WIDTHS
from arithctl.figures.together import together_figure

QUESTION = list("A=1+B,B=2+3,C=4+5;A=")
CHAIN = list("A=1+B,B=2+3,B=5,A=1+5,A=6")


def run(layers: int, *, chain: bool = False, families: tuple[str, ...] = ("mlp",)) -> FigureData:
    """A run with values of every height, failed probes, and printed values where there is a chain."""
    random = np.random.default_rng(7)
    labels = QUESTION + (CHAIN if chain else [])
    rows: list[dict[str, Any]] = []
    for family in families:
        for layer in range(layers):
            for position, token in enumerate(labels):
                for index, variable in enumerate("ABC"):
                    failed = (layer, position) == (0, 1)
                    value = None if failed else float(random.uniform(-0.2, 1.0))
                    rows.append(
                        {
                            "layer": layer,
                            "position": position,
                            "token": token,
                            "variable": variable,
                            "family": family,
                            "metric": "pearson",
                            "value": value,
                            "ci_low": value,
                            "ci_high": value,
                            "n_train": 10_000,
                            "n_eval": 2_000,
                            "ceiling": min(1.0, position / 10),
                            "control": 0.01,
                            "given": index == 1 and position >= 34,
                            "status": "diverged" if failed else "ok",
                        }
                    )
    summary = [
        {"name": "accuracy", "value": 0.988, "ci_low": 0.982, "ci_high": 0.992, "n": 2_000},
        {"name": "untrained/C", "value": 0.68},
    ]
    return FigureData.from_rows("tiny-7kq2m", rows, title="Specialised OPT, 3 layers", summary=summary)


def two(chain: bool = False) -> list[FigureData]:
    """A model of 8 blocks and one of 3, as figure 2 shows two."""
    named = (("general-1", 9), ("special-1", 4))
    return [replace(run(layers, chain=chain), run=name, name=name) for name, layers in named]


def test_each_family_gets_both_figures_in_every_format_and_their_numbers(tmp_path: Path) -> None:
    paths = draw(run(1, families=("mlp", "ridge")), tmp_path, ("png", "pdf", "svg", "png"))
    expected = {
        f"tiny-7kq2m-{family}-{name}.{ending}"
        for family in ("mlp", "ridge")
        for name in ("fig2", "heatmaps")
        for ending in ("png", "pdf", "svg", "csv")
    }
    assert {path.name for path in paths} == expected == {path.name for path in tmp_path.iterdir()}
    assert len(paths) == len(expected)
    starts = {"png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF-", "svg": b"<?xml", "csv": b"run,layer,"}
    for path in paths:
        assert path.read_bytes().startswith(starts[path.suffix[1:]])


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (
        draw(run(1, chain=True), tmp_path / name, ("png", "pdf", "svg")) for name in ("first", "second")
    )
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_a_readers_own_settings_do_not_change_the_figure_and_are_left_alone(tmp_path: Path) -> None:
    import matplotlib as mpl

    first = draw(run(1), tmp_path / "first", ("svg",))
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 20, "lines.linewidth": 9}):
        second = draw(run(1), tmp_path / "second", ("svg",))
        assert mpl.rcParams["font.size"] == 20
    assert first[0].read_bytes() == second[0].read_bytes()


def test_pdf_fonts_are_truetype(tmp_path: Path) -> None:
    for path in draw(run(2), tmp_path, ("pdf",)):
        if path.suffix == ".pdf":
            data = path.read_bytes()
            assert b"/Type3" not in data
            assert b"/CIDFontType2" in data or b"/TrueType" in data
            assert b"/CreationDate" not in data


@pytest.mark.parametrize("width", ["double", "single"])
def test_png_is_fine_enough_for_print_at_its_width(width: Any, tmp_path: Path) -> None:
    path = draw(run(1), tmp_path, ("png",), width)[0]
    pixels = struct.unpack(">I", path.read_bytes()[16:20])[0]
    assert pixels / WIDTHS[width] >= 200


def test_numbers_beside_a_figure_are_those_of_the_rows(tmp_path: Path) -> None:
    data = run(3)
    draw(data, tmp_path, ("svg",))
    for name in ("fig2", "heatmaps"):
        with (tmp_path / f"tiny-7kq2m-mlp-{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(data.rows) == 180
        for found, expected in zip(rows, data.family_rows("mlp"), strict=True):
            assert found["run"] == "tiny-7kq2m"
            for column in ("layer", "position", "value", "ceiling"):
                wanted = expected[column]
                assert found[column] == "" if wanted is None else float(found[column]) == wanted


def test_an_unknown_format_is_answered_with_the_valid_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected figure formats among png, pdf, svg, found 'gif'"):
        draw(run(1), tmp_path, ("png", "gif"))
    with pytest.raises(UserError, match="found none"):
        draw(run(1), tmp_path, ())
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        MissingExtraError, match=r"figures need matplotlib: pip install 'arithctl\[figures\]'"
    ):
        draw(run(1), tmp_path)


def test_bars_are_as_high_as_the_correlations() -> None:
    data = run(3)
    value = data.grid("mlp").value
    bars = paper_figure(data, "mlp", 6.9).axes[1]
    unit = 0.8  # a cell keeps a tenth of its height free above and below
    for index, colour in enumerate(COLOURS[:3]):
        drawn = [
            patch.get_extents()
            for collection in bars.collections
            if isinstance(collection, PatchCollection)
            and len(faces := collection.get_facecolor())
            and tuple(faces[0][:3]) == to_rgb(colour)
            for patch in collection.get_paths()
        ]
        found = {(int(box.y0), round(box.x0)): box.height / unit for box in drawn}
        wanted = {
            (layer, token): value[layer, token, index]
            for layer in range(3)
            for token in range(20)
            if value[layer, token, index] > 0
        }
        assert found == pytest.approx(wanted)


def test_maps_hold_the_correlations_on_one_scale() -> None:
    data = run(3)
    value = data.grid("mlp").value
    maps = heatmap_figure(data, "mlp", 6.9).axes[1:4]
    for index, axes in enumerate(maps):
        cells, strip = (item for item in axes.collections if isinstance(item, QuadMesh))
        drawn = np.ma.filled(np.ma.asarray(cells.get_array(), dtype=float), np.nan)
        np.testing.assert_array_equal(drawn.reshape(3, 20), value[:, :, index])
        np.testing.assert_array_equal(np.ravel(strip.get_array()), data.ceiling[:, index])
        assert cells.get_clim() == strip.get_clim() == (0, 1)


FIGURES = {
    "two layers": (heatmap_figure, run(2), "double"),
    "four layers": (paper_figure, run(4), "double"),
    "nine layers": (paper_figure, run(9), "double"),
    "one column": (paper_figure, run(9), "single"),
    "chain in one column": (paper_figure, run(4, chain=True), "single"),
    "maps of four layers": (heatmap_figure, run(4), "double"),
    "maps of nine layers": (heatmap_figure, run(9), "double"),
    "maps in one column": (heatmap_figure, run(4), "single"),
    "maps of a chain": (heatmap_figure, run(33, chain=True), "double"),
    "two models": (together_figure, two(), "double"),
    "two models in one column": (together_figure, two(), "single"),
    "two models that write chains": (together_figure, two(chain=True), "double"),
    "chains of two models in one column": (together_figure, two(chain=True), "single"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_all_words_can_be_read_and_none_touches_another(name: str) -> None:
    make, data, width = FIGURES[name]
    figure = make(data, "mlp", WIDTHS[width])
    words = texts(figure)
    assert min(word.get_fontsize() for word in words) >= SMALL >= 6.0
    boxes = np.array([word.get_window_extent().extents for word in words])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [figure.bbox.width, figure.bbox.height]).all()
    # A pixel of slack: the boxes of letters have some air around them.
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2]) + 1
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    touching = np.argwhere((low < high).all(axis=2) & ~np.eye(len(boxes), dtype=bool))
    assert [(words[i].get_text(), words[j].get_text()) for i, j in touching if i < j] == []


def texts(figure: Figure) -> list[Text]:
    """Everything that is written in the figure."""
    figure.canvas.draw()
    found = figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible())
    return [text for text in found if isinstance(text, Text) and text.get_text().strip()]


@pytest.mark.parametrize("make", [paper_figure, heatmap_figure])
def test_a_family_in_which_every_probe_failed_can_still_be_drawn(make: Callable[..., Figure]) -> None:
    rows = [row | {"value": None, "status": "diverged"} for row in run(2).rows]
    figure = make(FigureData.from_rows("run", rows), "mlp", 6.9)
    figure.canvas.draw()


def test_lines_break_at_the_true_width_of_their_letters() -> None:
    assert wrap("iiii iiii iiii", 1.0, 10) == ["iiii iiii iiii"]
    assert wrap("WWWW WWWW WWWW", 1.0, 10) == ["WWWW", "WWWW", "WWWW"]
    assert wrap("", 1.0, 10) == []


def panels(figure: Figure) -> list[tuple[float, float, float, float]]:
    """Left, bottom, right and top of each panel, as shares of the page."""
    return [axes.get_position().extents for axes in figure.axes]


def test_two_models_stand_side_by_side_on_a_wide_page_and_below_each_other_on_a_narrow_one() -> None:
    wide = panels(together_figure(two(), "mlp", WIDTHS["double"]))
    assert wide[0][2] < wide[2][0]  # the first model's lines end before the second's begin
    assert wide[0][1] == wide[2][1]
    narrow = panels(together_figure(two(), "mlp", WIDTHS["single"]))
    assert narrow[1][1] > narrow[2][3]  # the first model's bars stand above the second's lines
    assert narrow[0][0] == narrow[2][0]


def test_long_texts_take_the_whole_width_of_the_page() -> None:
    boxes = panels(together_figure(two(chain=True), "mlp", WIDTHS["double"]))
    assert boxes[1][1] > boxes[2][3]


@pytest.mark.parametrize(
    ("name", "shown"),
    [("lm.width=96, mean of 3 seeds", "lm.width=96, mean of 3 seeds"), ("x" * 200, "x" * 30)],
    ids=["fits", "too long"],
)
def test_where_there_is_no_room_for_a_title_the_name_stands_at_the_head(name: str, shown: str) -> None:
    first, second = two()
    titled = replace(first, title="a title that no column of a page can hold " * 3, name=name)
    heads = [text.get_text() for text in texts(together_figure([titled, second], "mlp", WIDTHS["double"]))]
    assert any(head.startswith(shown) for head in heads)
    assert not any("no column" in head for head in heads)


def test_models_drawn_together_have_their_numbers_beside_them(tmp_path: Path) -> None:
    paths = draw_together(two(), tmp_path, ("pdf",))
    assert [path.name for path in paths] == [
        "general-1-special-1-mlp-fig2.pdf",
        "general-1-special-1-mlp-fig2.csv",
    ]
    with paths[1].open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {name: sum(row["run"] == name for row in rows) for name in ("general-1", "special-1")} == {
        "general-1": 9 * 20 * 3,
        "special-1": 4 * 20 * 3,
    }


def test_a_chain_is_figure_3(tmp_path: Path) -> None:
    assert {path.name for path in draw(run(1, chain=True), tmp_path, ("svg",))} >= {"tiny-7kq2m-mlp-fig3.svg"}


def test_models_without_a_family_in_common_are_not_drawn_together(tmp_path: Path) -> None:
    other = replace(run(1, families=("ridge",)), run="ridge-1")
    with pytest.raises(
        UserError, match="need a probe family and all variables in common; found tiny-7kq2m: mlp"
    ):
        draw_together([run(1), other], tmp_path)
