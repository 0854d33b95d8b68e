// What paints, and what a person reads: colours, ticks, hits, labels, words, markup.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { runInThisContext } from "node:vm";
import { test } from "node:test";
import { FOLDER, HaloVis, SCRIPTS, make } from "./viewer.mjs";

const { paint, readout, scene, sheet } = HaloVis;
const read = (name) => readFileSync(new URL(name, FOLDER), "utf8");

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

test("where a value lies on the colour bar: linear, logarithmic, difference; never outside it", () => {
  const at = (v, heat) => paint.position(v, heat);
  assert.deepEqual([-1, 0, 2, 8, 99].map((v) => at(v, { max: 8 })), [0, 0, 0.25, 1, 1]);
  const log = { max: 8, log: true };
  assert.deepEqual([0, 1 / 16, 1 / 8, 1, 8, 64, -3].map((v) => at(v, log)), [0, 0, 0, 0.5, 1, 1, 0]);
  assert.ok(Math.abs(at(2, log) - 2 / 3) < 1e-12, "log2(2 * 8) / (2 * log2(8))");
  assert.equal(at(2, { max: 1.2, log: true }), 1, "a scale that ends below 2 ends at 2");
  const difference = { max: 4, diverging: true };
  assert.deepEqual([-9, -4, 0, 2, 4].map((v) => at(v, difference)), [0, 0, 0.5, 0.75, 1]);
  for (const heat of [{ max: 8 }, log, difference]) assert.ok(Number.isNaN(at(NaN, heat)) && Number.isNaN(paint.colorAt(NaN, heat)));
  assert.deepEqual([0, 3.99, 8].map((v) => paint.colorAt(v, { max: 8 })), [0, 127, 255]);
  const rgb = Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3));
  assert.deepEqual([0, 4, 8].map((n) => paint.pixels([1 / 8, 1, 8], log, rgb)[n]), [0, 128, 255]);
});

test("ticks of a logarithmic bar and of a difference", () => {
  const words = (...args) => paint.ticks(...args).map((t) => t.text);
  assert.deepEqual(words(4, false, { log: true }), ["\u2264 1/4", "1/2", "1", "2", "\u2265 4"]);
  assert.deepEqual(words(8, false, { diverging: true }), ["\u2264 \u22128", "\u22124", "0", "4", "\u2265 8"]);
  for (const heat of [{ log: true }, { diverging: true }]) {
    const ticks = paint.ticks(16, false, heat);
    const uniform = ticks.filter((t) => t.uniform);
    assert.deepEqual(uniform.map((t) => t.at), [0.5], "1, and 0, in the middle");
    assert.deepEqual([ticks[0].at, ticks.at(-1).at], [0, 1]);
    for (const t of ticks) assert.ok(t.at >= 0 && t.at <= 1);
  }
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

test("zoomed in, labels stay in view, and a box out of view has none", () => {
  const box = (index, xyxy) => ({ index, xyxy, conf: 0.5, name: "person", status: "kept" });
  const view = { x: 100, y: 100, w: 50, h: 40 };
  const placed = paint.placeLabels([box(0, [10, 10, 40, 40]), box(1, [90, 90, 200, 120])], 4, 300, 200, (t) => 7 * t.length, view);
  assert.deepEqual(placed.map((l) => l.index), [1]);
  const [label] = placed;
  assert.ok(label.x >= 400 && label.y >= 400 && label.x + label.w <= 600 && label.y + label.h <= 560);
});

test("numbers as words: dashes for what is not there, shares outside the box, the known answer", () => {
  const figures = {
    level: "P4", y: 1, x: 2, head: -2, of: "position", empty: false, mass: { block: 0.4, halo: 0.6, padding: 0 }, entropy: 0.5, distance: NaN,
    received: null, top: [], outside: { weight: 0.0512, contribution: null }, answer: { name: "bee", times: 31.31 },
  };
  const text = readout.words("en", figures);
  assert.deepEqual([text.distance, text.received, text.outside, text.outside_contribution, text.answer], ["–", "–", "5.1 %", "–", "31.3 ×"]);
  const said = readout.sentence("en", figures, { name: "<b>", conf: 0.9 });
  assert.ok(said.startsWith("<b> 0.90. P4 (1, 2), maximum of heads, position:") && said.includes("Outside the box: 5.1 %") && said.includes("31.3"));
  assert.deepEqual(new Set(Object.values(readout.words("en", null))), new Set(["–"]));
  assert.equal(readout.sentence("en", null), "");
});

test("small views keep the shape of what they show, and three fit on a phone", () => {
  const { sizeOf } = HaloVis.strip;
  for (const [crop, kind, room] of [[{ w: 300, h: 400 }, "levels"], [{ w: 2000, h: 400 }, "heads"], [{ w: 810, h: 1080 }, "levels", 326]]) {
    const { width, height } = sizeOf(crop, kind, room);
    assert.ok(Math.abs(width / height - crop.w / crop.h) < 1e-9);
    assert.ok(width <= 240);
  }
  assert.ok(3 * (sizeOf({ w: 1080, h: 810 }, "levels", 326).width + 18) <= 326 + 1e-9);
});

test("choices of heads, of layers and of what stands on the left", () => {
  const { headList, layerList, sourceList } = HaloVis.controls;
  assert.deepEqual(headList("en", { heads: 2 }).map((h) => [h.value, h.text]), [["-1", "mean"], ["-2", "max"], ["0", "1"], ["1", "2"]]);
  assert.deepEqual(headList("en", { heads: 1 }), [{ value: "-1", text: "1", name: "its only head" }], "mean and maximum of one head are that head");
  assert.deepEqual(headList("en", undefined), []);
  const { data } = make({ others: true });
  const list = sourceList("en", data);
  assert.deepEqual(list.map((s) => s.value), ["layer10", "control", "mask", "run1", "off"]);
  assert.equal(list.find((s) => s.value === "run1").name, "The same layer of <b>run one</b>");
  const large = make({ others: true }, (meta) => {
    for (const side of ["baseline", "halo"]) meta.global[side] = { layer10: meta.global[side].layer10, "layer10.1": meta.global[side].layer10, layer22: meta.global[side].layer10 };
  }).data;
  assert.deepEqual(layerList("en", large).map((l) => [l.value, l.text]),
    [["P4", "P4"], ["layer10", "layer 10"], ["layer10.1", "layer 10, block 2"], ["layer22", "layer 22"]]);
  assert.deepEqual(sourceList("en", large).map((s) => s.text), ["layer 10", "layer 10, block 2", "layer 22", "control", "other mask", "other model", "off"]);
  for (const lang of ["en", "zh-CN"]) {
    for (const { text, name } of [...sourceList(lang, large), ...layerList(lang, large), ...headList(lang, { heads: 3 })])
      for (const words of [text, name]) assert.ok(words && !unsaid(words), words);
  }
});

/** A key of the texts where words should be. */
const unsaid = (words) => /\b(layer\d|[a-z]+[A-Z]\w*|\w+Help)\b/.test(words.replaceAll("HaloAttention", "")) || /[{}]/.test(words);

test("a layer of any name has its words wherever it is shown", () => {
  const { data, state } = make({}, (meta) => {
    for (const side of ["baseline", "halo"]) meta.global[side]["layer10.1"] = meta.global[side].layer10;
  });
  const now = { ...state, level: "layer10.1", left: "layer10.1", strip: "heads" };
  for (const [lang, name] of [["en", "layer 10, block 2"], ["zh-CN", "第 10 层第 2 块"]]) {
    const figures = scene.numbers(data, now);
    const plan = scene.plan(data, now, "baseline");
    const said = [readout.words(lang, figures).cell, readout.sentence(lang, figures), sheet.what(lang, plan)];
    for (const words of said) assert.ok(words.includes(name), words);
  }
  assert.equal(readout.layerName("en", "P3"), "P3");
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
  const known = { "&minus;": "\u2212", "&times;": "\u00d7", "&#9662;": "\u25be" };
  for (const [, key, text] of read("explorer.html").matchAll(/data-text="(\w+)"[^>]*>([^<]+)</g))
    assert.equal(text.replace(/&#?\w+;/g, (sign) => known[sign]), en[key], `what stands there before the script runs: ${key}`);
  const source = SCRIPTS.filter((name) => name !== "texts").map((name) => read(`${name}.js`)).join("") + read("explorer.html");
  const built = /^(title|scale|answer_)[A-Z_a-z]+|^(control|mask|off)Help$/; // put together from a part and a state
  for (const key of Object.keys(en)) assert.ok(built.test(key) || new RegExp(`["'\`]${key}["'\`]`).test(source), `nobody says ${key}`);
  assert.ok(readout.sentence("en", { level: "P4", y: 1, x: 2, head: -1, of: "weight", empty: false, mass: { block: 0.4, halo: 0.6, padding: 0 }, entropy: 0.5, distance: 12, received: null }).includes("own block 40 %"));
});

test("markup and style survive Gradio's templates; scripts are classic, quiet, and may run twice", () => {
  for (const name of ["explorer.html", "explorer.css"]) assert.ok(!/\$\{|`|\{\{|\\/.test(read(name)), name);
  const html = read("explorer.html");
  assert.ok(!/\son\w+=|<script|https?:|\sid=/.test(html));
  for (const name of SCRIPTS) {
    const text = read(`${name}.js`);
    assert.ok(!/^\s*(import|export)\b/m.test(text) && !/innerHTML|insertAdjacentHTML|document\.write|\beval\(|https?:\/\/(?!www\.w3\.org\/(2000\/svg|1999\/xlink)")/.test(text), name);
    assert.ok(text.split("\n").length <= 401, `${name}.js is too long to read in one sitting`);
  }
  for (const name of SCRIPTS) runInThisContext(read(`${name}.js`), { filename: `${name}.js` });
  assert.equal(typeof globalThis.HaloVis.mount, "function");
  assert.throws(() => globalThis.HaloVis.mount({ matches: () => false, querySelector: () => null }), /markup of explorer\.html/);
  for (const rule of read("explorer.css").matchAll(/^([^@{}\n][^{}]*)\{/gm))
    for (const selector of rule[1].split(/,(?![^(]*\))/)) assert.match(selector.trim(), /^\.halo-explorer/);
});
