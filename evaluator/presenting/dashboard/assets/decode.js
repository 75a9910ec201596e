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

async function fetchChecked(path) {
  const response = await fetch(path, { cache: "no-store" });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return response;
}

// The page's data and the rows of all segments: {data, rows: Map from segment key to its rows}.
async function readPageData() {
  let letters;
  let pieces;
  if (LIVE) {
    const served = await (await fetchChecked("api/page-data")).json();
    letters = served.data;
    pieces = served.segments.map((segment) => [segment.key, segment.rows]);
  } else {
    letters = document.getElementById("page-data").textContent;
    pieces = [...document.querySelectorAll('script[id^="rows-"]')].map((node) => [node.id.slice(5), node.textContent]);
  }
  const rows = await Promise.all(pieces.map(async ([key, packed]) => [key, await unpack(packed)]));
  return { data: await unpack(letters), rows: new Map(rows) };
}

const unpackedPieces = new Map(); // name -> promise, least recently used first

function loadPiece(name, path) {
  let found = unpackedPieces.get(name);
  if (found) {
    unpackedPieces.delete(name);
  } else if (LIVE) {
    found = fetchChecked(path).then((response) => response.text()).then(unpack);
    found.catch(() => unpackedPieces.delete(name));
  } else {
    found = unpack(document.getElementById(name).textContent);
  }
  unpackedPieces.set(name, found);
  if (unpackedPieces.size > MAX_UNPACKED) unpackedPieces.delete(unpackedPieces.keys().next().value);
  return found;
}

async function loadAnswers(key) {
  const answers = await loadPiece(`answers-${key}`, `api/answers/${key}`);
  answers.index ??= new Map(answers.cases.map((id, row) => [id, row]));
  return answers;
}

// {output, details} of one case at one checkpoint, or null when the checkpoint has no such case.
async function loadAnswer(checkpoint, id) {
  if (!checkpoint.segment) return null;
  const answers = await loadAnswers(checkpoint.segment);
  const row = answers.index.get(id);
  if (row === undefined || answers.outputs[row][checkpoint.member] === null) return null;
  return { output: answers.outputs[row][checkpoint.member], details: answers.details[row][checkpoint.member] };
}

// The prompt and reference of a case as the checkpoint was asked it, or null when nobody kept them.
async function loadPrompt(model, checkpoint, id) {
  const suite = checkpoint.identity.suite_hash;
  if (!model.suites.has(suite)) return null;
  const prompts = await loadPiece(`suite-${suite}`, `api/suites/${suite}`);
  return Object.hasOwn(prompts, id) ? prompts[id] : null;
}
