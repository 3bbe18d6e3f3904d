// Requests to the server, and small helpers for elements.

export const byId = (id) => document.getElementById(id);

// An element with properties and children; strings become text, never markup.
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export function showError(message) {
  byId("error").textContent = message;
  byId("error").hidden = !message;
}

async function answer(response) {
  if (response.ok) return response;
  const body = await response.json().catch(() => ({ error: response.statusText }));
  throw new Error(body.error);
}

export async function get(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value != null));
  return (await answer(await fetch(`${path}?${query}`))).json();
}

export async function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return (await answer(await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal }))).json();
}

export async function send(path, parameters, file, signal) {
  return answer(await fetch(`${path}?${new URLSearchParams(parameters)}`, { method: "POST", body: file, signal }));
}

// Runs an action of the user and shows its error; one that a newer action aborted has none.
export async function attempt(action) {
  try {
    await action();
    showError("");
  } catch (error) {
    if (error.name !== "AbortError") showError(error instanceof TypeError ? "The server does not answer." : error.message);
  }
}

export const percent = (p) => `${(100 * p).toFixed(1)} %`;
