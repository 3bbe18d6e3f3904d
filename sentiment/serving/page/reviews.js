// The view of the test set: filters, sorting, and texts that open with a click.

import { recall, remember } from "./address.js";
import { attempt, byId, count, get, make, makeOptions, percent, post } from "./api.js";
import { makeConfusion } from "./figures.js";

const COUNT = 25;
const FILTERS = ["model", "order", "reverse", "label", "predicted", "wrong", "search"]; // also keys of the address
const KEYS = [...FILTERS, "other"];
const control = (name) => byId(`review-${name}`);
const read = (name) => (control(name).type === "checkbox" ? control(name).checked && "true" : control(name).value) || "";
const readAll = (names) => Object.fromEntries(names.map((name) => [name, read(name)]).filter(([, value]) => value));
const headings = () => byId("reviews").querySelectorAll("th[data-order]");
let models = [];
let open = () => {};
let running = new AbortController();

// The start of a text, or of what was searched, marked.
function shortenAround(text, search) {
  const found = search ? text.toLowerCase().indexOf(search.toLowerCase()) : -1;
  const start = Math.max(0, found - 100);
  const [at, end] = found < 0 ? [0, 0] : [found, found + search.length];
  const mark = make("mark", {}, text.slice(at, end));
  return [start ? "…" : "", text.slice(start, at), mark, text.slice(end, end + 240), end + 240 < text.length ? "…" : ""];
}

function makeRow(review, start, verdict) {
  const { label, predicted, probabilities } = review;
  const cell = (name, text, tag = "td") => make(tag, { "data-name": name }, text);
  const judge = (name, guess) => cell(name, guess, guess === label ? "td" : "td.wrong");
  const opener = make("button", { onclick: () => open({ ...readAll(FILTERS), start }) });
  opener.append(...shortenAround(review.text, read("search")));
  return make("tr", {}, cell("row", count(review.row), "td.number"), cell("class", label), judge("predicted", predicted),
    cell("p(class)", percent(probabilities[label]), "td.number"),
    cell("p(predicted)", percent(probabilities[predicted]), "td.number"),
    ...(verdict ? [judge(read("other"), verdict.label)] : []), make("td", { dir: "auto" }, opener));
}

function summarize({ total, size, correct, confusion }) {
  const accuracy = total ? `, ${percent(correct / total)} of them right` : "";
  byId("found").textContent = `${count(total)} of ${count(size)} texts (${percent(total / size)})${accuracy}`;
  const { classes } = models.find((m) => m.name === read("model"));
  byId("confusion").replaceChildren(makeConfusion(classes, confusion, (label, predicted) => {
    Object.assign(control("label"), { value: label });
    Object.assign(control("predicted"), { value: predicted });
    loadAgain();
  }));
}

async function load(more = false) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const body = byId("reviews").tBodies[0];
  const start = more ? body.rows.length : 0;
  const model = read("other");
  remember(Object.fromEntries(KEYS.map((name) => [name, read(name)])));
  const found = await get("reviews", { ...readAll(FILTERS), start, count: COUNT }, signal);
  const text = found.reviews.map((review) => review.text);
  const { predictions } = model ? await post("predict", { text, model }, signal) : { predictions: [] };
  if (!more) body.replaceChildren();
  body.append(...found.reviews.map((review, i) => makeRow(review, start + i, predictions[i])));
  summarize(found);
  Object.assign(byId("other-heading"), { hidden: !model, textContent: model });
  for (const heading of headings()) {
    const direction = read("reverse") ? "descending" : "ascending";
    heading.setAttribute("aria-sort", heading.dataset.order === read("order") ? direction : "none");
  }
  byId("more").hidden = body.rows.length >= found.total;
}

const loadAgain = () => attempt("reviews", () => load());

// Filters stay as far as the chosen model has their classes.
function fillChoices() {
  const { name, classes } = models.find((m) => m.name === read("model"));
  const others = models.map((m) => m.name).filter((other) => other !== name);
  for (const [key, names, first] of [["label", classes, "any"], ["predicted", classes, "any"], ["other", others, "none"]]) {
    const before = read(key);
    control(key).replaceChildren(make("option", { value: "" }, first), ...makeOptions(names));
    control(key).value = names.includes(before) ? before : "";
  }
}

function restore() {
  for (const name of KEYS) {
    Object.assign(control(name), { value: recall(name), checked: recall(name) === "true" });
    if (control(name).selectedIndex === -1) control(name).selectedIndex = 0;
    if (name === "model") fillChoices();
  }
}

export function startReviews(allModels, openReview) {
  [models, open] = [allModels, openReview];
  const tested = models.filter((m) => m.has_test_set).map((m) => m.name);
  byId("review-form").hidden = !tested.length;
  if (!tested.length) return Object.assign(byId("found"), { textContent: "No model was tested." });
  control("model").append(...makeOptions(tested));
  restore();
  byId("tab-reviews").addEventListener("shown", loadAgain);
  addEventListener("popstate", restore);
  byId("review-form").addEventListener("change", ({ target }) => {
    if (target === control("model")) fillChoices();
    if (target !== control("search")) loadAgain();
  });
  let timer = 0;
  control("search").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(loadAgain, 250);
  });
  byId("review-form").addEventListener("submit", (event) => event.preventDefault());
  for (const heading of headings()) {
    heading.firstElementChild.addEventListener("click", () => {
      control("reverse").checked = heading.dataset.order === read("order") && !read("reverse");
      control("order").value = heading.dataset.order;
      loadAgain();
    });
  }
  byId("more").addEventListener("click", () => attempt("reviews", () => load(true)));
}
