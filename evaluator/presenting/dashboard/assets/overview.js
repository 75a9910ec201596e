// The first page: the three questions, the curves, and one row for each checkpoint.

function overviewPage(model) {
  const line = currentLine(model);
  const counted = line.evaluated.length;
  return [
    el("section", { class: "cards", "aria-label": "At a glance" }, betterCard(model, line), brokenCard(model, line), shipCard(model, line)),
    counted
      ? el("section", { class: "panel" }, el("h2", { text: "Success rate" }), el("p", { class: "muted small", text: bandNote(line) }), rateChart(line), el("h2", { class: "second", text: "Training loss" }), lossChart(line))
      : el("p", { class: "empty", text: "No checkpoint has been evaluated yet." }),
    categoriesPanel(model, line),
    el("section", { class: "panel" }, el("h2", { text: "Checkpoints" }), checkpointTable(model, line)),
    factsPanel(line),
  ];
}

function bandNote(line) {
  const parts = [];
  if (line.evaluated.some(intervalOf)) parts.push("The band is the 95 % interval of each rate, given how few or many cases there are.");
  if (line.base && rateOf(line.base) !== null) parts.push("Dashed: the base model without adapter.");
  parts.push("Drag to zoom, double click to see all.");
  return parts.join(" ");
}

function card(question, tone, headline, ...details) {
  return el("article", { class: `card ${tone}` }, el("h2", { text: question }), el("p", { class: "headline" }, headline), ...details.map((each) => (each instanceof Node ? each : el("p", { text: each }))));
}

const VERDICT_TONES = { better: "good", worse: "bad" };

// The report's own verdict where it has one; without, only the figures: no claim that nobody tested.
function verdictOf(entry) {
  return entry?.verdict?.word ?? null;
}

function verdictMark(entry) {
  const word = verdictOf(entry);
  return word ? el("span", { class: `verdict ${VERDICT_TONES[word] ?? ""}`, title: entry.verdict.sentence, text: word.startsWith("no difference") ? "no difference shown" : word }) : "";
}

function betterCard(model, line) {
  const last = line.evaluated.at(-1);
  if (!last) return card("Is it getting better?", "", "Nothing to say yet");
  const { base, best, previous } = last.comparisons;
  const entries = [["the base model", base], ["the best before", best], ["the one before", previous]].filter(([, entry]) => entry);
  if (best && previous && best.against === previous.against) entries.splice(entries.length - 1, 1);
  const interval = intervalOf(last);
  const words = direction(adviceFor(model, line)) ?? trend(last.comparisons);
  const [tone, headline] = words ?? ["", `${percent(rateOf(last))} at step ${last.label}`];
  const now = `${percent(rateOf(last))}${interval ? ` (${percent(interval[0], 0)} to ${percent(interval[1], 0)})` : ""} at step ${last.label}.`;
  return card("Is it getting better?", tone, headline, words ? now : "", ...entries.map(([name, entry]) => changeLine(name, entry)));
}

// What advice.json says about this line, unless it is of an earlier version.
function adviceFor(model, line) {
  const models = model.view.advice?.models ?? {};
  const found = Object.hasOwn(models, line.model) ? models[line.model] : null;
  return !line.archived && found?.expert_version === line.version ? found : null;
}

function direction(advice) {
  const { word, over_checkpoints: count } = advice?.trend ?? {};
  if (word === "rising") return ["good", `Rising over ${count} checkpoints`];
  return word === "falling" ? ["bad", `Falling over ${count} checkpoints`] : null;
}

// The tone and the words that the reports' verdicts allow; nothing where there are none.
function trend({ base, best, previous }) {
  for (const [word, tone, text] of [["worse", "bad", "Worse than"], ["better", "good", "Better than"]]) {
    const entry = [best, previous].find((each) => verdictOf(each) === word);
    if (entry) return [tone, `${text} ${plain(entry.against)}`];
    if (verdictOf(base) === word) return [tone, `${text} the base model`];
  }
  return [base, best, previous].some(verdictOf) ? ["", "No difference shown yet"] : null;
}

function changeLine(name, entry) {
  const moved = entry.rate_after - entry.rate_before;
  const arrow = moved > 0 ? "▲" : moved < 0 ? "▼" : "=";
  return el("p", { class: "change" }, el("span", { class: moved > 0 ? "up" : moved < 0 ? "down" : "same", text: `${arrow} ${(100 * Math.abs(moved)).toFixed(1)}` }), ` against ${name} `, el("span", { class: "muted", text: `(${plain(entry.against)}, ${percent(entry.rate_before)}) ` }), verdictMark(entry));
}

function brokenCard(model, line) {
  const last = line.evaluated.at(-1);
  const before = last && previousOf(line, last);
  if (!before) return card("What broke?", "", "Nothing to compare with yet");
  const moved = changes(before, last);
  const headline = moved.broken.length ? `${plural(moved.broken.length, "case")} newly broken` : "Nothing newly broken";
  const list = el("ul", { class: "case-links" }, moved.broken.slice(0, 5).map((i) => el("li", {}, caseLink(model, i, before, last))));
  if (moved.broken.length > 5) list.append(el("li", {}, el("a", { href: address({ view: "changes", a: before.key, b: last.key }), text: `and ${moved.broken.length - 5} more` })));
  return card("What broke?", moved.broken.length ? "bad" : "good", headline,
    `${plural(moved.fixed.length, "case")} newly fixed, from step ${before.label} to step ${last.label}.`, moved.broken.length ? list : "");
}

function shipCard(model, line) {
  const advice = adviceFor(model, line);
  const best = line.evaluated.findLast((each) => each.step === advice?.best.step) ?? bestOf(line);
  if (!best) return card("Which checkpoint should I ship?", "", "None yet");
  const base = line.base && changes(line.base, best);
  const interval = intervalOf(best);
  const details = [`${percent(rateOf(best))}${interval ? ` (${percent(interval[0], 0)} to ${percent(interval[1], 0)})` : ""}, ${best.test_results.passed} of ${best.test_results.passed + best.test_results.failed} cases.`];
  if (base?.compared) details.push(base.broken.length ? `It breaks ${plural(base.broken.length, "case")} that the base model passes.` : "It breaks no case that the base model passes.");
  const alike = (advice?.as_good_as_best ?? []).filter((name) => name !== best.checkpoint).map((name) => name.replace("checkpoint-", ""));
  if (alike.length) details.push(`As good, as far as these cases can show: step ${listed(alike)}.`);
  const last = line.evaluated.at(-1);
  if (best !== last) {
    const since = changes(best, last);
    details.push(`The last one, step ${last.label}, broke ${since.broken.length} of its cases and fixed ${since.fixed.length}.`);
  }
  if (advice?.stop.suggested) details.push(el("p", { class: "note" }, "Training may stop: ", show(advice.stop.reason)));
  return card("Which checkpoint should I ship?", "good", el("a", { href: address({ view: "changes", a: line.base?.key ?? null, b: best.key }), text: best.checkpoint }), ...details);
}

// The last few of many.
function listed(names) {
  return names.length > 6 ? `${names.slice(-5).join(", ")} and ${names.length - 5} more` : names.join(", ");
}

function categoriesPanel(model, line) {
  const last = line.evaluated.at(-1);
  const names = last ? Object.keys(last.categories) : [];
  if (names.length < 2) return null;
  const rows = names.map((name) => {
    const counts = last.categories[name];
    const decided = counts.passed + counts.failed;
    return el("tr", {},
      el("th", { scope: "row" }, el("a", { href: address({ view: "cases", category: name }) }, show(name))),
      el("td", { class: "bar-cell" }, bar(decided ? counts.passed / decided : 0)),
      el("td", { class: "num", text: decided ? percent(counts.passed / decided) : "–" }),
      el("td", { class: "num muted", text: `${counts.passed} of ${decided}` }));
  });
  return el("section", { class: "panel" }, el("h2", { text: `Categories at step ${last.label}` }), el("div", { class: "scroll-x" }, el("table", { class: "categories" }, el("tbody", {}, rows))));
}

function bar(share) {
  const filled = el("span");
  filled.style.width = `${100 * share}%`;
  return el("span", { class: "bar", "aria-hidden": "true" }, filled);
}

function checkpointTable(model, line) {
  const rows = [...line.checkpoints].reverse();
  if (line.base) rows.push(line.base);
  const head = ["checkpoint", "success", "95 % interval", "passed", "fixed", "broken", "since the one before", "train loss", "latency", "outcome"];
  const withVerdict = rows.some((each) => verdictOf(each.comparisons.previous));
  const withInterval = rows.some(intervalOf);
  const kept = head.filter((name) => (name !== "since the one before" || withVerdict) && (name !== "95 % interval" || withInterval));
  const best = bestOf(line);
  const body = rows.map((each) => el("tr", { class: each === best ? "best" : "" }, kept.map((name) => checkpointCell(name, each, model, line, best))));
  return el("div", { class: "scroll-x" }, el("table", { class: "checkpoints" }, el("thead", {}, el("tr", {}, kept.map((name) => el("th", { scope: "col", class: NUMERIC.has(name) ? "num" : "", text: name })))), el("tbody", {}, body)));
}

const NUMERIC = new Set(["success", "95 % interval", "passed", "fixed", "broken", "train loss", "latency"]);

function checkpointCell(name, each, model, line, best) {
  const counts = each.test_results;
  const before = each.evaluated ? previousOf(line, each) : null;
  const moved = before && ["fixed", "broken"].includes(name) ? changes(before, each) : null;
  const interval = intervalOf(each);
  const number_ = (text, extra = "") => el("td", { class: `num ${extra}`, text });
  const link = { href: address({ view: "changes", a: before?.key ?? null, b: each.key }) };
  const cells = {
    checkpoint: () => el("th", { scope: "row" }, each.evaluated ? el("a", link, show(each.checkpoint)) : show(each.checkpoint), each === best ? [" ", el("span", { class: "tag", text: "best" })] : "", each.archived ? [" ", el("span", { class: "tag quiet", text: "archived" })] : ""),
    success: () => number_(each.evaluated ? percent(rateOf(each)) : ""),
    "95 % interval": () => number_(each.evaluated && interval ? `${percent(interval[0], 0)} – ${percent(interval[1], 0)}` : "", "muted"),
    passed: () => number_(each.evaluated ? `${counts.passed}/${counts.passed + counts.failed}` : ""),
    fixed: () => number_(moved ? `${moved.fixed.length ? "+" : ""}${moved.fixed.length}` : "", moved?.fixed.length ? "up" : "muted"),
    broken: () => number_(moved ? `${moved.broken.length ? "−" : ""}${moved.broken.length}` : "", moved?.broken.length ? "down" : "muted"),
    "since the one before": () => el("td", {}, verdictMark(each.comparisons.previous)),
    "train loss": () => number_(each.training.loss === null ? "" : number(each.training.loss, 4)),
    latency: () => number_(each.timing.latency_seconds === null ? "" : seconds(each.timing.latency_seconds)),
    outcome: () => el("td", { class: each.evaluated ? "" : "down" }, each.outcome, each.reason ? el("span", { class: "muted small" }, " ", show(each.reason)) : ""),
  };
  return cells[name]();
}

function factsPanel(line) {
  const last = line.evaluated.at(-1) ?? line.base;
  if (!last) return null;
  const facts = [
    ["base model", last.environment.base_model.split(/[\\/]/).filter(Boolean).at(-1) ?? ""],
    ["evaluated on", `${last.environment.device}, ${last.environment.dtype}`],
    ["suite", `${last.suite.name} ${last.suite.version}, ${plural(last.suite.cases, "case")}`],
    ["decoding", Object.entries(last.decoding).filter(([, value]) => value !== null && `${value}` !== "").map(([name, value]) => `${name} ${value}`).join(", ")],
    ["cost to training", sharingText(last.sharing)],
    ["noise floor", noiseText(last.noise)],
    ["last report", when(last.timing.finished_at)],
  ].filter(([, value]) => value);
  return el("section", { class: "panel facts" }, el("h2", { text: "Conditions" }), el("dl", {}, facts.map(([name, value]) => [el("dt", { text: name }), el("dd", {}, show(value))]).flat()));
}

function noiseText({ flip_rate: rate, cases, how }) {
  if (rate === null) return "";
  const measured = [cases ? plural(cases, "case") : "", how].filter(Boolean).join(", ");
  return `${rate === 0 ? "no verdict flips by itself" : `${percent(rate)} of verdicts flip by themselves`}${measured ? ` (${measured})` : ""}`;
}

// What this evaluation cost the training beside it, and all of them so far.
function sharingText(sharing) {
  const parts = [["while the last checkpoint was evaluated", sharing], ["over the run so far", sharing.run]]
    .filter(([, found]) => typeof found?.slowdown === "number")
    .map(([name, found]) => `${percent(Math.abs(found.slowdown))} ${found.slowdown < 0 ? "faster" : "slower"} steps ${name}${boundsText(found)}`);
  return parts.join("; ");
}

function boundsText({ low, high }) {
  return typeof low === "number" && typeof high === "number" ? ` (95 %: ${percent(low)} to ${percent(high)})` : "";
}
