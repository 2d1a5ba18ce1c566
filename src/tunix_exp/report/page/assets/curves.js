
// No code is made from text: the expressions of a chart are interpreted, as the page's policy asks.
const DRAWING = { mode: "vega-lite", renderer: "svg", actions: false, ast: true, tooltip: false, defaultStyle: false };

// The charts of one run; all show the same step.
async function curves(charts, series) {
  const { columns, heldout } = series;
  const rows = columns.step.map((_, place) =>
    Object.fromEntries(Object.entries(columns).map(([key, values]) => [key, values[place]])));
  const drawn = [];
  let place = rows.length - 1;

  function point(to) {
    place = Math.max(0, Math.min(rows.length - 1, to));
    for (const one of drawn) show(one);
  }

  function show({ chart, figure, plot, view }) {
    const row = rows[place];
    const before = heldout.filter((one) => one.step <= row.step).at(-1);
    const words = [];
    for (const line of chart.lines) {
      let value = number(row[line.key]);
      if (line.key === "heldout") value = before ? `${number(before.heldout)} at step ${number(before.step)}` : "–";
      figure.querySelector(`[data-key="${line.key}"]`).textContent = value;
      words.push(`${line.name} ${value}`);
    }
    figure.querySelector('[data-key="step"]').textContent = number(row.step);
    plot.setAttribute("aria-valuenow", row.step);
    plot.setAttribute("aria-valuetext", `step ${number(row.step)}: ${words.join(", ")}`);
    view.signal("cursor", row.step).runAsync();
  }

  for (const chart of charts) {
    const figure = document.querySelector(`[data-chart="${chart.key}"]`);
    const plot = figure.querySelector(".plot");
    const { view } = await vegaEmbed(plot, { ...chart.spec, datasets: { rows, heldout } }, DRAWING);
    hide(plot);
    plot.setAttribute("aria-valuemin", rows[0].step);
    plot.setAttribute("aria-valuemax", rows.at(-1).step);
    pointing(plot, view, (step) => point(nearest(columns.step, step)));
    keys(plot, (by) => point(place + by), rows.length);
    drawn.push({ chart, figure, plot, view });
  }
  point(place);
}

// Calls `to` with the step under the pointer.
function pointing(plot, view, to) {
  function at(event) {
    const left = event.clientX - plot.getBoundingClientRect().left;
    to(view.scale("x").invert(left - view.origin()[0]));
  }
  plot.addEventListener("pointermove", at);
  plot.addEventListener("pointerdown", at);
}

function keys(plot, by, count) {
  const far = Math.max(1, Math.round(count / 20));
  const ways = {
    ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -far, PageUp: far, Home: -count, End: count,
  };
  plot.addEventListener("keydown", (event) => {
    if (!(event.key in ways) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    by(ways[event.key]);
  });
}

// The place of the sorted number that is nearest to `wanted`.
function nearest(numbers, wanted) {
  let [low, high] = [0, numbers.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (numbers[middle] <= wanted) low = middle;
    else high = middle;
  }
  return wanted - numbers[low] <= numbers[high] - wanted ? low : high;
}

// The slider around a drawing says its words; the marks inside would only repeat them.
function hide(plot) {
  plot.querySelector("svg").setAttribute("aria-hidden", "true");
}

// Several runs on one axis, a figure at a time.
async function overlay({ runs, specs }) {
  const plot = document.getElementById("overlay");
  const choice = document.getElementById("figure");
  const legend = new Map(runs.map((run) => [run.name, document.querySelector(`[data-run="${CSS.escape(run.name)}"]`)]));
  const steps = [...new Set(runs.flatMap((run) => run.columns.step))].sort((one, two) => one - two);
  let [view, place] = [null, steps.length - 1];

  function point(to) {
    place = Math.max(0, Math.min(steps.length - 1, to));
    const step = steps[place];
    for (const run of runs) {
      const column = run.columns[choice.value];
      const own = choice.value === "heldout" ? run.columns.heldout_step : run.columns.step;
      const last = own.findLastIndex((one) => one <= step);
      legend.get(run.name).querySelector("b").textContent = number(last < 0 ? null : column[last]);
    }
    document.getElementById("at-step").textContent = number(step);
    plot.setAttribute("aria-valuenow", step);
    plot.setAttribute("aria-valuetext", `step ${number(step)}`);
    view.signal("cursor", step).runAsync();
  }

  async function draw() {
    const key = choice.value;
    const own = key === "heldout" ? "heldout_step" : "step";
    const rows = runs.flatMap((run) =>
      run.columns[own].map((step, at) => ({ run: run.name, step, [key]: run.columns[key][at] })));
    ({ view } = await vegaEmbed(plot, { ...specs[key], datasets: { rows } }, DRAWING));
    hide(plot);
    point(place);
  }

  function pick(name) {
    view.signal("picked", name).runAsync();
  }

  for (const [name, item] of legend) {
    const row = document.querySelector(`tr[data-row="${CSS.escape(name)}"]`);
    for (const one of [item, row]) {
      one.addEventListener("pointerenter", () => pick(name));
      one.addEventListener("pointerleave", () => pick(""));
    }
    row.addEventListener("focusin", () => pick(name));
    row.addEventListener("focusout", () => pick(""));
  }
  choice.addEventListener("change", draw);
  await draw();
  plot.setAttribute("aria-valuemin", steps[0]);
  plot.setAttribute("aria-valuemax", steps.at(-1));
  plot.addEventListener("pointermove", (event) => {
    const left = event.clientX - plot.getBoundingClientRect().left;
    point(nearest(steps, view.scale("x").invert(left - view.origin()[0])));
  });
  keys(plot, (by) => point(place + by), steps.length);
}

// A sweep's metric against each swept key.
async function swept(charts) {
  for (const { key, spec } of charts) {
    const plot = document.querySelector(`[data-swept="${CSS.escape(key)}"]`);
    await vegaEmbed(plot, spec, DRAWING);
    hide(plot);
  }
}
