"use strict";
// Arrays are in anatomical order: x towards Left, y Posterior, z Superior (src/mics/report/volumes.py).
const $ = id => document.getElementById(id);
const meta = JSON.parse($("meta").textContent);
const size = meta.size.map((n, axis) => Math.floor(n / meta.steps[axis])); // voxels shown
const nodes = meta.size.map((n, axis) => Math.ceil(n / meta.apart[axis])); // of the deformation
const volumes = {};

// --- unpacking ---
async function unpacked(name) {
  const text = atob($("volume-" + name).textContent);
  const packed = Uint8Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
async function words(name) { // all low bytes come before all high ones
  const bytes = await unpacked(name), n = bytes.length / 2, values = new Uint16Array(n);
  for (let i = 0; i < n; i++) values[i] = bytes[i] | bytes[n + i] << 8;
  return values;
}
async function displacement(axis) { // each value less the one before it
  const changes = await words("displacement" + axis), values = new Int16Array(changes.length);
  for (let i = 0, sum = 0; i < values.length; i++) values[i] = sum += changes[i];
  return Float32Array.from(values, value => value / meta.stepsPerMm);
}
async function unpack() {
  for (const name of ["fixed", "before", "after"]) volumes[name] = await words(name);
  for (const name of ["fixedLabels", "beforeLabels", "afterLabels"]) if ($("volume-" + name)) volumes[name] = await words(name);
  volumes.displacement = [await displacement(0), await displacement(1), await displacement(2)];
  // What is folded has no logarithm: far below what is drawn.
  volumes.jacobian = Float32Array.from(await unpacked("jacobian"), code => code ? (code - meta.noChange) / meta.stepsPerOctave : -99);
}

// --- geometry and values ---
const times = (m, p) => [0, 1, 2].map(row => m[row][0] * p[0] + m[row][1] * p[1] + m[row][2] * p[2] + m[row][3]);
function inverse(m) {
  const [[a, b, c], [d, e, f], [g, h, i]] = m, D = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  const r = [[e * i - f * h, c * h - b * i, b * f - c * e], [f * g - d * i, a * i - c * g, c * d - a * f], [d * h - e * g, b * g - a * h, a * e - b * d]]
    .map(row => row.map(value => value / D));
  const shift = [0, 1, 2].map(row => -(r[row][0] * m[0][3] + r[row][1] * m[1][3] + r[row][2] * m[2][3]));
  return r.map((row, n) => [...row, shift[n]]);
}
const worldToVoxel = inverse(meta.toWorld), undoAffine = inverse(meta.affine);
const index = p => p[0] + size[0] * (p[1] + size[1] * p[2]);
const voxelOf = p => p.map((value, axis) => meta.steps[axis] * value + (meta.steps[axis] - 1) / 2); // of the fixed scan, from a shown one
function interpolated(values, voxel) { // linear between the nodes, constant beyond them
  const low = [0, 0, 0], part = [0, 0, 0];
  for (let axis = 0; axis < 3; axis++) {
    const place = Math.min(Math.max(voxel[axis] / meta.apart[axis], 0), nodes[axis] - 1);
    low[axis] = Math.min(Math.floor(place), Math.max(nodes[axis] - 2, 0));
    part[axis] = place - low[axis];
  }
  let sum = 0;
  for (let corner = 0; corner < 8; corner++) {
    let weight = 1, place = 0, stride = 1;
    for (let axis = 0; axis < 3; axis++) {
      const high = corner >> axis & 1;
      weight *= high ? part[axis] : 1 - part[axis];
      place += stride * (low[axis] + high);
      stride *= nodes[axis];
    }
    if (weight) sum += weight * values[place];
  }
  return sum;
}
const moved = voxel => volumes.displacement.map(component => interpolated(component, voxel));
const hu = new Float32Array(meta.codes.code.at(-1) + 1).map((_, code) => {
  const knots = meta.codes.code, part = Math.max(knots.findIndex(knot => code <= knot), 1);
  const [a, b] = [knots[part - 1], knots[part]], [low, high] = [meta.codes.hu[part - 1], meta.codes.hu[part]];
  return code ? low + (code - a) / (b - a) * (high - low) : NaN;
});
