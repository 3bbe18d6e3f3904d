// The view of files: sends one, and shows the labelled rows.
import { attempt, byId, count, make, makeOptions, percent, request } from "./api.js";
import { makeConfusion } from "./figures.js";
const PREVIEW = 10; // rows
let models = [];
let limits = {};
let file = null;
const say = (text) => { byId("file-status").textContent = text; };
const showProgress = (isShown) => { byId("progress").hidden = byId("cancel").hidden = !isShown; };

// Rows of cells, without the apostrophe before what a spreadsheet would evaluate.
function splitRows(csv) {
  const rows = [[]];
  for (const [, cell, end] of csv.matchAll(/("(?:[^"]|"")*"|[^,\n]*)([,\n])/g)) {
    rows.at(-1).push(cell.replace(/^"|"$/g, "").replaceAll('""', '"').replace(/^'(?='*[=+\-@\t\r])/, ""));
    if (end === "\n") rows.push([]);
  }
  return rows.slice(0, -1);
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
function compareLabels([header, ...rows], classes) {
  const place = header.length - 1 - classes.length; // of the predicted class
  const column = header.findIndex((_, i) => i && i < place && rows.every((cells) => classes.includes(cells[i])));
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
  const column = byId("column").value ? { column: byId("column").value } : {};
  const query = new URLSearchParams({ name, model, no_header: byId("no-header").checked, ...column });
  for (const id of ["rows", "file-labels", "file-download", "file-status"]) byId(id).replaceChildren();
  showProgress(false);
  if (size > limits.max_megabytes * 1e6) throw new Error(`${name}: more than ${limits.max_megabytes} MB`);
  showProgress(true);
  byId("progress").removeAttribute("value");
  say(`reading ${name}`);
  try {
    const response = await request(`label?${query}`, { method: "POST", body: file, signal });
    const [total, empty] = ["X-Rows", "X-Empty"].map((header) => Number(response.headers.get(header)));
    const [reader, decoder] = [response.body.getReader(), new TextDecoder()];
    const lost = new Error(`${name}: the server stopped before the last row`);
    const read = () => reader.read().catch((error) => { throw signal.aborted ? error : lost; });
    let [csv, lines] = ["", 0];
    for (let part = await read(); !part.done; part = await read()) {
      const text = decoder.decode(part.value, { stream: true });
      csv += text;
      lines += text.split("\n").length - 1;
      byId("progress").value = lines / (total + 1);
      say(`${count(Math.min(lines, total))} of ${count(total)} rows of ${name}`);
    }
    const rows = splitRows(csv);
    if (rows.length <= total) throw lost;
    if (empty) byId("file-status").append(`; ${count(empty)} have no text: their predictions mean nothing`);
    const download = `${name.replace(/\..*$/, "")}_labelled.csv`;
    const href = URL.createObjectURL(new Blob([csv], { type: "text/csv" }));
    byId("file-download").replaceChildren(make("a", { href, download }, `Download ${download}`));
    byId("file-labels").replaceChildren(...compareLabels(rows, classes));
    byId("rows").replaceChildren(...rows.slice(0, PREVIEW + 1).map((cells, i) =>
      make("tr", {}, ...cells.map((cell) => make(i ? "td" : "th", {}, cell.slice(0, 200))))));
  } catch (error) {
    if (signal.aborted) throw error;
    say("");
    const [, problem] = error.message.match(/^column=(.*); type column=/) ?? [];
    throw problem ? new Error(`${problem}; choose another column`) : error;
  } finally {
    if (!signal.aborted) showProgress(false);
  }
}

async function choose() {
  [file] = byId("file").files;
  if (!file) return;
  byId("column").value = "";
  attempt("file", label);
  byId("columns").replaceChildren(...makeOptions(await findColumns().catch(() => [])));
}

export function startFile(answer) {
  ({ models, limits } = answer);
  byId("file-limits").textContent = `At most ${limits.max_megabytes} MB and ${count(limits.max_rows)} rows.`;
  byId("file-model").append(...makeOptions(models.map((m) => m.name)));
  byId("cancel").onclick = () => attempt("file", async () => showProgress(false) ?? say(`${file.name} was cancelled`));
  byId("file").onclick = () => { byId("file").value = ""; }; // so that the same one can be chosen again
  byId("file").onchange = choose;
  for (const id of ["file-model", "column", "no-header"]) byId(id).onchange = () => file && attempt("file", label);
}
