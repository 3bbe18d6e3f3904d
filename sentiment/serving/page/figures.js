// The history of a probability as a line chart, gates as heat maps, and confusion matrices as tables.
import { count, make, makeTable, percent, shorten, signed } from "./api.js";
const HEIGHT = 150, TOP = 8, BOTTOM = 24, LEFT = 28;

function shape(tag, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

// Words under an axis, as many as have room.
function makeWordLabels(tokens, x, y, width) {
  const step = Math.ceil(tokens.length / Math.max(1, Math.floor(width / 64)));
  return tokens.filter((_, i) => i % step === 0).map(({ token }, k) => {
    const anchor = k === 0 ? "start" : x(k * step) > width - 32 ? "end" : "middle";
    return shape("text", { x: x(k * step), y, "text-anchor": anchor }, shorten(token, 8));
  });
}

export function drawChart(svg, { tokens, class: name }) {
  const width = svg.clientWidth || 600;
  const points = tokens.map((t, i) => [i, t.probability]).filter(([, p]) => p != null);
  const x = (i) => LEFT + 4 + (i / Math.max(1, tokens.length - 1)) * (width - LEFT - 8);
  const y = (p) => TOP + (1 - p) * (HEIGHT - TOP - BOTTOM);
  const [first, last] = [points[0], points.at(-1)].map(([, p]) => percent(p));
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  svg.setAttribute("aria-label", `p(${name}) from ${first} after the first word to ${last} after the last one`);
  svg.replaceChildren(
    ...[0, 0.5, 1].flatMap((p) => [shape("text", { x: 0, y: y(p) + 4 }, p.toFixed(1)),
      shape("line", { x1: LEFT, x2: width, y1: y(p), y2: y(p), class: "grid" })]),
    shape("polyline", { class: "line", points: points.map(([i, p]) => `${x(i)},${y(p)}`).join(" ") }),
    ...points.map(([i, p]) => shape("circle", { cx: x(i), cy: y(p), r: points.length > 60 ? 1.5 : 3 })),
    ...makeWordLabels(tokens, x, HEIGHT - 6, width));
}

// A row per unit, a column per word; in other colours than the words, which speak for or against a class.
function drawHeatMap(bytes, units, title) {
  const canvas = make("canvas", { width: bytes.length / units, height: units, role: "img", "aria-label": title });
  const image = new ImageData(canvas.width, units);
  bytes.forEach((byte, i) => {
    const color = byte < 0 ? [140, 81, 10] : [1, 102, 94];
    image.data.set([...color.map((channel) => 255 - Math.abs(byte / 127) * (255 - channel)), 255], 4 * i);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

export function drawGates(body, { layers, tokens, class: name }) {
  const order = `A row is a unit; in the last layer, the first ones speak most for ${name}, the last ones against it.`;
  body.replaceChildren(make("p.note", {}, layers.length ? order : "This network has no gates to show."));
  for (const { name: layer, state_name: state, units, values } of layers) {
    for (const [part, { scale, data }] of Object.entries(values)) {
      const bytes = Int8Array.from(atob(data), (character) => character.charCodeAt(0)); // 127 stands for the scale
      const from = part === state ? `, brown ${signed(-scale)} to` : " gate, white 0 to";
      const title = `${layer}: ${part}${from} green ${signed(scale)}`;
      const axis = shape("svg", { class: "axis", "aria-hidden": true });
      const canvas = drawHeatMap(bytes, units, title);
      body.append(make("h3", {}, title), canvas, axis);
      const width = canvas.clientWidth;
      axis.setAttribute("viewBox", `0 0 ${width} 16`);
      axis.append(...makeWordLabels(tokens, (i) => ((i + 0.5) / tokens.length) * width, 12, width));
    }
  }
}

// Counts of predicted classes, a row per true class.
export const makeConfusion = (names, counts) => makeTable(["class \\ predicted", ...names],
  names.map((label) => [label, ...names.map((guess) => count(counts[label]?.[guess] ?? 0))]));
