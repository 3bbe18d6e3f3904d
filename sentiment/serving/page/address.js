// What is shown, as the fragment of the address: it survives a reload, can be shared, and no server logs it.
let state = new URLSearchParams(location.hash.slice(1));
addEventListener("popstate", () => { state = new URLSearchParams(location.hash.slice(1)); });

export const recall = (key) => state.get(key) ?? "";

// Empty values are left out. Only what the user may want to go back to is a new entry of the history.
export function remember(values, isNew = false) {
  const before = String(state);
  for (const [key, value] of Object.entries(values)) state.set(key, value);
  state = new URLSearchParams([...state].filter(([, value]) => value));
  if (String(state) !== before) history[isNew ? "pushState" : "replaceState"](null, "", `#${state}`);
}
