// On a page that is served: the server says when there are new reports and what the evaluator is doing.

function startLive(onReports) {
  if (!LIVE) return;
  const source = new EventSource("events");
  source.addEventListener("reports", onReports);
  source.addEventListener("evaluators", (event) => showEvaluators(JSON.parse(event.data)));
  source.onerror = () => showEvaluators(null);
}

let evaluatorsNow; // what the server said last; kept because the header is drawn anew

function showEvaluators(found = evaluatorsNow) {
  evaluatorsNow = found;
  const place = document.getElementById("evaluators");
  if (!place || found === undefined) return;
  if (found === null) return replaceChildren(place, el("span", { class: "dot off" }), "the server does not answer");
  if (!found.length) return replaceChildren(place, el("span", { class: "dot" }), "no evaluator is running");
  replaceChildren(place, ...found.flatMap((evaluator) => [el("span", { class: "dot on" }), describeEvaluator(evaluator)]));
}

function describeEvaluator({ state, checkpoint, cases, cases_done: done, pending }) {
  const waiting = pending ? `, ${pending} pending` : "";
  return state === "evaluating" ? `${escapeHidden(checkpoint)}: ${done} of ${cases} cases${waiting}` : state + waiting;
}
