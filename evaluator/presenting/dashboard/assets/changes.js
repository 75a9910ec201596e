// Two checkpoints, and what became of every case between them.

function drawChanges(model) {
  const [before, after] = findPair(model);
  if (!before || !after) return [el("p", { class: "empty", text: "There are no two evaluated checkpoints to compare yet." })];
  const changes = compareCheckpoints(model, before, after);
  const wanted = new Set(filterCases(model, [before, after], answersFound));
  const drawTable = (title, kind) => drawChangeTable(model, { title, kind, numbers: changes[kind].filter((number) => wanted.has(number)) }, before, after);
  return [
    el("section", { class: "panel pair" }, drawPairChooser(model, before, after), drawPairSummary(model, before, after, changes)),
    drawFilters(model),
    drawTable("Newly broken", "broken"),
    drawTable("Newly fixed", "fixed"),
    drawTable("Worse score", "worse"),
    drawTable("Better score", "better"),
  ];
}

// Two lists of all evaluated checkpoints, by version; the arrows move the later one along its line.
function drawPairChooser(model, before, after) {
  const drawChoice = (name, chosen, label) => el("label", { class: "choice" }, el("span", { text: label }), drawCheckpointSelect(model, chosen, (key) => go({ [name]: key }), label));
  const { columns } = findLineOf(model, after);
  const drawArrow = (by) => {
    const next = columns[columns.indexOf(after) + by];
    return el("button", { type: "button", class: "icon", title: by < 0 ? "one checkpoint back  [" : "one checkpoint on  ]", "aria-label": by < 0 ? "one checkpoint back" : "one checkpoint on", disabled: !next, text: by < 0 ? "‹" : "›", onclick: () => movePair(model, by) });
  };
  return el("div", { class: "chooser" }, drawChoice("a", before, "before"), el("button", { type: "button", class: "icon", title: "exchange both", "aria-label": "exchange both", text: "⇄", onclick: () => go({ a: after.key, b: before.key }) }), drawChoice("b", after, "after"), drawArrow(-1), drawArrow(1));
}

function findLineOf(model, checkpoint) {
  return model.lines.find((line) => line.columns.includes(checkpoint) && (checkpoint.step !== null || line === findLine(model))) ?? findLine(model);
}

// The later checkpoint moves along its line by one, and the other one to what that is read beside.
function movePair(model, by) {
  const [, after] = findPair(model);
  if (!after) return;
  const line = findLineOf(model, after);
  const next = line.columns[line.columns.indexOf(after) + by];
  if (next) go({ b: next.key, a: findCompanion(model, line, next).key }, true);
}

function drawCheckpointSelect(model, chosen, onchange, label) {
  const node = el("select", { "aria-label": label });
  for (const line of model.lines) {
    const group = el("optgroup", { label: line.key + (line.archived ? " (archived)" : "") });
    for (const { key, step, checkpoint, archived, rate } of line.columns) group.append(el("option", { value: key, text: `${step === null ? "base model" : checkpoint}${archived && !line.archived ? " (replaced)" : ""} · ${formatPercent(rate)}` }));
    node.append(group);
  }
  node.value = chosen.key;
  node.addEventListener("change", () => onchange(node.value));
  return node;
}

function drawPairSummary(model, before, after, changes) {
  const { compared, broken, fixed, worse, better } = changes;
  const entry = Object.values(after.comparisons).find(({ key }) => key === before.key);
  return el("div", { class: "summary" },
    el("p", { class: "headline" }, `${formatPercent(changes.passedBefore / compared)} → ${formatPercent(changes.passedAfter / compared)} `, drawVerdict(model, entry?.verdict)),
    el("p", { text: `${compared} cases compared: ${broken.length} newly broken, ${fixed.length} newly fixed, ${worse.length} with a worse score, ${better.length} with a better one.` }),
    ...describeVerdict(entry?.verdict).map((text, line) => el("p", { class: line ? "muted small" : "" }, show(text))),
    drawCategoryChanges(model, entry?.categories ?? {}),
    ...(entry?.notes ?? []).map((text) => el("p", { class: "note" }, show(text))),
    entry || before === after ? "" : el("p", { class: "muted small", text: "No report compares these two; the counts are exact, but nobody tested whether they are more than chance. `sidestep-evaluator compare` does." }));
}

// The categories in which something moved, with the reports' verdict on each.
function drawCategoryChanges(model, categories) {
  const moved = Object.entries(categories).filter(([, { broken, fixed }]) => broken || fixed);
  if (moved.length < 2) return "";
  const rows = moved.map(([name, { rate_before: before, rate_after: after, broken, fixed, word }]) => el("tr", {},
    el("th", { scope: "row" }, show(name)),
    el("td", { class: "num", text: `${formatPercent(before)} → ${formatPercent(after)}` }),
    el("td", { class: "num", text: `${broken} broken, ${fixed} fixed` }),
    el("td", {}, drawVerdict(model, { word, sentence: "" }))));
  return el("div", { class: "scroll-x" }, el("table", { class: "by-category" }, el("tbody", {}, rows)));
}

// What a report says about its verdict, in its own words, and the figures behind them.
function describeVerdict(verdict) {
  if (!verdict) return [];
  const bounds = verdict.interval ? `, 95 % interval of the difference ${formatSigned(verdict.interval.low)} to ${formatSigned(verdict.interval.high)}` : "";
  const figures = verdict.test ? `${verdict.test}: p = ${verdict.p_value.toPrecision(2)}, ${verdict.adjusted_p_value.toPrecision(2)} with all comparisons of this training${bounds}.` : "";
  return [verdict.sentence, figures].filter(Boolean);
}

function formatSigned(share) {
  return `${share < 0 ? "−" : "+"}${(100 * Math.abs(share)).toFixed(1)} %`;
}

const SHOWN_ROWS = 200;

function drawChangeTable(model, { title, kind, numbers }, before, after) {
  const head = el("h2", {}, title, " ", el("span", { class: "badge", text: numbers.length }));
  if (!numbers.length) return el("section", { class: `panel changes ${kind} none` }, head);
  const section = el("section", { class: `panel changes ${kind}` }, head);
  const drawRows = (some) => some.map((number) => drawChangeRow(model, number, before, after));
  const body = el("tbody", {}, drawRows(numbers.slice(0, SHOWN_ROWS)));
  section.append(el("div", { class: "scroll-x" }, el("table", {}, el("thead", {}, el("tr", {}, ["case", "category", "score", "answer before", "answer after"].map((text) => el("th", { scope: "col", text })))), body)));
  if (numbers.length > SHOWN_ROWS) section.append(drawMoreButton(numbers.length - SHOWN_ROWS, () => body.append(...drawRows(numbers.slice(SHOWN_ROWS)))));
  return section;
}

function drawMoreButton(count, showMore) {
  const button = el("button", { type: "button", text: `Show ${count} more` });
  button.addEventListener("click", () => { showMore(); button.remove(); });
  return button;
}

function drawChangeRow(model, number, before, after) {
  const { id, name, category } = model.cases[number];
  const cells = [before, after].map((checkpoint) => {
    const cell = el("td", { class: "answer-start" });
    loadAnswer(checkpoint, id).then((answer) => { replaceChildren(cell, show((answer?.output ?? "").slice(0, 160))); });
    return cell;
  });
  return el("tr", {},
    el("th", { scope: "row" }, drawCaseLink(model, number, before, after), name !== id ? el("span", { class: "muted small block" }, show(name)) : ""),
    el("td", {}, show(category)),
    el("td", { class: "num", text: `${formatScore(before, number) || "–"} → ${formatScore(after, number) || "–"}` }),
    ...cells);
}

function drawCaseLink(model, number, before, after) {
  const { id } = model.cases[number];
  return el("a", { href: buildAddress({ page: "case", id, a: before.key, b: after.key }) }, show(id));
}
