// Two checkpoints, and what became of every case between them.

function changesPage(model) {
  const [a, b] = comparedPair(model);
  if (!a || !b) return [el("p", { class: "empty", text: "There are no two evaluated checkpoints to compare yet." })];
  const moved = changes(a, b);
  const wanted = new Set(filteredCases(model, answersFound));
  const kept = (indices) => indices.filter((i) => wanted.has(i));
  return [
    el("section", { class: "panel pair" }, pairChooser(model, a, b), pairSummary(a, b, moved)),
    filterBar(model),
    changeTable(model, "Newly broken", "broken", kept(moved.broken), a, b),
    changeTable(model, "Newly fixed", "fixed", kept(moved.fixed), a, b),
    changeTable(model, "Worse score", "worse", kept(moved.worse), a, b),
    changeTable(model, "Better score", "better", kept(moved.better), a, b),
  ];
}

// Two lists of all evaluated checkpoints, by version; the arrows move the later one along its line.
function pairChooser(model, a, b) {
  const one = (name, chosen, label) => el("label", { class: "choice" }, el("span", { text: label }), checkpointSelect(model, chosen, (key) => go({ [name]: key }), label));
  const line = lineOf(model, b);
  const at = line.columns.indexOf(b);
  const step = (by) => {
    const next = line.columns[at + by];
    return el("button", { type: "button", class: "icon", title: by < 0 ? "one checkpoint back  [" : "one checkpoint on  ]", "aria-label": by < 0 ? "one checkpoint back" : "one checkpoint on", disabled: !next, text: by < 0 ? "‹" : "›", onclick: () => stepPair(model, by) });
  };
  return el("div", { class: "chooser" }, one("a", a, "before"), el("button", { type: "button", class: "icon", title: "exchange both", "aria-label": "exchange both", text: "⇄", onclick: () => go({ a: b.key, b: a.key }) }), one("b", b, "after"), step(-1), step(1));
}

function lineOf(model, checkpoint) {
  return model.lines.find((line) => line.columns.includes(checkpoint) && (checkpoint.step !== null || line === currentLine(model))) ?? currentLine(model);
}

// Both checkpoints move along the line by one.
function stepPair(model, by) {
  const [, b] = comparedPair(model);
  const line = lineOf(model, b);
  const at = line.columns.indexOf(b) + by;
  if (!line.columns[at]) return;
  go({ b: line.columns[at].key, a: (line.columns[at - 1] ?? line.columns[at + 1] ?? line.columns[at]).key }, true);
}

function checkpointSelect(model, chosen, onchange, label) {
  const node = el("select", { "aria-label": label });
  for (const line of model.lines) {
    const group = el("optgroup", { label: line.key + (line.archived ? " (archived)" : "") });
    for (const each of line.columns) group.append(el("option", { value: each.key, text: `${each.step === null ? "base model" : each.checkpoint}${each.archived && !line.archived ? " (replaced)" : ""} · ${percent(rateOf(each))}` }));
    node.append(group);
  }
  node.value = chosen.key;
  node.addEventListener("change", () => onchange(node.value));
  return node;
}

function pairSummary(a, b, moved) {
  const entry = Object.values(b.comparisons).find((each) => (each.against_id ? each.against_id === a.identity.id : each.against === a.checkpoint && each.against_version === a.expert_version));
  const passed = (each, indices) => indices.filter((i) => each.statuses[i] === STATUS.passed).length;
  const all = [...b.statuses.keys()].filter((i) => [1, 2].includes(a.statuses[i]) && [1, 2].includes(b.statuses[i]) && a.definitions[i] === b.definitions[i]);
  const [before, after] = [passed(a, all), passed(b, all)];
  const notes = entry?.notes ?? [];
  return el("div", { class: "summary" },
    el("p", { class: "headline" }, `${percent(before / moved.compared)} → ${percent(after / moved.compared)} `, verdictMark(entry)),
    el("p", { text: `${moved.compared} cases compared: ${moved.broken.length} newly broken, ${moved.fixed.length} newly fixed, ${moved.worse.length} with a worse score, ${moved.better.length} with a better one.` }),
    ...verdictDetails(entry).map((text, i) => el("p", { class: i ? "muted small" : "" }, show(text))),
    categoryChanges(entry),
    ...notes.map((text) => el("p", { class: "note" }, show(text))),
    entry || a === b ? "" : el("p", { class: "muted small", text: "No report compares these two; the counts are exact, but nobody tested whether they are more than chance. `sidestep-evaluator compare` does." }));
}

// The categories in which something moved, with the reports' verdict on each.
function categoryChanges(entry) {
  const moved = Object.entries(entry?.categories ?? {}).filter(([, each]) => each.broken || each.fixed);
  if (moved.length < 2) return "";
  return el("div", { class: "scroll-x" }, el("table", { class: "by-category" }, el("tbody", {}, moved.map(([name, each]) => el("tr", {},
    el("th", { scope: "row" }, show(name)),
    el("td", { class: "num", text: `${percent(each.rate_before)} → ${percent(each.rate_after)}` }),
    el("td", { class: "num", text: `${each.broken} broken, ${each.fixed} fixed` }),
    el("td", {}, verdictMark({ verdict: { word: each.word, sentence: "" } })))))));
}

// What a report says about its verdict, in its own words, and the figures behind them.
function verdictDetails(entry) {
  const verdict = entry?.verdict;
  if (!verdict) return [];
  const bounds = verdict.interval ? `, 95 % interval of the difference ${signed(verdict.interval.low)} to ${signed(verdict.interval.high)}` : "";
  const figures = verdict.test ? `${verdict.test}: p = ${verdict.p_value.toPrecision(2)}, ${verdict.adjusted_p_value.toPrecision(2)} with all comparisons of this training${bounds}.` : "";
  return [verdict.sentence, figures].filter(Boolean);
}

function signed(share) {
  return `${share < 0 ? "−" : "+"}${(100 * Math.abs(share)).toFixed(1)} %`;
}

const SHOWN_ROWS = 200;

function changeTable(model, title, kind, indices, a, b) {
  const section = el("section", { class: `panel changes ${kind}` }, el("h2", {}, title, " ", el("span", { class: "badge", text: indices.length })));
  if (!indices.length) return el("section", { class: `panel changes ${kind} none` }, el("h2", {}, title, " ", el("span", { class: "badge", text: 0 })));
  const rows = indices.slice(0, SHOWN_ROWS).map((i) => changeRow(model, i, a, b));
  const body = el("tbody", {}, rows);
  section.append(el("div", { class: "scroll-x" }, el("table", {}, el("thead", {}, el("tr", {}, ["case", "category", "score", "answer before", "answer after"].map((text) => el("th", { scope: "col", text })))), body)));
  if (indices.length > SHOWN_ROWS) section.append(moreButton(model, indices, a, b, body));
  return section;
}

function moreButton(model, indices, a, b, body) {
  const button = el("button", { type: "button", text: `Show ${indices.length - SHOWN_ROWS} more` });
  button.addEventListener("click", () => { body.append(...indices.slice(SHOWN_ROWS).map((i) => changeRow(model, i, a, b))); button.remove(); });
  return button;
}

function changeRow(model, i, a, b) {
  const each = model.cases[i];
  const cells = [a, b].map((checkpoint) => {
    const cell = el("td", { class: "answer-start" });
    answerOf(checkpoint, each.id).then((answer) => { replaceChildren(cell, show((answer?.output ?? "").slice(0, 160))); });
    return cell;
  });
  const score = (checkpoint) => (checkpoint.scores[i] === NO_SCORE ? "–" : (checkpoint.scores[i] / 10).toFixed(1));
  return el("tr", {},
    el("th", { scope: "row" }, caseLink(model, i, a, b), each.name !== each.id ? el("span", { class: "muted small block" }, show(each.name)) : ""),
    el("td", {}, show(each.category)),
    el("td", { class: "num", text: `${score(a)} → ${score(b)}` }),
    ...cells);
}

function caseLink(model, i, a, b) {
  const id = model.cases[i].id;
  return el("a", { href: address({ view: "case", id, a: a.key, b: b.key }) }, show(id));
}
