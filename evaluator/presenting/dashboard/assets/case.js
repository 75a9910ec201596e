// One case: what was asked, how it went over all checkpoints, and two answers side by side with their words compared.

const MAX_DIFF = 20000; // characters; longer answers are shown without marks

function casePage(model) {
  const index = model.index.get(state.id);
  if (index === undefined) return [el("p", { class: "empty", text: "This case is in no report." })];
  const [a, b] = comparedPair(model);
  if (!a || !b) return [el("p", { class: "empty", text: "There are no two evaluated checkpoints to compare yet." })];
  const each = model.cases[index];
  const asked = el("div", { class: "asked" });
  const answers = el("div", { class: "answers" }, el("p", { class: "muted", text: "Reading the answers …" }));
  askedOf(model, b, each.id).then((found) => replaceChildren(asked, ...askedParts(found)), (error) => replaceChildren(asked, el("p", { class: "note", text: error.message })));
  Promise.all([answerOf(a, each.id), answerOf(b, each.id)]).then(
    ([before, after]) => replaceChildren(answers, ...answerColumns(index, a, b, before, after)),
    (error) => replaceChildren(answers, el("p", { class: "note", text: `The answers cannot be read: ${error.message}` })),
  );
  return [
    el("nav", { class: "case-head", "aria-label": "Case" },
      el("div", {}, el("h2", {}, show(each.id)), el("p", { class: "muted" }, show(each.name === each.id ? "" : each.name), each.name === each.id ? "" : " · ", show(each.category))),
      el("div", { class: "buttons" }, caseButton(model, index, -1), caseButton(model, index, 1), el("a", { class: "button", href: address({ view: "cases" }), text: "All cases" }))),
    historyStrip(model, index, b),
    el("section", { class: "panel" }, el("details", { open: true }, el("summary", { text: "Asked" }), asked)),
    el("section", { class: "panel pair" }, pairChooser(model, a, b)),
    answers,
  ];
}

function neighbour(model, index, by) {
  const rows = arrange(model, currentLine(model), filteredCases(model, answersFound)).filter((row) => row.group === undefined).map((row) => row.index);
  const at = rows.indexOf(index);
  return at < 0 ? rows[0] : rows[at + by];
}

function caseButton(model, index, by) {
  const next = neighbour(model, index, by);
  const label = by < 0 ? "previous case" : "next case";
  return el("button", { type: "button", class: "icon", title: `${label}  ${by < 0 ? "k" : "j"}`, "aria-label": label, disabled: next === undefined, text: by < 0 ? "↑" : "↓", onclick: () => stepCase(model, by) });
}

function stepCase(model, by) {
  const next = neighbour(model, model.index.get(state.id), by);
  if (next !== undefined) go({ id: model.cases[next].id }, true);
}

// One small square for each checkpoint; a click makes it the later of the two.
function historyStrip(model, index, b) {
  const line = lineOf(model, b);
  const squares = line.columns.map((checkpoint, at) => {
    const status = checkpoint.statuses[index];
    const score = checkpoint.scores[index];
    const label = `${checkpoint.step === null ? "base model" : `step ${checkpoint.label}`}: ${STATUS_NAMES[status]}${score === NO_SCORE ? "" : `, ${(score / 10).toFixed(1)}`}`;
    const before = line.columns[at - 1] ?? line.columns[1] ?? checkpoint;
    return el("a", { class: `square s${status}`, href: address({ b: checkpoint.key, a: before.key }), title: label, "aria-label": label, "aria-current": checkpoint === b ? "true" : undefined }, line.columns.length <= 24 ? checkpoint.label : "");
  });
  return el("section", { class: "panel strip", "aria-label": "This case over all checkpoints" }, el("div", { class: line.columns.length > 40 ? "squares many" : "squares" }, squares));
}

function askedParts(asked) {
  if (!asked) return [el("p", { class: "muted", text: "The prompt was not kept with these reports." })];
  const parts = asked.messages.map((message) => el("div", { class: "message" }, el("span", { class: "role", text: message.role }), el("pre", {}, show(message.content))));
  if (asked.reference) parts.push(el("div", { class: "message" }, el("span", { class: "role", text: "reference" }), el("pre", {}, show(asked.reference))));
  return parts;
}

function answerColumns(index, a, b, before, after) {
  const comparable = before && after && before.output.length + after.output.length <= MAX_DIFF;
  const parts = comparable ? Diff.diffWordsWithSpace(before.output, after.output) : null;
  const same = before && after && before.output === after.output;
  return [
    answerColumn(a, index, before, parts?.filter((part) => !part.added), same),
    answerColumn(b, index, after, parts?.filter((part) => !part.removed), same),
  ];
}

function answerColumn(checkpoint, index, answer, parts, same) {
  const status = checkpoint.statuses[index];
  const score = checkpoint.scores[index];
  const title = checkpoint.step === null ? "base model" : `${checkpoint.checkpoint} ${checkpoint.expert_version}`;
  const head = el("header", {}, el("h3", {}, show(title)), el("span", { class: `pill s${status}`, text: STATUS_NAMES[status] + (score === NO_SCORE ? "" : ` · ${(score / 10).toFixed(1)}`) }));
  if (!answer) return el("article", { class: "panel answer" }, head, el("p", { class: "muted", text: "This checkpoint was not asked this case." }));
  const text = el("pre", { class: "output", dir: "auto", tabindex: "0" }, answer.output === "" ? el("span", { class: "muted", text: "(an empty answer)" }) : markedParts(answer.output, parts));
  return el("article", { class: "panel answer" }, head, same ? el("p", { class: "muted small", text: "Both answers are the same." }) : "", text, detailsOf(answer.details));
}

function markedParts(output, parts) {
  if (!parts) return show(output);
  return parts.flatMap((part) => (part.added || part.removed ? [el(part.added ? "ins" : "del", {}, show(part.value))] : show(part.value)));
}

function detailsOf(details) {
  const rows = [];
  for (const [scorer, passed, score, detail] of details.checks ?? []) {
    const undecided = !passed && score === null;
    rows.push(el("li", { class: passed ? "ok" : undecided ? "" : "no" }, el("b", { text: `${passed ? "✓" : undecided ? "?" : "✗"} ${scorer}` }), ` ${score === null ? "" : score.toFixed(1)} `, el("span", { class: "muted" }, show(detail ?? ""))));
  }
  if (details.expected?.length) {
    const found = new Set(details.found ?? []);
    rows.push(el("li", {}, el("b", { text: "keywords " }), details.expected.map((word) => el("span", { class: `keyword ${found.has(word) ? "ok" : "no"}` }, found.has(word) ? "✓ " : "✗ ", show(word)))));
  }
  if (details.why) rows.push(el("li", {}, el("b", { text: "may fail: " }), show(details.why)));
  const facts = [details.tokens !== undefined && `${plural(details.tokens, "token")}`, details.finish === "length" && "cut off at the longest answer", details.logprob !== undefined && `reference ${details.logprob.toFixed(3)} nats a token`].filter(Boolean);
  if (facts.length) rows.push(el("li", { class: "muted small", text: facts.join(" · ") }));
  const samples = details.samples ?? [];
  const list = samples.length ? el("details", {}, el("summary", { text: `${plural(samples.length, "sampled answer")}, ${samples.filter(([, passed]) => passed).length} passed` }), samples.map(([output, passed]) => el("pre", { class: "output" }, el("b", { text: passed ? "✓ " : passed === null ? "" : "✗ " }), show(output)))) : "";
  return el("footer", {}, el("ul", { class: "checks" }, rows), list);
}
