// The view of the test set: filters, sorting, and texts that open with a click.
import { recall, remember } from "./address.js";
import { attempt, byId, count, get, make, makeOptions, pause, percent, post, shorten } from "./api.js";
import { makeConfusion } from "./figures.js";
const COUNT = 25;
const form = byId("reviews-form"); // the names of its fields are keys of the address, too
const { elements } = form;
const readForm = () => Object.fromEntries([...new FormData(form)].filter(([, value]) => value));
const loadAgain = () => attempt("reviews", (signal) => pause(200).then(() => signal.aborted || load(signal, 0)));
const findModel = (name) => models.find((m) => m.name === name);
let models = [];
let open = () => {};

// The start of a text, or what surrounds the searched one, which is marked.
function shortenAround(text, search) {
  const found = search ? text.toLowerCase().indexOf(search.toLowerCase()) : -1;
  const [at, end] = found < 0 ? [0, 0] : [found, found + search.length];
  const start = Math.max(0, at - 100);
  const mark = make("mark", {}, text.slice(at, end));
  return [start ? "…" : "", text.slice(start, at), mark, shorten(text.slice(end), 240)];
}

function makeRow({ row, label, predicted, probabilities, text }, verdict, onclick) {
  const cell = (name, content, tag = "td") => make(tag, { "data-name": name }, content);
  const judge = (name, guess) => cell(name, guess, guess === label ? "td" : "td.wrong");
  return make("tr", {}, cell("row", count(row), "td.number"), cell("class", label), judge("predicted", predicted),
    cell("p(class)", percent(probabilities[label]), "td.number"),
    cell("p(predicted)", percent(probabilities[predicted]), "td.number"),
    ...(verdict ? [judge(elements.other.value, verdict.label)] : []),
    make("td", { dir: "auto" }, make("button", { onclick }, ...shortenAround(text, elements.search.value))));
}

async function load(signal, start) {
  const body = byId("reviews").tBodies[0];
  const { other, ...query } = readForm();
  remember({ ...Object.fromEntries([...elements].map(({ name }) => [name, ""])), ...readForm() });
  const found = await get("reviews", { ...query, start, count: COUNT }, signal);
  const { total, size, correct, confusion } = found;
  const accuracy = total ? `, ${percent(correct / total)} of them right` : "";
  const text = found.reviews.map((review) => review.text);
  const { predictions } = other ? await post("predict", { text, model: other }, signal) : { predictions: [] };
  if (!start) body.replaceChildren();
  body.append(...found.reviews.map((review, i) =>
    makeRow(review, predictions[i], () => open({ ...query, start: start + i }))));
  byId("found").textContent = `${count(total)} of ${count(size)} texts (${percent(total / size)})${accuracy}`;
  byId("confusion").replaceChildren(makeConfusion(findModel(query.model).classes, confusion));
  Object.assign(byId("other"), { hidden: !other, textContent: other });
  for (const heading of byId("reviews").querySelectorAll("th")) {
    const direction = query.reverse ? "descending" : "ascending";
    heading.setAttribute("aria-sort", heading.dataset.order === query.order ? direction : "none");
  }
  byId("more").hidden = body.rows.length >= total;
}

// Filters stay as far as the chosen model has their classes.
function restore() {
  for (const element of elements) {
    const { name, classes } = findModel(elements.model.value);
    const others = models.map((m) => m.name).filter((other) => other !== name);
    const names = { label: classes, predicted: classes, other: others }[element.name];
    if (names) element.replaceChildren(make("option", { value: "" }, "any"), ...makeOptions(names));
    if (element.type === "checkbox") element.checked = recall(element.name);
    else element.value = recall(element.name);
    if (element.selectedIndex === -1) element.selectedIndex = 0;
  }
}

export function startReviews(allModels, openReview) {
  [models, open] = [allModels, openReview];
  const tested = models.filter((m) => m.has_test_set).map((m) => m.name);
  if (!tested.length) return form.replaceChildren("No model was tested.");
  elements.model.append(...makeOptions(tested));
  restore();
  byId("tab-reviews").addEventListener("shown", loadAgain);
  addEventListener("popstate", restore);
  form.onsubmit = (event) => event.preventDefault();
  form.oninput = ({ target }) => {
    if (target === elements.model) remember({ model: target.value }) ?? restore();
    loadAgain();
  };
  byId("reviews").tHead.onclick = ({ target }) => {
    const { order } = target.parentElement.dataset;
    if (!order) return;
    elements.reverse.checked = order === elements.order.value && !elements.reverse.checked;
    elements.order.value = order;
    loadAgain();
  };
  byId("more").onclick = () => attempt("reviews", (signal) => load(signal, byId("reviews").tBodies[0].rows.length));
}
