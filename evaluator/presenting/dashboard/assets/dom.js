// Building the page. Everything a model, a suite or a manifest says goes through `show` or textContent: no markup is
// ever parsed, and characters that could hide or reorder text are shown by their code points.

function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else if (name === "text") node.textContent = escapeHidden(value);
    else node.setAttribute(name, value === true ? "" : escapeHidden(String(value)));
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

// Control characters, direction overrides and isolates, byte order marks, line separators, halves of surrogate pairs.
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

function describeCodePoint(character) {
  return "U+" + character.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
}

function escapeHidden(text) {
  return String(text).replace(HIDDEN, (character) => `⟨${describeCodePoint(character)}⟩`);
}

// Text as nodes, hidden characters as small labels.
function show(text) {
  const parts = [];
  let end = 0;
  for (const found of String(text).matchAll(HIDDEN)) {
    if (found.index > end) parts.push(text.slice(end, found.index));
    parts.push(el("span", { class: "hidden-character", title: "a character that is not shown", text: describeCodePoint(found[0]) }));
    end = found.index + found[0].length;
  }
  if (end < text.length) parts.push(text.slice(end));
  return parts;
}

function formatPercent(rate, digits = 1) {
  return rate === null || rate === undefined || Number.isNaN(rate) ? "–" : `${(100 * rate).toFixed(digits)} %`;
}

function formatNumber(value, digits = 2) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

function formatSeconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 90) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  return value < 5400 ? `${(value / 60).toFixed(0)} min` : `${(value / 3600).toFixed(1)} h`;
}

function formatTime(text) {
  const date = new Date(text);
  if (!text || Number.isNaN(date.getTime())) return "";
  return date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

function formatCount(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}

function replaceChildren(node, ...children) {
  node.replaceChildren(...children.flat().filter(Boolean));
}

function announce(text) {
  document.getElementById("live").textContent = text;
}
