// The page: its views, and what all of them need.

import { attempt, byId, get, make, percent } from "./api.js";
import { startFile } from "./file.js";
import { startReviews } from "./reviews.js";
import { showText, startText } from "./text.js";

const tabs = [...document.querySelectorAll("[role=tab]")];

function select(tab) {
  for (const other of tabs) {
    const selected = other === tab;
    other.setAttribute("aria-selected", selected);
    other.tabIndex = selected ? 0 : -1;
    byId(other.getAttribute("aria-controls")).hidden = !selected;
  }
  tab.dispatchEvent(new Event("shown"));
}

for (const [i, tab] of tabs.entries()) {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(i + step + tabs.length) % tabs.length];
    select(next);
    next.focus();
  });
}

function describeModels(models, limits) {
  const rows = [
    ["network", (m) => m.network],
    ["parameters", (m) => m.parameters.toLocaleString("en")],
    ["classes", (m) => m.classes.join(", ")],
    ["tokenizer", (m) => m.tokenizer],
    ["vocabulary", (m) => m.vocabulary.toLocaleString("en")],
    ["maxlen", (m) => m.maxlen.toLocaleString("en")],
    ["test accuracy", (m) => ("test/accuracy" in m.metrics ? percent(m.metrics["test/accuracy"]) : "not tested")],
    ["run", (m) => (m.changed ? "changed since the server started" : "as it was loaded")],
    ["commit", (m) => (m.commit ?? "unknown").slice(0, 12)],
  ];
  byId("model-table").replaceChildren(
    make("tr", {}, make("th"), ...models.map((m) => make("th", { textContent: m.name }))),
    ...rows.map(([name, cell]) =>
      make("tr", {}, make("th", { textContent: name }), ...models.map((m) => make("td", { textContent: cell(m) }))),
    ),
  );
  const url = location.origin;
  byId("commands").textContent = [
    `curl ${url}/predict --json '{"text": "Not bad at all."}'`,
    `curl ${url}/predict --json '{"text": ["Not bad.", "Bad."], "model": "${models[0].name}"}'   # ${limits.max_texts.toLocaleString("en")} texts at most`,
    `curl ${url}/explain --json '{"text": "Not bad at all."}'`,
    `curl --data-binary @reviews.csv "${url}/label?name=reviews.csv" > labelled.csv   # ${limits.max_megabytes} MB at most`,
    `curl ${url}/model`,
  ].join("\n");
}

attempt(async () => {
  const { models, limits } = await get("model");
  for (const id of ["review-model", "file-model"]) {
    const listed = id === "review-model" ? models.filter((m) => m.has_test_set) : models;
    byId(id).replaceChildren(...listed.map((m) => make("option", { textContent: m.name, value: m.name })));
  }
  describeModels(models, limits);
  startText(models);
  startFile();
  startReviews(models, (text, note) => {
    select(byId("tab-text"));
    showText(text, note);
  });
});
