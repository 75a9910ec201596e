// From packed letters to documents: base64, deflate, JSON. Answers are unpacked when somebody looks at them, not before.

const LIVE = document.documentElement.dataset.mode === "live";
const MAX_UNPACKED = 6; // segments of answers kept in memory

async function unpack(letters) {
  const packed = atob(letters);
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
}

async function fetched(path) {
  const response = await fetch(path, { cache: "no-store" });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return response;
}

// The view and the rows of all segments: {view, rows: Map from segment key to its rows}.
async function readView() {
  let view;
  let pieces;
  if (LIVE) {
    const served = await (await fetched("api/view")).json();
    view = served.view;
    pieces = served.segments.map((each) => [each.key, each.rows]);
  } else {
    view = document.getElementById("view").textContent;
    pieces = [...document.querySelectorAll('script[id^="rows-"]')].map((node) => [node.id.slice(5), node.textContent]);
  }
  const rows = await Promise.all(pieces.map(async ([key, letters]) => [key, await unpack(letters)]));
  return { view: await unpack(view), rows: new Map(rows) };
}

const unpackedPieces = new Map(); // name -> promise, least recently used first

function piece(name, path) {
  let found = unpackedPieces.get(name);
  if (found) {
    unpackedPieces.delete(name);
  } else if (LIVE) {
    found = fetched(path).then((response) => response.text()).then(unpack);
    found.catch(() => unpackedPieces.delete(name));
  } else {
    found = unpack(document.getElementById(name).textContent);
  }
  unpackedPieces.set(name, found);
  if (unpackedPieces.size > MAX_UNPACKED) unpackedPieces.delete(unpackedPieces.keys().next().value);
  return found;
}

async function segmentAnswers(key) {
  const answers = await piece(`answers-${key}`, `api/answers/${key}`);
  answers.index ??= new Map(answers.cases.map((id, row) => [id, row]));
  return answers;
}

// {output, details} of one case at one checkpoint, or null when the checkpoint has no such case.
async function answerOf(checkpoint, id) {
  if (!checkpoint.segment) return null;
  const answers = await segmentAnswers(checkpoint.segment);
  const row = answers.index.get(id);
  if (row === undefined || answers.outputs[row][checkpoint.member] === null) return null;
  return { output: answers.outputs[row][checkpoint.member], details: answers.details[row][checkpoint.member] };
}

// The prompt and reference of a case as the checkpoint was asked it, or null when nobody kept them.
async function askedOf(model, checkpoint, id) {
  const suite = checkpoint.identity.suite_hash;
  if (!model.view.suites.includes(suite)) return null;
  const asked = await piece(`suite-${suite}`, `api/suites/${suite}`);
  return Object.hasOwn(asked, id) ? asked[id] : null;
}
