// The two curves: success rate with its interval, training loss beneath it, cursors together. Drawn by uPlot.

const shown = []; // charts on the page now, to be taken away before the next picture

function destroyCharts() {
  for (const chart of shown.splice(0)) chart.destroy();
}

// Charts can only be made at a width; `draw` is called again whenever the place they are in changes its own.
function placeChart(draw, label) {
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

function styleAxis(more) {
  const line = readColor("line");
  return { stroke: readColor("muted"), grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 }, font: "12px system-ui, sans-serif", ...more };
}

const SYNC = "steps";

function styleStepAxis() {
  return styleAxis({ values: (chart, splits) => splits.map((step) => (Number.isInteger(step) ? `${step}` : "")), gap: 2, size: 28 });
}

function makeStepRange(steps) {
  return (chart, low, high) => (steps.length < 2 || low === high ? [Math.max(0, low - 1), high + 1] : [low, high]);
}

function formatRate(rate, interval) {
  if (rate === null || rate === undefined) return "–";
  return `${rate.toFixed(1)} %${interval ? ` (${formatPercent(interval[0], 0)} to ${formatPercent(interval[1], 0)})` : ""}`;
}

function drawRateChart(line) {
  const rows = line.evaluated.filter(({ rate }) => rate !== null);
  const steps = rows.map(({ step }) => step);
  const rates = rows.map(({ rate }) => 100 * rate);
  const intervals = rows.map(({ interval }) => interval);
  const low = intervals.map((interval) => (interval ? 100 * interval[0] : null));
  const high = intervals.map((interval) => (interval ? 100 * interval[1] : null));
  const base = line.base && line.base.rate !== null ? 100 * line.base.rate : null;
  const label = `Success rate over steps: ${rows.map(({ step, rate }) => `step ${step} ${formatPercent(rate)}`).join(", ")}`;
  return placeChart((place, width) => {
    const series = [
      { label: "step" },
      { label: "success", stroke: readColor("accent"), width: 2, points: { show: rows.length < 60, size: 7, fill: readColor("panel") }, value: (u, v, s, at) => formatRate(v, intervals[at]) },
      { label: "from", class: "bound", stroke: "transparent", points: { show: false } },
      { label: "to", class: "bound", stroke: "transparent", points: { show: false } },
    ];
    const data = [steps, rates, low, high];
    if (base !== null) {
      series.push({ label: "base model", stroke: readColor("muted"), dash: [5, 4], width: 1.5, points: { show: false }, value: () => `${base.toFixed(1)} %` });
      data.push(steps.map(() => base));
    }
    return new uPlot({
      width, height: 250, series,
      bands: [{ series: [3, 2], fill: readColor("band") }],
      scales: { x: { time: false, range: makeStepRange(steps) }, y: { range: (u, min, max) => [Math.max(0, Math.floor((min - 4) / 10) * 10), Math.min(100, Math.ceil((max + 4) / 10) * 10)] } },
      axes: [styleStepAxis(), styleAxis({ values: (u, splits) => splits.map((v) => `${v} %`), size: 52 })],
      cursor: { sync: { key: SYNC }, points: { size: 8 }, drag: { x: true, y: false } },
      legend: { live: true },
    }, data, place);
  }, label);
}

function drawLossChart(line) {
  const rows = line.checkpoints.filter(({ training }) => typeof training.loss === "number");
  if (!rows.length) return el("p", { class: "empty small", text: "No checkpoint said what the training loss was." });
  const steps = rows.map(({ step }) => step);
  const losses = rows.map(({ training }) => training.loss);
  const label = `Training loss over steps: ${rows.map(({ step, training }) => `step ${step} ${formatNumber(training.loss, 3)}`).join(", ")}`;
  return placeChart((place, width) => new uPlot({
    width, height: 140,
    series: [{ label: "step" }, { label: "training loss", stroke: readColor("loss"), width: 2, points: { show: rows.length < 60, size: 6, fill: readColor("panel") }, value: (u, v) => (v === null ? "–" : v.toFixed(4)) }],
    scales: { x: { time: false, range: makeStepRange(steps) } },
    axes: [styleStepAxis(), styleAxis({ size: 52 })],
    cursor: { sync: { key: SYNC }, points: { size: 8 }, drag: { x: true, y: false } },
  }, [steps, losses], place), label);
}
