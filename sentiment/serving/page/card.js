// What one model says about a text: probabilities, and an explanation of them.
import { recall, remember } from "./address.js";
import { byId, count, make, makeOptions, percent, post, shorten, signed } from "./api.js";
import { showChanges, showWord } from "./edits.js";
import { drawChart, drawGates } from "./figures.js";
const MAX_CLASSES = 10, STRONGEST = 8; // classes that are shown, and words of a list
const VISIBLE = 0.005; // with two decimals
const [NOTHING, QUICK, EXACT, GATES] = [0, 1, 2, 3]; // how much is explained

// In the colour of what it does to the log-odds.
function paint(element, value) {
  element.classList.add(value > 0 ? "for" : "against");
  element.style.setProperty("--size", Math.abs(value));
  return element;
}

export class Card {
  before = null; // probabilities before an edit of a word
  current = 0; // word that the keyboard has reached
  box = make("input", { type: "checkbox" }); // whether it is chosen

  constructor(model, actions) {
    Object.assign(this, { model }, actions);
    this.element = byId("card").content.firstElementChild.cloneNode(true);
    for (const part of this.element.querySelectorAll("[data-part]")) this[part.dataset.part] = part;
    const { name, classes, network, data, metrics: { "test/accuracy": accuracy } } = model;
    const tested = accuracy == null ? "not tested" : `${percent(accuracy)} of its test set right`;
    this.title.textContent = name;
    this.about.textContent = `${network}, ${data.replace(/\S*\//g, "")}, ${tested}`;
    this.changed.hidden = !model.changed;
    this.choice.hidden = classes.length === 2;
    this.target.append(...makeOptions(classes));
    this.target.onchange = () => {
      remember({ [`class of ${name}`]: this.target.value }, true);
      this.updateAgain();
    };
    for (const details of [this.changes, this.gates]) details.ontoggle = () => details.open && this.updateAgain();
    this.save.onclick = () => {
      this.save.href = URL.createObjectURL(new Blob([JSON.stringify({ text: this.text, ...this.explanation })]));
    };
    new ResizeObserver(() => this.level > QUICK && drawChart(this.chart, this.explanation)).observe(this.chart);
    this.listenToWords();
  }

  // Nothing may be said about a text that is gone.
  expect(text) {
    const wanted = recall(`class of ${this.model.name}`);
    this.target.value = this.model.classes.includes(wanted) ? wanted : "";
    const asked = JSON.stringify([text, this.target.value]);
    if (asked === this.asked) return;
    if (text !== this.text) Object.assign(this, { probabilities: null, verdict: `${this.model.name}: no answer` });
    Object.assign(this, { asked, text, level: NOTHING, largest: 0 });
    this.element.classList.add("stale");
    this.words.replaceChildren(text);
    this.changes.lastElementChild.replaceChildren();
    this.state.textContent = "explaining…";
  }

  ask(path, question, signal) {
    return post(path, { text: this.text, model: this.model.name, ...question }, signal).catch((error) => {
      if (!signal.aborted) this.state.textContent = "no answer";
      if (!signal.aborted && !this.probabilities) this.bars.replaceChildren();
      throw error;
    });
  }

  async classify(signal) {
    if (this.probabilities) return;
    const before = this.before;
    this.before = null;
    const { predictions: [{ label, probabilities, warning }] } = await this.ask("predict", {}, signal);
    Object.assign(this, { probabilities, verdict: `${this.model.name}: ${label}, ${percent(probabilities[label])}` });
    this.warning.textContent = warning ?? "";
    const ranked = Object.entries(probabilities);
    if (ranked.length > 2) ranked.sort((a, b) => b[1] - a[1]);
    this.bars.replaceChildren(...ranked.slice(0, MAX_CLASSES).map(([name, p]) => {
      const fill = make("div");
      fill.style.width = `${100 * p}%`;
      const change = make("span.change", {}, before ? ` (${signed(100 * (p - before[name]), 1)})` : "");
      return make(name === label ? "tr.predicted" : "tr", {}, make("td", {}, name),
        make("td.number", {}, percent(p), change), make("td", {}, make("div.bar", {}, fill)));
    }));
    const others = ranked.length - MAX_CLASSES;
    if (others > 0) this.bars.append(make("tr", {}, make("td", {}, `${others} others`)));
  }

  async explain(signal, quick) {
    const level = quick ? QUICK : this.gates.open ? GATES : EXACT;
    if (level > this.level) {
      const question = { class: this.target.value || null, gates: level === GATES, quick };
      const explanation = await this.ask("explain", question, signal);
      this.level = level;
      this.state.textContent = quick ? "first estimate, explaining…" : "";
      this.element.classList.remove("stale");
      this.element.classList.toggle("quick", quick);
      this.show(explanation);
      this.rescale();
    }
    if (!quick && this.changes.open && !this.changes.lastElementChild.hasChildNodes()) await showChanges(this, signal);
  }

  show(e) {
    this.explanation = e;
    const values = e.tokens.map((t) => t.attribution);
    const sum = values.reduce((a, b) => a + b);
    const rest = e.log_odds - e.baseline - sum - e.padding;
    const order = [...values.keys()].sort((i, j) => Math.abs(values[j]) - Math.abs(values[i]));
    this.largest = Math.max(Math.abs(e.padding), Math.abs(values[order[0]]));
    this.showWords(e, order[0]);
    const padding = paint(make("span.part", {}, `padding ${signed(e.padding)}`), e.padding);
    this.sum.replaceChildren(`baseline ${signed(e.baseline)}, words ${signed(sum)}`,
      ...(Math.abs(e.padding) < VISIBLE ? [] : [", ", padding]),
      Math.abs(rest) < VISIBLE ? "" : `, not attributed ${signed(rest)}`, `: log-odds of ${e.class} `,
      make("b", {}, signed(e.log_odds)), ` (${percent(e.probabilities[e.class])})`);
    this.weak.textContent = Math.abs(e.padding) > Math.abs(sum)
      ? `The padding before the text (${signed(e.padding)}) outweighs all its words (${signed(sum)}).` : "";
    const strong = order.slice(0, STRONGEST).filter((i) => Math.abs(values[i]) >= VISIBLE);
    this.strongest.replaceChildren(...strong.map((i) => make("li", {}, make("button", {
      onclick: () => this.focusWord(i) }, make("bdi", {}, shorten(e.tokens[i].token, 30)), ` ${signed(values[i])}`))));
    const unknown = [...new Set(e.tokens.filter((t) => !t.in_vocabulary).map((t) => shorten(t.token, 30)))];
    const names = unknown.slice(0, 20).flatMap((name, i) => [i ? ", " : "Unknown words: ", make("bdi", {}, name)]);
    this.notes.replaceChildren(...names, unknown.length > 20 ? ", … " : unknown.length ? ". " : "",
      e.converged ? "" : "The attributions did not converge and are a rough guide only.");
    this.chartTitle.textContent = `p(${e.class}) after each word`;
    if (this.level > QUICK) drawChart(this.chart, e);
    if (this.level === GATES) drawGates(this.gates.lastElementChild, e);
  }

  showWords({ tokens, cut }, strongest) {
    const hadFocus = this.words.contains(document.activeElement);
    this.current = Math.min(this.current, tokens.length - 1);
    const words = tokens.map(({ token, attribution, in_vocabulary: isKnown }, i) => {
      const properties = { tabIndex: i === this.current ? 0 : -1, "data-index": i, ariaLabel: this.describeWord(i) };
      const word = make("button.word", properties, shorten(token, 100));
      word.classList.toggle("unknown", !isKnown);
      return paint(word, attribution);
    });
    const near = { before: cut.before.slice(-30).join(" "), after: cut.after.slice(0, 30).join(" ") };
    const [before, after] = ["before", "after"].map((place) => make("span.cut", {}, near[place]
      && `(${count(cut[place].length)} words ${place} are cut off by maxlen: ${near[place]}) `));
    this.words.replaceChildren(before, ...words.flatMap((word) => [word, " "]), after);
    this.words.scrollTop = words[strongest].offsetTop - this.words.clientHeight / 2;
    this.value.textContent = this.describeWord(strongest);
    if (hadFocus) this.focusWord(this.current);
  }

  describeWord(i) {
    const { tokens, class: name } = this.explanation;
    const { token, attribution, probability: p, in_vocabulary: isKnown } = tokens[i];
    const after = p == null ? "" : `, p(${name}) after it ${percent(p)}`;
    return `${shorten(token, 100)}: ${signed(attribution)}${after}${isKnown ? "" : ", not in the vocabulary"}`;
  }

  focusWord(i) {
    const words = [...this.words.querySelectorAll(".word")];
    this.current = Math.max(0, Math.min(words.length - 1, i));
    words.forEach((word, k) => { word.tabIndex = k === this.current ? 0 : -1; });
    words[this.current].focus();
  }

  // The words are one stop of the tab key; arrow keys lead from one to the next.
  listenToWords() {
    const listen = (kind, react) => this.words.addEventListener(kind, (event) => {
      if (event.target.dataset.index) react(Number(event.target.dataset.index), event);
    });
    const tell = (i) => { this.value.textContent = this.describeWord(i); };
    listen("focusin", tell);
    listen("mouseover", tell);
    listen("click", (i) => this.focusWord(i) ?? showWord(this, i));
    listen("keydown", (i, event) => {
      const forward = getComputedStyle(this.words).direction === "rtl" ? -1 : 1;
      const next = { ArrowRight: i + forward, ArrowLeft: i - forward, Home: 0, End: Infinity }[event.key];
      if (next == null) return;
      event.preventDefault();
      this.focusWord(next);
    });
  }
}
