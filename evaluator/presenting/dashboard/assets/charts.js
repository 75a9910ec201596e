// The two curves: success rate with its interval, training loss beneath it, cursors together. Drawn by uPlot.

const shown = []; // charts on the page now, to be taken away before the next picture

function forgetCharts() {
  for (const chart of shown.splice(0)) chart.destroy();
}

// Charts can only be made at a width; `draw` is called again whenever the place they stand in changes its own.
function chartPlace(draw, label) {
  const place = el("div", { class: "chart", role: "img", "aria-label": label });
  let width = 0;
  const observer = new ResizeObserver(() => {
    const now = Math.floor(place.clientWidth);
    if (!now || now === width || !place.isConnected) return;
    width = now;
    replaceChildren(place);
    const chart = draw(place, width);
    if (chart) shown.push(chart);
  });
  observer.observe(place);
  return place;
}

function axisStyle(more) {
  const line = color("line");
  return { stroke: color("muted"), grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 }, font: "12px system-ui, sans-serif", ...more };
}

const SYNC = "steps";

function stepAxis() {
  return axisStyle({ values: (chart, splits) => splits.map((step) => (Number.isInteger(step) ? `${step}` : "")), gap: 2, size: 28 });
}

function stepRange(steps) {
  return (chart, low, high) => (steps.length < 2 || low === high ? [Math.max(0, low - 1), high + 1] : [low, high]);
}

function rateText(rate, interval) {
  if (rate === null || rate === undefined) return "–";
  return `${rate.toFixed(1)} %${interval ? ` (${percent(interval[0], 0)} to ${percent(interval[1], 0)})` : ""}`;
}

function rateChart(line) {
  const rows = line.evaluated.filter((each) => rateOf(each) !== null);
  const steps = rows.map((each) => each.step);
  const rates = rows.map((each) => 100 * rateOf(each));
  const intervals = rows.map(intervalOf);
  const low = intervals.map((each) => (each ? 100 * each[0] : null));
  const high = intervals.map((each) => (each ? 100 * each[1] : null));
  const base = line.base && rateOf(line.base) !== null ? 100 * rateOf(line.base) : null;
  const label = `Success rate over steps: ${rows.map((each) => `step ${each.step} ${percent(rateOf(each))}`).join(", ")}`;
  return chartPlace((place, width) => {
    const series = [
      { label: "step" },
      { label: "success", stroke: color("accent"), width: 2, points: { show: rows.length < 60, size: 7, fill: color("panel") }, value: (u, v, s, at) => rateText(v, intervals[at]) },
      { label: "from", class: "bound", stroke: "transparent", points: { show: false } },
      { label: "to", class: "bound", stroke: "transparent", points: { show: false } },
    ];
    const data = [steps, rates, low, high];
    if (base !== null) {
      series.push({ label: "base model", stroke: color("muted"), dash: [5, 4], width: 1.5, points: { show: false }, value: () => `${base.toFixed(1)} %` });
      data.push(steps.map(() => base));
    }
    return new uPlot({
      width, height: 250, series,
      bands: [{ series: [3, 2], fill: color("band") }],
      scales: { x: { time: false, range: stepRange(steps) }, y: { range: (u, min, max) => [Math.max(0, Math.floor((min - 4) / 10) * 10), Math.min(100, Math.ceil((max + 4) / 10) * 10)] } },
      axes: [stepAxis(), axisStyle({ values: (u, splits) => splits.map((v) => `${v} %`), size: 52 })],
      cursor: { sync: { key: SYNC }, points: { size: 8 }, drag: { x: true, y: false } },
      legend: { live: true },
    }, data, place);
  }, label);
}

function lossChart(line) {
  const rows = line.checkpoints.filter((each) => typeof each.training.loss === "number");
  if (!rows.length) return el("p", { class: "empty small", text: "No checkpoint said what the training loss was." });
  const steps = rows.map((each) => each.step);
  const losses = rows.map((each) => each.training.loss);
  const label = `Training loss over steps: ${rows.map((each) => `step ${each.step} ${number(each.training.loss, 3)}`).join(", ")}`;
  return chartPlace((place, width) => new uPlot({
    width, height: 140,
    series: [{ label: "step" }, { label: "training loss", stroke: color("loss"), width: 2, points: { show: rows.length < 60, size: 6, fill: color("panel") }, value: (u, v) => (v === null ? "–" : v.toFixed(4)) }],
    scales: { x: { time: false, range: stepRange(steps) } },
    axes: [stepAxis(), axisStyle({ size: 52 })],
    cursor: { sync: { key: SYNC }, points: { size: 8 }, drag: { x: true, y: false } },
  }, [steps, losses], place), label);
}
