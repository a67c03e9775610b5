// What is shown of the volumes (volumes.js), and how the reader moves in it.
const LAYERS = ["Fixed", "Warped", "Blend", "Checkerboard", "Curtain", "Difference", "Volume change"];
const [FIXED, MOVING, BLEND, CHECKERBOARD, CURTAIN, DIFFERENCE, JACOBIAN] = LAYERS.keys();
const WINDOWS = { Abdomen: [400, 40], Liver: [150, 90], Lung: [1500, -600], Bone: [1800, 400] }; // width, level in HU
const TILE_MM = 30, LINE_MM = 15, DIFFERENCE_HU = 250, OCTAVES = 2, NO_DATA = [58, 66, 78], FOLDED = [255, 214, 10];
const PLANES = [ // horizontal, vertical, normal axis; whether rows run from the highest to the lowest
  { name: "axial", h: 0, v: 1, n: 2, down: true },
  { name: "coronal", h: 0, v: 2, n: 1, down: false },
  { name: "sagittal", h: 1, v: 2, n: 0, down: false },
];
const state = { at: [0, 0, 0], layer: BLEND, window: "Abdomen", mix: 0.5, curtain: 0.5, colour: 0.75, before: false, contours: true, grid: false, hidden: new Set() };
const other = () => volumes[state.before ? "before" : "after"];
const otherLabels = () => volumes[state.before ? "beforeLabels" : "afterLabels"];

// --- one plane's picture ---
function greys() {
  const [width, level] = WINDOWS[state.window];
  return Uint8ClampedArray.from(hu, value => (value - level + width / 2) / width * 255);
}
function change(octaves) { // blue where the moving scan's tissue takes less room than the fixed scan's, red where more
  if (octaves < -OCTAVES * 3) return FOLDED;
  const share = Math.min(Math.abs(octaves) / OCTAVES, 1), fade = 1 - share, deep = Math.max(0, share - 0.5) * 2;
  return octaves < 0 ? [255 * fade, 255 * fade, 255 - 100 * deep] : [255 - 100 * deep, 255 * fade, 255 * fade];
}
function picture(plane) {
  const width = size[plane.h], height = size[plane.v], image = new ImageData(width, height), out = image.data;
  const fixed = volumes.fixed, moving = other(), grey = greys(), { layer } = state;
  const strides = [1, size[0], size[0] * size[1]], start = state.at[plane.n] * strides[plane.n];
  const [dx, dy] = [plane.h, plane.v].map(axis => TILE_MM / (meta.spacing[axis] * meta.steps[axis]));
  const edge = state.curtain * width;
  for (let row = 0, o = 0; row < height; row++) {
    const v = plane.down ? row : height - 1 - row;
    for (let h = 0; h < width; h++, o += 4) {
      const place = start + h * strides[plane.h] + v * strides[plane.v], a = fixed[place], b = moving[place];
      let code = a, colour = null, value = 0;
      if (layer === MOVING) code = b;
      else if (layer === CHECKERBOARD) code = (Math.floor(h / dx) + Math.floor(row / dy)) % 2 ? b : a;
      else if (layer === CURTAIN) code = h < edge ? a : b;
      value = grey[code];
      if (layer === BLEND && b) value = (1 - state.mix) * grey[a] + state.mix * grey[b];
      else if (layer === DIFFERENCE) { if (b) value = 127.5 + (hu[a] - hu[b]) / DIFFERENCE_HU * 127.5; else code = 0; }
      else if (layer === JACOBIAN) {
        const voxel = [0, 0, 0];
        voxel[plane.h] = h; voxel[plane.v] = v; voxel[plane.n] = state.at[plane.n];
        if (volumes.after[place]) colour = change(interpolated(volumes.jacobian, voxelOf(voxel))).map(c => state.colour * c + (1 - state.colour) * value);
        else code = 0;
      }
      colour ??= code ? [value, value, value] : NO_DATA;
      out[o] = colour[0]; out[o + 1] = colour[1]; out[o + 2] = colour[2]; out[o + 3] = 255;
    }
  }
  return image;
}
function draw(plane) {
  const { canvas } = plane, box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(box.width * ratio));
  canvas.height = Math.max(1, Math.round(box.height * ratio));
  const width = size[plane.h], height = size[plane.v], context = canvas.getContext("2d");
  const small = new OffscreenCanvas(width, height);
  small.getContext("2d").putImageData(picture(plane), 0, 0);
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  plane.x = canvas.width / width; plane.y = canvas.height / height; plane.dot = ratio;
  if (state.grid) drawGrid(plane, context);
  if (state.contours) drawContours(plane, context);
  if (state.layer === CURTAIN) line(context, "#fff9", ratio, [[state.curtain * canvas.width, 0, state.curtain * canvas.width, canvas.height]]);
  drawCrosshair(plane, context);
  drawLetters(plane, context);
  describePlane(plane);
}
function line(context, colour, width, segments) {
  context.strokeStyle = colour; context.lineWidth = width; context.beginPath();
  for (const [x0, y0, x1, y1] of segments) { context.moveTo(x0, y0); context.lineTo(x1, y1); }
  context.stroke();
}
const rowOf = (plane, v) => plane.down ? v : size[plane.v] - 1 - v;
function drawCrosshair(plane, context) {
  const x = (state.at[plane.h] + 0.5) * plane.x, y = (rowOf(plane, state.at[plane.v]) + 0.5) * plane.y, gap = 8 * plane.dot;
  const { width, height } = plane.canvas;
  line(context, "#ffe14dcc", plane.dot, [[0, y, x - gap, y], [x + gap, y, width, y], [x, 0, x, y - gap], [x, y + gap, x, height]]);
}
function drawLetters(plane, context) {
  const { width, height } = plane.canvas, margin = 12 * plane.dot;
  context.font = `600 ${13 * plane.dot}px system-ui, sans-serif`;
  context.textAlign = "center"; context.textBaseline = "middle"; context.lineWidth = 3 * plane.dot;
  const places = [[margin, height / 2], [width - margin, height / 2], [width / 2, margin], [width / 2, height - margin]];
  meta.edges[plane.name].forEach((letter, n) => {
    context.strokeStyle = "#000"; context.strokeText(letter, ...places[n]);
    context.fillStyle = "#fff"; context.fillText(letter, ...places[n]);
  });
}

// --- lines ---
function drawContours(plane, context) {
  const moving = state.layer === FIXED ? null : otherLabels(), fixed = state.layer === MOVING && moving ? null : volumes.fixedLabels;
  if (fixed) outline(plane, context, fixed, false);
  if (moving) outline(plane, context, moving, Boolean(fixed));
}
function outline(plane, context, labels, dotted) { // along the edges of the voxels' quadrants
  const strides = [1, size[0], size[0] * size[1]], start = state.at[plane.n] * strides[plane.n];
  const width = size[plane.h], height = size[plane.v], paths = new Map();
  const label = (h, row) => labels[start + h * strides[plane.h] + (plane.down ? row : height - 1 - row) * strides[plane.v]];
  for (let row = 0; row < height - 1; row++) for (let h = 0; h < width - 1; h++) {
    const corners = [label(h, row), label(h + 1, row), label(h + 1, row + 1), label(h, row + 1)];
    if (corners[0] === corners[1] && corners[0] === corners[2] && corners[0] === corners[3]) continue;
    if (dotted && (h + row & 3) > 1) continue;
    for (const own of new Set(corners)) {
      if (!own || state.hidden.has(own)) continue;
      const middles = [[h + 1, row + 0.5], [h + 1.5, row + 1], [h + 1, row + 1.5], [h + 0.5, row + 1]];
      const crossed = middles.filter((_, n) => (corners[n] === own) !== (corners[(n + 1) % 4] === own));
      if (!paths.has(own)) paths.set(own, []);
      for (let n = 0; n < crossed.length; n += 2)
        paths.get(own).push([crossed[n][0] * plane.x, crossed[n][1] * plane.y, crossed[n + 1][0] * plane.x, crossed[n + 1][1] * plane.y]);
    }
  }
  for (const [own, segments] of paths) {
    line(context, "#000a", 3 * plane.dot, segments);
    line(context, meta.organs[own - 1].colour, 1.5 * plane.dot, segments);
  }
}
function drawGrid(plane, context) { // lines of equal place in the moving scan, after the affine is undone
  const [width, height] = [nodes[plane.h], nodes[plane.v]], places = [new Float32Array(width * height), new Float32Array(width * height)];
  const normal = voxelOf(state.at)[plane.n], shown = new Uint8Array(width * height);
  for (let v = 0; v < height; v++) for (let h = 0; h < width; h++) {
    const voxel = [0, 0, 0];
    voxel[plane.h] = h * meta.apart[plane.h]; voxel[plane.v] = v * meta.apart[plane.v]; voxel[plane.n] = normal;
    const world = times(meta.toWorld, voxel), shift = moved(voxel);
    const origin = times(worldToVoxel, times(undoAffine, world.map((value, axis) => value + shift[axis])));
    [plane.h, plane.v].forEach((axis, n) => places[n][h + width * v] = origin[axis] * meta.spacing[axis]);
    const near = voxel.map((value, axis) => Math.min(Math.floor(value / meta.steps[axis]), size[axis] - 1));
    near[plane.n] = state.at[plane.n];
    shown[h + width * v] = volumes.after[index(near)] ? 1 : 0;
  }
  const segments = [];
  const x = h => (h * meta.apart[plane.h] + 0.5) / meta.steps[plane.h] * plane.x;
  const y = v => { const down = (v * meta.apart[plane.v] + 0.5) / meta.steps[plane.v] * plane.y; return plane.down ? down : size[plane.v] * plane.y - down; };
  for (const values of places) for (let v = 0; v < height - 1; v++) for (let h = 0; h < width - 1; h++) {
    const corner = h + width * v;
    if (!(shown[corner] && shown[corner + 1] && shown[corner + width] && shown[corner + width + 1])) continue;
    for (const triangle of [[[h, v], [h + 1, v], [h, v + 1]], [[h + 1, v + 1], [h + 1, v], [h, v + 1]]]) {
      const own = triangle.map(([i, j]) => values[i + width * j] / LINE_MM);
      for (let level = Math.ceil(Math.min(...own)); level <= Math.max(...own); level++) {
        const ends = [];
        for (const [p, q] of [[0, 1], [1, 2], [2, 0]]) {
          if (own[p] < level === own[q] < level) continue;
          const part = (level - own[p]) / (own[q] - own[p]);
          ends.push(x(triangle[p][0] + part * (triangle[q][0] - triangle[p][0])), y(triangle[p][1] + part * (triangle[q][1] - triangle[p][1])));
        }
        if (ends.length === 4) segments.push(ends);
      }
    }
  }
  line(context, "#ffe14d99", plane.dot, segments);
}

// --- what stands at the crosshair ---
const fixedTo = (value, digits) => value.toFixed(digits).replace("-", "−");
const organAt = labels => { const code = labels ? labels[index(state.at)] : 0; return code ? meta.organs[code - 1].name : "–"; };
function readings() {
  const place = index(state.at), voxel = voxelOf(state.at), world = times(meta.toWorld, voxel), shift = moved(voxel);
  const target = world.map((value, axis) => value + shift[axis]), affine = times(meta.affine, world);
  const beyond = Math.hypot(...target.map((value, axis) => value - affine[axis]));
  const octaves = interpolated(volumes.jacobian, voxel), [a, b] = [hu[volumes.fixed[place]], hu[other()[place]]];
  const [least, most] = [1, 255].map(code => (code - meta.noChange) / meta.stepsPerOctave);
  const known = text => Number.isNaN(b) ? "no data" : text;
  const found = {
    place: ["Place, LPS mm", world.map(value => fixedTo(value, 1)).join(", ")],
    voxel: ["Voxel of the fixed file", times(meta.toFile, voxel).map(value => Number.isInteger(value) ? value : fixedTo(value, 1)).join(", ")],
    fixed: ["Fixed", `${fixedTo(a, 0)} HU`],
    moving: [state.before ? "Moving, affine alone" : "Moving, warped", known(`${fixedTo(b, 0)} HU`)],
    beyond: ["Moved beyond the affine", `${fixedTo(beyond, 1)} mm`],
    jacobian: ["Jacobian beyond the affine", octaves < -9 ? "folded" : fixedTo(2 ** octaves, 2) + (octaves >= most ? " or more" : octaves <= least ? " or less" : "")],
  };
  found.displacement = ["Displacement, LPS mm", `${fixedTo(Math.hypot(...shift), 1)} (${shift.map(value => fixedTo(value, 1)).join(", ")})`];
  if (volumes.fixedLabels) found.organ = ["Organ, fixed", organAt(volumes.fixedLabels)];
  if (otherLabels()) found["moving-organ"] = ["Organ, moving", organAt(otherLabels())];
  return found;
}
let speaking;
function read() {
  const found = readings();
  for (const [key, [name, value]] of Object.entries(found)) {
    let entry = $("value-" + key);
    if (!entry) {
      const group = document.createElement("div");
      group.append(document.createElement("dt"), document.createElement("dd"));
      (entry = group.lastChild).id = "value-" + key;
      $("readout").append(group);
    }
    entry.previousSibling.textContent = name;
    entry.textContent = value;
  }
  clearTimeout(speaking); // not every place that a drag passes
  speaking = setTimeout(() => $("spoken").textContent = Object.values(found).map(([name, value]) => `${name}: ${value}`).join("; "), 600);
}
function describePlane(plane) {
  const slice = `${state.at[plane.n] + 1} of ${size[plane.n]}`;
  plane.slider.value = state.at[plane.n];
  plane.slider.setAttribute("aria-valuetext", `slice ${slice}`);
  plane.output.textContent = slice.replace(" of ", " / ");
  plane.canvas.setAttribute("aria-label", `${plane.name} plane, slice ${slice}, ${LAYERS[state.layer]}; arrow keys move the crosshair`);
}

// --- the controls ---
let waiting = 0;
function update() { // at most once a frame
  waiting ||= requestAnimationFrame(() => {
    waiting = 0;
    $("layers").childNodes.forEach((button, n) => { button.setAttribute("aria-checked", n === state.layer); button.tabIndex = n === state.layer ? 0 : -1; });
    for (const name of ["before", "contours", "grid"]) $(name).setAttribute("aria-pressed", state[name]);
    $("mix-label").hidden = ![BLEND, CURTAIN, JACOBIAN].includes(state.layer);
    $("mix").value = 100 * state[shared()];
    $("mix-label").firstChild.textContent = { [BLEND]: "Moving scan ", [CURTAIN]: "Curtain ", [JACOBIAN]: "Colour " }[state.layer] ?? "";
    $("window").value = state.window;
    $("grid-text").hidden = !state.grid;
    $("legend").hidden = !state.contours || !meta.organs.length;
    drawBar();
    PLANES.forEach(plane => { if (!plane.figure.hidden) draw(plane); });
    read();
  });
}
function set(changes) { Object.assign(state, changes); update(); }
function go(axis, value) { const at = [...state.at]; at[axis] = Math.min(Math.max(Math.round(value), 0), size[axis] - 1); set({ at }); }
const shared = () => ({ [CURTAIN]: "curtain", [JACOBIAN]: "colour" })[state.layer] ?? "mix"; // what the slider moves
function share(value) { set({ [shared()]: Math.min(Math.max(value, 0), 1) }); }
function drawBar() {
  const scales = { [DIFFERENCE]: [["−250", "0", "250"], "fixed − moving, HU", at => Array(3).fill(127.5 + at * 127.5)],
    [JACOBIAN]: [["¼", "½", "1", "2", "4"], "volume in the moving scan of what fills one here, beyond the affine; yellow: folded", at => change(at * OCTAVES)] };
  const scale = scales[state.layer];
  $("bar").hidden = !scale;
  if (!scale) return;
  const canvas = $("bar").querySelector("canvas"), image = new ImageData(canvas.width, 1);
  for (let n = 0; n < canvas.width; n++) image.data.set([...scale[2](2 * n / (canvas.width - 1) - 1), 255], 4 * n);
  canvas.getContext("2d").putImageData(image, 0, 0);
  $("ticks").replaceChildren(...scale[0].map(text => Object.assign(document.createElement("span"), { textContent: text })));
  $("bar-text").textContent = scale[1];
}
function alone(plane) {
  const already = $("planes").classList.toggle("alone");
  PLANES.forEach(each => each.figure.hidden = already && each !== plane);
  update();
}
function point(plane, event) {
  const box = plane.canvas.getBoundingClientRect();
  const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
  if (plane.dragsCurtain) return share(x);
  const row = Math.min(Math.max(Math.floor(y * size[plane.v]), 0), size[plane.v] - 1), at = [...state.at];
  at[plane.h] = Math.min(Math.max(Math.floor(x * size[plane.h]), 0), size[plane.h] - 1);
  at[plane.v] = rowOf(plane, row);
  set({ at });
}
function planeKeys(plane, event) {
  const steps = { ArrowLeft: [plane.h, -1], ArrowRight: [plane.h, 1], ArrowUp: [plane.v, plane.down ? -1 : 1], ArrowDown: [plane.v, plane.down ? 1 : -1], PageUp: [plane.n, 1], PageDown: [plane.n, -1], Home: [plane.n, -1e9], End: [plane.n, 1e9] };
  const step = steps[event.key];
  if (step) go(step[0], state.at[step[0]] + step[1]);
  else if (event.key === "Enter") alone(plane);
  else return;
  event.preventDefault();
}
function pageKeys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const names = Object.keys(WINDOWS), layer = LAYERS[event.key - 1];
  if (layer) set({ layer: event.key - 1 });
  else if (event.key === "w") set({ window: names[(names.indexOf(state.window) + 1) % names.length] });
  else if (event.key === "[" || event.key === "]") share(state[shared()] + (event.key === "]" ? 0.05 : -0.05));
  else if (event.key === "t") $("theme").click();
  else for (const name of ["before", "contours", "grid"]) if (event.key === name[0]) set({ [name]: !state[name] });
}
function makePlane(plane) {
  const [width, height] = [plane.h, plane.v].map(axis => size[axis] * meta.steps[axis] * meta.spacing[axis]);
  const figure = plane.figure = document.createElement("figure");
  figure.style.cssText = `flex: ${width} 1 0; --ratio: ${width / height}`;
  const canvas = plane.canvas = document.createElement("canvas");
  canvas.id = "plane-" + plane.name; canvas.tabIndex = 0; canvas.setAttribute("role", "img");
  plane.slider = Object.assign(document.createElement("input"), { type: "range", min: 0, max: size[plane.n] - 1, id: "slice-" + plane.name });
  plane.slider.setAttribute("aria-label", `Slice of the ${plane.name} plane`);
  plane.output = document.createElement("output");
  const caption = document.createElement("figcaption"), name = document.createElement("b");
  name.textContent = plane.name[0].toUpperCase() + plane.name.slice(1);
  caption.append(name, plane.slider, plane.output);
  figure.append(canvas, caption);
  $("planes").append(figure);
  plane.slider.oninput = () => go(plane.n, plane.slider.valueAsNumber);
  canvas.onkeydown = event => planeKeys(plane, event);
  canvas.ondblclick = () => alone(plane);
  canvas.onpointerdown = event => {
    const box = canvas.getBoundingClientRect();
    plane.dragsCurtain = state.layer === CURTAIN && Math.abs(event.clientX - box.left - state.curtain * box.width) < 14;
    plane.drags = true;
    canvas.setPointerCapture(event.pointerId);
    point(plane, event);
  };
  canvas.onpointermove = event => { if (plane.drags) point(plane, event); };
  canvas.onpointerup = canvas.onpointercancel = () => plane.drags = false;
  canvas.addEventListener("wheel", event => { event.preventDefault(); go(plane.n, state.at[plane.n] + (event.deltaY < 0 ? 1 : -1)); }, { passive: false });
}
function makeControls() {
  LAYERS.forEach((name, n) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: name, title: `Key ${n + 1}`, id: `layer-${n + 1}` });
    button.setAttribute("role", "radio");
    button.onclick = () => set({ layer: n });
    button.onkeydown = event => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      set({ layer: (n + step + LAYERS.length) % LAYERS.length });
      $("layers").childNodes[state.layer].focus();
    };
    $("layers").append(button);
  });
  for (const name of ["before", "contours", "grid"]) $(name).onclick = () => set({ [name]: !state[name] });
  $("contours").hidden = !meta.organs.length;
  $("mix").oninput = () => share($("mix").value / 100);
  $("window").append(...Object.entries(WINDOWS).map(([name, [width, level]]) => new Option(`${name}, W ${width} L ${level}`.replace("-", "−"), name)));
  $("window").onchange = () => set({ window: $("window").value });
  const both = volumes.fixedLabels && volumes.afterLabels;
  meta.organs.forEach((organ, n) => {
    const label = document.createElement("label"), box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
    const mark = document.createElement("i");
    mark.style.background = organ.colour;
    box.onchange = () => { state.hidden[box.checked ? "delete" : "add"](n + 1); update(); };
    label.append(box, mark, organ.name);
    $("legend").append(label);
  });
  if (both) $("legend").append("solid: fixed, dotted: moving");
  document.querySelectorAll("button.organ").forEach(button => button.onclick = () => visit(Number(button.dataset.label)));
}
function visit(label) { // the fixed scan's voxel of the organ that is nearest to its middle
  const code = meta.labels.indexOf(label) + 1, labels = volumes.fixedLabels, middle = [0, 0, 0];
  const own = [];
  labels.forEach((value, n) => { if (value === code) own.push([n % size[0], Math.floor(n / size[0]) % size[1], Math.floor(n / size[0] / size[1])]); });
  if (!own.length) return;
  own.forEach(p => p.forEach((value, axis) => middle[axis] += value / own.length));
  const far = p => Math.hypot(...p.map((value, axis) => (value - middle[axis]) * meta.steps[axis] * meta.spacing[axis]));
  set({ at: own.reduce((best, p) => far(p) < far(best) ? p : best) });
  $("viewer").scrollIntoView({ block: "start" });
}
async function start() {
  try {
    await unpack();
  } catch (error) {
    $("problem").textContent = `The planes cannot be shown (${error.message}): open this page with a newer browser.`;
    $("problem").hidden = false;
    $("viewer").hidden = true;
    return;
  }
  state.at = meta.start.map((value, axis) => Math.min(Math.max(Math.floor(value / meta.steps[axis]), 0), size[axis] - 1));
  makeControls();
  PLANES.forEach(makePlane);
  document.addEventListener("keydown", pageKeys);
  $("viewer").setAttribute("aria-busy", "false");
  new ResizeObserver(update).observe($("planes"));
  update();
}
start();
