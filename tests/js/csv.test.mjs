// The CSV, read by a parser of its own and compared with the rows that it was made from.
import assert from "node:assert/strict";
import { test } from "node:test";
import { HaloVis, make } from "./viewer.mjs";

const { csv, scene, tensors } = HaloVis;

/** RFC 4180, letter by letter. */
function parse(text) {
  const lines = [];
  let line = [], value = "", quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted) {
      if (c !== '"') value += c;
      else if (text[i + 1] === '"') { value += '"'; i++; }
      else quoted = false;
    } else if (c === '"' && value === "") quoted = true;
    else if (c === ",") { line.push(value); value = ""; }
    else if (c === "\r" && text[i + 1] === "\n") { line.push(value); lines.push(line); line = []; value = ""; i++; }
    else { assert.ok(c !== "\n" && c !== "\r", "a line ends with both"); value += c; }
  }
  assert.ok(!quoted && value === "" && line.length === 0, "the last line ends, too");
  return lines;
}

async function exported(options, more, change) {
  const { data, state } = make({ others: true, ...options }, change);
  const now = { ...state, ...more };
  const blob = await csv.make(data, now);
  assert.equal(blob.type, "text/csv;charset=utf-8");
  const lines = parse(await blob.text());
  const notes = lines.filter(([first]) => first.startsWith("#"));
  const [names, ...values] = lines.slice(notes.length);
  assert.deepEqual(names, csv.COLUMNS);
  for (const line of notes) assert.equal(line.length, 1, "a note is one cell");
  for (const row of values) assert.equal(row.length, names.length);
  const about = new Map(notes.map(([text]) => {
    const [, key, value] = /^# (\S+): (.*)$/.exec(text);
    return [key, JSON.parse(value)];
  }));
  const rows = values.map((row) => Object.fromEntries(row.map((value, i) => [names[i], value === "" || Number.isNaN(Number(value)) ? value : Number(value)])));
  return { data, state: now, about, rows, halo: rows.filter((r) => r.side === "halo"), left: rows.filter((r) => r.side === "baseline") };
}

const near = (a, b) => assert.ok(Math.abs(a - b) <= 1e-6 * Math.max(1, Math.abs(b)), `${a} is not ${b}`);

test("the row of a cell: one line per key inside the map, weights, contributions, places", async () => {
  const { data, state, rows, halo, left, about } = await exported({}, { head: 1, left: "control" });
  const layer = data.pack.levels.P4;
  const w = tensors.windowOf(layer, 2, 3);
  assert.equal(halo.length, w.inside);
  assert.equal(rows.length, halo.length + left.length);
  const [weight, contribution] = ["weight", "contribution"].map((of) => tensors.row(layer, 2, 3, 1, of));
  for (const r of halo) {
    const n = (r.key_y - w.oy) * w.cols + r.key_x - w.ox;
    near(r.weight, weight[n]);
    near(r.contribution, contribution[n]);
    near(r.times_uniform, weight[n] * w.inside);
    assert.equal(r.part, r.key_y >= w.by && r.key_y < w.by + 4 && r.key_x >= w.bx && r.key_x < w.bx + 4 ? "block" : "halo");
    const { x, y, w: wide, h } = tensors.cellsRect(data.frame, layer, r.key_y, r.key_x, r.key_y + 1, r.key_x + 1);
    for (const [a, b] of [[r.x1, x], [r.y1, y], [r.x2, x + wide], [r.y2, y + h]]) assert.ok(Math.abs(a - b) < 0.001);
    assert.deepEqual([r.layer, r.view, r.head, r.of, r.query_y, r.query_x, r.block_y, r.block_x], ["P4", "cell", 1, "weight", 2, 3, 0, 0]);
  }
  near(halo.reduce((sum, r) => sum + r.weight, 0), 1);
  assert.equal(new Set(halo.map((r) => `${r.key_y} ${r.key_x}`)).size, halo.length);
  assert.equal(left[0].source, "control");
  near(left[0].weight, tensors.row(data.pack.others.control.levels.P4, 2, 3, 1)[(left[0].key_y - w.oy) * w.cols + left[0].key_x - w.ox]);
  assert.equal(about.get("view.level"), state.level);
  near(about.get("numbers.mass.block"), halo.filter((r) => r.part === "block").reduce((sum, r) => sum + r.weight, 0));
});

test("a global layer has weights only, over the whole map", async () => {
  const { left, data } = await exported({}, {});
  const row = tensors.row(data.pack.global.baseline.layer10, 1, 1);
  assert.deepEqual([left.length, left[0].part, left[0].contribution, left[0].head], [12, "", "", "mean"]);
  for (const r of left) { near(r.weight, row[r.key_y * 4 + r.key_x]); near(r.times_uniform, 12 * r.weight); }
});

test("the inverse view: the query varies, the key is the cell; places are the queries'", async () => {
  const { halo, data } = await exported({}, { view: "to", head: -2, of: "contribution" });
  const layer = data.pack.levels.P4;
  assert.ok(halo.length > 0);
  for (const r of halo) {
    assert.deepEqual([r.key_y, r.key_x, r.head], [2, 3, "max"]);
    const w = tensors.windowOf(layer, r.query_y, r.query_x);
    const n = (2 - w.oy) * w.cols + 3 - w.ox;
    near(r.weight, tensors.row(layer, r.query_y, r.query_x, -2)[n]);
    near(r.contribution, tensors.row(layer, r.query_y, r.query_x, -2, "contribution")[n]);
    near(r.times_uniform, r.contribution * w.inside);
    assert.equal(r.part, w.by === 0 && w.bx === 0 ? "block" : "halo");
    assert.ok(Math.abs(r.x1 - tensors.cellsRect(data.frame, layer, r.query_y, r.query_x, r.query_y + 1, r.query_x + 1).x) < 0.001);
  }
});

const boxed = (meta) => {
  meta.detections.halo = [{ xyxy: [20, 10, 75, 50], conf: 0.9, cls: 0, name: "=1+1", query: { level: "P4", y: 1, x: 1 }, polygon: null }];
};

test("a box: the mean over its cells, without a query", async () => {
  const { halo, data, state } = await exported({}, { view: "box", box: { side: "halo", index: 0 } }, boxed);
  const layer = data.pack.levels.P4;
  const [y0, x0, y1, x1] = scene.partOf(data, state, "halo").cells;
  assert.ok((y1 - y0) * (x1 - x0) > 3);
  const mean = new Map();
  for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) {
    const w = tensors.windowOf(layer, y, x), row = tensors.row(layer, y, x);
    row.forEach((p, n) => {
      const key = `${w.oy + Math.floor(n / w.cols)} ${w.ox + (n % w.cols)}`;
      mean.set(key, (mean.get(key) ?? 0) + p / ((y1 - y0) * (x1 - x0)));
    });
  }
  for (const r of halo) {
    near(r.weight, mean.get(`${r.key_y} ${r.key_x}`));
    assert.deepEqual([r.query_y, r.block_y, r.part], ["", "", ""]);
    assert.ok(r.contribution >= 0 && r.times_uniform >= 0);
  }
});

test("blocks and received: keys of every block in their own place; a ratio has no weight", async () => {
  for (const mask of ["valid", "published"]) {
    const { halo, data } = await exported({ mask, shipped: false }, { view: "blocks" });
    const layer = data.pack.levels.P4;
    assert.equal(new Set(halo.map((r) => [r.block_y, r.block_x, r.key_y, r.key_x].join())).size, halo.length);
    for (const [by, bx] of [[0, 0], [1, 2]]) {
      const mine = halo.filter((r) => r.block_y === by && r.block_x === bx);
      near(mine.reduce((sum, r) => sum + r.weight, 0), 1);
      const w = tensors.windowOf(layer, by * 4, bx * 4);
      assert.equal(mine.length, mask === "valid" ? w.inside : 64, "the published mask looks at padding, which shows");
      assert.equal(mine.some((r) => r.part === "padding"), mask === "published");
    }
  }
  const { halo, data } = await exported({}, { view: "received" });
  assert.equal(halo.length, 63);
  halo.forEach((r, n) => {
    assert.deepEqual([r.key_y, r.key_x, r.weight, r.contribution], [Math.floor(n / 9), n % 9, "", ""]);
    near(r.times_uniform, tensors.slice(data.pack.levels.P4.tensors.received, n, 1)[0]);
  });
});

test("a difference is no share, and says what it is", async () => {
  const { halo, left, data } = await exported({}, { mode: "difference", left: "control" });
  const w = tensors.windowOf(data.pack.levels.P4, 2, 3);
  const rows = [data.pack.levels.P4, data.pack.others.control.levels.P4].map((layer) => tensors.row(layer, 2, 3));
  assert.equal(halo.length, left.length);
  for (const r of halo) {
    const n = (r.key_y - w.oy) * w.cols + r.key_x - w.ox;
    assert.deepEqual([r.source, r.weight, r.contribution], ["difference", "", ""]);
    assert.ok(Math.abs(r.times_uniform - w.inside * (rows[0][n] - rows[1][n])) < 1e-5);
  }
});

test("nothing that is text becomes a formula, a new line or a new cell", async () => {
  const names = ["=HYPERLINK(\"http://x\")", "+1", "-1", "@sum", "\t=1", "\r=1", " =1", "a,=1", "a;=1", "x\n=1", "\u2028=1", "<script>", "${alert(1)}", "\u516c\u4ea4\u8f66", "\"'"];
  for (const name of names) {
    assert.ok(/^("?)[^=+\-@\t\r]/.test(csv.field(name)) && parse(`${csv.field(name)}\r\n`)[0].length === 1, name);
    const { about } = await exported({}, {}, (meta) => { meta.provenance = { picture: name, [name]: { [name]: [name, 1, null, true] } }; });
    assert.equal(about.get("picture"), name);
    assert.equal(about.size > 20, true);
  }
  for (const line of csv.notes({ a: names })) assert.ok(!/[,;\t\r\n\u2028]/.test(line) && line.startsWith("# a."), line);
  assert.equal(csv.field(-0.1), "-0.1");
  assert.equal(csv.field(Math.fround(0.1)), "0.100000001");
  assert.deepEqual([csv.field(null), csv.field(NaN), csv.field(0)], ["", "", "0"]);
  for (const v of [1e-9, 1 / 3, 123456.789]) assert.equal(Math.fround(Number(csv.field(Math.fround(v)))), Math.fround(v), "no digit of a Float32 is lost");
});
