// The view of files: sends one, and shows the labelled rows as they arrive.

import { attempt, byId, make, send } from "./api.js";

const PREVIEW = 10; // rows
let url = null;
let running = new AbortController();

// Splits CSV that arrives in parts into rows of cells.
class Rows {
  count = 0;
  first = [];
  #cells = [""];
  #quoted = false;

  add(text) {
    for (const character of text) {
      if (character === '"') this.#quoted = !this.#quoted;
      if (character === "\n" && !this.#quoted) {
        if (this.count++ <= PREVIEW) this.first.push(this.#cells.map((cell) => cell.replace(/^"|"$/g, "").replaceAll('""', '"')));
        this.#cells = [""];
      } else if (this.count <= PREVIEW) {
        if (character === "," && !this.#quoted) this.#cells.push("");
        else this.#cells[this.#cells.length - 1] += character;
      }
    }
  }
}

async function label(file) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const parameters = { name: file.name, model: byId("file-model").value };
  if (byId("column").value) parameters.column = byId("column").value;
  if (byId("no-header").checked) parameters.no_header = true;
  byId("download").hidden = true;
  byId("preview").replaceChildren();
  byId("progress").hidden = byId("cancel").hidden = false;
  byId("progress").removeAttribute("value");
  byId("file-status").textContent = `reading ${file.name}`;
  try {
    const response = await send("label", parameters, file, signal);
    const empty = Number(response.headers.get("X-Empty"));
    const total = Number(response.headers.get("X-Rows"));
    const [parts, rows, decoder] = [[], new Rows(), new TextDecoder()];
    for await (const part of read(response)) {
      parts.push(part);
      rows.add(decoder.decode(part, { stream: true }));
      const done = Math.max(0, rows.count - 1);
      byId("progress").value = total ? done / total : 1;
      byId("file-status").textContent = `${done.toLocaleString("en")} of ${total.toLocaleString("en")} rows of ${file.name}`;
    }
    if (empty) byId("file-status").textContent += `; ${empty.toLocaleString("en")} have no text: their predictions mean nothing`;
    if (rows.count - 1 < total) throw new Error(`${file.name}: the server stopped after ${rows.count - 1} of ${total} rows`);
    URL.revokeObjectURL(url);
    url = URL.createObjectURL(new Blob(parts, { type: "text/csv" }));
    byId("download").href = url;
    byId("download").download = `${file.name.replace(/\..*$/, "")}_labelled.csv`;
    byId("download").textContent = `Download ${byId("download").download}`;
    byId("download").hidden = false;
    const [header, ...body] = rows.first;
    byId("preview").replaceChildren(
      make("tr", {}, ...(header ?? []).map((cell) => make("th", { textContent: cell }))),
      ...body.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", { textContent: cell.slice(0, 200) })))));
  } catch (error) {
    if (signal === running.signal) byId("file-status").textContent = "";
    throw error;
  } finally {
    if (signal === running.signal) byId("progress").hidden = byId("cancel").hidden = true;
  }
}

async function* read(response) {
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}

export function startFile() {
  const drop = byId("drop");
  byId("cancel").addEventListener("click", () => {
    running.abort();
    byId("file").value = "";
  });
  byId("file").addEventListener("change", () => byId("file").files[0] && attempt(() => label(byId("file").files[0])));
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) attempt(() => label(event.dataTransfer.files[0]));
  });
}
