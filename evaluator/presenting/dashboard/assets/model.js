// All results as columns: for each checkpoint a number for every case's status, score and definition. What these mean
// (which statuses are decided, which definitions are the same, who is compared with whom) was decided by the program
// that wrote the page; here numbers are looked up and compared.

const NOT_ASKED = { value: "not_asked", decided: false, passed: false };
const NO_DEFINITION = -1;

function buildModel({ data, rows }) {
  if (`${data.schema_version}` !== document.documentElement.dataset.schema) throw new Error("they were written by another version of Sidestep; the next report writes them anew");
  const statuses = [NOT_ASKED, ...data.statuses].map((status) => ({ ...status, text: status.value.replaceAll("_", " ") }));
  const cases = data.cases.ids.map((id, number) => ({ id, name: data.cases.names[number], category: data.cases.categories[number] }));
  const letters = new Map(data.statuses.map(({ letter }, number) => [letter, number + 1]));
  const checkpoints = data.checkpoints.map((checkpoint) => addResults(checkpoint, rows, { data, letters, count: cases.length }));
  const byKey = new Map(checkpoints.map((checkpoint) => [checkpoint.key, checkpoint]));
  return {
    expert: data.expert, suites: new Set(data.suites), scoreMove: data.score_move, verdicts: data.verdicts, statuses, cases, byKey,
    index: new Map(cases.map(({ id }, number) => [id, number])),
    categories: [...new Set(cases.map(({ category }) => category))],
    interchangeable: new Set(data.interchangeable.flatMap(([number, one, other]) => [`${number} ${one} ${other}`, `${number} ${other} ${one}`])),
    lines: data.lines.map((line) => resolveLine(line, byKey)),
  };
}

function addResults(checkpoint, rows, { data, letters, count }) {
  const results = {
    statuses: new Uint8Array(count),
    scores: new Float64Array(count), // what a score counts for where scores are compared
    scored: new Uint8Array(count),
    definitions: new Int32Array(count).fill(NO_DEFINITION),
  };
  const segment = rows.get(checkpoint.segment);
  if (!segment) return { ...checkpoint, ...results };
  const row = segment.members[checkpoint.member];
  const list = data.case_lists[row.case_list];
  const compared = segment.scores.compared.map(Number); // some are names: NaN, Infinity
  for (let entry = 0; entry < list.cases.length; entry++) {
    const number = list.cases[entry];
    results.statuses[number] = letters.get(row.statuses[entry]);
    results.scores[number] = compared[row.scores[entry]];
    results.scored[number] = segment.scores.shown[row.scores[entry]] !== null;
    results.definitions[number] = list.definitions[entry];
  }
  return { ...checkpoint, ...results };
}

// A line with its checkpoints in place of their keys.
function resolveLine(line, byKey) {
  const find = (key) => byKey.get(key) ?? null;
  const checkpoints = line.checkpoints.map(find);
  return {
    ...line, checkpoints, columns: line.columns.map(find), evaluated: checkpoints.filter(({ evaluated }) => evaluated),
    base: find(line.base), best: find(line.best), last: find(line.last),
  };
}

function getStatus(model, checkpoint, number) {
  return model.statuses[checkpoint.statuses[number]];
}

// Whether two checkpoints decided a case under the same definition.
function isComparable(model, before, after, number) {
  if (!getStatus(model, before, number).decided || !getStatus(model, after, number).decided) return false;
  const [old, now] = [before.definitions[number], after.definitions[number]];
  return old === now || model.interchangeable.has(`${number} ${old} ${now}`);
}

// Numbers of cases by what became of them from one checkpoint to another, and how many were compared and passed.
function compareCheckpoints(model, before, after) {
  const found = { broken: [], fixed: [], better: [], worse: [], compared: 0, passedBefore: 0, passedAfter: 0 };
  if (!before || !after) return found;
  for (let number = 0; number < model.cases.length; number++) {
    if (!isComparable(model, before, after, number)) continue;
    const [old, now] = [getStatus(model, before, number).passed, getStatus(model, after, number).passed];
    const moved = after.scores[number] - before.scores[number];
    found.compared += 1;
    found.passedBefore += old;
    found.passedAfter += now;
    if (old !== now) found[now ? "fixed" : "broken"].push(number);
    else if (moved > model.scoreMove) found.better.push(number);
    else if (moved < -model.scoreMove) found.worse.push(number);
  }
  return found;
}

function findPrevious(model, checkpoint) {
  return model.byKey.get(checkpoint.previous) ?? null;
}

// What a checkpoint is read beside: the one before it, else the one after it, else itself.
function findCompanion(model, line, checkpoint) {
  return findPrevious(model, checkpoint) ?? line.columns[line.columns.indexOf(checkpoint) + 1] ?? checkpoint;
}

// What became of the cases since the checkpoint before; worked out once.
function compareWithPrevious(model, checkpoint) {
  checkpoint.changes ??= compareCheckpoints(model, findPrevious(model, checkpoint), checkpoint);
  return checkpoint.changes;
}

// For every case 1 where a checkpoint broke what the one before it passed.
function markNewlyBroken(model, checkpoint) {
  if (!checkpoint.newlyBroken) {
    checkpoint.newlyBroken = new Uint8Array(model.cases.length);
    for (const number of compareWithPrevious(model, checkpoint).broken) checkpoint.newlyBroken[number] = 1;
  }
  return checkpoint.newlyBroken;
}

// How often a case went from passed to failed or back along a line.
function countFlips(model, line, number) {
  let before = null;
  let count = 0;
  for (const checkpoint of line.columns) {
    const status = getStatus(model, checkpoint, number);
    if (!status.decided) continue;
    if (before && status !== before) count += 1;
    before = status;
  }
  return count;
}

function describeStep(checkpoint) {
  return checkpoint.step === null ? "base model" : `step ${checkpoint.label}`;
}

// "failed, 2.5"; without a score only the status.
function describeResult(model, checkpoint, number, between = ", ") {
  const score = formatScore(checkpoint, number);
  return getStatus(model, checkpoint, number).text + (score && `${between}${score}`);
}

function formatScore(checkpoint, number) {
  return checkpoint.scored[number] ? checkpoint.scores[number].toFixed(1) : "";
}
