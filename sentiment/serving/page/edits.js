// Edits of single words: near words of one, and what would change the answer.

import { attempt, byId, make, percent, post, shorten, signed } from "./api.js";

// The span [start, end] of a token in the text; null if the tokenizer changed it.
function findToken({ text, explanation: { cut, tokens } }, index) {
  let at = 0;
  let place = null;
  for (const token of [...cut.before, ...tokens.slice(0, index + 1).map((t) => t.token)]) {
    // Ignoring case: lower-casing the text may change its length, as that of İ.
    const escaped = token.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&").replaceAll("i̇", "(?:i̇|İ)");
    const pattern = new RegExp(escaped, "giu");
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    place = found && [found.index, pattern.lastIndex];
    if (place) [, at] = place;
  }
  return place;
}

// Without the word, the blank before it, and a comma that would follow another.
function removeWord(text, [start, end]) {
  const after = text.slice(end);
  const before = /^([\s,.;:!?]|$)/.test(after) ? text.slice(0, start).trimEnd() : text.slice(0, start);
  const isDouble = ",;:".includes(before.at(-1)) && after[0] === before.at(-1);
  return before ? before + after.slice(isDouble) : after.trimStart();
}

// With another word, in capitals where the old one has them.
function replaceWord(text, [start, end], word) {
  const old = text.slice(start, end);
  const isUpper = (part) => part !== part.toLowerCase() && part === part.toUpperCase();
  const first = isUpper(old[0]) ? word[0].toUpperCase() + word.slice(1) : word;
  return text.slice(0, start) + (old.length > 1 && isUpper(old) ? word.toUpperCase() : first) + text.slice(end);
}

// A button that puts a word, or null, in the place of another.
function makeEdit(card, index, word, label) {
  const place = findToken(card, index);
  const onclick = () => {
    byId("neighbors").close();
    Object.assign(card, { current: index, before: card.probabilities });
    card.words.focus();
    card.put(word === null ? removeWord(card.text, place) : replaceWord(card.text, place, word));
  };
  return make("button", { disabled: !place, onclick }, shorten(label, 60));
}

const makeTable = (heads, rows) => make("table", {}, make("tr", {}, ...heads.map((head) => make("th.number", {}, head))),
  ...rows.map(([edit, ...cells]) => make("tr", {}, make("td", {}, edit), ...cells.map((cell) => make("td.number", {}, cell)))));

export async function showWord(card, index) {
  const { text, explanation, model } = card;
  const { token, in_vocabulary: isKnown } = explanation.tokens[index];
  byId("neighbors-title").textContent = `${shorten(token, 60)} — ${model.name}`;
  const note = findToken(card, index) ? "" : "The tokenizer changed this word; edit it in the text itself.";
  const body = byId("neighbors-body");
  body.replaceChildren(make("p", {}, card.describeWord(index)), make("p.note", {}, note),
    makeEdit(card, index, null, "Remove the word"));
  if (!byId("neighbors").open) byId("neighbors").showModal();
  if (!isKnown) return;
  await attempt("text", async () => {
    const { neighbors } = await post("neighbors", { word: token, model: model.name });
    if (card.text !== text) return;
    const name = explanation.class in neighbors[0].polarity ? explanation.class : Object.keys(neighbors[0].polarity)[0];
    body.append(make("p.note", {}, "Near by the embedding, which need not mean the same, and the logit of each alone:"),
      makeTable(["in its place", "cosine", `alone, for ${name}`], neighbors.slice(1).map((n) =>
        [makeEdit(card, index, n.word, n.word), n.cosine.toFixed(3), signed(n.polarity[name])])));
  });
}

// What happens without a word, and with another in its place, by the size of the change.
export async function showChanges(card, signal) {
  const body = card.changes.lastElementChild;
  body.replaceChildren("searching…");
  const { text, model, explanation: { class: name, log_odds: before } } = card;
  const { removals, replacements } = await post("changes", { text, model: model.name, class: name }, signal);
  const rows = [...removals, ...replacements].map(({ index, token, word, log_odds: after, probability, label }) =>
    [makeEdit(card, index, word, word === null ? `without ${token}` : `${token} → ${word}`),
      signed(after - before), percent(probability), label]);
  body.replaceChildren(makeTable(["", "log-odds", `p(${name})`, "answer"], rows));
}
