// Attention the slow, obvious way: one key at a time, straight from the definition. Shares no code with the viewer.
import assert from "node:assert/strict";

export const near = (a, b, tolerance, what) => assert.ok(Math.abs(a - b) <= tolerance, `${what}: ${a} is not ${b}`);

/** NaN only where NaN is wanted, else near. */
export function same(got, want, tolerance, what) {
  assert.equal(got.length, want.length, what);
  got.forEach((v, n) => {
    if (Number.isNaN(want[n])) assert.ok(Number.isNaN(v), `${what} at ${n}: ${v} is not NaN`);
    else near(v, want[n], tolerance, `${what} at ${n}`);
  });
}

/** All values of a tensor as nested reads by index; fp16 by its definition. */
export function reader(buffer, { dtype, shape, offset }) {
  const bytes = new DataView(buffer);
  return (...index) => {
    const at = index.reduce((sum, i, axis) => sum * shape[axis] + i, 0);
    if (dtype === "float32") return bytes.getFloat32(offset + 4 * at, true);
    if (dtype === "uint8") return bytes.getUint8(offset + at);
    const bits = bytes.getUint16(offset + 2 * at, true);
    const sign = bits >> 15 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : (fraction / 1024) * 2 ** -14);
  };
}

/** Of a level whose tensors may lie in several files. */
const open = (files, tensor) => reader(files[tensor.file ?? "tensors"], tensor);

/**
 * One head's row as a list of keys {i, j, cy, cx, inside, own, p}.
 * @param {Object<string, ArrayBuffer>} files @param {object} level as in the payload @param {string} of "weight", "content" or "position"
 */
export function keysOf(files, level, y, x, h, of = "weight") {
  const { height, width, block_size: b, halo_size: halo, dim_head: d, scale, mask } = level;
  const [q, k, rh, rw] = ["q", "k", "rel_height", "rel_width"].map((name) => open(files, level.tensors[name]));
  const w = b + 2 * halo;
  const keys = [];
  for (let i = 0; i < w; i++) {
    for (let j = 0; j < w; j++) {
      const cy = Math.floor(y / b) * b - halo + i, cx = Math.floor(x / b) * b - halo + j;
      const inside = cy >= 0 && cy < height && cx >= 0 && cx < width;
      const own = Math.floor(cy / b) === Math.floor(y / b) && Math.floor(cx / b) === Math.floor(x / b);
      let logit = 0;
      for (let c = 0; c < d; c++) {
        const key = inside ? k(cy, cx, h, c) : 0;
        if (of !== "position") logit += q(y, x, h, c) * scale * key;
        if (of !== "content") logit += q(y, x, h, c) * scale * (rh(i - (y % b) + w - 1, c) + rw(j - (x % b) + w - 1, c));
      }
      keys.push({ i, j, cy, cx, inside, own, logit });
    }
  }
  if (mask === "published" && keys.every((key) => key.inside)) return keys.map((key) => ({ ...key, p: 1 / keys.length }));
  const takes = (key) => (mask === "valid" ? key.inside : !key.inside);
  const total = keys.filter(takes).reduce((sum, key) => sum + Math.exp(key.logit), 0);
  return keys.map((key) => ({ ...key, p: takes(key) ? Math.exp(key.logit) / total : 0 }));
}

const sumOf = (list) => list.reduce((a, b) => a + b, 0);
const largest = (parts) => parts[0].map((_, n) => Math.max(...parts.map((part) => part[n])));

/** One row as the viewer must give it: head -1 is the mean, -2 the largest of the heads. */
export function rowOf(files, level, y, x, head, of) {
  if (head === -2) return largest(Array.from({ length: level.heads }, (_, h) => rowOf(files, level, y, x, h, of)));
  const norm = open(files, level.tensors.norm);
  const chosen = head < 0 ? Array.from({ length: level.heads }, (_, h) => h) : [head];
  const parts = chosen.map((h) => keysOf(files, level, y, x, h, of === "contribution" ? "weight" : of)
    .map((key) => (of !== "contribution" ? key.p : key.inside ? key.p * norm(key.cy, key.cx, h) : 0)));
  const sum = parts[0].map((_, n) => sumOf(parts.map((part) => part[n])));
  const total = of === "contribution" ? sumOf(sum) : chosen.length;
  return sum.map((v) => (total > 0 ? v / total : 0));
}

/** One head's row of a global layer. */
export function globalRow(files, g, y, x, h) {
  const q = open(files, g.tensors.q), k = open(files, g.tensors.k);
  const e = [];
  for (let cy = 0; cy < g.height; cy++)
    for (let cx = 0; cx < g.width; cx++) {
      let dot = 0;
      for (let c = 0; c < g.key_dim; c++) dot += q(y, x, h, c) * k(cy, cx, h, c);
      e.push(Math.exp(dot * g.scale));
    }
  const total = sumOf(e);
  return e.map((v) => v / total);
}

/** Maps of a whole level from its rows; every query's row is made once. */
export function mapsOf(files, level, head, of) {
  const { height, width, block_size: b, halo_size: halo, heads } = level;
  const wide = Math.ceil(width / b), tall = Math.ceil(height / b), side = b + 2 * halo;
  const queries = [];
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const keys = keysOf(files, level, y, x, 0);
      const inside = keys.filter((key) => key.inside).length;
      queries.push({ y, x, inside, keys: keys.map((key, n) => ({ ...key, n })), row: rowOf(files, level, y, x, head, of) });
    }
  const single = head === -2 ? Array.from({ length: heads }, (_, h) => mapsOf(files, level, h, of)) : null;
  const blank = () => new Array(height * width).fill(NaN);

  /** Who attends to (y, x). */
  const towards = (y, x, times) => {
    const out = blank();
    for (const q of queries) {
      const key = q.keys.find((k) => k.cy === y && k.cx === x);
      if (key) out[q.y * width + q.x] = q.row[key.n] * (times ? q.inside : 1);
    }
    return out;
  };
  /** Mean row of the cells [y0, y1) x [x0, x1). */
  const mean = (y0, x0, y1, x1, times) => {
    if (single) return largest(single.map((one) => one.mean(y0, x0, y1, x1, times)));
    const out = blank(), mine = queries.filter((q) => q.y >= y0 && q.y < y1 && q.x >= x0 && q.x < x1);
    for (const q of mine)
      for (const key of q.keys.filter((k) => k.inside)) {
        const at = key.cy * width + key.cx;
        out[at] = (Number.isNaN(out[at]) ? 0 : out[at]) + (q.row[key.n] * (times ? q.inside : 1)) / mine.length;
      }
    return out;
  };
  const received = () => {
    if (single) return largest(single.map((one) => one.received()));
    const got = new Array(height * width).fill(0), even = new Array(height * width).fill(0);
    for (const q of queries)
      for (const key of q.keys.filter((k) => k.inside)) {
        got[key.cy * width + key.cx] += q.row[key.n];
        even[key.cy * width + key.cx] += 1 / q.inside;
      }
    return got.map((v, n) => v / even[n]);
  };
  const blocks = () => {
    if (single) return largest(single.map((one) => one.blocks()));
    const out = [];
    for (let by = 0; by < tall; by++)
      for (let bx = 0; bx < wide; bx++) {
        const mine = queries.filter((q) => Math.floor(q.y / b) === by && Math.floor(q.x / b) === bx);
        for (let n = 0; n < side * side; n++) out.push(sumOf(mine.map((q) => q.row[n])) / mine.length);
      }
    return out;
  };
  return { towards, mean, received, blocks };
}
