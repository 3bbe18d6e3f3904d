// The page: its views, the models, and what happens when the server or a run is replaced.

import { recall, remember } from "./address.js";
import { attempt, byId, count, get, make, percent, repeatInterrupted } from "./api.js";
import { startFile } from "./file.js";
import { startReviews } from "./reviews.js";
import { describeRuns, openText, startText } from "./text.js";

const PERIOD = 5000; // milliseconds between two looks at the models
const tabs = [...document.querySelectorAll("[role=tab]")];

function restoreTab() {
  const tab = byId(`tab-${recall("tab")}`) ?? tabs[0];
  for (const other of tabs) {
    other.setAttribute("aria-selected", other === tab);
    other.tabIndex = other === tab ? 0 : -1;
    byId(other.getAttribute("aria-controls")).hidden = other !== tab;
  }
  document.title = tab === tabs[0] ? "sentiment" : `sentiment: ${tab.textContent}`;
  tab.dispatchEvent(new Event("shown"));
}

function go(tab) {
  remember({ tab: tab === tabs[0] ? "" : tab.id.slice("tab-".length) }, true);
  restoreTab();
}

for (const [i, tab] of tabs.entries()) {
  tab.onclick = () => go(tab);
  tab.onkeydown = (event) => {
    const next = tabs.at({ ArrowRight: (i + 1) % tabs.length, ArrowLeft: i - 1, Home: 0, End: -1 }[event.key] ?? i);
    if (next === tab) return;
    event.preventDefault();
    go(next);
    next.focus();
  };
}

function describeModels({ models, limits }) {
  const metric = (key) => (m) => (key in m.metrics ? percent(m.metrics[key]) : "unknown");
  const rows = {
    network: (m) => m.network, data: (m) => m.data, classes: (m) => m.classes.join(", "),
    "test accuracy": metric("test/accuracy"), "test F1": metric("test/f1"), "validation accuracy": metric("val/accuracy"),
    parameters: (m) => count(m.parameters), epochs: (m) => m.metrics.epochs ?? "unknown", tokenizer: (m) => m.tokenizer,
    vocabulary: (m) => count(m.vocabulary), maxlen: (m) => count(m.maxlen), folder: (m) => m.folder,
    files: (m) => (m.changed ? "changed since the server started" : "as they were loaded"), commit: (m) => m.commit ?? "unknown",
  };
  byId("model-table").replaceChildren(make("tr", {}, make("td"), ...models.map((m) => make("th", {}, m.name))),
    ...Object.entries(rows).map(([name, cell]) =>
      make("tr", {}, make("th", {}, name), ...models.map((m) => make("td", {}, String(cell(m)))))));
  byId("commands").textContent = `curl ${location.origin}/predict --json '{"text": ["Not bad.", "Bad."]}'
curl ${location.origin}/explain --json '{"text": "Not bad at all.", "model": "${models[0].name}"}'
curl --data-binary @reviews.csv "${location.origin}/label?name=reviews.csv" > labelled.csv
# at most ${count(limits.max_texts)} texts or ${limits.max_megabytes} MB`;
}

const identify = ({ models }) => JSON.stringify(models.map((m) => ({ ...m, changed: null })));

// Notices that the server is back, perhaps with other models, and that a run was replaced.
async function watch(known) {
  const answer = document.hidden ? null : await get("model").catch(() => null);
  if (answer && identify(answer) !== known) location.reload(); // the address keeps what is shown
  if (answer) {
    describeRuns(answer.models);
    describeModels(answer);
    repeatInterrupted();
  }
  setTimeout(() => watch(known), PERIOD);
}

attempt("text", async () => {
  const answer = await get("model");
  addEventListener("popstate", restoreTab);
  describeModels(answer);
  startText(answer.models);
  startFile(answer);
  startReviews(answer.models, (query) => {
    go(tabs[0]);
    openText(query);
  });
  restoreTab();
  setTimeout(() => watch(identify(answer)), PERIOD);
});
