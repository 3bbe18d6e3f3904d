// The text view: a text that the chosen models classify and explain as one types.
import { recall, remember } from "./address.js";
import { attempt, byId, count, get, make, pause } from "./api.js";
import { Card } from "./card.js";
const SHOWN = 4; // models, until the user chooses
const field = byId("text");
const reviews = new Map(); // of test sets that were opened, by their text, which undo may bring back
let opened = null; // query of the last one
let isNew = false; // whether the text is one that the user may want to go back to
let cards = []; // of all models
let shown = []; // of those that are chosen

// Puts a text into the field as the user would, so that undo leads back to what stood there.
function put(text, leadsForward = true) {
  const active = document.activeElement;
  field.focus();
  field.select();
  isNew = leadsForward;
  document.execCommand(text ? "insertText" : "delete", false, text); // which is an input
  active.focus();
}

// Classifies at once, and explains when the user pauses; what a card shows already is not asked for again.
async function update(signal) {
  const text = field.value;
  const review = reviews.get(text);
  const isEmpty = !text.trim();
  byId("text-note").textContent = isEmpty ? "Type a text." : review?.note ?? "";
  byId("results").hidden = isEmpty;
  for (const card of shown) card.expect(text);
  const failures = []; // the error of one model does not hide the answers of the others
  const ask = (question) =>
    Promise.all(isEmpty ? [] : shown.map((card) => question(card).catch((error) => failures.push(error))));
  await ask((card) => card.classify(signal));
  await pause(250);
  if (signal.aborted) return;
  remember({ text, from: review ? new URLSearchParams(review.query) : "" }, isNew);
  isNew = false;
  byId("text-status").textContent = isEmpty ? "" : shown.map((card) => card.verdict).join("; ");
  for (const quick of [true, false]) await ask((card) => card.explain(signal, quick));
  if (failures.length) throw failures[0];
}

const updateAgain = () => attempt("text", update);

// One scale for all cards and all parts, so that equal colours are equal numbers; what is weak stays pale.
function rescale() {
  const scale = Math.max(1, ...shown.map((card) => card.largest));
  byId("results").style.setProperty("--scale", scale);
  for (const [id, sign] of [["least", "−"], ["most", "+"]]) byId(id).textContent = `${sign}${scale.toFixed(1)}`;
}

// The text at `start` of what a query finds in a test set.
async function findReview(query, signal) {
  const { total, reviews: [review] } = await get("reviews", { ...query, count: 1 }, signal);
  const place = [review.file, `row ${count(review.row)}`].filter(Boolean).join(", ");
  const note = `Test set of ${query.model}, ${place}: its class is ${review.label}.`;
  reviews.set(review.text.replaceAll(/\r\n?/g, "\n"), { query, note }); // as the field has it
  opened = query;
  byId("steps").hidden = false;
  byId("position").textContent = `${count(query.start + 1)} of ${count(total)}`;
  byId("previous").disabled = query.start === 0;
  byId("next").disabled = query.start + 1 >= total;
  return review.text;
}

export const openText = (query) => attempt("text", async (signal) => put(await findReview(query, signal)));

function choose() {
  const wanted = recall("models").split("\n");
  const chosen = cards.filter((card) => wanted.includes(card.model.name));
  shown = chosen.length ? chosen : cards.slice(0, SHOWN);
  for (const card of cards) card.box.checked = shown.includes(card);
  byId("cards").replaceChildren(...shown.map((card) => card.element));
}

// Shows the text of the address; without one, the first of a test set.
async function restore(signal) {
  choose();
  const { start, ...query } = Object.fromEntries(new URLSearchParams(recall("from")));
  const tested = cards.find((card) => card.model.has_test_set);
  let text = recall("text");
  if (query.model) await findReview({ ...query, start: Number(start) }, signal).catch(() => {}); // of another server
  else if (!text && tested) text = await findReview({ model: tested.model.name, order: "row", start: 0 }, signal);
  if (signal.aborted) return;
  if (!field.value || !field.checkVisibility()) field.value = text; // nothing to undo, or no focus to do it with
  if (text === field.value) await update(signal);
  else put(text, false);
}

export function startText(models) {
  cards = models.map((model) => new Card(model, { rescale, put, updateAgain }));
  byId("chosen").append(...cards.map((card) => make("label", {}, card.box, ` ${card.model.name}`)));
  byId("chosen").onchange = () => {
    const names = cards.filter((card) => card.box.checked).map((card) => card.model.name);
    remember({ models: names.join("\n") }, true);
    choose();
    updateAgain();
  };
  field.oninput = updateAgain;
  for (const id of ["undo", "redo"]) byId(id).onclick = () => field.focus() ?? document.execCommand(id);
  const steps = [["previous", -1], ["next", 1]];
  for (const [id, by] of steps) byId(id).onclick = () => openText({ ...opened, start: opened.start + by });
  addEventListener("popstate", () => attempt("text", restore));
  attempt("text", restore);
}
