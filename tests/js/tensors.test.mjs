// tensors.js against a slow, obvious oracle that shares no code with it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { globalRow, keysOf, near, reader, rowOf, same } from "./oracle.mjs";
import { HaloVis, payload, random, toHalf, Writer } from "./viewer.mjs";

const T = HaloVis.tensors;
const SHAPES = [
  { height: 1, width: 1, block: 8, halo: 3, heads: 2 },
  { height: 7, width: 9, block: 4, halo: 2, heads: 3 },
  { height: 5, width: 12, block: 5, halo: 1, heads: 1 },
  { height: 8, width: 8, block: 4, halo: 0, heads: 2 },
  { height: 6, width: 5, block: 1, halo: 2, heads: 4 },
  { height: 12, width: 12, block: 4, halo: 3, heads: 2 },
  { height: 3, width: 4, block: 1, halo: 0, heads: 2 },
];

const HEADS = (heads) => [-2, -1, ...Array(heads).keys()];

for (const mask of ["valid", "published"]) {
  for (const [n, shape] of SHAPES.entries()) {
    for (const dtype of ["float16", "float32"]) {
      test(`rows and numbers: ${mask}, ${shape.height}x${shape.width}, block ${shape.block}, halo ${shape.halo}, ${dtype}`, () => {
        const { meta, buffer } = payload({ seed: 10 + n, ...shape, mask, dtype });
        const level = meta.levels.P4, files = { tensors: buffer };
        const layer = T.open(buffer, meta).levels.P4;
        const frame = T.frame(meta.picture, meta.input);
        for (let y = 0; y < shape.height; y++) {
          for (let x = 0; x < shape.width; x++) {
            const keys = keysOf(files, level, y, x, 0);
            for (const head of HEADS(shape.heads)) {
              for (const of of T.ALL_OF) {
                const row = T.row(layer, y, x, head, of);
                const want = rowOf(files, level, y, x, head, of);
                assert.ok(row instanceof Float32Array);
                same([...row], want, 1e-6, `(${y}, ${x}) head ${head} ${of}`);
                checkNumbers(layer, level, frame, meta, y, x, keys, T.shares(row, head), shares(want));
              }
            }
          }
        }
      });
    }
  }
}

const sumOf = (list) => list.reduce((a, b) => a + b, 0);
const shares = (row) => (sumOf(row) > 0 ? row.map((v) => v / sumOf(row)) : row);

/** Mass, entropy, distance, top, outside and answer of a row with sum 1, from the oracle's keys. */
function checkNumbers(layer, level, frame, meta, y, x, keys, row, want) {
  const { stride, mask } = level, { picture, input } = meta;
  const part = { block: 0, halo: 0, padding: 0 };
  keys.forEach((key, n) => { part[key.inside ? (key.own ? "block" : "halo") : "padding"] += want[n]; });
  const mass = T.mass(layer, y, x, row);
  for (const key of Object.keys(part)) near(mass[key], part[key], 1e-5, key);
  if (mask === "valid") assert.equal(mass.padding, 0);
  const whole = keys.every((key) => key.inside);
  const valid = mask === "valid" || whole ? keys.filter((key) => key.inside).length : keys.filter((key) => !key.inside).length;
  assert.equal(T.validKeys(layer, y, x), valid);
  const bits = -sumOf(want.map((p) => (p > 0 ? p * Math.log(p) : 0)));
  near(T.entropy(layer, y, x, row), valid > 1 ? bits / Math.log(valid) : 0, 1e-5, "entropy");
  const centre = (cy, cx) => [
    (((cx + 0.5) * stride - input.left) * picture.width) / input.new_width, (((cy + 0.5) * stride - input.top) * picture.height) / input.new_height,
  ];
  const [qx, qy] = centre(y, x);
  let far = 0, seen = 0;
  keys.forEach((key, n) => {
    const [kx, ky] = centre(key.cy, key.cx);
    if (key.inside) { seen += want[n]; far += want[n] * Math.sqrt((kx - qx) ** 2 + (ky - qy) ** 2); }
  });
  const distance = T.distance(layer, y, x, row, frame);
  if (seen > 0) near(distance, far / seen, 1e-3, "distance");
  else assert.ok(Number.isNaN(distance));
  const best = keys.map((key, n) => ({ ...key, n })).filter((key) => key.inside).sort((a, b) => row[b.n] - row[a.n] || a.n - b.n).slice(0, 5);
  assert.deepEqual(T.top(layer, y, x, row), best.map((key) => ({ y: key.cy, x: key.cx, value: row[key.n] })));
  for (const box of [[qx - 25, qy - 20, qx + 9, qy + 30], [-50, -50, 500, 500], [3, 3, 3, 3]]) {
    const on = keys.map(({ cy, cx, inside }) => {
      const [kx, ky] = centre(cy, cx);
      return inside && kx >= box[0] && kx < box[2] && ky >= box[1] && ky < box[3];
    });
    near(T.outside(layer, y, x, row, box, frame), sumOf(want.filter((_, n) => !on[n])), 1e-5, "outside");
    const answers = [{ name: "a", where: [qx - 1, qy - 1, qx, qy], region: box }, { name: "b", where: [qx, qy, qx + 1, qy + 1], region: box }];
    if (!on.includes(true)) {
      const cell = (v, size) => Math.min(size - 1, Math.max(0, Math.floor(v / stride)));
      const at = [cell((((box[1] + box[3]) / 2) * input.new_height) / picture.height + input.top, level.height),
        cell((((box[0] + box[2]) / 2) * input.new_width) / picture.width + input.left, level.width)];
      keys.forEach((key, n) => { on[n] = key.inside && key.cy === at[0] && key.cx === at[1]; });
    }
    const got = T.answer(layer, y, x, row, answers, frame);
    if (!on.includes(true)) { assert.equal(got, null); continue; }
    assert.equal(got.name, "b", "where is half-open");
    const share = on.filter(Boolean).length / keys.filter((key) => key.inside).length;
    near(got.times, sumOf(want.filter((_, n) => on[n])) / share, 1e-3, "answer");
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
  const g = meta.global.halo.layer10, files = { tensors: buffer };
  const layer = T.open(buffer, meta).global.halo.layer10;
  for (let y = 0; y < g.height; y++)
    for (let x = 0; x < g.width; x++) {
      const heads = [0, 1].map((h) => globalRow(files, g, y, x, h));
      heads.forEach((want, h) => same([...T.row(layer, y, x, h)], want, 1e-6, `head ${h}`));
      same([...T.row(layer, y, x, -1)], heads[0].map((v, n) => (v + heads[1][n]) / 2), 1e-6, "mean");
      same([...T.row(layer, y, x, -2)], heads[0].map((v, n) => Math.max(v, heads[1][n])), 1e-6, "max");
    }
  for (const of of T.ALL_OF) assert.deepEqual(T.row(layer, 1, 1, -1, of), T.row(layer, 1, 1), "a global layer has weights only");
});

test("a row is the caller's own, also when it comes from the cache", () => {
  const { meta, buffer } = payload();
  const layer = T.open(buffer, meta).levels.P4;
  for (const head of [-2, -1, 0]) {
    const first = T.row(layer, 2, 3, head), copy = [...first];
    first.fill(7);
    assert.deepEqual([...T.row(layer, 2, 3, head)], copy);
  }
  const alone = [...T.row(T.open(buffer, meta).levels.P4, 6, 8, 1)];
  for (let n = 0; n < 63; n++) T.row(layer, Math.floor(n / 9), n % 9); // more windows and rows than are kept
  assert.deepEqual([...T.row(layer, 6, 8, 1)], alone);
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
  for (const version of [1, 3]) assert.throws(() => T.open(file, { ...meta, version }), /reads payload version 2, the file has version [13]/);
  assert.deepEqual(T.open(new ArrayBuffer(0), { version: 2 }), { levels: {}, global: { baseline: {}, halo: {} }, others: {} });
});

test("a cell or head that does not exist is refused", () => {
  const { meta, buffer } = payload();
  const layer = T.open(buffer, meta).levels.P4;
  for (const [y, x, head] of [[7, 0, 0], [0, 9, 0], [-1, 0, 0], [0.5, 0, 0], [0, 0, 2], [0, 0, -3], [NaN, 0, 0]]) {
    assert.throws(() => T.row(layer, y, x, head), RangeError);
    assert.throws(() => T.attendedBy(layer, y, x, head), RangeError);
  }
  assert.throws(() => T.row(layer, 0, 0, 0, "salience"), /there is no "salience"/);
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

test("several files: what comes later is filled in, and what is missing has no layers", () => {
  const { meta, buffer, files } = payload({ others: true, runBlock: 5 });
  const pack = T.open({ tensors: buffer, control: files.control }, meta);
  const { control, run1 } = pack.others;
  assert.deepEqual([control.kind, run1.kind, run1.title, control.seed], ["control", "run", "<b>run one</b>", 0]);
  assert.equal(run1.levels, null);
  const all = { tensors: buffer, ...files };
  same([...T.row(control.levels.P4, 2, 3, 1)], rowOf(all, meta.others[0].levels.P4, 2, 3, 1, "weight"), 1e-6, "control");
  const padded = new Uint8Array(files.run1.byteLength + 5);
  padded.set(new Uint8Array(files.run1), 5);
  T.addFile(pack, "run1", padded.subarray(5));
  assert.equal(run1.levels.P4.window, 9);
  same([...T.row(run1.levels.P4, 6, 8, -1, "contribution")], rowOf(all, meta.others[1].levels.P4, 6, 8, -1, "contribution"), 1e-6, "run");
  const before = run1.levels;
  T.addFile(pack, "run1", files.run1);
  assert.equal(run1.levels, before, "a second copy changes nothing");
  const keys = [pack.levels.P4, control.levels.P4, run1.levels.P4, T.flipMask(pack.levels.P4), pack.global.baseline.layer10, pack.global.halo.layer10];
  assert.equal(new Set(keys.map((layer) => layer.key)).size, keys.length);
  meta.levels.P4.tensors.q.file = "elsewhere";
  assert.throws(() => T.open(buffer, meta), /P4\.q: the file "elsewhere" is not there/);
});

test("the other mask: the same weights, the rows of that mask, and back again", () => {
  for (const mask of ["valid", "published"]) {
    const { meta, buffer } = payload({ mask });
    const layer = T.open(buffer, meta).levels.P4;
    const twin = T.flipMask(layer);
    const other = { ...meta.levels.P4, mask: mask === "valid" ? "published" : "valid" };
    assert.equal(twin.mask, other.mask);
    assert.equal(T.flipMask(twin), layer);
    assert.equal(T.flipMask(layer), twin);
    assert.equal(twin.tensors.received ?? twin.tensors.blocks ?? null, null);
    T.row(layer, 0, 0);
    for (const of of T.ALL_OF) same([...T.row(twin, 0, 0, -1, of)], rowOf({ tensors: buffer }, other, 0, 0, -1, of), 1e-6, of);
  }
});

test("cells of a box: those whose centre lies in it, half-open", () => {
  const r = random(8);
  for (let n = 0; n < 400; n++) {
    const picture = { width: r.int(20, 900), height: r.int(20, 900) };
    const input = { left: r.int(0, 20), top: r.int(0, 20), new_width: r.int(20, 300), new_height: r.int(20, 300) };
    const frame = T.frame(picture, input), layer = { stride: [8, 16, 32][r.int(0, 2)], height: r.int(1, 20), width: r.int(1, 20) };
    const at = (size) => (n % 3 ? r.next() * size * 1.4 - 0.2 * size : r.int(-1, 20) * 8);
    const [ax, bx, ay, by] = [at(picture.width), at(picture.width), at(picture.height), at(picture.height)];
    let box = [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
    const centre = (y, x) => T.toPhoto(frame, ...T.centreOf(layer, y, x));
    if (n % 5 === 0) box = [...centre(0, 0), ...centre(layer.height - 1, layer.width - 1)]; // borders on centres
    const want = [];
    for (let y = 0; y < layer.height; y++)
      for (let x = 0; x < layer.width; x++) {
        const [px, py] = centre(y, x);
        if (px >= box[0] && px < box[2] && py >= box[1] && py < box[3]) want.push([y, x]);
      }
    const got = T.cellsIn(layer, box, frame);
    if (!want.length) { assert.equal(got, null); continue; }
    const [first, last] = [want[0], want.at(-1)];
    assert.deepEqual(got, [first[0], first[1], last[0] + 1, last[1] + 1]);
  }
});
