// Header, keys, and drawing the page that the address names.

let model = null;
const DRAWN_BY = { overview: drawOverview, cases: drawCases, changes: drawChanges, case: drawCase };

function render({ keepFocus = false } = {}) {
  if (!model) return;
  const main = document.getElementById("main");
  const search = document.activeElement?.id === "search" ? document.activeElement : null;
  const caret = search?.selectionStart;
  const inHeat = document.activeElement?.classList.contains("heat");
  destroyCharts();
  drawHeader();
  if (!model.lines.length) {
    replaceChildren(main, el("p", { class: "empty", text: "There are no reports yet." }));
    return;
  }
  replaceChildren(main, ...DRAWN_BY[state.page](model));
  if (keepFocus && inHeat) document.querySelector(".heat")?.focus({ preventScroll: true });
  if (keepFocus && search) {
    const field = document.getElementById("search");
    field?.focus();
    field?.setSelectionRange(caret, caret);
  }
}

function drawHeader() {
  const tabs = Object.entries(PAGE_TITLES).filter(([, title]) => title).map(([page, title], i) =>
    el("a", { href: buildAddress({ page }), class: "tab", "aria-current": state.page === page || (state.page === "case" && page === "cases") ? "page" : undefined, title: `${title}  ${i + 1}`, text: title }));
  const lines = Object.fromEntries(model.lines.map((line) => [line.key, `${line.key}${line.archived ? " (archived)" : ""}`]));
  const chosen = findLine(model);
  const picker = model.lines.length > 1 ? drawSelect(lines, chosen.key, (line) => go({ line, a: null, b: null }), "Version and base model") : el("span", { class: "muted" }, show(chosen?.key ?? ""));
  replaceChildren(document.getElementById("top"),
    el("div", { class: "title" }, el("h1", {}, show(model.expert || "Sidestep")), picker, el("span", { id: "evaluators", class: "muted small" })),
    el("nav", { class: "tabs", "aria-label": "Pages" }, tabs),
    el("div", { class: "tools" },
      el("button", { type: "button", class: "icon", title: "keys  ?", "aria-label": "keys", text: "?", onclick: showKeys }),
      el("button", { type: "button", class: "icon", title: "light or dark  t", "aria-label": "light or dark", text: isDark() ? "☀" : "☾", onclick: toggleTheme })));
  showEvaluators();
}

const KEYS = [["1 2 3", "overview, heat map, changes"], ["/", "search"], ["arrows, Enter", "move in the heat map, open a case"], ["j k", "next and previous case"], ["[ ]", "checkpoint before and after"], ["t", "light or dark"], ["Esc", "back to the cases, or close this"], ["?", "these keys"]];

function showKeys() {
  document.querySelector("dialog")?.remove();
  const dialog = el("dialog", { class: "keys" }, el("h2", { text: "Keys" }), el("dl", {}, KEYS.flatMap(([key, text]) => [el("dt", {}, el("kbd", { text: key })), el("dd", { text })])), el("form", { method: "dialog" }, el("button", { text: "Close" })));
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.showModal();
}

function onKey(event) {
  if (!model?.lines.length || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const pages = Object.keys(PAGE_TITLES).filter((page) => PAGE_TITLES[page]);
  const actions = {
    1: () => go({ page: pages[0] }),
    2: () => go({ page: pages[1] }),
    3: () => go({ page: pages[2] }),
    "/": focusSearch,
    j: () => state.page === "case" && moveToCase(model, 1),
    k: () => state.page === "case" && moveToCase(model, -1),
    "[": () => movePair(model, -1),
    "]": () => movePair(model, 1),
    t: toggleTheme,
    "?": showKeys,
    Escape: () => state.page === "case" && go({ page: "cases" }),
  };
  const action = actions[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

function focusSearch() {
  if (!["cases", "changes"].includes(state.page)) go({ page: "cases" });
  document.getElementById("search")?.focus();
}

async function load() {
  try {
    model = buildModel(await readPageData());
    render({ keepFocus: true });
  } catch (error) {
    replaceChildren(document.getElementById("main"), el("p", { class: "empty", text: `The reports cannot be shown: ${error.message}` }));
    throw error;
  }
}

applyTheme();
readAddress();
addEventListener("popstate", () => { readAddress(); render(); });
addEventListener("hashchange", () => { readAddress(); render(); });
addEventListener("keydown", onKey);
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); document.getElementById("main").focus(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => render());
load().then(() => startLive(load));
