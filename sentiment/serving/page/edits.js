// Edits of single words: near words of one, and what would change the answer.
import { attempt, byId, make, makeTable, percent, post, shorten, signed } from "./api.js";
const SHOWN = 10; // changes of each kind

// The span [start, end] of a token in the text; null if the tokenizer changed it.
function findToken({ text, explanation: { cut, tokens } }, index) {
  let [at, place] = [0, null];
  for (const token of [...cut.before, ...tokens.slice(0, index + 1).map((t) => t.token)]) {
    // Ignoring case: lower-casing the text may change its length, as that of İ.
    const escaped = token.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&").replaceAll("i̇", "(?:i̇|İ)");
    const pattern = Object.assign(new RegExp(escaped, "giu"), { lastIndex: at });
    const found = pattern.exec(text);
    place = found && [found.index, pattern.lastIndex];
    at = place ? place[1] : at;
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
    byId("neighbors-view").close();
    Object.assign(card, { current: index, before: card.probabilities });
    card.words.focus();
    card.put(word === null ? removeWord(card.text, place) : replaceWord(card.text, place, word));
  };
  return make("button", { disabled: !place, onclick }, shorten(label, 60));
}

export async function showWord(card, index) {
  const { explanation, model } = card;
  const { token, in_vocabulary: isKnown } = explanation.tokens[index];
  byId("neighbors-title").textContent = `${shorten(token, 60)} — ${model.name}`;
  const note = findToken(card, index) ? "" : "The tokenizer changed this word; edit it in the text itself.";
  const remove = makeEdit(card, index, null, "Remove it");
  byId("neighbors-body").replaceChildren(make("p", {}, card.describeWord(index)), make("p", {}, note), remove);
  byId("neighbors-view").showModal();
  await attempt("neighbors", async (signal) => {
    if (!isKnown) return;
    const question = { word: token, model: model.name };
    const { neighbors: [{ polarity }, ...others] } = await post("neighbors", question, signal);
    const name = explanation.class in polarity ? explanation.class : Object.keys(polarity)[0];
    const rows = others.map((n) =>
      [makeEdit(card, index, n.word, n.word), n.cosine.toFixed(3), signed(n.polarity[name])]);
    const title = "Near by the embedding, which need not mean the same, and the logit of each alone:";
    byId("neighbors-body").append(make("p.note", {}, title), makeTable(["word", "cosine", `for ${name}`], rows));
  });
}

// What happens without a word, and with another in its place, by the size of the change.
export async function showChanges(card, signal) {
  const { tokens, class: name, log_odds: before } = card.explanation;
  card.state.textContent = "searching what would change the answer…";
  const { changes } = await card.ask("changes", { class: name }, signal);
  card.state.textContent = "";
  const kinds = [changes.filter((change) => change.word === null), changes.filter((change) => change.word !== null)];
  const rows = kinds.flatMap((kind) => kind.slice(0, SHOWN)).map(({ position, word, ...after }) => {
    const { token } = tokens[position];
    const edit = makeEdit(card, position, word, word === null ? `without ${token}` : `${token} → ${word}`);
    return [edit, signed(after.log_odds - before), percent(after.probability), after.label];
  });
  card.changes.lastElementChild.replaceChildren(makeTable(["edit", "log-odds", `p(${name})`, "answer"], rows));
}
