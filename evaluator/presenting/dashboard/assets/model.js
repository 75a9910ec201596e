// All results as columns: for each checkpoint a byte for every case's status and score.

const STATUS = { absent: 0, passed: 1, failed: 2, unscored: 3, expected_failure: 4, unexpected_pass: 5 };
const STATUS_NAMES = ["not asked", "passed", "failed", "unscored", "expected failure", "unexpected pass"];
const STATUS_OF_LETTER = { p: 1, f: 2, u: 3, e: 4, x: 5 };
const NO_SCORE = 255;

function buildModel({ view, rows }) {
  const cases = [];
  const index = new Map();
  const suites = new Map(); // suite name -> Int32Array from its order to ours
  for (const { suites: found } of rows.values()) {
    for (const [name, columns] of Object.entries(found)) {
      if (!suites.has(name)) suites.set(name, { columns, order: addCases(columns, cases, index) });
    }
  }
  const checkpoints = view.checkpoints.map((each) => withResults(each, rows, suites, cases.length));
  const lines = linesOf(checkpoints);
  const categories = [...new Set(cases.map((each) => each.category))];
  return { view, cases, index, checkpoints, lines, categories, byKey: new Map(checkpoints.map((c) => [c.key, c])) };
}

function addCases(columns, cases, index) {
  return Int32Array.from(columns.ids, (id, row) => {
    if (!index.has(id)) {
      index.set(id, cases.length);
      cases.push({ id, name: columns.names[row], category: columns.categories[row] || "uncategorised", weight: columns.weights[row] });
    }
    return index.get(id);
  });
}

function withResults(checkpoint, rows, suites, count) {
  const statuses = new Uint8Array(count);
  const scores = new Uint8Array(count).fill(NO_SCORE);
  const definitions = new Array(count);
  const row = rows.get(checkpoint.segment)?.members[checkpoint.member];
  if (row) {
    const { columns, order } = suites.get(row.suite);
    for (let i = 0; i < order.length; i++) {
      statuses[order[i]] = STATUS_OF_LETTER[row.statuses[i]];
      if (row.scores[i] >= 0) scores[order[i]] = row.scores[i];
      definitions[order[i]] = columns.definitions[i];
    }
  }
  const evaluated = checkpoint.outcome === "evaluated";
  return { ...checkpoint, evaluated, statuses, scores, definitions, label: labelOf(checkpoint) };
}

function labelOf(checkpoint) {
  return checkpoint.step === null ? "base" : `${checkpoint.step}`;
}

// A line is one version of the expert on one base model, base model first, then by step. Newest line first; where a
// step was evaluated more than once, all of its evaluations stand in their order.
function linesOf(checkpoints) {
  const lines = new Map();
  for (const each of checkpoints) {
    if (each.step === null) continue;
    const model = each.identity.model_folder;
    const key = `${each.expert_version} · ${model}`;
    if (!lines.has(key)) lines.set(key, { key, version: each.expert_version, model, checkpoints: [], archived: true, latest: "" });
    const line = lines.get(key);
    line.checkpoints.push(each);
    line.archived &&= each.archived;
    if (each.timing.finished_at > line.latest) line.latest = each.timing.finished_at;
  }
  const bases = checkpoints.filter((each) => each.step === null);
  if (!lines.size && bases.length) lines.set("base", { key: "base", version: bases[0].expert_version, model: bases[0].identity.model_folder, checkpoints: [], archived: false, latest: bases.at(-1).timing.finished_at });
  const ordered = [...lines.values()].sort((a, b) => (a.latest < b.latest ? 1 : -1));
  for (const line of ordered) {
    line.checkpoints.sort((a, b) => a.step - b.step || (a.timing.finished_at < b.timing.finished_at ? -1 : 1));
    const base = baseOf(line, bases);
    line.base = base;
    line.columns = [...(base ? [base] : []), ...line.checkpoints].filter((each) => each.evaluated);
    line.evaluated = line.checkpoints.filter((each) => each.evaluated);
  }
  return ordered;
}

// The base model's report: the one that the line's last checkpoint was compared with; else one of the same name, or any.
function baseOf(line, bases) {
  const evaluated = bases.filter((each) => each.evaluated);
  const compared = line.checkpoints.at(-1)?.comparisons.base?.against_id;
  const named = evaluated.filter((each) => each.identity.model_folder === line.model);
  return evaluated.findLast((each) => compared && each.identity.id === compared) ?? named.at(-1) ?? evaluated.at(-1);
}

// Indices of cases by what became of them from checkpoint `a` to `b`; only cases asked and decided alike in both.
function changes(a, b) {
  const found = { broken: [], fixed: [], better: [], worse: [], compared: 0 };
  if (!a || !b) return found;
  for (let i = 0; i < b.statuses.length; i++) {
    const [before, after] = [a.statuses[i], b.statuses[i]];
    if (before < 1 || before > 2 || after < 1 || after > 2 || a.definitions[i] !== b.definitions[i]) continue;
    found.compared += 1;
    if (before !== after) found[after === STATUS.failed ? "broken" : "fixed"].push(i);
    else if (Math.abs(b.scores[i] - a.scores[i]) > 10) found[b.scores[i] > a.scores[i] ? "better" : "worse"].push(i);
  }
  return found;
}

function previousOf(line, checkpoint) {
  const at = line.evaluated.indexOf(checkpoint);
  return at > 0 ? line.evaluated[at - 1] : line.base && line.base !== checkpoint ? line.base : null;
}

// The rate by which checkpoints are ranked: by weight where the cases' weights differ.
function rateOf(checkpoint) {
  const counts = checkpoint.test_results;
  return counts.passed + counts.failed ? counts.weighted?.rate ?? counts.success_rate : null;
}

function bestOf(line) {
  return line.evaluated.reduce((best, each) => (best && (rateOf(best) ?? -1) > (rateOf(each) ?? -1) ? best : each), null);
}

// The interval a report gives for its success rate, as [low, high], or null.
function intervalOf(checkpoint) {
  const counts = checkpoint.test_results;
  const interval = counts.weighted?.interval ?? counts.interval;
  return interval ? [interval.low, interval.high] : null;
}
