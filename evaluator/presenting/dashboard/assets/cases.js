// The page around the heat map: filters, order of the rows, what the colours mean.

const SORTS = { suite: "as in the suite", unstable: "most changes first", worst: "least often passed first", recent: "last changed first" };

// Rows for the heat map: cases in the chosen order; in the suite's order, a heading for each category.
function arrangeRows(model, line, numbers) {
  const ranks = {
    unstable: (number) => -countFlips(model, line, number),
    worst: (number) => line.columns.reduce((sum, column) => sum + getStatus(model, column, number).passed, 0),
    recent: (number) => -findLastChange(line, number),
  };
  const rankOf = Object.hasOwn(ranks, state.sort) ? ranks[state.sort] : null;
  if (rankOf) {
    const rank = new Map(numbers.map((number) => [number, rankOf(number)]));
    return [...numbers].sort((one, other) => rank.get(one) - rank.get(other) || one - other).map((number) => ({ number }));
  }
  const groups = new Map();
  for (const number of numbers) {
    const name = model.cases[number].category;
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push({ number });
  }
  if (groups.size < 2) return numbers.map((number) => ({ number }));
  return [...groups].flatMap(([name, rows]) => [{ group: `${name} · ${formatCount(rows.length, "case")}` }, ...rows]);
}

function findLastChange(line, number) {
  for (let c = line.columns.length - 1; c > 0; c--) if (line.columns[c].statuses[number] !== line.columns[c - 1].statuses[number]) return c;
  return -1;
}

const STATUS_COLORS = { passed: "pass", failed: "fail", unscored: "unscored", expected_failure: "expected", unexpected_pass: "surprise" };

// `status` holds a colour for every number of a status; failed cases have nine shades instead, by score.
function readHeatColors(model) {
  const failed = Array.from({ length: 9 }, (_, tenth) => mixColors(readColor("fail"), readColor("partial"), tenth / 8));
  return {
    panel: readColor("panel"), text: readColor("text"), muted: readColor("muted"), mark: readColor("mark"), failed,
    status: model.statuses.map(({ value }) => (Object.hasOwn(STATUS_COLORS, value) ? readColor(STATUS_COLORS[value]) : null)),
  };
}

// A colour between two of the form #rrggbb.
function mixColors(from, to, share) {
  const split = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const [start, end] = [split(from), split(to)];
  return `#${start.map((value, i) => Math.round(value + (end[i] - value) * share).toString(16).padStart(2, "0")).join("")}`;
}

function fitText(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let [low, high] = [0, text.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(`${text.slice(0, middle)}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return `${text.slice(0, low)}…`;
}

function drawCases(model) {
  const line = findLine(model);
  if (!line.columns.length) return [el("p", { class: "empty", text: "No checkpoint has been evaluated yet." })];
  const numbers = filterCases(model, line.columns, answersFound);
  const map = new HeatMap(model, numbers);
  const body = numbers.length ? [map.scroller, map.tip] : [el("p", { class: "empty", text: "No case fits these filters." })];
  return [
    drawFilters(model, { sorts: true }),
    el("p", { class: "muted small count", text: `${numbers.length} of ${formatCount(model.cases.length, "case")} by ${formatCount(line.columns.length, "checkpoint")}. Click a cell to read the answer beside the one before it.` }),
    el("section", { class: "panel heat-panel" }, ...body),
    drawLegend(),
  ];
}

function drawLegend() {
  const items = [["pass", "passed"], ["fail", "failed"], ["partial", "failed, close to passing"], ["unscored", "unscored"], ["expected", "expected failure"], ["surprise", "unexpected pass"]];
  return el("ul", { class: "legend" }, items.map(([name, text]) => el("li", {}, el("i", { class: `swatch ${name}` }), text)), el("li", {}, el("i", { class: "swatch fail flip" }), "newly broken"));
}

let searchTimer;

// Filters that the heat map and the changes share. Typing keeps the field's focus: only what follows is drawn anew.
function drawFilters(model, { sorts = false } = {}) {
  const drawChoice = (name, options, label) => el("label", {}, el("span", { class: "visually-hidden", text: label }), drawSelect(options, state[name], (value) => go({ [name]: value }), label));
  const categories = { "": "all categories", ...Object.fromEntries(model.categories.map((category) => [category, category])) };
  const text = el("input", { type: "search", id: "search", placeholder: state.inAnswers ? "Search cases and answers" : "Search cases", value: state.text, "aria-label": "Search" });
  text.addEventListener("input", () => { clearTimeout(searchTimer); searchTimer = setTimeout(() => searchCases(model, text.value), 120); });
  const answers = el("input", { type: "checkbox", checked: state.inAnswers });
  answers.addEventListener("change", () => { state.inAnswers = answers.checked; searchCases(model, state.text, true); });
  const parts = [text, el("label", { class: "check" }, answers, "in answers"), drawChoice("category", categories, "Category"), drawChoice("status", STATUS_FILTERS, "Status")];
  if (sorts) {
    const dense = el("input", { type: "checkbox", checked: state.dense });
    dense.addEventListener("change", () => go({ dense: dense.checked }));
    parts.push(drawChoice("sort", SORTS, "Order"), el("label", { class: "check" }, dense, "small"));
  }
  return el("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() }, parts);
}

function drawSelect(options, value, onchange, label) {
  const node = el("select", { "aria-label": label }, Object.entries(options).map(([key, text]) => el("option", { value: key, text })));
  node.value = value ?? "";
  node.addEventListener("change", () => onchange(node.value));
  return node;
}

let answersFound = null; // ids of cases whose answer at either checkpoint contains the text, when asked for

async function searchCases(model, text, force = false) {
  if (text === state.text && !force) return;
  answersFound = state.inAnswers && text ? await searchAnswers(model, text.toLowerCase()) : null;
  history.replaceState(null, "", buildAddress({ text }));
  state.text = text;
  render({ keepFocus: true });
}

async function searchAnswers(model, words) {
  const found = new Set();
  for (const checkpoint of findPair(model)) {
    if (!checkpoint?.segment) continue;
    const answers = await loadAnswers(checkpoint.segment);
    answers.cases.forEach((id, row) => {
      if (answers.outputs[row][checkpoint.member]?.toLowerCase().includes(words)) found.add(id);
    });
  }
  return found;
}
