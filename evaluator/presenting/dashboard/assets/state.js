// What the reader looks at: kept in the address (so that a picture can be linked to), the theme in local storage.

const VIEWS = { overview: "Overview", cases: "Heat map", changes: "Changes", case: null };

const state = {
  view: "overview",
  line: null, // key of a line
  a: null, // keys of checkpoints that are compared: before and after
  b: null,
  id: null, // the case looked at
  category: "",
  status: "",
  text: "",
  inAnswers: false,
  sort: "suite",
  dense: false,
};

const KEPT = ["line", "a", "b", "id", "category", "status", "text", "sort"];

function readAddress() {
  const [view, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const given = new URLSearchParams(query);
  state.view = Object.hasOwn(VIEWS, view) ? view : "overview";
  for (const name of KEPT) state[name] = given.get(name) ?? (name === "sort" ? "suite" : ["line", "a", "b", "id"].includes(name) ? null : "");
  state.inAnswers = given.has("answers");
  state.dense = given.has("dense");
}

function address(changes = {}) {
  const next = { ...state, ...changes };
  const query = new URLSearchParams();
  for (const name of KEPT) if (next[name] && !(name === "sort" && next.sort === "suite")) query.set(name, next[name]);
  if (next.inAnswers) query.set("answers", "");
  if (next.dense) query.set("dense", "");
  const text = query.toString();
  return `#/${next.view}${text ? `?${text}` : ""}`;
}

// Go somewhere; `quietly` replaces the entry in the history (for typing in a field).
function go(changes, quietly = false) {
  const target = address(changes);
  if (target === location.hash) return;
  if (quietly) history.replaceState(null, "", target);
  else history.pushState(null, "", target);
  readAddress();
  render();
}

function currentLine(model) {
  return model.lines.find((line) => line.key === state.line) ?? model.lines[0];
}

// The two checkpoints that are compared: as chosen, else the last one and what came before it.
function comparedPair(model) {
  const line = currentLine(model);
  const b = model.byKey.get(state.b) ?? line.evaluated.at(-1) ?? line.base ?? null;
  const a = model.byKey.get(state.a) ?? (b ? previousOf(line, b) : null);
  return [a, b];
}

// Indices of the cases that pass the filters. `found` are ids whose answers contain the text, when answers are searched.
function filteredCases(model, found = null) {
  const line = currentLine(model);
  const [a, b] = comparedPair(model);
  const words = state.text.toLowerCase();
  const wanted = statusFilter(line, a, b);
  const result = [];
  for (let i = 0; i < model.cases.length; i++) {
    const each = model.cases[i];
    if (state.category && each.category !== state.category) continue;
    if (!line.columns.some((column) => column.statuses[i])) continue;
    if (words && !`${each.id} ${each.name} ${each.category}`.toLowerCase().includes(words) && !found?.has(each.id)) continue;
    if (wanted(i)) result.push(i);
  }
  return result;
}

const STATUS_FILTERS = {
  "": "any status",
  broken: "newly broken",
  fixed: "newly fixed",
  failed: "failed",
  passed: "passed",
  unstable: "changed more than once",
  never: "never passed",
  apart: "unscored or may fail",
};

function statusFilter(line, a, b) {
  const at = (i) => b?.statuses[i] ?? STATUS.absent;
  const moved = ["broken", "fixed"].includes(state.status) ? new Set(changes(a, b)[state.status]) : null;
  const tests = {
    broken: (i) => moved.has(i),
    fixed: (i) => moved.has(i),
    failed: (i) => at(i) === STATUS.failed,
    passed: (i) => at(i) === STATUS.passed,
    unstable: (i) => flips(line, i) > 1,
    never: (i) => line.columns.every((column) => column.statuses[i] !== STATUS.passed),
    apart: (i) => at(i) > STATUS.failed,
  };
  return Object.hasOwn(tests, state.status) ? tests[state.status] : () => true;
}

// How often a case went from passed to failed or back along a line.
function flips(line, i) {
  let before = 0;
  let count = 0;
  for (const { statuses } of line.columns) {
    const status = statuses[i];
    if (status !== STATUS.passed && status !== STATUS.failed) continue;
    if (before && status !== before) count += 1;
    before = status;
  }
  return count;
}

// Themes: what the system says unless the reader chose otherwise. A page from disk may have no storage.
function storedTheme() {
  try { return localStorage.getItem("sidestep-theme"); } catch { return null; }
}

function applyTheme(theme = storedTheme()) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function toggleTheme() {
  const theme = isDark() ? "light" : "dark";
  try { localStorage.setItem("sidestep-theme", theme); } catch { /* only for this visit, then */ }
  applyTheme(theme);
  render();
}

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
