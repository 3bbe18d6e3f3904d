// The text view: probabilities, words, history and gates of each model, as one types.

import { attempt, byId, make, percent, post } from "./api.js";
import { drawChart, drawGates } from "./figures.js";

const MAX_CLASSES = 10; // shown of a model
const MAX_CUT = 30; // words shown of those that are cut off
const cards = [];
let shown = null; // text of the last answers
let before = null; // text before the last edit of a word
let running = new AbortController();
let timer = 0;

function makeCard(model) {
  const part = (tag, name) => make(tag, { className: name });
  const card = {
    model, last: {}, explanation: null,
    element: part("article", "card"), title: part("h2", "title"), bars: part("table", "bars"),
    warning: part("p", "note"), explained: part("div", "explained"), words: make("div", { className: "words", dir: "auto" }), notes: part("p", "note"),
    chart: document.createElementNS("http://www.w3.org/2000/svg", "svg"),
    gates: make("details", {}, make("summary", { textContent: "Gates and states" })),
  };
  card.chart.classList.add("chart");
  card.title.textContent = model.changed ? `${model.name} (its run has changed since the server started)` : model.name;
  card.gates.addEventListener("toggle", () => card.gates.open && attempt(() => explain(card, running.signal)));
  card.explained.append(card.words, card.notes, card.chart, card.gates);
  card.element.append(card.title, card.bars, card.warning, card.explained);
  return card;
}

function showProbabilities(card, { label, probabilities, warning }) {
  card.warning.textContent = warning ?? "";
  const ranked = Object.entries(probabilities);
  if (ranked.length > 2) ranked.sort((a, b) => b[1] - a[1]);
  card.bars.replaceChildren(
    ...ranked.slice(0, MAX_CLASSES).map(([name, p]) => {
      const change = name in card.last && Math.abs(p - card.last[name]) >= 0.0005 ? p - card.last[name] : 0;
      const fill = make("div");
      fill.style.width = percent(p).replace(" ", "");
      const number = make("td", { className: "number", textContent: percent(p) });
      if (change) {
        number.append(" ", make("span", { className: "change", textContent: `${change > 0 ? "+" : "−"}${(100 * Math.abs(change)).toFixed(1)}` }));
      }
      return make("tr", { className: name === label ? "predicted" : "" },
        make("td", { textContent: name }), number, make("td", {}, make("div", { className: "bar" }, fill)));
    }),
  );
  const others = ranked.length - MAX_CLASSES;
  if (others > 0) card.bars.append(make("tr", {}, make("td", { className: "note", textContent: `${others} others` })));
  card.last = probabilities;
}

function cut(words, place) {
  if (!words.length) return [];
  const shown = place === "before" ? words.slice(-MAX_CUT) : words.slice(0, MAX_CUT);
  if (shown.length < words.length) shown.splice(place === "before" ? 0 : MAX_CUT, 0, "…");
  const count = words.length.toLocaleString("en");
  return [make("span", { className: "cut", textContent: `(${count} words ${place} are cut off by maxlen: ${shown.join(" ")}) ` })];
}

function showExplanation(card, e) {
  card.explanation = e;
  const largest = Math.max(1e-9, ...e.tokens.map((t) => Math.abs(t.attribution)));
  const words = e.tokens.map((t, i) => {
    const word = make("button", {
      className: `word ${t.attribution > 0 ? "for" : "against"}${t.in_vocabulary ? "" : " unknown"}`,
      textContent: t.token,
      title: `${t.attribution >= 0 ? "+" : "−"}${Math.abs(t.attribution).toFixed(3)}${t.probability == null ? "" : `; p(${e.class}) after it ${t.probability.toFixed(3)}`}`,
    });
    word.style.setProperty("--strength", Math.abs(t.attribution) / largest);
    word.addEventListener("click", () => attempt(() => showNeighbors(card, i)));
    return word;
  });
  card.words.replaceChildren(...cut(e.cut.before, "before"), ...words.flatMap((word) => [word, " "]), ...cut(e.cut.after, "after"));
  const unknown = [...new Set(e.tokens.filter((t) => !t.in_vocabulary).map((t) => t.token))];
  card.notes.textContent = [
    `Blue words raise the log-odds of ${e.class}, red ones lower them.`,
    unknown.length ? `Not in the vocabulary: ${unknown.slice(0, 20).join(", ")}${unknown.length > 20 ? ", …" : ""}.` : "",
    e.converged ? "" : "The attributions did not converge and are a rough guide only.",
  ].filter(Boolean).join(" ");
  drawChart(card.chart, e);
  card.gates.hidden = !e.layers.length && card.gates.open;
  if (card.gates.open) drawGates(card.gates, e);
}

async function explain(card, signal) {
  const wanted = byId("class").value;
  const target = card.model.classes.includes(wanted) ? wanted : null;
  const e = await post("explain", { text: shown, model: card.model.name, class: target, gates: card.gates.open }, signal);
  showExplanation(card, e);
  card.element.classList.remove("stale");
}

// Classify at once, explain when the user pauses.
async function update() {
  running.abort();
  running = new AbortController();
  clearTimeout(timer);
  const { signal } = running;
  shown = byId("text").value;
  byId("models").hidden = !shown.trim();
  for (const card of cards) card.element.classList.add("stale");
  if (!shown.trim()) {
    byId("text-note").textContent = "Type a text.";
    return;
  }
  await Promise.all(cards.map(async (card) => {
    const { predictions } = await post("predict", { text: shown, model: card.model.name }, signal);
    showProbabilities(card, predictions[0]);
  }));
  await new Promise((resolve) => { timer = setTimeout(resolve, 250); });
  if (signal.aborted) return;
  let failure = null; // of one model, which keeps none of the others from being explained
  for (const card of cards) await explain(card, signal).catch((error) => { failure = error; });
  if (failure) throw failure;
}

export function showText(text, note = "") {
  byId("text").value = text;
  byId("text-note").textContent = note;
  before = null;
  byId("undo").disabled = true;
  for (const card of cards) card.last = {};
  attempt(update);
}

// The span [start, end] of a token in the text; null if the tokenizer normalized it.
function findToken(card, index) {
  const text = shown.toLowerCase();
  if (text.length !== shown.length) return null;
  let at = 0;
  const tokens = [...card.explanation.cut.before, ...card.explanation.tokens.map((t) => t.token)];
  const wanted = card.explanation.cut.before.length + index;
  for (const [i, token] of tokens.entries()) {
    const start = text.indexOf(token.toLowerCase(), at);
    if (i === wanted) return start < 0 ? null : [start, start + token.length];
    if (start >= 0) at = start + token.length;
  }
  return null;
}

async function showNeighbors(card, index) {
  const { token, in_vocabulary } = card.explanation.tokens[index];
  const place = findToken(card, index);
  byId("neighbors-title").textContent = `${token} — ${card.model.name}`;
  const body = byId("neighbors-body");
  body.replaceChildren(make("p", { className: "note", textContent: in_vocabulary ? "…" : "It is not in the vocabulary." }));
  if (!byId("neighbors").open) byId("neighbors").showModal();
  const remove = make("button", { textContent: "Remove the word", disabled: !place });
  remove.addEventListener("click", () => edit(place, ""));
  if (!in_vocabulary) return body.append(remove);
  const { neighbors } = await post("neighbors", { word: token, model: card.model.name });
  const names = Object.keys(neighbors[0].polarity);
  body.replaceChildren(
    make("p", { className: "note", textContent: "Nearest neighbors by the embedding, and how far each word alone moves the logit. Click one to put it in place of the word." }),
    make("table", {},
      make("tr", {}, make("th", { textContent: "word" }), make("th", { className: "number", textContent: "cosine" }),
        ...names.map((name) => make("th", { className: "number", textContent: `polarity (${name})` }))),
      ...neighbors.map((n) => {
        const button = make("button", { textContent: n.word, disabled: !place || n.word === token });
        button.addEventListener("click", () => edit(place, n.word));
        return make("tr", {}, make("td", {}, button), make("td", { className: "number", textContent: n.cosine.toFixed(3) }),
          ...names.map((name) => make("td", { className: "number", textContent: n.polarity[name].toFixed(2) })));
      })),
    remove,
  );
}

function edit([start, end], word) {
  byId("neighbors").close();
  before = shown;
  byId("text").value = shown.slice(0, start) + word + shown.slice(end);
  byId("undo").disabled = false;
  attempt(update);
}

export function startText(models) {
  cards.push(...models.map(makeCard));
  byId("models").replaceChildren(...cards.map((card) => card.element));
  const classes = [...new Set(models.filter((m) => m.classes.length > 2).flatMap((m) => m.classes))];
  if (classes.length) {
    const choices = ["the predicted class", ...classes].map((name, i) => make("option", { value: i ? name : "", textContent: name }));
    byId("class").replaceChildren(...choices);
    byId("class-choice").hidden = false;
    byId("class").addEventListener("change", () => attempt(update));
  }
  byId("text").addEventListener("input", () => {
    byId("text-note").textContent = "";
    byId("undo").disabled = true;
    attempt(update);
  });
  byId("undo").addEventListener("click", () => showText(before));
  showText("A slow start, but what an ending!");
}
