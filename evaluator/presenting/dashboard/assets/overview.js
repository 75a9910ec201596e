// The first page: the three questions, the curves, and one row for each checkpoint.

function drawOverview(model) {
  const line = findLine(model);
  const counted = line.evaluated.length;
  return [
    el("section", { class: "cards", "aria-label": "At a glance" }, drawBetterCard(model, line), drawBrokenCard(model, line), drawShipCard(model, line)),
    counted
      ? el("section", { class: "panel" }, el("h2", { text: "Success rate" }), el("p", { class: "muted small", text: describeBand(line) }), drawRateChart(line), el("h2", { class: "second", text: "Training loss" }), drawLossChart(line))
      : el("p", { class: "empty", text: "No checkpoint has been evaluated yet." }),
    drawCategories(line),
    el("section", { class: "panel" }, el("h2", { text: "Checkpoints" }), drawCheckpointTable(model, line)),
    drawConditions(line),
  ];
}

function describeBand(line) {
  const parts = [];
  if (line.evaluated.some(({ interval }) => interval)) parts.push("The band is the 95 % interval of each rate, given how few or many cases there are.");
  if (line.base && line.base.rate !== null) parts.push("Dashed: the base model without adapter.");
  parts.push("Drag to zoom, double click to see all.");
  return parts.join(" ");
}

function drawCard(question, tone, headline, ...details) {
  return el("article", { class: `card ${tone}` }, el("h2", { text: question }), el("p", { class: "headline" }, headline), ...details.map((detail) => (detail instanceof Node ? detail : el("p", { text: detail }))));
}

// The report's own verdict where it has one; without, only the figures: no claim that nobody tested.
function drawVerdict(model, verdict) {
  if (!verdict) return "";
  const { text, tone } = model.verdicts[verdict.word];
  return el("span", { class: `verdict ${tone}`, title: verdict.sentence, text });
}

// "66.7 % (40 % to 85 %)"
function formatRateOf({ rate, interval }) {
  return `${formatPercent(rate)}${interval ? ` (${formatPercent(interval[0], 0)} to ${formatPercent(interval[1], 0)})` : ""}`;
}

function drawBetterCard(model, line) {
  const { last, headline } = line;
  if (!last) return drawCard("Is it getting better?", "", "Nothing to say yet");
  const { base, best, previous } = last.comparisons;
  const entries = [["the base model", base], ["the best before", best], ["the one before", previous]].filter(([, entry]) => entry);
  if (best && previous && best.against === previous.against) entries.splice(entries.length - 1, 1);
  const comparisons = entries.map(([name, entry]) => drawComparison(model, name, entry));
  if (!headline) return drawCard("Is it getting better?", "", `${formatPercent(last.rate)} at step ${last.label}`, ...comparisons);
  return drawCard("Is it getting better?", headline.tone, show(headline.text), `${formatRateOf(last)} at step ${last.label}.`, ...comparisons);
}

function drawComparison(model, name, entry) {
  const moved = entry.rate_after - entry.rate_before;
  const arrow = moved > 0 ? "▲" : moved < 0 ? "▼" : "=";
  return el("p", { class: "change" }, el("span", { class: moved > 0 ? "up" : moved < 0 ? "down" : "same", text: `${arrow} ${(100 * Math.abs(moved)).toFixed(1)}` }), ` against ${name} `, el("span", { class: "muted", text: `(${escapeHidden(entry.against)}, ${formatPercent(entry.rate_before)}) ` }), drawVerdict(model, entry.verdict));
}

function drawBrokenCard(model, line) {
  const after = line.last;
  const before = after && findPrevious(model, after);
  if (!before) return drawCard("What broke?", "", "Nothing to compare with yet");
  const { broken, fixed } = compareWithPrevious(model, after);
  const headline = broken.length ? `${formatCount(broken.length, "case")} newly broken` : "Nothing newly broken";
  const list = el("ul", { class: "case-links" }, broken.slice(0, 5).map((number) => el("li", {}, drawCaseLink(model, number, before, after))));
  if (broken.length > 5) list.append(el("li", {}, el("a", { href: buildAddress({ page: "changes", a: before.key, b: after.key }), text: `and ${broken.length - 5} more` })));
  return drawCard("What broke?", broken.length ? "bad" : "good", headline,
    `${formatCount(fixed.length, "case")} newly fixed, from ${before.step === null ? "the base model" : `step ${before.label}`} to step ${after.label}.`, broken.length ? list : "");
}

function drawShipCard(model, line) {
  const { advice, best, last } = line;
  if (!best) return drawCard("Which checkpoint should I ship?", "", "None yet");
  const sinceBase = compareCheckpoints(model, line.base, best);
  const details = [`${formatRateOf(best)}, ${best.passed} of ${best.decided} cases.`];
  if (sinceBase.compared) details.push(sinceBase.broken.length ? `It breaks ${formatCount(sinceBase.broken.length, "case")} that the base model passes.` : "It breaks no case that the base model passes.");
  const alike = (advice?.as_good_as_best ?? []).filter((name) => name !== best.checkpoint).map((name) => name.replace("checkpoint-", ""));
  if (alike.length) details.push(`As good, as far as these cases can show: step ${listLast(alike)}.`);
  if (best !== last) {
    const sinceBest = compareCheckpoints(model, best, last);
    details.push(`The last one, step ${last.label}, broke ${sinceBest.broken.length} of its cases and fixed ${sinceBest.fixed.length}.`);
  }
  if (advice?.stop.suggested) details.push(el("p", { class: "note" }, "Training may stop: ", show(advice.stop.reason)));
  return drawCard("Which checkpoint should I ship?", "good", el("a", { href: buildAddress({ page: "changes", a: line.base?.key ?? null, b: best.key }), text: best.checkpoint }), ...details);
}

// The last few of many.
function listLast(names) {
  return names.length > 6 ? `${names.slice(-5).join(", ")} and ${names.length - 5} more` : names.join(", ");
}

function drawCategories(line) {
  const { last } = line;
  if (!last || last.categories.length < 2) return null;
  const rows = last.categories.map(({ name, rate, passed, decided }) =>
    el("tr", {},
      el("th", { scope: "row" }, el("a", { href: buildAddress({ page: "cases", category: name }) }, show(name))),
      el("td", { class: "bar-cell" }, drawBar(rate ?? 0)),
      el("td", { class: "num", text: formatPercent(rate) }),
      el("td", { class: "num muted", text: `${passed} of ${decided}` })));
  return el("section", { class: "panel" }, el("h2", { text: `Categories at step ${last.label}` }), el("div", { class: "scroll-x" }, el("table", { class: "categories" }, el("tbody", {}, rows))));
}

function drawBar(share) {
  const filled = el("span");
  filled.style.width = `${100 * share}%`;
  return el("span", { class: "bar", "aria-hidden": "true" }, filled);
}

function drawCheckpointTable(model, line) {
  const rows = [...line.checkpoints].reverse();
  if (line.base) rows.push(line.base);
  const head = ["checkpoint", "success", "95 % interval", "passed", "fixed", "broken", "since the one before", "train loss", "latency", "outcome"];
  const withVerdict = rows.some(({ comparisons }) => comparisons.previous?.verdict);
  const withInterval = rows.some(({ interval }) => interval);
  const kept = head.filter((name) => (name !== "since the one before" || withVerdict) && (name !== "95 % interval" || withInterval));
  const body = rows.map((checkpoint) => el("tr", { class: checkpoint === line.best ? "best" : "" }, kept.map((name) => drawCheckpointCell(name, checkpoint, model, line))));
  return el("div", { class: "scroll-x" }, el("table", { class: "checkpoints" }, el("thead", {}, el("tr", {}, kept.map((name) => el("th", { scope: "col", class: NUMERIC.has(name) ? "num" : "", text: name })))), el("tbody", {}, body)));
}

const NUMERIC = new Set(["success", "95 % interval", "passed", "fixed", "broken", "train loss", "latency"]);

function drawCheckpointCell(name, checkpoint, model, line) {
  const { evaluated, interval, outcome, reason } = checkpoint;
  const before = evaluated ? findPrevious(model, checkpoint) : null;
  const moved = before ? compareWithPrevious(model, checkpoint) : null;
  const drawNumber = (text, extra = "") => el("td", { class: `num ${extra}`, text });
  const drawTag = (text, extra = "") => [" ", el("span", { class: `tag ${extra}`, text })];
  const link = { href: buildAddress({ page: "changes", a: before?.key ?? null, b: checkpoint.key }) };
  const cells = {
    checkpoint: () => el("th", { scope: "row" }, evaluated ? el("a", link, show(checkpoint.checkpoint)) : show(checkpoint.checkpoint), checkpoint === line.best ? drawTag("best") : "", checkpoint.archived ? drawTag("archived", "quiet") : ""),
    success: () => drawNumber(evaluated ? formatPercent(checkpoint.rate) : ""),
    "95 % interval": () => drawNumber(evaluated && interval ? `${formatPercent(interval[0], 0)} – ${formatPercent(interval[1], 0)}` : "", "muted"),
    passed: () => drawNumber(evaluated ? `${checkpoint.passed}/${checkpoint.decided}` : ""),
    fixed: () => drawNumber(moved ? `${moved.fixed.length ? "+" : ""}${moved.fixed.length}` : "", moved?.fixed.length ? "up" : "muted"),
    broken: () => drawNumber(moved ? `${moved.broken.length ? "−" : ""}${moved.broken.length}` : "", moved?.broken.length ? "down" : "muted"),
    "since the one before": () => el("td", {}, drawVerdict(model, checkpoint.comparisons.previous?.verdict)),
    "train loss": () => drawNumber(checkpoint.training.loss === null ? "" : formatNumber(checkpoint.training.loss, 4)),
    latency: () => drawNumber(checkpoint.timing.latency_seconds === null ? "" : formatSeconds(checkpoint.timing.latency_seconds)),
    outcome: () => el("td", { class: evaluated ? "" : "down" }, outcome, reason ? el("span", { class: "muted small" }, " ", show(reason)) : ""),
  };
  return cells[name]();
}

function drawConditions(line) {
  const last = line.last ?? line.base;
  if (!last) return null;
  const facts = [
    ["base model", last.environment.base_model.split(/[\\/]/).filter(Boolean).at(-1) ?? ""],
    ["evaluated on", `${last.environment.device}, ${last.environment.dtype}`],
    ["suite", `${last.suite.name} ${last.suite.version}, ${formatCount(last.suite.cases, "case")}`],
    ["decoding", Object.entries(last.decoding).filter(([, value]) => value !== null && `${value}` !== "").map(([name, value]) => `${name} ${value}`).join(", ")],
    ["cost to training", describeSharing(last.sharing)],
    ["noise floor", describeNoise(last.noise)],
    ["last report", formatTime(last.timing.finished_at)],
  ].filter(([, value]) => value);
  return el("section", { class: "panel facts" }, el("h2", { text: "Conditions" }), el("dl", {}, facts.map(([name, value]) => [el("dt", { text: name }), el("dd", {}, show(value))]).flat()));
}

function describeNoise({ flip_rate: rate, cases, how }) {
  if (rate === null) return "";
  const measured = [cases ? formatCount(cases, "case") : "", how].filter(Boolean).join(", ");
  return `${rate === 0 ? "no result flips by itself" : `${formatPercent(rate)} of results flip by themselves`}${measured ? ` (${measured})` : ""}`;
}

// What this evaluation cost the training beside it, and all of them so far.
function describeSharing(sharing) {
  const parts = [["while the last checkpoint was evaluated", sharing], ["over the run so far", sharing.run]]
    .filter(([, found]) => typeof found?.slowdown === "number")
    .map(([name, found]) => `${formatPercent(Math.abs(found.slowdown))} ${found.slowdown < 0 ? "faster" : "slower"} steps ${name}${describeBounds(found)}`);
  return parts.join("; ");
}

function describeBounds({ low, high }) {
  return typeof low === "number" && typeof high === "number" ? ` (95 %: ${formatPercent(low)} to ${formatPercent(high)})` : "";
}
