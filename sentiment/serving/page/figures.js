// The history of a probability as a line chart, and gates as heat maps.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 120, LEFT = 28;

function shape(tag, attributes, text = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

export function drawChart(svg, explanation) {
  const { tokens } = explanation;
  const width = svg.clientWidth || 600;
  const points = tokens.map((t, i) => [i, t.probability]).filter(([, p]) => p != null);
  const x = (i) => LEFT + 4 + (tokens.length > 1 ? (i / (tokens.length - 1)) * (width - LEFT - 8) : 0);
  const y = (p) => 6 + (1 - p) * (HEIGHT - 12);
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `p(${explanation.class}) after each word, at the end ${points.at(-1)[1].toFixed(3)}`);
  svg.replaceChildren(
    ...[0, 0.5, 1].flatMap((p) => [
      shape("line", { x1: LEFT, x2: width, y1: y(p), y2: y(p), class: "grid" }),
      shape("text", { x: 0, y: y(p) + 4 }, p.toFixed(1)),
    ]),
    shape("polyline", { class: "line", points: points.map(([i, p]) => `${x(i)},${y(p)}`).join(" ") }),
    ...points.map(([i, p]) => {
      const dot = shape("circle", { cx: x(i), cy: y(p), r: points.length > 60 ? 1.5 : 3, fill: "currentColor" });
      dot.append(shape("title", {}, `${tokens[i].token}: ${p.toFixed(3)}`));
      return dot;
    }),
  );
}

// Values of a heat map in rows: signed bytes, of which 127 stands for the scale.
function decode({ scale, data }, rows) {
  const bytes = Int8Array.from(atob(data), (character) => character.charCodeAt(0));
  const width = bytes.length / rows;
  return Array.from({ length: rows }, (_, i) => Array.from(bytes.subarray(i * width, (i + 1) * width), (b) => (b / 127) * scale));
}

// Rows are units, columns tokens. Colors go from red at -scale through white to blue at scale.
function drawHeatMap(values, scale) {
  const canvas = document.createElement("canvas");
  [canvas.height, canvas.width] = [values.length, values[0].length];
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  values.flat().forEach((value, i) => {
    const end = value < 0 ? [178, 24, 43] : [33, 102, 172];
    const strength = Math.min(1, Math.abs(value) / scale);
    image.data.set([...end.map((channel) => 255 - strength * (255 - channel)), 255], 4 * i);
  });
  context.putImageData(image, 0, 0);
  return canvas;
}

export function drawGates(details, explanation) {
  details.replaceChildren(details.querySelector("summary"));
  if (!explanation.layers.length) {
    details.append("This network has no gates that could be shown.");
  }
  for (const layer of explanation.layers) {
    for (const [name, map] of Object.entries(layer.values)) {
      const values = decode(map, layer.units);
      const isState = name === layer.state_name;
      const title = document.createElement("div");
      title.className = "note";
      title.textContent = `${layer.name}: ${isState ? name : `${name} gate`}`;
      const canvas = drawHeatMap(values, isState ? map.scale : 1);
      canvas.addEventListener("mousemove", (event) => {
        const row = Math.floor((event.offsetY / canvas.clientHeight) * values.length);
        const column = Math.floor((event.offsetX / canvas.clientWidth) * values[0].length);
        canvas.title = `${explanation.tokens[column]?.token}: ${values[row]?.[column]?.toFixed(2)}`;
      });
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${title.textContent}, a row per unit, a column per word`);
      details.append(title, canvas);
    }
  }
}
