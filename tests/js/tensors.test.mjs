// tensors.js against a slow, obvious oracle that shares no code with it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { HaloVis, payload, random, toHalf, Writer } from "./viewer.mjs";

const T = HaloVis.tensors;
const near = (a, b, tolerance, what) => assert.ok(Math.abs(a - b) <= tolerance, `${what}: ${a} is not ${b}`);

/** All values of a tensor as nested reads by index; fp16 by its definition. */
function reader(buffer, { dtype, shape, offset }) {
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

/** One head's row as a list of keys {i, j, cy, cx, inside, p}. */
function oracle(buffer, level, y, x, h) {
  const { height, width, block_size: b, halo_size: halo, dim_head: d, scale, mask } = level;
  const q = reader(buffer, level.tensors.q), k = reader(buffer, level.tensors.k);
  const rh = reader(buffer, level.tensors.rel_height), rw = reader(buffer, level.tensors.rel_width);
  const w = b + 2 * halo;
  const keys = [];
  for (let i = 0; i < w; i++) {
    for (let j = 0; j < w; j++) {
      const cy = Math.floor(y / b) * b - halo + i, cx = Math.floor(x / b) * b - halo + j;
      const inside = cy >= 0 && cy < height && cx >= 0 && cx < width;
      let logit = 0;
      for (let c = 0; c < d; c++) {
        const key = inside ? k(cy, cx, h, c) : 0;
        logit += q(y, x, h, c) * scale * (key + rh(i - (y % b) + w - 1, c) + rw(j - (x % b) + w - 1, c));
      }
      keys.push({ i, j, cy, cx, inside, logit });
    }
  }
  if (mask === "published" && keys.every((key) => key.inside)) return keys.map((key) => ({ ...key, p: 1 / keys.length }));
  const takes = (key) => (mask === "valid" ? key.inside : !key.inside);
  const total = keys.filter(takes).reduce((sum, key) => sum + Math.exp(key.logit), 0);
  return keys.map((key) => ({ ...key, p: takes(key) ? Math.exp(key.logit) / total : 0 }));
}

/** Rows of all heads -> the row that the viewer must give. */
function expected(buffer, level, y, x, head, of) {
  const norm = reader(buffer, level.tensors.norm);
  const chosen = head < 0 ? Array.from({ length: level.heads }, (_, h) => h) : [head];
  const parts = chosen.map((h) => oracle(buffer, level, y, x, h)
    .map((key) => (of === "weight" ? key.p : key.inside ? key.p * norm(key.cy, key.cx, h) : 0)));
  const sum = parts[0].map((_, n) => parts.reduce((total, part) => total + part[n], 0));
  const total = of === "weight" ? chosen.length : sum.reduce((a, b) => a + b, 0);
  return sum.map((v) => (total > 0 ? v / total : 0));
}

const SHAPES = [
  { height: 1, width: 1, block: 8, halo: 3, heads: 2 },
  { height: 7, width: 9, block: 4, halo: 2, heads: 3 },
  { height: 5, width: 12, block: 5, halo: 1, heads: 1 },
  { height: 8, width: 8, block: 4, halo: 0, heads: 2 },
  { height: 6, width: 5, block: 1, halo: 2, heads: 4 },
  { height: 12, width: 12, block: 4, halo: 3, heads: 2 },
  { height: 3, width: 4, block: 1, halo: 0, heads: 2 },
];

for (const mask of ["valid", "published"]) {
  for (const [n, shape] of SHAPES.entries()) {
    for (const dtype of ["float16", "float32"]) {
      test(`rows, mass and numbers: ${mask}, ${shape.height}x${shape.width}, block ${shape.block}, halo ${shape.halo}, ${dtype}`, () => {
        const { meta, buffer } = payload({ seed: 10 + n, ...shape, mask, dtype });
        const level = meta.levels.P4;
        const layer = T.open(buffer, meta).levels.P4;
        const frame = T.frame(meta.picture, meta.input);
        for (let y = 0; y < shape.height; y++) {
          for (let x = 0; x < shape.width; x++) {
            for (let head = -1; head < shape.heads; head++) {
              for (const of of ["weight", "contribution"]) {
                const row = T.row(layer, y, x, head, of);
                const want = expected(buffer, level, y, x, head, of);
                assert.ok(row instanceof Float32Array);
                assert.equal(row.length, (shape.block + 2 * shape.halo) ** 2);
                row.forEach((v, i) => near(v, want[i], 1e-6, `(${y}, ${x}) head ${head} ${of} key ${i}`));
                const total = want.reduce((a, b) => a + b, 0);
                if (of === "weight") near(total, 1, 1e-9, "the oracle's row");
                const keys = oracle(buffer, level, y, x, 0);
                const part = { block: 0, halo: 0, padding: 0 };
                keys.forEach((key, i) => {
                  const own = Math.floor(key.cy / shape.block) === Math.floor(y / shape.block) && Math.floor(key.cx / shape.block) === Math.floor(x / shape.block);
                  part[key.inside ? (own ? "block" : "halo") : "padding"] += want[i];
                });
                const mass = T.mass(layer, y, x, row);
                for (const key of Object.keys(part)) near(mass[key], part[key], 1e-5, key);
                near(mass.block + mass.halo + mass.padding, total, 1e-5, "mass");
                if (mask === "valid") assert.equal(mass.padding, 0);
                const whole = keys.every((key) => key.inside);
                const valid = mask === "valid" || whole ? keys.filter((key) => key.inside).length : keys.filter((key) => !key.inside).length;
                assert.equal(T.validKeys(layer, y, x), valid);
                const bits = -want.reduce((sum, p) => sum + (p > 0 ? p * Math.log(p) : 0), 0);
                near(T.entropy(layer, y, x, row), valid > 1 ? bits / Math.log(valid) : 0, 1e-5, "entropy");
                let far = 0, seen = 0;
                keys.forEach((key, i) => {
                  if (!key.inside) return;
                  const dx = ((key.cx - x) * level.stride * meta.picture.width) / meta.input.new_width;
                  const dy = ((key.cy - y) * level.stride * meta.picture.height) / meta.input.new_height;
                  seen += want[i];
                  far += want[i] * Math.sqrt(dx * dx + dy * dy);
                });
                const distance = T.distance(layer, y, x, row, frame);
                if (seen > 0) near(distance, far / seen, 1e-3, "distance");
                else assert.ok(Number.isNaN(distance));
              }
            }
          }
        }
      });
    }
  }
}

test("contributions of a layer that adds nothing are all zero", () => {
  const { meta, buffer } = payload({ norms: 0 });
  const layer = T.open(buffer, meta).levels.P4;
  for (const head of [-1, 0, 1]) assert.ok(T.row(layer, 2, 3, head, "contribution").every((v) => v === 0));
  assert.equal(T.entropy(layer, 2, 3, T.row(layer, 2, 3, 0, "contribution")), 0);
});

test("large logits do not overflow", () => {
  const { meta } = payload();
  const w = new Writer();
  for (const [name, tensor] of Object.entries(meta.levels.P4.tensors))
    if (tensor) meta.levels.P4.tensors[name] = w.add(new Array(tensor.shape.reduce((a, b) => a * b, 1)).fill(200), tensor.shape);
  const layer = T.open(w.buffer(), { ...meta, global: {} }).levels.P4;
  const row = T.row(layer, 0, 0, 0);
  near(row.reduce((a, b) => a + b, 0), 1, 1e-5, "sum");
});

test("a global row is the softmax over all cells", () => {
  const { meta, buffer } = payload({ seed: 5 });
  const g = meta.global.halo.layer10;
  const layer = T.open(buffer, meta).global.halo.layer10;
  const q = reader(buffer, g.tensors.q), k = reader(buffer, g.tensors.k);
  const one = (y, x, h) => {
    const e = [];
    for (let cy = 0; cy < g.height; cy++)
      for (let cx = 0; cx < g.width; cx++) {
        let dot = 0;
        for (let c = 0; c < g.key_dim; c++) dot += q(y, x, h, c) * k(cy, cx, h, c);
        e.push(Math.exp(dot * g.scale));
      }
    const total = e.reduce((a, b) => a + b, 0);
    return e.map((v) => v / total);
  };
  for (let y = 0; y < g.height; y++)
    for (let x = 0; x < g.width; x++) {
      const heads = [0, 1].map((h) => one(y, x, h));
      heads.forEach((want, h) => T.row(layer, y, x, h).forEach((v, i) => near(v, want[i], 1e-6, `head ${h}`)));
      T.row(layer, y, x, -1).forEach((v, i) => near(v, (heads[0][i] + heads[1][i]) / 2, 1e-6, "mean"));
    }
  near(T.row(layer, 1, 1, -1, "contribution").reduce((a, b) => a + b, 0), 1, 1e-6, "a global layer has weights only");
});

test("half precision: known values, subnormals, and every number back and forth", () => {
  const table = T.halfTable();
  const known = { 0x0000: 0, 0x3c00: 1, 0xc000: -2, 0x7bff: 65504, 0x0400: 2 ** -14, 0x0001: 2 ** -24, 0x03ff: 1023 * 2 ** -24, 0x3555: 0.333251953125, 0x7c00: Infinity, 0xfc00: -Infinity };
  for (const [bits, value] of Object.entries(known)) assert.equal(table[Number(bits)], value);
  assert.ok(Object.is(table[0x8000], -0));
  assert.ok(Number.isNaN(table[0x7e00]));
  for (let bits = 0; bits < 65536; bits++) if (!Number.isNaN(table[bits])) assert.equal(toHalf(table[bits]), bits);
});

test("decoding: types, slices, views into larger arrays, and clear errors", () => {
  const w = new Writer();
  const half = w.add([1, -0.5, 3, 4, 5], [5]), single = w.add([1.25, 2.5], [2], "float32"), byte = w.add([7, 8, 255], [3], "uint8");
  const buffer = w.buffer();
  assert.equal(single.offset % 8, 0);
  assert.deepEqual([...T.slice(T.view(buffer, half), 1, 3)], [-0.5, 3, 4]);
  assert.deepEqual([...T.slice(T.view(buffer, single), 0, 2)], [1.25, 2.5]);
  assert.deepEqual([...T.slice(T.view(buffer, byte), 0, 3)], [7, 8, 255]);
  assert.throws(() => T.view(buffer, { ...half, dtype: "int4" }), /unknown dtype int4/);
  assert.throws(() => T.view(buffer, { ...single, shape: [500] }, "P3.q"), /P3\.q: needs bytes up to/);
  const { meta, buffer: file } = payload();
  const padded = new Uint8Array(file.byteLength + 3);
  padded.set(new Uint8Array(file), 3);
  const row = T.row(T.open(padded.subarray(3), meta).levels.P4, 1, 1);
  assert.deepEqual([...row], [...T.row(T.open(file, meta).levels.P4, 1, 1)]);
  assert.throws(() => T.open(file, { ...meta, version: 2 }), /version 1/);
  assert.deepEqual(T.open(new ArrayBuffer(0), { version: 1 }), { levels: {}, global: { baseline: {}, halo: {} } });
});

test("a cell or head that does not exist is refused", () => {
  const { meta, buffer } = payload();
  const layer = T.open(buffer, meta).levels.P4;
  for (const [y, x, head] of [[7, 0, 0], [0, 9, 0], [-1, 0, 0], [0.5, 0, 0], [0, 0, 2], [0, 0, -2], [NaN, 0, 0]])
    assert.throws(() => T.row(layer, y, x, head), RangeError);
});

test("geometry: photo -> input -> photo, cells and their rectangles", () => {
  const r = random(3);
  for (let n = 0; n < 300; n++) {
    const picture = { width: r.int(1, 3000), height: r.int(1, 3000) };
    const input = { left: r.int(0, 40), top: r.int(0, 40), new_width: r.int(1, 1280), new_height: r.int(1, 1280) };
    const f = T.frame(picture, input);
    const [px, py] = [r.next() * picture.width, r.next() * picture.height];
    const [ix, iy] = T.toInput(f, px, py);
    near(ix, input.left + (px / picture.width) * input.new_width, 1e-9, "input x");
    const [bx, by] = T.toPhoto(f, ix, iy);
    near(bx, px, 1e-9 * picture.width, "photo x");
    near(by, py, 1e-9 * picture.height, "photo y");
    const stride = [8, 16, 32][r.int(0, 2)];
    const layer = { stride, width: 200, height: 200 };
    const [y, x] = T.cellAt(layer, ix, iy);
    assert.ok(x * stride <= ix && ix < (x + 1) * stride && y * stride <= iy && iy < (y + 1) * stride);
    assert.deepEqual(T.cellAt(layer, ...T.centreOf(layer, y, x)), [y, x]);
    const rect = T.cellsRect(f, layer, y, x, y + 1, x + 1);
    assert.ok(rect.x <= px + 1e-6 && px <= rect.x + rect.w + 1e-6 && rect.y <= py + 1e-6 && py <= rect.y + rect.h + 1e-6);
    near(rect.w, (stride * picture.width) / input.new_width, 1e-6, "width of a cell in the photo");
  }
  const layer = { stride: 8, width: 10, height: 6 };
  assert.deepEqual(T.cellAt(layer, -5, -5), [0, 0]);
  assert.deepEqual(T.cellAt(layer, 1e6, 1e6), [5, 9]);
  assert.deepEqual(T.cellAt(layer, 8, 7.999), [0, 1]);
});
