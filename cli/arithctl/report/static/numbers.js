/* The report's data, decoded: cells, measures, points, and numbers as people write them. Draws nothing. */
"use strict";
const ArithNumbers = (() => {
  const UNTRAINED = "@untrained";
  const data = JSON.parse(document.getElementById("report-data").textContent);

  const number = (column, cell) => (column[cell] === null ? null : column[cell] / data.unit);
  const count = (column, cell) => (column.length === 1 ? column[0] : column[cell]);
  const family = (grid, name) => grid.families.find((one) => one.name === name);
  const index = (grid, layer, position, variable) =>
    (layer * grid.tokens.length + position) * grid.variables.length + variable;

  /* All that is known of one cell; layer is the place in grid.layers. */
  function cell(grid, name, layer, position, variable) {
    const own = family(grid, name);
    const twin = own.untrained ? undefined : family(grid, name + UNTRAINED);
    const at = index(grid, layer, position, variable);
    const place = position * grid.variables.length + variable;
    return {
      at, layer, position, variable,
      status: data.statuses[own.status[at]],
      r: number(own.value, at),
      low: number(own.low, at),
      high: number(own.high, at),
      control: number(own.control, at),
      nTrain: count(own.n_train, at),
      nEval: count(own.n_eval, at),
      ceiling: number(grid.ceiling, place),
      given: grid.given[place],
      untrained: twin ? number(twin.value, at) : null,
    };
  }

  const MEASURES = {
    r: (one) => one.r,
    ceiling: (one) => minus(one.r, one.ceiling),
    control: (one) => minus(one.r, one.control),
    untrained: (one) => minus(one.r, one.untrained),
  };
  const minus = (a, b) => (a === null || b === null ? null : a - b);
  const measure = (one, name) => MEASURES[name](one);

  /* Whether a family has the numbers that a measure needs. */
  function measurable(grid, name, which) {
    const own = family(grid, name);
    if (which === "control") return own.control.some((value) => value !== null);
    if (which === "untrained") return !own.untrained && family(grid, name + UNTRAINED) !== undefined;
    return which === "r" || grid.ceiling.some((value) => value !== null);
  }

  /* The layer with the largest r at a token; null where none has one. Of equal ones the first. */
  function best(grid, name, position, variable) {
    let found = null;
    grid.layers.forEach((_, layer) => {
      const one = cell(grid, name, layer, position, variable);
      if (one.r !== null && (found === null || one.r > found.r)) found = one;
    });
    return found;
  }

  /* The cell to begin with: the largest r where the text does not print the value. */
  function finest(grid, name, variable) {
    let found = null;
    grid.tokens.forEach((_, position) => {
      const one = best(grid, name, position, variable);
      if (one && !one.given && (found === null || one.r > found.r)) found = one;
    });
    return found;
  }

  /* [true value, predicted value] of some problems; null where none are kept. */
  function points(run, name, at) {
    const found = run.scatters.cells[`${name}|${at}`];
    if (!found) return null;
    const steps = Uint8Array.from(atob(found.bytes), (sign) => sign.charCodeAt(0));
    const truth = run.scatters.truths[found.truth];
    return Array.from(steps, (step, i) => [truth[i], found.low + ((found.high - found.low) * step) / 255]);
  }

  /* .973, −.021, 1.000; a dash where there is no number. */
  function text(value, digits = 3) {
    if (value === null || value === undefined) return "–";
    const plain = Math.abs(value).toFixed(digits).replace(/^0\./, ".");
    return value < 0 && Number(plain) !== 0 ? `−${plain}` : plain;
  }
  const short = (value) => text(value, 2);
  const counted = (value) => value.toLocaleString("en-US");

  return { data, family, cell, measure, measurable, best, finest, points, text, short, counted };
})();
