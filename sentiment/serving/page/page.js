// The page: its views, the models, and what happens when the server or a run is replaced.
import { recall, remember } from "./address.js";
import { attempt, byId, count, get, makeTable, percent } from "./api.js";
import { startFile } from "./file.js";
import { startReviews } from "./reviews.js";
import { openText, startText } from "./text.js";
const PERIOD = 5000; // milliseconds between two looks at the models
const tabs = [...document.querySelectorAll("[role=tab]")];

function restoreTab() {
  const tab = byId(`tab-${recall("tab")}`) ?? tabs[0];
  for (const other of tabs) {
    other.setAttribute("aria-selected", other === tab);
    other.tabIndex = other === tab ? 0 : -1;
    byId(other.getAttribute("aria-controls")).hidden = other !== tab;
  }
  tab.dispatchEvent(new Event("shown"));
}

function go(tab) {
  remember({ tab: tab.id.slice("tab-".length) }, true);
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

function describeModels(models) {
  const row = (name, find) => [name, ...models.map((m) => String(find(m) ?? "unknown"))];
  const metric = (name, key) => row(name, ({ metrics }) => (key in metrics ? percent(metrics[key]) : null));
  byId("model-table").replaceChildren(makeTable(row("model", (m) => m.name), [
    row("network", (m) => m.network), row("data", (m) => m.data), row("classes", (m) => m.classes.join(", ")),
    metric("test accuracy", "test/accuracy"), metric("test F1", "test/f1"), row("epochs", (m) => m.metrics.epochs),
    metric("validation accuracy", "val/accuracy"), row("parameters", (m) => count(m.parameters)),
    row("tokenizer", (m) => m.tokenizer), row("vocabulary", (m) => count(m.vocabulary)),
    row("maxlen", (m) => count(m.maxlen)), row("folder", (m) => m.folder), row("commit", (m) => m.commit)]));
  byId("commands").textContent = `curl ${location.origin}/predict --json '{"text": ["Not bad.", "Bad."]}'
curl ${location.origin}/explain --json '{"text": "Not bad at all.", "model": "${models[0].name}"}'
curl --data-binary @reviews.csv "${location.origin}/label?name=reviews.csv" > labelled.csv`;
}

// Notices that the server was replaced, or a run. The address keeps what is shown.
async function watch(known) {
  const answer = await get("model").catch(() => null);
  if (answer && JSON.stringify(answer) !== known) location.reload();
  else setTimeout(() => watch(answer ? known : "away"), PERIOD);
}

async function start() {
  const answer = await get("model");
  addEventListener("popstate", restoreTab);
  describeModels(answer.models);
  startText(answer.models);
  startFile(answer);
  startReviews(answer.models, (query) => go(tabs[0]) ?? openText(query));
  restoreTab();
  watch(JSON.stringify(answer));
}

start();
