// What the reader looks at: kept in the address (so that a picture can be linked to), the theme in local storage.

const PAGE_TITLES = { overview: "Overview", cases: "Heat map", changes: "Changes", case: null }; // a case has no tab

const state = {
  page: "overview",
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
  const [page, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const given = new URLSearchParams(query);
  state.page = Object.hasOwn(PAGE_TITLES, page) ? page : "overview";
  for (const name of KEPT) state[name] = given.get(name) ?? (name === "sort" ? "suite" : ["line", "a", "b", "id"].includes(name) ? null : "");
  state.inAnswers = given.has("answers");
  state.dense = given.has("dense");
}

function buildAddress(changes = {}) {
  const next = { ...state, ...changes };
  const query = new URLSearchParams();
  for (const name of KEPT) if (next[name] && !(name === "sort" && next.sort === "suite")) query.set(name, next[name]);
  if (next.inAnswers) query.set("answers", "");
  if (next.dense) query.set("dense", "");
  const text = query.toString();
  return `#/${next.page}${text ? `?${text}` : ""}`;
}

// Go somewhere; `quietly` replaces the entry in the history (for typing in a field).
function go(changes, quietly = false) {
  const target = buildAddress(changes);
  if (target === location.hash) return;
  if (quietly) history.replaceState(null, "", target);
  else history.pushState(null, "", target);
  readAddress();
  render();
}

function findLine(model) {
  return model.lines.find((line) => line.key === state.line) ?? model.lines[0];
}

// The two checkpoints that are compared: as chosen, else the last one and what came before it.
function findPair(model) {
  const line = findLine(model);
  const after = model.byKey.get(state.b) ?? line.last ?? line.base;
  const before = model.byKey.get(state.a) ?? (after && findPrevious(model, after));
  return [before, after];
}

// Numbers of the cases that one of the checkpoints was asked and that pass the filters. Of cases in `found`, an answer
// contains the text.
function filterCases(model, checkpoints, found = null) {
  const words = state.text.toLowerCase();
  const hasStatus = makeStatusTest(model, findLine(model));
  const result = [];
  model.cases.forEach(({ id, name, category }, number) => {
    if (state.category && category !== state.category) return;
    if (!checkpoints.some(({ statuses }) => statuses[number])) return;
    if (words && !`${id} ${name} ${category}`.toLowerCase().includes(words) && !found?.has(id)) return;
    if (hasStatus(number)) result.push(number);
  });
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

function makeStatusTest(model, line) {
  const [before, after] = findPair(model);
  const statusAt = (number) => (after ? getStatus(model, after, number) : NOT_ASKED);
  const moved = ["broken", "fixed"].includes(state.status) ? new Set(compareCheckpoints(model, before, after)[state.status]) : null;
  const tests = {
    broken: (number) => moved.has(number),
    fixed: (number) => moved.has(number),
    failed: (number) => statusAt(number).decided && !statusAt(number).passed,
    passed: (number) => statusAt(number).passed,
    unstable: (number) => countFlips(model, line, number) > 1,
    never: (number) => line.columns.every((column) => !getStatus(model, column, number).passed),
    apart: (number) => after?.statuses[number] && !statusAt(number).decided,
  };
  return Object.hasOwn(tests, state.status) ? tests[state.status] : () => true;
}

// Themes: what the system says unless the reader chose otherwise. A page from disk may have no storage.
function readTheme() {
  try { return localStorage.getItem("sidestep-theme"); } catch { return null; }
}

function applyTheme(theme = readTheme()) {
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

function readColor(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
