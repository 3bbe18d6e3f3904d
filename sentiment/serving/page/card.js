// What one model says about a text: probabilities, and an explanation of them.

import { recall, remember } from "./address.js";
import { byId, count, make, makeOptions, percent, post, shorten, signed } from "./api.js";
import { showChanges, showWord } from "./edits.js";
import { drawChart, drawGates } from "./figures.js";

const MAX_CLASSES = 10; // shown of a model
const STRONGEST = 8; // words in a list

// In the colour of what it does to the log-odds.
function paint(element, value) {
  element.classList.add(value > 0 ? "for" : "against");
  element.style.setProperty("--size", Math.abs(value));
  return element;
}

export class Card {
  probabilities = null;
  before = null; // probabilities before an edit of a word
  explanation = null;
  current = 0; // word that the keyboard has reached
  largest = 0; // size of a part of the sum

  constructor(model, actions) {
    Object.assign(this, { model }, actions);
    this.element = byId("card").content.firstElementChild.cloneNode(true);
    for (const part of this.element.querySelectorAll("[data-part]")) this[part.dataset.part] = part;
    this.element.setAttribute("aria-label", model.name);
    this.title.textContent = model.name;
    this.choice.hidden = model.classes.length === 2;
    this.target.append(...makeOptions(model.classes));
    this.describe(model);
    this.target.addEventListener("change", () => {
      remember({ [`class of ${model.name}`]: this.target.value }, true);
      this.expect(this.text);
      this.again(this);
    });
    for (const details of [this.changes, this.gates]) {
      details.addEventListener("toggle", () => details.open && this.explanation && this.again(this));
    }
    this.save.addEventListener("click", () => {
      const file = new Blob([JSON.stringify({ text: this.text, ...this.explanation }, null, 1)]);
      const name = `${model.name.replaceAll("/", "_")}_explanation.json`;
      make("a", { href: URL.createObjectURL(file), download: name }).click();
    });
    new ResizeObserver(() => this.explanation && drawChart(this.chart, this.explanation)).observe(this.chart);
    this.listenToWords();
  }

  describe({ metrics, network, data, changed }) {
    const accuracy = metrics["test/accuracy"];
    const tested = accuracy == null ? "not tested" : `${percent(accuracy)} of its test set right`;
    this.about.textContent = [network, data, tested].filter(Boolean).join(", ");
    const warning = "The files of its run have changed; this is the model as it was when the server started.";
    this.changed.textContent = changed ? warning : "";
  }

  get wanted() {
    const name = recall(`class of ${this.model.name}`);
    return this.model.classes.includes(name) ? name : "";
  }

  get verdict() {
    const { name } = this.model;
    return this.probabilities ? `${name}: ${this.label}, ${percent(this.probabilities[this.label])}` : `${name}: no answer`;
  }

  // Nothing may be said about a text that is gone.
  expect(text) {
    const hadFocus = this.words.contains(document.activeElement);
    Object.assign(this, { text, explanation: null, largest: 0 });
    this.element.classList.add("stale");
    this.words.replaceChildren(text);
    if (hadFocus) this.words.focus();
    this.state.textContent = "explaining…";
    this.target.value = this.wanted;
  }

  async classify(signal) {
    const before = this.before;
    Object.assign(this, { probabilities: null, before: null });
    const { predictions } = await post("predict", { text: this.text, model: this.model.name }, signal);
    const [{ label, probabilities, warning }] = predictions;
    Object.assign(this, { label, probabilities });
    this.warning.textContent = warning ?? "";
    const ranked = Object.entries(probabilities);
    if (ranked.length > 2) ranked.sort((a, b) => b[1] - a[1]);
    this.bars.replaceChildren(...ranked.slice(0, MAX_CLASSES).map(([name, p]) => {
      const fill = make("div");
      fill.style.width = `${100 * p}%`;
      const change = before ? ` (${signed(100 * (p - before[name]), 1)})` : "";
      return make(name === label ? "tr.predicted" : "tr", {}, make("td", {}, name),
        make("td.number", {}, percent(p), make("span.change", {}, change)), make("td", {}, make("div.bar", {}, fill)));
    }));
    const others = ranked.length - MAX_CLASSES;
    if (others > 0) this.bars.append(make("tr", {}, make("td.note", {}, `${others} others`)));
  }

  async explain(signal) {
    const { text, model } = this;
    const body = { text, model: model.name, class: this.target.value || null, gates: this.gates.open };
    const explanation = await post("explain", body, signal).catch((error) => {
      if (error.name !== "AbortError") this.state.textContent = "not explained";
      throw error;
    });
    this.state.textContent = "";
    this.element.classList.remove("stale");
    this.show(explanation);
    this.rescale();
    if (this.changes.open) await showChanges(this, signal);
  }

  show(e) {
    this.explanation = e;
    const values = e.tokens.map((t) => t.attribution);
    const sum = values.reduce((a, b) => a + b, 0);
    const order = [...values.keys()].sort((i, j) => Math.abs(values[j]) - Math.abs(values[i]));
    this.largest = Math.max(Math.abs(e.padding), Math.abs(values[order[0]]));
    const words = this.showWords(e);
    this.words.scrollTop = words[order[0]].offsetTop - this.words.clientHeight / 2;
    this.value.textContent = this.describeWord(order[0]);
    const rest = e.log_odds - e.baseline - sum - e.padding;
    this.sum.replaceChildren(`baseline ${signed(e.baseline)}, words ${signed(sum)}`,
      ...(e.padding ? [", ", paint(make("span.part", {}, `padding ${signed(e.padding)}`), e.padding)] : []),
      Math.abs(rest) >= 0.005 ? `, not attributed ${signed(rest)}` : "", `: log-odds of ${e.class} `,
      make("b", {}, signed(e.log_odds)), ` (${percent(e.probabilities[e.class])})`);
    this.weak.textContent = Math.abs(e.padding) > Math.abs(sum)
      ? `The padding before the text (${signed(e.padding)}) outweighs all its words (${signed(sum)}).` : "";
    const strong = order.slice(0, STRONGEST).filter((i) => Math.abs(values[i]) >= 0.005);
    this.strongest.replaceChildren(...strong.map((i) => make("li", {},
      make("button", { onclick: () => this.focusWord(i) }, make("bdi", {}, shorten(e.tokens[i].token, 30)), ` ${signed(values[i])}`))));
    const unknown = [...new Set(e.tokens.filter((t) => !t.in_vocabulary).map((t) => shorten(t.token, 30)))];
    const some = unknown.slice(0, 20).flatMap((token, i) => [i ? ", " : "Not in the vocabulary: ", make("bdi", {}, token)]);
    this.notes.replaceChildren(...some, unknown.length > 20 ? ", … " : unknown.length ? ". " : "",
      e.converged ? "" : "The attributions did not converge and are a rough guide only.");
    this.chartTitle.textContent = `p(${e.class}) after each word`;
    drawChart(this.chart, e);
    if (this.gates.open) drawGates(this.gates.lastElementChild, e);
  }

  showWords({ tokens, cut }) {
    const hadFocus = this.words.contains(document.activeElement);
    this.current = Math.min(this.current, tokens.length - 1);
    const words = tokens.map((t, i) => {
      const properties = { tabIndex: i === this.current ? 0 : -1, "aria-label": this.describeWord(i), "data-index": i };
      return paint(make(t.in_vocabulary ? "button.word" : "button.word.unknown", properties, shorten(t.token, 100)), t.attribution);
    });
    const some = { before: cut.before.slice(-30).join(" "), after: cut.after.slice(0, 30).join(" ") };
    const [before, after] = ["before", "after"].map((place) => (cut[place].length
      ? [make("span.cut", {}, `(${count(cut[place].length)} words ${place} are cut off by maxlen: ${some[place]}) `)] : []));
    this.words.replaceChildren(...before, ...words.flatMap((word) => [word, " "]), ...after);
    if (hadFocus) this.focusWord(this.current);
    return words;
  }

  describeWord(i) {
    const { tokens, class: name } = this.explanation;
    const { token, attribution, probability, in_vocabulary: isKnown } = tokens[i];
    const after = probability == null ? "" : `, p(${name}) after it ${percent(probability)}`;
    return `${shorten(token, 100)}: ${signed(attribution)}${after}${isKnown ? "" : ", not in the vocabulary"}`;
  }

  focusWord(i) {
    const words = this.words.querySelectorAll(".word");
    words[this.current].tabIndex = -1;
    this.current = Math.max(0, Math.min(words.length - 1, i));
    words[this.current].tabIndex = 0;
    words[this.current].focus();
  }

  // The words are one stop of the tab key; arrow keys lead from one to the next.
  listenToWords() {
    const listen = (kind, react) => this.words.addEventListener(kind, (event) => {
      if (event.target.dataset.index) react(Number(event.target.dataset.index), event);
    });
    for (const kind of ["focusin", "mouseover"]) listen(kind, (i) => { this.value.textContent = this.describeWord(i); });
    listen("click", (i) => {
      this.focusWord(i);
      showWord(this, i);
    });
    listen("keydown", (i, event) => {
      const forward = getComputedStyle(this.words).direction === "rtl" ? -1 : 1;
      const next = { ArrowRight: i + forward, ArrowLeft: i - forward, Home: 0, End: Infinity }[event.key];
      if (next == null) return;
      event.preventDefault();
      this.focusWord(next);
    });
  }
}
