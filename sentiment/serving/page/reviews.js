// The view of the test set: filters, sorting, and texts that open with a click.

import { attempt, byId, get, make, percent } from "./api.js";

const COUNT = 25;
let models = [];
let open = () => {};
let latest = 0;

function choose(id, names) {
  byId(id).replaceChildren(make("option", { value: "", textContent: "any" }), ...names.map((name) => make("option", { value: name, textContent: name })));
}

async function load(more = false) {
  const request = ++latest;
  const body = byId("reviews").tBodies[0];
  const start = more ? body.rows.length : 0;
  const { total, reviews } = await get("reviews", {
    model: byId("review-model").value, order: byId("order").value, label: byId("label").value,
    predicted: byId("predicted").value, search: byId("search").value, start, count: COUNT,
  });
  if (request !== latest) return;
  const rows = reviews.map((review) => {
    const wrong = review.label !== review.predicted;
    const text = make("button", { textContent: review.text.length > 240 ? `${review.text.slice(0, 240)}…` : review.text });
    const place = [review.file, `row ${review.row}`].filter(Boolean).join(", ");
    text.addEventListener("click", () => open(review.text, `${place}; its class is ${review.label}`));
    return make("tr", {},
      make("td", { textContent: review.label }),
      make("td", { textContent: review.predicted, className: wrong ? "wrong" : "" }),
      make("td", { textContent: percent(review.probabilities[review.predicted]), className: "number" }),
      make("td", {}, text));
  });
  if (more) body.append(...rows);
  else body.replaceChildren(...rows);
  byId("found").textContent = `${total.toLocaleString("en")} texts`;
  byId("more").hidden = body.rows.length >= total;
}

function chooseModel() {
  const { classes } = models.find((m) => m.name === byId("review-model").value);
  choose("label", classes);
  choose("predicted", classes);
  return load();
}

export function startReviews(allModels, openText) {
  models = allModels;
  open = openText;
  if (!byId("review-model").options.length) {
    byId("found").textContent = "No model was tested.";
    byId("review-form").hidden = true;
    return;
  }
  byId("tab-reviews").addEventListener("shown", () => attempt(chooseModel), { once: true });
  byId("review-model").addEventListener("change", () => attempt(chooseModel));
  for (const id of ["order", "label", "predicted"]) byId(id).addEventListener("change", () => attempt(load));
  byId("search").addEventListener("input", () => attempt(load));
  byId("review-form").addEventListener("submit", (event) => event.preventDefault());
  byId("more").addEventListener("click", () => attempt(() => load(true)));
}
