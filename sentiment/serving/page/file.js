// The view of files: sends one, and shows the labelled rows as they arrive.

import { attempt, byId, count, make, makeOptions, percent, request, ServerError } from "./api.js";
import { makeConfusion } from "./figures.js";

const PREVIEW = 10; // rows
let models = [];
let limits = {};
let file = null;
const say = (text) => { byId("file-status").textContent = text; };

// Splits CSV that arrives in parts into rows of cells, without the apostrophe before what a spreadsheet would evaluate.
function* splitRows(text, state) {
  for (const character of text) {
    if (character === '"') state.isQuoted = !state.isQuoted;
    if (state.isQuoted || !",\n".includes(character)) {
      state.cell += character;
      continue;
    }
    const value = state.cell.replace(/^"|"$/g, "").replaceAll('""', '"').replace(/^'(?='*[=+\-@\t\r])/, "");
    state.cells.push(value);
    state.cell = "";
    if (character === ",") continue;
    yield state.cells;
    state.cells = [];
  }
}

// The columns in the first line of a text file that is not compressed.
async function findColumns() {
  const [line] = (await file.slice(0, 65_536).text()).split("\n");
  if (/\.jsonl$/i.test(file.name)) return Object.keys(JSON.parse(line));
  if (!/\.(csv|tsv)$/i.test(file.name)) return [];
  const columns = line.trim().split([",", ";", "\t"].sort((a, b) => line.split(b).length - line.split(a).length)[0]);
  return columns.map((name, i) => (byId("no-header").checked ? String(i + 1) : name.replace(/^\ufeff?"?|"$/g, "")));
}

// How right the rows are, if a column of the file holds nothing but classes.
function countByLabel([header, ...rows], classes) {
  const place = header.length - 1 - classes.length; // of the predicted class
  const isLabel = (_, i) => i && i < place && rows.every((cells) => classes.includes(cells[i]));
  const column = header.findIndex(isLabel);
  if (column < 0 || !rows.length) return [];
  const counts = Object.fromEntries(classes.map((name) => [name, {}]));
  for (const { [column]: label, [place]: guess } of rows) counts[label][guess] = (counts[label][guess] ?? 0) + 1;
  const right = classes.reduce((sum, name) => sum + (counts[name][name] ?? 0), 0);
  const text = `By the column ${header[column].replace(/^file_/, "")}, ${percent(right / rows.length)} are right.`;
  return [make("p", {}, text), makeConfusion(classes, counts)];
}

async function label(signal) {
  const { name, size } = file;
  const { name: model, classes } = models.find((m) => m.name === byId("file-model").value);
  const query = new URLSearchParams({ name, model, no_header: byId("no-header").checked });
  if (byId("column").value) query.set("column", byId("column").value);
  for (const id of ["preview", "file-labels", "file-download"]) byId(id).replaceChildren();
  say("");
  const megabytes = Math.ceil(size / 1e6);
  if (megabytes > limits.max_megabytes) throw new ServerError(`${name}: ${megabytes} MB; ${limits.max_megabytes} MB at most`);
  byId("progress").hidden = byId("cancel").hidden = false;
  byId("progress").removeAttribute("value");
  say(`reading ${name}`);
  try {
    const response = await request(`label?${query}`, { method: "POST", body: file, signal });
    const [total, empty] = ["X-Rows", "X-Empty"].map((header) => Number(response.headers.get(header)));
    const [parts, rows, state, decoder] = [[], [], { cells: [], cell: "" }, new TextDecoder()];
    const reader = response.body.getReader();
    const lost = new ServerError(`${name}: the server stopped before the last row`);
    const read = () => reader.read().catch((error) => { throw signal.aborted ? error : lost; });
    for (let part = await read(); !part.done; part = await read()) {
      parts.push(part.value);
      rows.push(...splitRows(decoder.decode(part.value, { stream: true }), state));
      byId("progress").value = rows.length / (total + 1);
      say(`${count(Math.max(0, rows.length - 1))} of ${count(total)} rows of ${name}`);
    }
    if (rows.length <= total) throw lost;
    if (empty) byId("file-status").append(`; ${count(empty)} have no text: their predictions mean nothing`);
    const download = `${name.replace(/\..*$/, "")}_labelled.csv`;
    const href = URL.createObjectURL(new Blob(parts, { type: "text/csv" }));
    byId("file-download").replaceChildren(make("a", { href, download }, `Download ${download}`));
    byId("file-labels").replaceChildren(...countByLabel(rows, classes));
    byId("preview").replaceChildren(...rows.slice(0, PREVIEW + 1).map((cells, i) =>
      make("tr", {}, ...cells.map((cell) => make(i ? "td" : "th", {}, cell.slice(0, 200))))));
  } catch (error) {
    if (!signal.aborted) say("");
    if (!/^column=/.test(error.message)) throw error;
    throw new ServerError(error.message.replace(/^column=(.*); type column=.*/, "$1; choose another column"));
  } finally {
    if (!signal.aborted) byId("progress").hidden = byId("cancel").hidden = true;
  }
}

function cancel() { // aborts `label`
  byId("progress").hidden = byId("cancel").hidden = true;
  say(`${file.name} was cancelled`);
}

async function choose(chosen) {
  if (!chosen) return;
  file = chosen;
  byId("column").value = "";
  attempt("file", label);
  byId("columns").replaceChildren(...makeOptions(await findColumns().catch(() => [])));
}

export function startFile(answer) {
  ({ models, limits } = answer);
  byId("file-limits").textContent = `At most ${limits.max_megabytes} MB and ${count(limits.max_rows)} rows.`;
  byId("file-model").append(...makeOptions(models.map((m) => m.name)));
  byId("cancel").onclick = () => attempt("file", cancel);
  byId("file").onclick = () => { byId("file").value = ""; }; // so that the same one can be chosen again
  byId("file").onchange = () => choose(byId("file").files[0]);
  for (const id of ["file-model", "column", "no-header"]) byId(id).onchange = () => file && attempt("file", label);
  for (const kind of ["dragover", "dragleave", "drop"]) {
    byId("drop").addEventListener(kind, (event) => {
      event.preventDefault();
      byId("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop") choose(event.dataTransfer.files[0]);
    });
  }
}
