// Requests to the server, and small helpers for elements and numbers.

export const byId = (id) => document.getElementById(id);
export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
export const count = (n) => n.toLocaleString("en");
export const percent = (p) => `${(100 * p).toFixed(1)}\u00a0%`;
export const signed = (x, digits = 2) => `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(digits)}`;
export const shorten = (text, length) => (text.length > length ? `${[...text].slice(0, length).join("")}…` : text);

// An element, "p" or "p.note", with properties or attributes, and children; strings become text, never markup.
export function make(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = Object.assign(document.createElement(name), { className: classes.join(" ") });
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

export const makeOptions = (names) => names.map((name) => make("option", { value: name }, name));
export const makeTable = (heads, rows) => make("table", {}, ...[heads, ...rows].map((cells, i) =>
  make("tr", {}, ...cells.map((cell, k) => make(i && k ? "td" : "th", {}, cell)))));

export async function request(path, options) {
  const response = await fetch(path, options).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. The page will go on when it does.");
  });
  if (response.ok) return response;
  throw new Error((await response.json().catch(() => ({ error: response.statusText }))).error);
}

export const get = async (path, parameters = {}, signal = undefined) =>
  (await request(`${path}?${new URLSearchParams(parameters)}`, { signal })).json();
const headers = { "Content-Type": "application/json" };
export const post = async (path, body, signal) =>
  (await request(path, { method: "POST", headers, body: JSON.stringify(body), signal })).json();

const running = new Map(); // controllers by view

// Runs an action of the user, which aborts the one before in the same view, and shows its error there.
export async function attempt(view, action) {
  running.get(view)?.abort();
  const controller = new AbortController();
  running.set(view, controller);
  const failure = await action(controller.signal).catch((error) => error);
  if (controller.signal.aborted) return;
  byId(`${view}-error`)?.remove();
  if (!failure) return;
  byId(`${view}-view`).prepend(make("p.error", { id: `${view}-error`, role: "alert" }, failure.message));
}
