// One case: what was asked, how it went over all checkpoints, and two answers side by side with their words compared.

const MAX_DIFF = 20000; // characters; longer answers are shown without marks

function drawCase(model) {
  const number = model.index.get(state.id);
  if (number === undefined) return [el("p", { class: "empty", text: "This case is in no report." })];
  const [before, after] = findPair(model);
  if (!before || !after) return [el("p", { class: "empty", text: "There are no two evaluated checkpoints to compare yet." })];
  const { id, name, category } = model.cases[number];
  const asked = el("div", { class: "asked" });
  const answers = el("div", { class: "answers" }, el("p", { class: "muted", text: "Reading the answers …" }));
  loadPrompt(model, after, id).then((prompt) => replaceChildren(asked, ...drawPrompt(prompt)), (error) => replaceChildren(asked, el("p", { class: "note", text: error.message })));
  Promise.all([loadAnswer(before, id), loadAnswer(after, id)]).then(
    (pair) => replaceChildren(answers, ...drawAnswers(model, number, [before, after], pair)),
    (error) => replaceChildren(answers, el("p", { class: "note", text: `The answers cannot be read: ${error.message}` })),
  );
  return [
    el("nav", { class: "case-head", "aria-label": "Case" },
      el("div", {}, el("h2", {}, show(id)), el("p", { class: "muted" }, show(name === id ? "" : name), name === id ? "" : " · ", show(category))),
      el("div", { class: "buttons" }, drawCaseButton(model, number, -1), drawCaseButton(model, number, 1), el("a", { class: "button", href: buildAddress({ page: "cases" }), text: "All cases" }))),
    drawHistory(model, number, after),
    el("section", { class: "panel" }, el("details", { open: true }, el("summary", { text: "Asked" }), asked)),
    el("section", { class: "panel pair" }, drawPairChooser(model, before, after)),
    answers,
  ];
}

function findNeighbour(model, number, by) {
  const line = findLine(model);
  const cases = filterCases(model, [...line.columns, ...findPair(model)], answersFound);
  const numbers = arrangeRows(model, line, cases).filter(({ group }) => group === undefined).map((row) => row.number);
  const at = numbers.indexOf(number);
  return at < 0 ? numbers[0] : numbers[at + by];
}

function drawCaseButton(model, number, by) {
  const next = findNeighbour(model, number, by);
  const label = by < 0 ? "previous case" : "next case";
  return el("button", { type: "button", class: "icon", title: `${label}  ${by < 0 ? "k" : "j"}`, "aria-label": label, disabled: next === undefined, text: by < 0 ? "↑" : "↓", onclick: () => moveToCase(model, by) });
}

function moveToCase(model, by) {
  const next = findNeighbour(model, model.index.get(state.id), by);
  if (next !== undefined) go({ id: model.cases[next].id }, true);
}

// One small square for each checkpoint; a click makes it the later of the two.
function drawHistory(model, number, after) {
  const line = findLineOf(model, after);
  const squares = line.columns.map((checkpoint) => {
    const label = `${describeStep(checkpoint)}: ${describeResult(model, checkpoint, number)}`;
    const href = buildAddress({ b: checkpoint.key, a: findCompanion(model, line, checkpoint).key });
    return el("a", { class: `square status-${getStatus(model, checkpoint, number).value}`, href, title: label, "aria-label": label, "aria-current": checkpoint === after ? "true" : undefined }, line.columns.length <= 24 ? checkpoint.label : "");
  });
  return el("section", { class: "panel strip", "aria-label": "This case over all checkpoints" }, el("div", { class: line.columns.length > 40 ? "squares many" : "squares" }, squares));
}

function drawPrompt(prompt) {
  if (!prompt) return [el("p", { class: "muted", text: "The prompt was not kept with these reports." })];
  const parts = prompt.messages.map((message) => drawMessage(message.role, message.content));
  if (prompt.reference) parts.push(drawMessage("reference", prompt.reference));
  return parts;
}

function drawMessage(role, content) {
  return el("div", { class: "message" }, el("span", { class: "role", text: role }), el("pre", {}, show(content)));
}

// Two columns; words are marked where both checkpoints answered and neither answer is too long for that.
function drawAnswers(model, number, checkpoints, [before, after]) {
  const marked = before && after && before.output.length + after.output.length <= MAX_DIFF;
  const parts = marked ? Diff.diffWordsWithSpace(before.output, after.output) : null;
  const same = before && after && before.output === after.output;
  return [
    drawAnswer(model, checkpoints[0], number, before, { parts: parts?.filter((part) => !part.added), same }),
    drawAnswer(model, checkpoints[1], number, after, { parts: parts?.filter((part) => !part.removed), same }),
  ];
}

function drawAnswer(model, checkpoint, number, answer, { parts, same }) {
  const title = checkpoint.step === null ? "base model" : `${checkpoint.checkpoint} ${checkpoint.expert_version}`;
  const head = el("header", {}, el("h3", {}, show(title)), el("span", { class: `pill status-${getStatus(model, checkpoint, number).value}`, text: describeResult(model, checkpoint, number, " · ") }));
  if (!answer) return el("article", { class: "panel answer" }, head, el("p", { class: "muted", text: "This checkpoint was not asked this case." }));
  const text = el("pre", { class: "output", dir: "auto", tabindex: "0" }, answer.output === "" ? el("span", { class: "muted", text: "(an empty answer)" }) : markParts(answer.output, parts));
  return el("article", { class: "panel answer" }, head, same ? el("p", { class: "muted small", text: "Both answers are the same." }) : "", text, drawDetails(answer.details));
}

function markParts(output, parts) {
  if (!parts) return show(output);
  return parts.flatMap((part) => (part.added || part.removed ? [el(part.added ? "ins" : "del", {}, show(part.value))] : show(part.value)));
}

// What a check or a sample decided: true, false, or null where it could not be decided.
function describeDecision(passed) {
  return passed === null ? "?" : passed ? "✓" : "✗";
}

function drawDetails(details) {
  const rows = (details.checks ?? []).map(([scorer, passed, score, detail]) =>
    el("li", { class: passed === null ? "" : passed ? "ok" : "no" }, el("b", { text: `${describeDecision(passed)} ${scorer}` }), ` ${score === null ? "" : score.toFixed(1)} `, el("span", { class: "muted" }, show(detail ?? ""))));
  if (details.expected?.length) {
    const found = new Set(details.found ?? []);
    rows.push(el("li", {}, el("b", { text: "keywords " }), details.expected.map((word) => el("span", { class: `keyword ${found.has(word) ? "ok" : "no"}` }, found.has(word) ? "✓ " : "✗ ", show(word)))));
  }
  if (details.why) rows.push(el("li", {}, el("b", { text: "may fail: " }), show(details.why)));
  const facts = [details.tokens !== undefined && `${formatCount(details.tokens, "token")}`, details.finish === "length" && "cut off at the longest answer", details.logprob !== undefined && `reference ${details.logprob.toFixed(3)} nats a token`].filter(Boolean);
  if (facts.length) rows.push(el("li", { class: "muted small", text: facts.join(" · ") }));
  return el("footer", {}, el("ul", { class: "checks" }, rows), drawSamples(details.samples ?? []));
}

function drawSamples(samples) {
  if (!samples.length) return "";
  const passed = samples.filter(([, decision]) => decision).length;
  return el("details", {}, el("summary", { text: `${formatCount(samples.length, "sampled answer")}, ${passed} passed` }),
    samples.map(([output, decision]) => el("pre", { class: "output" }, el("b", { text: decision === null ? "" : `${describeDecision(decision)} ` }), show(output))));
}
