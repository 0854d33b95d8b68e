// Attention frames and the comparison: read, decoded, measured against obvious oracles.
import assert from "node:assert/strict";
import { test } from "node:test";
import { HaloVis, HOSTILE, parse, run, runs, toHalf } from "./run_view.mjs";
import { random } from "./viewer.mjs";

const { compare, frames, loading, scrubber, series } = runs;
const near = (a, b, tolerance = 1e-6) => assert.ok(Math.abs(a - b) <= tolerance, `${a} is not ${b}`);

/** A level with random rows; returns the level and its weights as they were before half precision. */
function level({ seed = 1, h = 10, w = 12, y = 9, x = 3, block = 4, halo = 2, heads = 2, global = false } = {}) {
  const r = random(seed);
  const by = Math.floor(y / block) * block, bx = Math.floor(x / block) * block;
  const y0 = global ? 0 : by - halo, x0 = global ? 0 : bx - halo, rows = global ? h : block + 2 * halo, cols = global ? w : block + 2 * halo;
  const inside = [...Array(rows * cols).keys()].map((n) => { const cy = y0 + Math.floor(n / cols), cx = x0 + (n % cols); return cy >= 0 && cx >= 0 && cy < h && cx < w; });
  const each = Array.from({ length: heads }, () => {
    const raw = inside.map((v) => (v ? Math.exp(2 * r.normal()) : 0)), sum = raw.reduce((a, b) => a + b);
    return raw.map((v) => v / sum);
  });
  const mean = each[0].map((_, n) => each.reduce((sum, one) => sum + one[n], 0) / heads);
  const values = [...mean, ...each.flat()];
  const bytes = Buffer.from(Uint16Array.from(values, toHalf).buffer);
  const count = inside.filter(Boolean).length;
  return {
    level: { y, x, h, w, y0, x0, rows, cols, heads, weights: bytes.toString("base64"), uniform: 1 / count, block: global ? null : [by, bx, Math.min(by + block, h), Math.min(bx + block, w)] },
    values, mean, each, inside, count,
  };
}
const probe = { width: 200, height: 160, letterbox: { scale: 0.8, left: 0, top: 16 }, strides: { P4: 16, layer10: 16 }, names: { 0: "bee", 1: HOSTILE } };

test("lines: later ones count, damaged ones are left out, epochs rise", () => {
  const good = level().level;
  const line = (epoch, more = {}) => JSON.stringify({ epoch, mAP50: 0.1, levels: { P4: good }, boxes: [], ...more });
  const text = [line(2), line(0, { mAP50: null }), "", "not json", line(2, { mAP50: 0.9 }), JSON.stringify({ epoch: -1, levels: {} }), JSON.stringify([1]), line(3).slice(0, 40)].join("\n");
  const found = frames.parse(text);
  assert.deepEqual([...found.keys()], [0, 2]);
  assert.equal(found.get(2).mAP50, 0.9);
  const bad = [{ rows: 0 }, { heads: 1.5 }, { y: 10 }, { uniform: 0 }, { weights: 3 }, { block: [1, 2] }, { h: 1e9 }, { rows: 4000, cols: 4000 }, { y0: null }, { block: [0, 0, 4, 4] }];
  for (const more of bad) assert.deepEqual(Object.keys(frames.parse(JSON.stringify({ epoch: 1, levels: { P4: { ...good, ...more } } })).get(1).levels), [], JSON.stringify(more));
});

test("half precision in base64, decoded against an oracle of its own", () => {
  const half = (bits) => { // by the definition of IEEE 754
    const sign = bits & 0x8000 ? -1 : 1, e = (bits >> 10) & 31, f = bits & 1023;
    return e === 0 ? sign * f * 2 ** -24 : sign * (1 + f / 1024) * 2 ** (e - 15);
  };
  const bits = Array.from({ length: 3 * 35 }, (_, i) => (i * 613) % 0x7c00);
  const made = { rows: 5, cols: 7, heads: 2, weights: Buffer.from(Uint16Array.from(bits).buffer).toString("base64") };
  assert.deepEqual([...frames.weightsOf(made)], bits.map((b) => Math.fround(half(b))));
  assert.deepEqual([...frames.rowOf(made, 1)], bits.slice(70).map((b) => Math.fround(half(b))));
  for (const weights of ["", "AAAA", "%%%", made.weights.slice(4)]) assert.equal(frames.weightsOf({ ...made, weights }), null, weights);
});

test("masses, entropy, peak: sums over cells, written out", () => {
  for (const [seed, y, x] of [[1, 9, 3], [2, 0, 0], [3, 5, 11], [4, 4, 6]]) {
    const made = level({ seed, y, x });
    for (const head of [-1, 0, 1]) {
      const row = head < 0 ? made.mean : made.each[head];
      const { mass, entropy, peak } = frames.numbersOf("P4", made.level, head, 16);
      const sums = { block: 0, halo: 0, padding: 0 };
      let H = 0, best = 0;
      row.forEach((p, n) => {
        const cy = made.level.y0 + Math.floor(n / 8), cx = made.level.x0 + (n % 8);
        const own = Math.floor(cy / 4) === Math.floor(y / 4) && Math.floor(cx / 4) === Math.floor(x / 4);
        sums[made.inside[n] ? (own ? "block" : "halo") : "padding"] += p;
        if (p > 0) H -= p * Math.log(p);
        if (p > row[best]) best = n;
      });
      for (const part of Object.keys(sums)) near(mass[part], sums[part], 2e-3);
      near(entropy, H / Math.log(made.count), 2e-3);
      near(peak.times, row[best] * made.count, 0.02);
      assert.deepEqual([peak.y, peak.x], [made.level.y0 + Math.floor(best / 8), made.level.x0 + (best % 8)]);
    }
  }
  const global = level({ global: true });
  const { mass, entropy } = frames.numbersOf("layer10", global.level, -1, 16);
  assert.equal(mass, null);
  near(entropy, -global.mean.reduce((s, p) => s + p * Math.log(p), 0) / Math.log(120), 2e-3);
});

test("a block cut off by the map's edge keeps its window, its own cells and its outline", () => {
  const made = level({ h: 10, w: 10, y: 9, x: 9 });
  assert.deepEqual(made.level.block, [8, 8, 10, 10]);
  const layer = frames.layerOf("P4", made.level, 16);
  assert.deepEqual([layer.block, layer.halo, layer.window, layer.mask], [4, 2, 8, "valid"]);
  const plan = frames.plan(probe, { levels: { P4: made.level }, boxes: [] }, { level: "P4", head: -1, end: 8, log: false, boxes: true, palette: ["#000000"] });
  const cell = 16 / 0.8; // photo pixels
  for (const [rect, y0, x0, y1, x1] of [[plan.block, 8, 8, 10, 10], [plan.window, 6, 6, 10, 10], [plan.cell, 9, 9, 10, 10]]) {
    near(rect.x, x0 * cell); near(rect.y, y0 * cell - 20); near(rect.w, (x1 - x0) * cell); near(rect.h, (y1 - y0) * cell);
  }
});

test("heat is weight times the number of keys, on one scale for all epochs of a level", () => {
  const all = new Map([1, 2, 3].map((seed) => [seed, { levels: { P4: level({ seed }).level }, boxes: [] }]));
  const end = frames.endOf(all, "P4", -1);
  const most = Math.max(...[1, 2, 3].map((seed) => { const made = level({ seed }); return Math.max(...made.mean) * made.count; }));
  assert.ok(frames.ENDS.includes(end) && end >= most && frames.ENDS.filter((e) => e < end).every((e) => e < most));
  for (const log of [false, true]) {
    const made = level({ seed: 2 });
    const { heat } = frames.plan(probe, all.get(2), { level: "P4", head: -1, end, log, boxes: false, palette: [] });
    assert.deepEqual([heat.max, heat.log, heat.rows, heat.cols], [end, log, 8, 8]);
    heat.values.forEach((v, n) => (made.inside[n] ? near(v, made.mean[n] * made.count, 0.02) : assert.ok(Number.isNaN(v))));
  }
  const single = frames.plan(probe, all.get(1), { level: "P4", head: 1, end, log: false, boxes: false, palette: [] });
  near(single.heat.values[12], level({ seed: 1 }).each[1][12] * level({ seed: 1 }).count, 0.02);
  assert.equal(frames.plan(probe, undefined, { level: "P4", head: -1, end, log: false, boxes: true, palette: [] }).heat, null);
});

test("levels in reading order, boxes with their names, the strongest last", () => {
  const one = level().level;
  const all = new Map([[0, { levels: { layer22: one, P5: one } }], [1, { levels: { layer10: one, P3: one, P10: one } }]]);
  assert.deepEqual(frames.levelsOf(all), ["P3", "P5", "P10", "layer10", "layer22"]);
  const boxes = frames.boxesOf({ boxes: [[1, 2, 3, 4, 0.9, 1], [1, 2, 3, 4, 0.3, 0], [1, 2, 3, NaN, 0.3, 0], "x", [1, 2, 3, 4, 0.5, 7]] }, probe, ["#a", "#b"]);
  assert.deepEqual(boxes.map((b) => [b.name, b.conf, b.color]), [["bee", 0.3, "#a"], ["7", 0.5, "#b"], [HOSTILE, 0.9, "#b"]]);
  assert.ok(frames.soundProbe(probe) && !frames.soundProbe({ ...probe, letterbox: null }) && !frames.soundProbe(null) && !frames.soundProbe({ ...probe, width: 0 }));
});

test("files of a run: their addresses, their order, and what tells a version apart", () => {
  const entry = { frames: { url: "a.jsonl" }, picture: { url: "p.png" }, probe };
  const value = { attention: { a: { halo: entry, baseline: { ...entry, url: "b.jsonl", frames: undefined }, broken: { probe }, version: 4 }, version: 9 } };
  const found = loading.entriesOf(value, run("a"));
  assert.deepEqual(found.map((e) => [e.member, e.frames, e.picture, e.version]), [["baseline", "b.jsonl", "p.png", "4"], ["halo", "a.jsonl", "p.png", "4"]]);
  delete value.attention.a.version;
  assert.equal(loading.entriesOf(value, run("a"))[0].version, "9");
  assert.deepEqual(loading.entriesOf({}, run("a")), []);
});

test("mAP next to the slider: the curve's, and before the training the frame's", () => {
  const [s] = series.seriesOf({ runs: [run("a")] }, "en");
  const map = scrubber.mapOf(s, new Map([[0, { mAP50: 0.05 }], [1, { mAP50: null }], [2, { mAP50: 0.2 }]]));
  assert.deepEqual([...map], [[0, 0.05], [1, 0.1], [2, 0.2], [3, 0.3]]);
});

const comparison = {
  members: [
    { name: "baseline", mAP50: 0.7043, "mAP50-95": 0.3581, parameters: 2572280, latency_ms: 21.48, epochs: 30, trained: "all", per_class: { [HOSTILE]: { mAP50: 0.5, "mAP50-95": 0.25 }, bee: { mAP50: 0.9, "mAP50-95": null } } },
    { name: "halo", mAP50: 0.8619, "mAP50-95": 0.4702, parameters: 2857336, latency_ms: 27.91, epochs: 30, trained: "halo+head", per_class: { [HOSTILE]: { mAP50: 0.75, "mAP50-95": 0.2 } } },
  ], split: "test", pictures: 200, imgsz: 320, device: "cpu",
};

test("the comparison: differences of halo against baseline, and what they were measured on", () => {
  const { names, pair, rows, caption } = compare.membersTable("en", comparison);
  assert.deepEqual([names, pair], [["baseline", "halo"], "halo minus baseline"]);
  const of = (name, nth = 0) => { const r = rows.filter((one) => one.name === name)[nth]; return [...r.texts, r.difference]; };
  assert.deepEqual(of("mAP50"), ["0.704", "0.862", "+0.158"]);
  assert.deepEqual(of("parameters"), ["2\u202f572\u202f280", "2\u202f857\u202f336", "+285\u202f056"]);
  assert.deepEqual(of("latency"), ["21.5 ms", "27.9 ms", "+6.4 ms"]);
  assert.deepEqual(of("trained"), ["all weights", "halo layers and head", ""]);
  assert.deepEqual([of(HOSTILE), of(HOSTILE, 1), of("bee")], [["0.500", "0.750", "+0.250"], ["0.250", "0.200", "\u22120.050"], ["0.900", "–", ""]]);
  assert.equal(caption[0], "Test split, 200 pictures, image size 320, CPU.");
  const swapped = compare.membersTable("en", { ...comparison, members: [...comparison.members].reverse() });
  assert.equal(swapped.rows[0].difference, "+0.158", "whatever their order");
  assert.equal(compare.membersTable("en", { members: [comparison.members[1]] }).pair, "");
});

test("Markdown: one cell stays one cell, and nothing in it is markup", () => {
  const text = compare.markdown("en", comparison);
  const lines = text.trimEnd().split("\n").filter((line) => line.startsWith("|"));
  for (const line of lines) assert.equal(line.replaceAll("\\|", "").split("|").length, 6, line);
  assert.ok(!/<img|[^\\]`|[^\\]\$\{/.test(text));
  assert.equal(lines[2], "| mAP50 | 0.704 | 0.862 | +0.158 |");
  assert.ok(lines.some((line) => line.startsWith("| &lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;\\${alert(2)}")));
});

test("CSV of the comparison: all digits", () => {
  const lines = parse(compare.csv(comparison));
  assert.deepEqual(lines[0], ["metric", "baseline", "halo"]);
  const of = (name) => lines.find(([first]) => first === name).slice(1);
  assert.deepEqual([of("mAP50"), of("latency_ms"), of(`mAP50 of ${HOSTILE}`), of("split"), of("mAP50-95 of bee")], [["0.7043", "0.8619"], ["21.48", "27.91"], ["0.5", "0.75"], ["test", "test"], ["", ""]]);
  assert.ok(lines.every((line) => line.length === 3));
});

test("runs side by side: last, best and tested, a line per member", () => {
  const all = [run("a", { comparison, state: "finished" }), run("b")];
  const { head, rows } = compare.runsTable("en", all, series.seriesOf({ runs: all }, "en"));
  assert.deepEqual(rows.map((r) => r.length), Array(4).fill(head.length));
  assert.deepEqual(rows[0], ["run a", "baseline", "Finished", "3/10", "0.300", "–", "0.300 (epoch 3)", "0.704", "–"]);
  assert.deepEqual(rows[3].slice(0, 8), ["run b", "halo", "Running", "3/10", "0.500", "–", "0.500 (epoch 3)", "–"]);
});

test("the viewer's own functions are the ones that are used", () => {
  assert.equal(typeof HaloVis.tensors.mass, "function");
  assert.equal(frames.plan.toString().includes("HaloVis.heats"), true);
});
