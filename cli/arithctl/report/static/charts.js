/* What each chart looks like: pure functions from the data to options of Apache ECharts. */
"use strict";
const ArithCharts = (() => {
  const N = ArithNumbers;
  /* The colours and marks of `arithctl figures`: Okabe and Ito's set, and viridis. */
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
  const MARKERS = ["circle", "rect", "triangle", "diamond", "pin", "arrow"];
  const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
  const BOTH_WAYS = ["#00456d", "#0072B2", "#8fc1dd", "#f3f4f6", "#f0b48a", "#D55E00", "#863b00"];
  const LEFT = 48, RIGHT = 14;
  /* Pixels that a cell needs to carry its number. */
  const ROOM = { width: 27, height: 15 };

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    return { ink: of("--ink"), quiet: of("--quiet"), line: of("--line"), card: of("--card"), hole: of("--hole"), mono: of("--mono"), sans: of("--sans") };
  }

  const base = (look) => ({ animation: false, textStyle: { fontFamily: look.sans, color: look.ink }, backgroundColor: "transparent" });

  /* In the figure: the box of a wide chart scrolls, and would cut off what is taller than a few layers. */
  function tooltip(look, formatter, extra) {
    return {
      confine: true, appendTo: (chart) => chart.closest("figure"), transitionDuration: 0, backgroundColor: look.card, borderColor: look.line, padding: 10,
      textStyle: { color: look.ink, fontFamily: look.sans, fontSize: 13 }, formatter, ...extra,
    };
  }

  /* A table of names and values as an element: nothing of the data is ever parsed as HTML. */
  function rows(title, pairs) {
    const box = document.createElement("div");
    const head = box.appendChild(document.createElement("strong"));
    head.textContent = title;
    const list = box.appendChild(document.createElement("dl"));
    list.className = "numbers";
    fill(list, pairs);
    return box;
  }
  function fill(list, pairs) {
    list.replaceChildren();
    for (const [name, value] of pairs) {
      list.appendChild(document.createElement("dt")).textContent = name;
      list.appendChild(document.createElement("dd")).textContent = value;
    }
  }

  function describe(grid, family, one) {
    const pairs = [
      ["layer", String(grid.layers[one.layer])],
      ["token", `${grid.tokens[one.position]} (position ${one.position})`],
      ["variable", grid.variables[one.variable]],
      ["family", family],
      ["r", one.status === "ok" ? N.text(one.r) : `none: ${one.status === "absent" ? "not probed (yet)" : one.status}`],
      ["95 % interval", one.low === null || one.high === null ? "–" : `${N.text(one.low)} to ${N.text(one.high)}`],
      ["n", one.status === "absent" ? "–" : `${N.counted(one.nEval)} (fitted on ${N.counted(one.nTrain)})`],
      ["ceiling", N.text(one.ceiling)],
      ["control", N.text(one.control)],
    ];
    if (one.untrained !== null) pairs.push(["untrained LM", N.text(one.untrained)]);
    if (one.given) pairs.push(["given", "the text has printed this value"]);
    return pairs;
  }

  const axisLabel = (look, crowded) => ({ interval: 0, color: look.ink, fontFamily: look.mono, fontSize: crowded ? 10 : 12, margin: 6, hideOverlap: false });

  function tokenAxis(grid, look, width) {
    const crowded = width / grid.tokens.length < 18;
    return [
      { type: "category", data: grid.tokens.map((token, i) => ({ value: `${i}` })), axisTick: { show: false },
        axisLine: { lineStyle: { color: look.line } }, axisLabel: { ...axisLabel(look, crowded), formatter: (i) => grid.tokens[i] } },
      { type: "value", min: -0.5, max: grid.tokens.length - 0.5, show: false },
    ];
  }

  /* Where equations begin, and where the LM begins to write: lines between the columns, on axes of their own. */
  function boundaries(grid, look, colour, named) {
    const lines = grid.equation_starts.filter((start) => start !== grid.output_start)
      .map((start) => ({ xAxis: start - 0.5, lineStyle: { color: colour, width: 1.5 }, label: { show: false } }));
    if (grid.output_start !== null) {
      lines.push({ xAxis: grid.output_start - 0.5, lineStyle: { color: look.quiet, width: 1.5 },
        label: { show: named, formatter: "written by the LM →", position: "end", color: look.quiet, fontSize: 11, align: "left" } });
    }
    return { type: "line", xAxisIndex: 1, yAxisIndex: 1, data: [], silent: true, z: 5,
      markLine: { silent: true, symbol: "none", animation: false, lineStyle: { type: "solid" }, data: lines } };
  }

  function lines(grid, state, look, width) {
    const series = [];
    grid.variables.forEach((name, v) => {
      const colour = COLOURS[v % COLOURS.length];
      const ceiling = grid.tokens.map((_, p) => N.cell(grid, state.family, 0, p, v).ceiling);
      series.push({ name: `${name}, ceiling`, type: "line", data: ceiling, symbol: "none", color: colour, lineStyle: { type: "dashed", width: 1.3, opacity: 0.8 }, z: 2 });
      series.push({
        name, type: "line", color: colour, lineStyle: { width: v === state.variable ? 3 : 1.8 }, z: 3,
        symbol: MARKERS[v % MARKERS.length], symbolSize: 8, showAllSymbol: true,
        data: grid.tokens.map((_, p) => {
          const one = N.best(grid, state.family, p, v);
          if (one === null) return { value: null };
          return one.given ? { value: one.r, itemStyle: { color: look.card, borderColor: colour, borderWidth: 2 } } : { value: one.r };
        }),
      });
    });
    const lowest = Math.min(0, ...series.flatMap((one) => one.data.map((item) => item?.value ?? item ?? 0)));
    const formatter = (items) => {
      const position = items[0].dataIndex;
      return rows(`${grid.tokens[position]} (position ${position})`, grid.variables.flatMap((name, v) => {
        const one = N.best(grid, state.family, position, v);
        const best = one ? `${N.text(one.r)} at layer ${grid.layers[one.layer]}${one.given ? ", given" : ""}` : "no correlation";
        return [[`${name}, best layer`, best], [`${name}, ceiling`, N.text(N.cell(grid, state.family, 0, position, v).ceiling)]];
      }));
    };
    return {
      ...base(look), grid: { left: LEFT, right: RIGHT, top: 34, bottom: 26 },
      legend: { top: 0, left: LEFT - 6, itemWidth: 22, itemHeight: 9, textStyle: { color: look.ink }, data: grid.variables },
      tooltip: tooltip(look, formatter, { trigger: "axis", axisPointer: { lineStyle: { color: look.quiet } } }),
      xAxis: tokenAxis(grid, look, width),
      yAxis: [
        { type: "value", min: Math.floor(lowest * 4) / 4, max: 1, interval: 0.25, name: "r", nameLocation: "middle", nameGap: 28, nameTextStyle: { color: look.quiet },
          axisLine: { show: false }, axisTick: { show: false }, splitLine: { lineStyle: { color: look.line } },
          axisLabel: { color: look.quiet, formatter: (value) => (Number.isInteger(value) ? String(value).replace("-", "−") : value % 0.5 ? "" : N.text(value, 1)) } },
        { type: "value", min: 0, max: 1, show: false },
      ],
      series: [...series, boundaries(grid, look, look.line, true)],
    };
  }

  /* Black or white, whichever can be read on a cell. */
  function on(value, measure) {
    if (measure === "r") return value < 0.5 ? "#fff" : "#000";
    return Math.abs(value) > 0.45 ? "#fff" : "#000";
  }

  function heat(grid, state, look, width, height) {
    const strip = state.measure === "r";
    const rowsShown = [...grid.layers.map(String), ...(strip ? ["ceiling"] : [])];
    const wide = (width - LEFT - RIGHT) / grid.tokens.length >= ROOM.width && height / rowsShown.length >= ROOM.height;
    const cells = [];
    const put = (one, row, value, word) => {
      const marks = `${one.given ? "•" : ""}`;
      const chosen = row === state.layer && one.position === state.position;
      const item = { value: [one.position, row, value ?? 0], label: { show: true, fontSize: 11, formatter: word ?? `${wide ? N.short(value) : ""}${marks}`, color: value === null ? look.quiet : on(value, state.measure) } };
      if (value === null) Object.assign(item, { visualMap: false, itemStyle: { color: look.hole } });
      if (chosen) item.itemStyle = { ...item.itemStyle, borderColor: look.ink, borderWidth: 3 };
      if (chosen) cells.push(item); else cells.unshift(item);
    };
    grid.tokens.forEach((_, position) => {
      grid.layers.forEach((_, layer) => {
        const one = N.cell(grid, state.family, layer, position, state.variable);
        const value = N.measure(one, state.measure);
        if (one.status !== "absent") put(one, layer, value, one.status === "ok" ? undefined : "×");
      });
      if (strip) {
        const one = N.cell(grid, state.family, 0, position, state.variable);
        if (one.ceiling !== null) put({ ...one, given: false }, grid.layers.length, one.ceiling);
      }
    });
    const formatter = (item) => {
      const [position, row] = item.value;
      if (row === grid.layers.length) return rows(`Ceiling of ${grid.variables[state.variable]}`, [["token", `${grid.tokens[position]} (position ${position})`], ["ceiling", N.text(N.cell(grid, state.family, 0, position, state.variable).ceiling)]]);
      const one = N.cell(grid, state.family, row, position, state.variable);
      const pairs = describe(grid, state.family, one);
      if (state.measure !== "r") pairs.push([`r minus ${state.measure}`, N.text(N.measure(one, state.measure))]);
      return rows(`${grid.variables[state.variable]} after “${grid.tokens[position]}”, layer ${grid.layers[row]}`, pairs);
    };
    const few = Math.ceil(rowsShown.length / Math.max(1, Math.floor(height / 14)));
    return {
      ...base(look), grid: { left: LEFT, right: RIGHT, top: 30, bottom: 26 },
      tooltip: tooltip(look, formatter, { trigger: "item" }),
      xAxis: tokenAxis(grid, look, width),
      yAxis: [
        { type: "category", data: rowsShown, name: "layer", nameLocation: "middle", nameGap: 30, nameTextStyle: { color: look.quiet }, axisTick: { show: false }, axisLine: { show: false },
          axisLabel: { color: look.quiet, interval: (i) => i === grid.layers.length || i % few === 0, fontSize: 11, formatter: (name) => (name === "ceiling" ? "ceil." : name) } },
        { type: "value", min: 0, max: 1, show: false },
      ],
      visualMap: {
        type: "continuous", seriesIndex: 0, orient: "horizontal", right: RIGHT, top: 0, itemWidth: 10, itemHeight: 110, calculable: false, hoverLink: false, precision: 1,
        min: strip ? 0 : -1, max: 1, text: strip ? ["1", "0"] : ["+1", "−1"], textStyle: { color: look.quiet }, inRange: { color: strip ? VIRIDIS : BOTH_WAYS },
      },
      series: [
        { type: "heatmap", data: cells, itemStyle: { borderColor: look.card, borderWidth: grid.tokens.length > 30 ? 0.5 : 1 }, emphasis: { itemStyle: { borderColor: look.ink, borderWidth: 2 } } },
        boundaries(grid, look, look.card, false),
      ],
    };
  }

  function points(pairs, variable, look) {
    const all = pairs.flat(), low = Math.floor(Math.min(...all)), high = Math.ceil(Math.max(...all));
    const axis = (name) => ({ type: "value", min: low, max: high, name, nameLocation: "middle", nameTextStyle: { color: look.quiet }, axisLabel: { color: look.quiet }, axisLine: { lineStyle: { color: look.line } }, splitLine: { lineStyle: { color: look.line } } });
    return {
      ...base(look), grid: { left: 52, right: 16, top: 12, bottom: 44 },
      tooltip: tooltip(look, (item) => rows("One problem", [["true", String(item.value[0])], ["predicted", item.value[1].toFixed(2)]]), { trigger: "item" }),
      xAxis: { ...axis("true value"), nameGap: 26 }, yAxis: { ...axis("predicted value"), nameGap: 32 },
      series: [{
        type: "scatter", data: pairs, symbolSize: 7, itemStyle: { color: COLOURS[variable % COLOURS.length], opacity: 0.5 },
        markLine: { silent: true, symbol: "none", animation: false, label: { show: false }, lineStyle: { color: look.quiet, type: "dashed" }, data: [[{ coord: [low, low] }, { coord: [high, high] }]] },
      }],
    };
  }

  function curve(data, look) {
    const pairs = (column) => data.step.map((step, i) => [step, column[i]]).filter((pair) => pair[1] !== null);
    const axis = { nameTextStyle: { color: look.quiet }, axisLabel: { color: look.quiet }, splitLine: { lineStyle: { color: look.line } } };
    const begins = { silent: true, symbol: "none", animation: false, lineStyle: { color: look.quiet, type: "dashed" }, label: { color: look.ink, position: "middle", rotate: 0, align: "left", distance: 0, offset: [12, -8], formatter: (mark) => mark.name }, data: data.lessons.map(([step, name]) => ({ xAxis: step, name })) };
    const formatter = (items) => rows(`Step ${N.counted(items[0].value[0])}`, items.map((item) => [item.seriesName, N.text(item.value[1])]));
    return {
      ...base(look), grid: { left: 52, right: 52, top: 36, bottom: 42 },
      legend: { top: 0, textStyle: { color: look.ink } }, tooltip: tooltip(look, formatter, { trigger: "axis" }),
      xAxis: { ...axis, type: "value", name: "step", nameLocation: "middle", nameGap: 26, max: "dataMax", splitLine: { show: false }, axisLine: { lineStyle: { color: look.line } } },
      yAxis: [{ ...axis, type: "value", name: "loss" }, { ...axis, type: "value", name: "accuracy", min: 0, max: 1, splitLine: { show: false } }],
      series: [
        { name: "loss", type: "line", data: pairs(data.loss), showSymbol: false, color: COLOURS[0], lineStyle: { width: 2 } },
        { name: "accuracy", type: "line", yAxisIndex: 1, data: pairs(data.accuracy), symbol: "rect", symbolSize: 7, color: COLOURS[1], lineStyle: { width: 2 }, markLine: begins },
      ],
    };
  }

  const CAPTIONS = {
    r: "Dark is 0 (or less), bright is 1. Top row: the ceiling, the best that any reader of the tokens so far could reach.",
    ceiling: "Pale: as good as any reader of the tokens so far could be. Blue: less can be read than that.",
    control: "How much better than the same probe on shuffled values. Pale: no better.",
    untrained: "How much better than the same probe on the LM before training. Pale: no better; the network's shape and the text alone give as much.",
  };
  function caption(grid, state) {
    const own = N.family(grid, state.family);
    const marks = [];
    if (grid.given.some((flag, i) => flag && i % grid.variables.length === state.variable)) marks.push("•: the text has printed the value.");
    if (own.status.some((code) => code === 1 || code === 2)) marks.push("×: the probe gave no correlation.");
    return `${grid.variables[state.variable]}, ${own.title}. ${CAPTIONS[state.measure]} ${marks.join(" ")}`;
  }
  const lineCaption = (grid, state) =>
    `${N.family(grid, state.family).title}; dashed: the ceiling${grid.given.some(Boolean) ? "; hollow: the text has printed the value" : ""}.`;

  return { LEFT, RIGHT, theme, lines, heat, points, curve, caption, lineCaption, describe, fill };
})();
