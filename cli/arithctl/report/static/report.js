/* Controls, tabs and the charts that follow them. Without this script every number is still in a table. */
"use strict";
(() => {
  const N = ArithNumbers, C = ArithCharts;
  const runs = N.data.runs;
  /* Pixels that a token needs, at least. */
  const TOKEN = 12;
  const states = new Map();
  let look = C.theme();
  document.documentElement.classList.add("js");

  /* What is chosen in a panel: a run's, or the one that all runs side by side share. */
  function start(grid) {
    const family = (grid.families.find((one) => one.name === "ridge") ?? grid.families[0]).name;
    const cell = N.finest(grid, family, 0);
    return { variable: 0, family, measure: "r", layer: cell?.layer ?? 0, position: cell?.position ?? 0 };
  }

  function chart(element, option) {
    const found = echarts.getInstanceByDom(element) ?? echarts.init(element, null, { renderer: "canvas" });
    found.resize();
    found.setOption(option, true);
    return found;
  }

  /* Wide grids scroll inside their own box, so that the page never does. */
  function stretch(element, grid) {
    element.style.minWidth = `${C.LEFT + C.RIGHT + TOKEN * grid.tokens.length}px`;
  }

  function drawGrid(box, grid, state, selectable) {
    const wanted = { ...state, layer: selectable ? state.layer : -1 };
    const lines = box.querySelector("[data-chart=lines]"), heat = box.querySelector("[data-chart=heat]");
    stretch(lines, grid);
    stretch(heat, grid);
    chart(lines, C.lines(grid, wanted, look, lines.clientWidth));
    const row = Math.max(13, Math.min(34, 460 / grid.layers.length));
    const height = row * (grid.layers.length + (state.measure === "r" ? 1 : 0));
    heat.style.height = `${Math.round(height + 56)}px`;
    const drawn = chart(heat, C.heat(grid, wanted, look, heat.clientWidth, height));
    label(lines, `Line chart: r of the best layer at each of ${grid.tokens.length} tokens, for ${grid.variables.join(", ")}, with ceilings`);
    label(heat, `Heatmap of ${grid.variables[state.variable]}, ${state.family}: ${grid.layers.length} layers by ${grid.tokens.length} tokens; ${C.caption(grid, state)}`);
    if (!selectable) return drawn;
    box.querySelectorAll(".heat-caption").forEach((one) => { one.textContent = C.caption(grid, state); });
    box.querySelectorAll(".line-caption").forEach((one) => { one.textContent = C.lineCaption(grid, state); });
    return drawn;
  }
  function label(element, words) {
    if (!element.hasAttribute("tabindex")) element.setAttribute("role", "img");
    element.setAttribute("aria-label", `${words}. The tables below have the same numbers.`);
  }

  function drawCell(box, run, state) {
    const one = N.cell(run.grid, state.family, state.layer, state.position, state.variable);
    C.fill(box.querySelector("[data-numbers]"), C.describe(run.grid, state.family, one));
    const form = box.querySelector("[data-cell]");
    form.elements.layer.value = state.layer;
    form.elements.position.value = state.position;
    const pairs = N.points(run, state.family, one.at);
    const element = box.querySelector("[data-chart=points]"), note = box.querySelector("[data-points-note]");
    const words = box.querySelector("[data-points-caption]");
    element.hidden = pairs === null;
    note.hidden = pairs !== null;
    const where = `${run.grid.variables[state.variable]} after “${run.grid.tokens[state.position]}”, layer ${run.grid.layers[state.layer]}`;
    if (pairs === null) {
      words.textContent = `Predicted against true: ${where}`;
      note.textContent = run.scatters.note || "No predictions are kept of this cell: its probe gave no finite numbers, or all its hidden states are equal.";
      return;
    }
    words.textContent = `Predicted against true: ${where}. r = ${N.text(one.r)} over ${N.counted(one.nEval)} problems; shown: the first ${pairs.length}. Dashed: predicted = true.`;
    chart(element, C.points(pairs, state.variable, look));
    label(element, `${words.textContent} Scatter plot`);
  }

  function drawRun(index) {
    const run = runs[index], panel = document.getElementById(`panel-${index}`);
    const curve = panel.querySelector("[data-chart=curve]");
    if (curve) {
      chart(curve, C.curve(run.curve, look));
      label(curve, "Line chart: loss and accuracy by training step");
    }
    if (!run.grid) return;
    const state = states.get(String(index));
    syncControls(panel.querySelector("[data-controls]"), run.grid, state);
    const heat = drawGrid(panel.querySelector(".explore"), run.grid, state, true);
    heat.off("click");
    heat.on("click", (event) => {
      if (event.componentType === "series" && event.value[1] < run.grid.layers.length) choose(index, event.value[1], event.value[0]);
    });
    drawCell(panel, run, state);
  }

  function choose(index, layer, position) {
    Object.assign(states.get(String(index)), { layer, position });
    drawRun(index);
  }

  function drawTogether() {
    const panel = document.getElementById("panel-together"), form = panel.querySelector("[data-controls]");
    if (!form) return;
    const state = states.get("together"), first = runs.find((run) => run.grid);
    syncControls(form, first.grid, state);
    panel.querySelector(".heat-caption").textContent = C.caption(first.grid, state);
    panel.querySelectorAll("[data-together]").forEach((box) => {
      const grid = runs[Number(box.dataset.together)].grid;
      const has = N.family(grid, state.family) && state.variable < grid.variables.length;
      box.querySelectorAll(".wide").forEach((one) => { one.hidden = !has; });
      box.querySelector(".note").hidden = Boolean(has);
      if (!has) return;
      const measure = N.measurable(grid, state.family, state.measure) ? state.measure : "r";
      drawGrid(box, grid, { ...state, measure }, false);
    });
  }

  function syncControls(form, grid, state) {
    for (const option of form.elements.measure.options) option.disabled = !N.measurable(grid, state.family, option.value);
    if (!N.measurable(grid, state.family, state.measure)) state.measure = "r";
    form.elements.family.value = state.family;
    form.elements.measure.value = state.measure;
  }

  const draw = (key) => (key === "together" ? drawTogether() : drawRun(Number(key)));

  function wireControls() {
    document.querySelectorAll("[data-controls]").forEach((form) => {
      const key = form.dataset.controls;
      states.set(key, start(key === "together" ? runs.find((run) => run.grid).grid : runs[Number(key)].grid));
      form.addEventListener("change", () => {
        const chosen = form.querySelector("input[type=radio]:checked");
        Object.assign(states.get(key), { variable: Number(chosen.value), family: form.elements.family.value, measure: form.elements.measure.value });
        draw(key);
      });
      form.addEventListener("submit", (event) => event.preventDefault());
    });
    document.querySelectorAll("[data-cell]").forEach((form) => {
      const index = Number(form.dataset.cell);
      form.addEventListener("change", () => choose(index, Number(form.elements.layer.value), Number(form.elements.position.value)));
    });
    document.querySelectorAll(".explore [data-chart=heat][tabindex]").forEach((element) => {
      element.addEventListener("keydown", (event) => walk(event, Number(element.closest(".run").dataset.run)));
    });
  }

  const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 0], ArrowDown: [-1, 0] };
  function walk(event, index) {
    const step = STEPS[event.key], state = states.get(String(index)), grid = runs[index].grid;
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const within = (value, length) => Math.max(0, Math.min(length - 1, value));
    choose(index, within(state.layer + step[0], grid.layers.length), within(state.position + step[1], grid.tokens.length));
  }

  function wireTabs() {
    const tabs = [...document.querySelectorAll("[role=tab]")];
    const show = (tab, focus) => {
      for (const one of tabs) {
        const chosen = one === tab;
        one.setAttribute("aria-selected", String(chosen));
        one.tabIndex = chosen ? 0 : -1;
        document.getElementById(one.getAttribute("aria-controls")).hidden = !chosen;
      }
      if (focus) tab.focus();
      drawVisible();
    };
    tabs.forEach((tab, i) => {
      tab.addEventListener("click", () => show(tab, false));
      tab.addEventListener("keydown", (event) => {
        const to = { ArrowLeft: i - 1, ArrowRight: i + 1, Home: 0, End: tabs.length - 1 }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        show(tabs[(to + tabs.length) % tabs.length], true);
      });
    });
    if (tabs.length) show(tabs[0], false); else drawVisible();
  }

  function drawVisible() {
    document.querySelectorAll("article.run:not([hidden])").forEach((panel) => draw(panel.dataset.run ?? "together"));
  }

  let waiting = 0;
  const again = () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(() => { look = C.theme(); drawVisible(); }); };
  let width = window.innerWidth;
  window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; again(); } });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);

  wireControls();
  wireTabs();
})();
