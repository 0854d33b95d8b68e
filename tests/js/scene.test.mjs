// What is drawn and said: plans, scales, boxes, hits, labels, file names, words.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { runInThisContext } from "node:vm";
import { test } from "node:test";
import { FOLDER, HaloVis, SCRIPTS, payload } from "./viewer.mjs";

const { scene, paint, save, tensors, readout } = HaloVis;
const read = (name) => readFileSync(new URL(name, FOLDER), "utf8");

function make(options, change = () => {}) {
  const { meta, buffer } = payload(options);
  change(meta);
  const data = { meta, pack: tensors.open(buffer, meta), frame: tensors.frame(meta.picture, meta.input), colors: {} };
  const state = {
    level: "P4", left: "layer10", view: "cell", head: -1, of: "weight", point: tensors.centreOf({ stride: 16 }, 2, 3), box: null,
    scales: { ...scene.SCALES }, opacity: 0.6, map: "", show: { boxes: true, labels: true, grid: false, window: true },
  };
  return { data, state, level: meta.levels.P4 };
}

const det = (xyxy, conf, more = {}) => ({ xyxy, conf, cls: 0, name: "person", query: { level: "P4", y: 1, x: 1 }, polygon: null, ...more });

test("cell view: times uniform, nothing outside the map, block and window where they belong", () => {
  const { data, state } = make({});
  const plan = scene.plan(data, state, "halo");
  const w = tensors.windowOf(plan.layer, 2, 3);
  assert.equal(plan.heat.values.length, 64);
  const inside = [...plan.heat.values].filter((v) => !Number.isNaN(v));
  assert.equal(inside.length, w.inside);
  assert.ok(Math.abs(inside.reduce((a, b) => a + b, 0) / w.inside - 1) < 1e-5, "the mean of times uniform is 1");
  assert.equal(plan.heat.max, 8);
  const photo = (x, y) => tensors.toPhoto(data.frame, x, y);
  assert.deepEqual([plan.block.x, plan.block.y], photo(0, 0));
  assert.deepEqual([plan.window.x, plan.window.y], photo(0, 0), "the window's outline is clipped to the map");
  const [x2, y2] = photo(6 * 16, 6 * 16);
  assert.ok(Math.abs(plan.window.x + plan.window.w - x2) < 1e-9 && Math.abs(plan.window.y + plan.window.h - y2) < 1e-9);
  assert.deepEqual([plan.cell.x, plan.cell.y], photo(48, 32));
});

test("blocks view: every block's map lies in that block's own square", () => {
  const { data, state, level } = make({ height: 7, width: 9, mask: "published" });
  const plan = scene.plan(data, { ...state, view: "blocks", head: 1 }, "halo");
  const valid = make({ height: 7, width: 9 });
  const drawn = scene.plan(valid.data, { ...valid.state, view: "blocks", head: 1 }, "halo").heat.values;
  const inside = (by, bx, i, j) => by * 4 - 2 + i >= 0 && by * 4 - 2 + i < 7 && bx * 4 - 2 + j >= 0 && bx * 4 - 2 + j < 9;
  for (let n = 0; n < drawn.length; n++) {
    const [y, x] = [Math.floor(n / 24), n % 24];
    assert.equal(Number.isNaN(drawn[n]), !inside(Math.floor(y / 8), Math.floor(x / 8), y % 8, x % 8), "keys outside the map are not drawn");
  }
  assert.deepEqual([plan.heat.rows, plan.heat.cols, plan.heat.max], [2 * 8, 3 * 8, 4]);
  const raw = data.pack.levels.P4.tensors.blocks;
  for (const [by, bx, i, j] of [[0, 0, 0, 0], [1, 2, 7, 3], [0, 1, 4, 6]]) {
    const p = tensors.slice(raw, (((2 * 2 + by) * 3 + bx) * 8 + i) * 8 + j, 1)[0];
    const { inside } = tensors.windowOf(data.pack.levels.P4, by * 4, bx * 4);
    assert.equal(plan.heat.values[(by * 8 + i) * 24 + bx * 8 + j], Math.fround(p * inside));
  }
  const [right, bottom] = tensors.toPhoto(data.frame, 3 * level.block_size * 16, 2 * level.block_size * 16);
  assert.ok(Math.abs(plan.heat.rect.x + plan.heat.rect.w - right) < 1e-9 && Math.abs(plan.heat.rect.y + plan.heat.rect.h - bottom) < 1e-9);
});

test("received view: the map of the chosen head; a missing one draws nothing", () => {
  const { data, state } = make({});
  const plan = scene.plan(data, { ...state, view: "received", head: 0 }, "halo");
  assert.deepEqual([...plan.heat.values], [...tensors.slice(data.pack.levels.P4.tensors.received, 63, 63)]);
  assert.equal(plan.heat.max, 2);
  assert.equal(scene.plan(data, { ...state, view: "received", of: "contribution" }, "halo").heat, null);
  const figures = scene.numbers(data, { ...state, view: "received", head: 0 });
  assert.equal(figures.received, plan.heat.values[2 * 9 + 3]);
});

test("scales are absolute; auto takes the map's maximum and says so", () => {
  const { data, state } = make({});
  const fixed = scene.plan(data, state, "halo").heat, left = scene.plan(data, state, "baseline").heat;
  assert.deepEqual([fixed.max, left.max, fixed.auto], [8, 8, false]);
  const auto = scene.plan(data, { ...state, scales: { ...state.scales, cell: "auto" } }, "halo").heat;
  assert.equal(auto.max, Math.max(...[...auto.values].filter((v) => !Number.isNaN(v))));
  assert.ok(auto.auto);
});

test("the baseline shows its own global attention for the same point, or none", () => {
  const { data, state } = make({});
  const plan = scene.plan(data, state, "baseline");
  assert.deepEqual([plan.layer.name, plan.y, plan.x, plan.head], ["layer10", 1, 1, -1]);
  const off = scene.plan(data, { ...state, left: "off" }, "baseline");
  assert.equal(off.heat, null);
  assert.deepEqual([off.y, off.x], [2, 3], "the marker is then the cell of the halo layer");
});

test("a global layer has rows of weights only, and keeps a head that it has", () => {
  const { data, state } = make({ heads: 2 });
  const is = scene.settle(data, { ...state, level: "layer10", view: "blocks", of: "contribution", head: 7 });
  assert.deepEqual([is.view, is.of, is.head], ["cell", "weight", -1]);
});

test("no halo layers, no detections: nothing breaks", () => {
  const { data, state } = make({}, (meta) => { meta.levels = {}; meta.global = {}; });
  for (const side of ["baseline", "halo"]) assert.equal(scene.plan(data, state, side).heat, null);
  assert.equal(scene.numbers(data, state), null);
  assert.deepEqual(scene.badges(data, state, null), []);
  assert.equal(scene.strongest(data), null);
});

test("boxes: status, partner, the selected one on top, the query cell of a detection", () => {
  const { data, state } = make({}, (meta) => {
    meta.detections = { baseline: [det([0, 0, 10, 10], 0.9), det([30, 30, 60, 60], 0.4)], halo: [det([1, 0, 10, 10], 0.8), det([50, 5, 90, 40], 0.95, { query: { level: "P5", y: 0, x: 1 } })] };
    meta.matches = [
      { kind: "kept", baseline: 0, halo: 0, iou: 0.9, delta: -0.1 }, { kind: "gained", baseline: null, halo: 1, iou: null, delta: null },
      { kind: "lost", baseline: 1, halo: null, iou: null, delta: null },
    ];
  });
  const chosen = { ...state, box: { side: "baseline", index: 0 } };
  const right = scene.plan(data, chosen, "halo").boxes;
  assert.deepEqual(right.map((b) => [b.index, b.status, b.selected]), [[1, "gained", false], [0, "kept", true]]);
  const left = scene.plan(data, { ...state, box: { side: "halo", index: 1 } }, "baseline").boxes;
  assert.deepEqual(left.map((b) => [b.status, b.selected]), [["lost", false], ["kept", false]]);
  assert.deepEqual(scene.strongest(data), { side: "halo", index: 1 });
  assert.deepEqual(scene.queryOf(data, data.meta.detections.halo[0]), { level: "P4", point: [24, 24] });
  assert.deepEqual(scene.queryOf(data, data.meta.detections.halo[1]), { level: "P5", point: [48, 16] });
  assert.deepEqual(scene.queryOf(data, det([0, 0, 50, 40], 1, { query: null })), { level: "", point: [33, 29] });
});

test("arrow keys move by a cell or a block and stay on the photo", () => {
  const { data, state } = make({}); // the photo covers input x 3 to 123, y 5 to 101: cells (0, 0) to (6, 7)
  const go = (key, far, y, x) => scene.step(data, { ...state, point: tensors.centreOf({ stride: 16 }, y, x) }, key, far);
  assert.deepEqual(go("ArrowRight", false, 2, 3), [4.5 * 16, 2.5 * 16]);
  assert.deepEqual(go("ArrowUp", true, 5, 3), [3.5 * 16, 1.5 * 16]);
  assert.deepEqual(go("ArrowRight", true, 5, 6), [7.5 * 16, 5.5 * 16]);
  assert.deepEqual(go("ArrowLeft", false, 0, 0), [8, 8]);
  assert.equal(go("Enter", false, 0, 0), null);
});

test("badges say what is true of what is shown", () => {
  const keys = (options, change, more) => {
    const { data, state } = make(options, change);
    const now = { ...state, ...more };
    return scene.badges(data, now, scene.numbers(data, now));
  };
  assert.deepEqual(keys({}, () => {}), []);
  assert.deepEqual(keys({}, (m) => { m.pair.untrained = m.pair.memorised = true; }), ["badgeMemorised", "badgeUntrained"]);
  assert.deepEqual(keys({ norms: 0 }, () => {}, { of: "contribution" }), ["badgeNothing"]);
  assert.ok(keys({ mask: "published" }).includes("badgePadding"));
  const interior = keys({ mask: "published", height: 12, width: 12 }, () => {}, { point: [16 * 5 + 8, 16 * 5 + 8] });
  assert.deepEqual(interior, ["badgePublished", "badgeUniform"]);
});

test("colours: NaN is transparent, the end of the scale is the last colour", () => {
  const rgb = paint.colors(Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, "0").repeat(3)).join(""));
  assert.equal(rgb.length, 768);
  const px = paint.pixels([0, 1, 4, 8, 100, NaN], 8, rgb);
  assert.deepEqual([0, 1, 2, 3, 4].map((n) => px[4 * n]), [0, 32, 128, 255, 255]);
  assert.deepEqual([0, 1, 2, 3, 4, 5].map((n) => px[4 * n + 3]), [255, 255, 255, 255, 255, 0]);
});

test("ticks: 0, 1 = uniform, and the end", () => {
  const words = (...args) => paint.ticks(...args).map((t) => t.text);
  assert.deepEqual(words(8), ["0", "1", "2", "4", "\u2265 8"]);
  assert.deepEqual(words(2), ["0", "1", "\u2265 2"]);
  assert.deepEqual(words(5.3, true), ["0", "1", "5.3"]);
  assert.deepEqual(words(0.4, true), ["0", "0.40"]);
  for (const max of [2, 4, 8, 16]) assert.equal(paint.ticks(max).filter((t) => t.uniform).length, 1);
  assert.equal(paint.ticks(40, true).find((t) => t.uniform).text, "", "no room for two words");
});

test("hits: near an edge or on a label is the box, elsewhere is the cell", () => {
  const boxes = [{ index: 0, xyxy: [100, 100, 300, 200] }, { index: 1, xyxy: [150, 120, 180, 140] }];
  const labels = [{ index: 0, x: 50, y: 41, w: 40, h: 9 }];
  const at = (x, y) => paint.hit(boxes, labels, x, y, 0.5);
  assert.equal(at(100, 150), 0);
  assert.equal(at(111, 150), 0, "5.5 CSS pixels inside");
  assert.equal(at(89, 150), 0, "5.5 CSS pixels outside");
  assert.equal(at(87, 150), -1, "6.5 CSS pixels outside");
  assert.equal(at(200, 160), -1, "the middle of a box is a cell");
  assert.equal(at(149, 130), 1);
  assert.equal(at(120, 90), 0, "on the label");
});

test("labels stay on the photo and avoid each other", () => {
  const box = (index, xyxy, conf) => ({ index, xyxy, conf, name: "person", status: "kept" });
  const boxes = [box(0, [0, 0, 60, 90], 0.5), box(1, [2, 1, 62, 90], 0.6), box(2, [280, 5, 299, 50], 0.7)];
  const placed = paint.placeLabels(boxes, 1, 300, 200, (t) => 7 * t.length);
  for (const l of placed) assert.ok(l.x >= 0 && l.y >= 0 && l.x + l.w <= 300 && l.y + l.h <= 200);
  const [a, b] = [0, 1].map((i) => placed.find((l) => l.index === i));
  assert.ok(a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y);
  assert.equal(paint.labelText({ name: "x".repeat(40), conf: 0.5, status: "gained" }), `+ ${"x".repeat(27)}\u2026 0.50`);
  assert.equal(paint.inkOn("#000000"), "#fff");
  assert.equal(paint.inkOn("#F0E442"), "#000");
});

test("file names hold no separators, markup or dots in front", () => {
  const { data, state } = make({});
  assert.equal(save.fileName(data, state), "a_photos_P4_mean_cell.png");
  data.meta.picture.name = "../..\\<script>${alert(1)}</script> \u516c\u4ea4\u8f66.final.jpeg";
  const name = save.fileName(data, { ...state, head: 1, view: "blocks", of: "contribution" });
  assert.equal(name, "script-\u516c\u4ea4\u8f66.final_photos_P4_head2_blocks_contribution.png");
  data.meta.picture.name = "???";
  assert.equal(save.fileName(data, state), "picture_photos_P4_mean_cell.png");
});

test("the caption names pair, layer, head, cell, scale and image size", () => {
  const { data, state } = make({});
  const plans = ["baseline", "halo"].map((side) => scene.plan(data, state, side));
  const text = save.caption("en", data, plans, ["badgeMemorised"], 0.5).join("\n");
  for (const word of ["a.jpg", "photos", "imgsz 640", "conf 0.25", "one-to-many", "CPU", "50 %", "P4, mean of heads, row of cell (2, 3), weights", "scale 0 to 8", "layer 10", "memorised"])
    assert.ok(text.includes(word), `${word} in ${text}`);
  const lines = save.wrap({ measureText: (t) => ({ width: 10 * [...t].length }) }, "one two \u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03 abcdefghijklmnop", 80);
  assert.ok(lines.every((l) => l.length <= 8));
  assert.equal(lines.join("").replaceAll(" ", ""), "onetwo\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03abcdefghijklmnop");
});

test("both languages have every text, with the same places to fill", () => {
  const { en, "zh-CN": zh } = HaloVis.texts;
  assert.deepEqual(Object.keys(zh).sort(), Object.keys(en).sort());
  const places = (t) => (t.match(/\{\w+\}/g) ?? []).sort().join();
  for (const key of Object.keys(en)) assert.equal(places(zh[key]), places(en[key]), key);
  assert.equal(HaloVis.say("zh-Hans", "mean"), zh.mean);
  assert.equal(HaloVis.say("fr", "headName", { n: "${1} <b>" }), "head ${1} <b>");
  assert.equal(HaloVis.say("en", "headName", { n: "$&" }), "head $&");
  const keys = [...read("explorer.html").matchAll(/data-(?:text|aria|title)="(\w+)"/g)].map((m) => m[1]);
  for (const key of keys) assert.ok(key in en, key);
  assert.ok(readout.sentence("en", { level: "P4", y: 1, x: 2, head: -1, of: "weight", empty: false, mass: { block: 0.4, halo: 0.6, padding: 0 }, entropy: 0.5, distance: 12, received: null }).includes("own block 40 %"));
});

test("markup and style survive Gradio's templates; scripts are classic, quiet, and may run twice", () => {
  for (const name of ["explorer.html", "explorer.css"]) assert.ok(!/\$\{|`|\{\{/.test(read(name)), name);
  const html = read("explorer.html");
  assert.ok(!/\son\w+=|<script|https?:|\sid=/.test(html));
  for (const name of SCRIPTS) {
    const text = read(`${name}.js`);
    assert.ok(!/^\s*(import|export)\b/m.test(text) && !/innerHTML|insertAdjacentHTML|document\.write|\beval\(|https?:\/\//.test(text), name);
    assert.ok(text.split("\n").length <= 361, `${name}.js is too long to read in one sitting`);
  }
  for (const name of SCRIPTS) runInThisContext(read(`${name}.js`), { filename: `${name}.js` });
  assert.equal(typeof globalThis.HaloVis.mount, "function");
  assert.throws(() => globalThis.HaloVis.mount({ matches: () => false, querySelector: () => null }), /markup of explorer\.html/);
  for (const rule of read("explorer.css").matchAll(/^([^@{}\n][^{}]*)\{/gm))
    for (const selector of rule[1].split(/,(?![^(]*\))/)) assert.match(selector.trim(), /^\.halo-explorer/);
});
