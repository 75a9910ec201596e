// The page around the heat map: filters, order of the rows, what the colours mean.

const SORTS = { suite: "as in the suite", unstable: "most changes first", worst: "least often passed first", recent: "last changed first" };

// Rows for the heat map: cases in the chosen order; in the suite's order, a heading for each category.
function arrange(model, line, indices) {
  const keys = {
    unstable: (i) => -flips(line, i),
    worst: (i) => line.columns.reduce((sum, column) => sum + (column.statuses[i] === STATUS.passed), 0),
    recent: (i) => -lastChange(line, i),
  };
  const key = Object.hasOwn(keys, state.sort) ? keys[state.sort] : null;
  if (key) {
    const rank = new Map(indices.map((i) => [i, key(i)]));
    return [...indices].sort((i, j) => rank.get(i) - rank.get(j) || i - j).map((index) => ({ index }));
  }
  const groups = new Map();
  for (const index of indices) {
    const name = model.cases[index].category;
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push({ index });
  }
  if (groups.size < 2) return indices.map((index) => ({ index }));
  return [...groups].flatMap(([name, rows]) => [{ group: `${name} · ${plural(rows.length, "case")}` }, ...rows]);
}

function lastChange(line, i) {
  for (let c = line.columns.length - 1; c > 0; c--) if (line.columns[c].statuses[i] !== line.columns[c - 1].statuses[i]) return c;
  return -1;
}

// Tenths of a score; a failed case without one counts as 0.
function scoreOf(checkpoint, index) {
  const score = checkpoint.scores[index];
  return score === NO_SCORE ? 0 : score;
}

function heatColors() {
  const failed = Array.from({ length: 9 }, (_, tenth) => mix(color("fail"), color("partial"), tenth / 8));
  return {
    panel: color("panel"), text: color("text"), muted: color("muted"), mark: color("mark"), failed,
    status: [null, color("pass"), color("fail"), color("unscored"), color("expected"), color("surprise")],
  };
}

// A colour between two of the form #rrggbb.
function mix(from, to, share) {
  const parts = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const [a, b] = [parts(from), parts(to)];
  return `#${a.map((value, i) => Math.round(value + (b[i] - value) * share).toString(16).padStart(2, "0")).join("")}`;
}

function fitted(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let [low, high] = [0, text.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(`${text.slice(0, middle)}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return `${text.slice(0, low)}…`;
}

function casesPage(model) {
  const line = currentLine(model);
  const indices = filteredCases(model, answersFound);
  if (!line.columns.length) return [el("p", { class: "empty", text: "No checkpoint has been evaluated yet." })];
  const map = new HeatMap(model, indices);
  const body = indices.length ? [map.scroller, map.tip] : [el("p", { class: "empty", text: "No case fits these filters." })];
  return [
    filterBar(model, { sorts: true }),
    el("p", { class: "muted small count", text: `${indices.length} of ${plural(model.cases.length, "case")} by ${plural(line.columns.length, "checkpoint")}. Click a cell to read the answer beside the one before it.` }),
    el("section", { class: "panel heat-panel" }, ...body),
    legend(),
  ];
}

function legend() {
  const items = [["pass", "passed"], ["fail", "failed"], ["partial", "failed, close to passing"], ["unscored", "unscored"], ["expected", "expected failure"], ["surprise", "unexpected pass"]];
  return el("ul", { class: "legend" }, items.map(([name, text]) => el("li", {}, el("i", { class: `swatch ${name}` }), text)), el("li", {}, el("i", { class: "swatch fail flip" }), "newly broken"));
}

// Filters that the heat map and the changes share. Typing keeps the field's focus: only what follows is drawn anew.
function filterBar(model, { sorts = false } = {}) {
  const choose = (name, options, label) => el("label", {}, el("span", { class: "visually-hidden", text: label }), select(options, state[name], (value) => go({ [name]: value }), label));
  const categories = { "": "all categories", ...Object.fromEntries(model.categories.map((each) => [each, each])) };
  const text = el("input", { type: "search", id: "search", placeholder: state.inAnswers ? "Search cases and answers" : "Search cases", value: state.text, "aria-label": "Search" });
  text.addEventListener("input", () => { clearTimeout(filterBar.timer); filterBar.timer = setTimeout(() => searchFor(model, text.value), 120); });
  const answers = el("input", { type: "checkbox", checked: state.inAnswers });
  answers.addEventListener("change", () => { state.inAnswers = answers.checked; searchFor(model, state.text, true); });
  const parts = [text, el("label", { class: "check" }, answers, "in answers"), choose("category", categories, "Category"), choose("status", STATUS_FILTERS, "Status")];
  if (sorts) {
    const dense = el("input", { type: "checkbox", checked: state.dense });
    dense.addEventListener("change", () => go({ dense: dense.checked }));
    parts.push(choose("sort", SORTS, "Order"), el("label", { class: "check" }, dense, "small"));
  }
  return el("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() }, parts);
}

function select(options, value, onchange, label) {
  const node = el("select", { "aria-label": label }, Object.entries(options).map(([key, text]) => el("option", { value: key, text })));
  node.value = value ?? "";
  node.addEventListener("change", () => onchange(node.value));
  return node;
}

let answersFound = null; // ids of cases whose answer at the later checkpoint contains the text, when asked for

async function searchFor(model, text, force = false) {
  if (text === state.text && !force) return;
  answersFound = state.inAnswers && text ? await searchAnswers(model, text.toLowerCase()) : null;
  history.replaceState(null, "", address({ text }));
  state.text = text;
  render({ keepFocus: true });
}

async function searchAnswers(model, words) {
  const [a, b] = comparedPair(model);
  const found = new Set();
  for (const checkpoint of [a, b]) {
    if (!checkpoint?.segment) continue;
    const answers = await segmentAnswers(checkpoint.segment);
    answers.cases.forEach((id, row) => {
      if (answers.outputs[row][checkpoint.member]?.toLowerCase().includes(words)) found.add(id);
    });
  }
  return found;
}
