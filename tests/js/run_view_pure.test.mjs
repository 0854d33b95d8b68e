// The run view's numbers: words, axes, paths, series, files.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { FOLDER, HOSTILE, member, parse, run, runs } from "./run_view.mjs";
import { random } from "./viewer.mjs";

const { chart, curves, file, format, progress, scale, series, say, texts } = runs;
const MINUS = "\u2212";

test("both languages have the same words with the same places, none empty", () => {
  const [en, zh] = [texts.en, texts["zh-CN"]];
  assert.deepEqual(Object.keys(zh), Object.keys(en));
  const places = (text) => (text.match(/\{\w+\}/g) ?? []).sort();
  for (const key of Object.keys(en)) {
    assert.ok(en[key].trim() && zh[key].trim(), key);
    assert.deepEqual(places(zh[key]), places(en[key]), key);
  }
  assert.equal(say("zh", "epochOf", { n: 3, whole: 10 }), "第 3 轮，共 10 轮");
  assert.equal(say("fr", "ofWhole", { n: 3, whole: "{n}" }), "3 of {n}", "what is put in is not filled again");
});

test("every text that the scripts ask for exists", () => {
  const source = JSON.parse(readFileSync(new URL("order.json", FOLDER), "utf8")).map((name) => readFileSync(new URL(name, FOLDER), "utf8")).join("\n");
  const asked = [...source.matchAll(/\bsay\((?:this\.lang, |lang, )?"(\w[\w-]*)"/g)].map((m) => m[1]);
  assert.ok(asked.length > 50);
  for (const key of asked) assert.ok(key in texts.en, key);
  for (const state of ["new", "queued", "running", "stopping", "stopped", "interrupted", "failed", "finished"]) assert.ok(`state_${state}` in texts.en);
});

test("numbers in words", () => {
  const duration = (s) => format.duration("en", s);
  assert.deepEqual([0, 45.4, 59.6, 80, 3599.4, 3599.7, 3600, 7500, 86399, 86400 * 1.5].map(duration),
    ["0 s", "45 s", "1 min 0 s", "1 min 20 s", "59 min 59 s", "1 h 0 min", "1 h 0 min", "2 h 5 min", "1 d 0 h", "1 d 12 h"]);
  for (const odd of [null, undefined, NaN, Infinity, -1, "3"]) assert.equal(duration(odd), "–");
  assert.deepEqual([0, 1.23456, 12.3456, 123.456, 12345.6, 1e6, 0.0001, -2.5].map(format.loss),
    ["0.000", "1.235", "12.35", "123.5", "12346", "1.00e+6", `1.00e${MINUS}4`, `${MINUS}2.500`]);
  assert.deepEqual([0, 0.01, 0.001234, 0.0002, 5e-8].map(format.rate), ["0", "0.01", "0.00123", `2.00e${MINUS}4`, `5.00e${MINUS}8`]);
  assert.deepEqual([0, 0.004, 0.41, 1].map(format.percent), ["0 %", "0.4 %", "41 %", "100 %"]);
  assert.deepEqual([0.1584, -0.0014, 0.0001, -0.0001].map((v) => format.signed(v)), ["+0.158", `${MINUS}0.001`, "0.000", "0.000"]);
  assert.deepEqual([999, 2572280, -1000].map(format.whole), ["999", "2\u202f572\u202f280", `${MINUS}1\u202f000`]);
  for (const write of ["metric", "loss", "rate", "percent", "signed", "whole", "brief"])
    for (const odd of [null, undefined, NaN, Infinity, "1"]) assert.equal(format[write](odd), "–", write);
});

test("ticks are round, inside, evenly spaced, and not too many", () => {
  const r = random(3);
  for (let n = 0; n < 500; n++) {
    const low = r.normal() * 10 ** r.int(-6, 5), high = low + Math.max(Math.abs(r.normal()) * 10 ** r.int(-6, 5), Math.abs(low) * 1e-4, 1e-9), count = r.int(2, 9);
    const list = scale.ticks(low, high, count);
    const by = scale.step(high - low, count);
    assert.ok(list.length <= count + 1, `${low} ${high} ${count}: ${list}`);
    const mantissa = by / 10 ** Math.floor(Math.log10(by) + 1e-9);
    assert.ok([1, 2, 5].some((m) => Math.abs(m - mantissa) < 1e-6), String(by));
    for (const v of list) assert.ok(v >= low - by * 1e-6 && v <= high + by * 1e-6 && Math.abs(v / by - Math.round(v / by)) < 1e-3);
  }
  assert.deepEqual(scale.ticks(0, 1, 5), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(scale.ticks(1, 3, 8, 1), [1, 2, 3], "no half epochs");
  assert.deepEqual(scale.logTicks(0.5, 2000, 9), [1, 10, 100, 1000]);
  assert.deepEqual(scale.logTicks(1, 10, 9), [1, 2, 5, 10]);
  assert.deepEqual(scale.logTicks(2.1, 2.4, 4), [2.1, 2.2, 2.3, 2.4]);
  const all = [0, 0.0005, 0.001];
  assert.deepEqual(all.map((v) => scale.label(v, all)), ["0", `5e${MINUS}4`, `1e${MINUS}3`]);
  assert.deepEqual([2, 2.5, 3].map((v) => scale.label(v, [2, 2.5, 3])), ["2.0", "2.5", "3.0"]);
});

test("the range of an axis holds all values and ends round", () => {
  assert.deepEqual(scale.domain([0.12, 0.83], { zero: true, most: 1, count: 5 }), [0, 1]);
  assert.deepEqual(scale.domain([0.12, 0.31], { zero: true, most: 1, count: 4 }), [0, 0.4]);
  assert.deepEqual(scale.domain([], {}), [0, 1]);
  assert.deepEqual(scale.domain([0, 0], { zero: true }), [0, 1]);
  const [low, high] = scale.domain([3, 3], {});
  assert.ok(low < 3 && high > 3);
  assert.deepEqual(scale.domain([-1, 0], { log: true }), [0.1, 1], "a logarithm has no place for these");
  const [from, to] = scale.domain([0.5, 50, 0], { log: true });
  assert.ok(from < 0.5 && from > 0.3 && to > 50);
});

test("paths break at gaps, and a point alone is a dot", () => {
  const { d, alone } = scale.path([[0, 1], [1, 2], null, [3, 4], null, [5, NaN], [6, 7], [7, 8]]);
  assert.equal(d, "M0 1L1 2M6 7L7 8");
  assert.deepEqual(alone, [[3, 4]]);
  assert.deepEqual(scale.path([[1, 1]]), { d: "", alone: [[1, 1]] });
  assert.deepEqual(scale.path([]), { d: "", alone: [] });
});

test("series: a repeated epoch counts once with its later values, odd values are gaps, order is by epoch", () => {
  const value = { runs: [run("a", { members: [member("halo", { epoch: [1, 3, 2, 3, null, "4"], loss: [5, 9, "x", 3, 1, 1], mAP50: [0.1, Infinity, null, 0.4, 1, 1] })] })] };
  const [s] = series.seriesOf(value, "en");
  assert.deepEqual(s.epoch, [1, 2, 3]);
  assert.deepEqual(s.columns, { loss: [5, null, 3], mAP50: [0.1, null, 0.4] });
  assert.deepEqual([s.epochs, s.focus, s.minutes, series.last(s, "mAP50"), series.best(s, "loss"), series.last(s, "none")], [10, true, null, 2, 0, -1]);
});

test("colours stay with their curves as runs come and go; at most four runs", () => {
  const slots = new Map();
  const of = (...ids) => series.seriesOf({ runs: ids.map((id) => run(id)) }, "en", slots).map((s) => [s.run, s.member, s.slot].join());
  assert.deepEqual(of("a", "b"), ["a,baseline,0", "a,halo,1", "b,baseline,2", "b,halo,3"]);
  assert.deepEqual(of("b", "c"), ["b,baseline,2", "b,halo,3", "c,baseline,0", "c,halo,1"], "the focus changes, the colours do not");
  assert.deepEqual(of("a", "b", "c", "d", "e").length, 8);
  assert.equal(new Set(of("a", "b", "c", "d")).size, 8);
});

test("whatever a value lacks, nothing throws", () => {
  const odd = [undefined, null, 3, "x", {}, { runs: null }, { runs: [null, 1, {}, { id: "" }] }, { runs: [{ id: "a" }] }, { runs: [{ id: "a", members: [null, {}, { name: "m" }], progress: 4, load: "x" }] },
    { runs: [{ id: 7, state: "odd", members: [{ name: "m", curves: { epoch: "x", loss: 3 } }], error: "text", warnings: [1, null, { message: "w" }], queue: "x" }] }];
  for (const value of odd) {
    const all = series.runsOf(value), found = series.seriesOf(value, "en");
    progress.draw("en", all);
    progress.spoken("en", all);
    runs.compare.runsTable("en", all, found);
    for (const one of chart.CHARTS) chart.draw("en", one, found, found, { width: 300, height: 200, by: "epoch", log: true, cursor: 1 });
    assert.ok(file.svg("en", found, found, { by: "epoch", log: false, cursor: null }).startsWith("<?xml"));
    assert.equal(typeof series.csv(found), "string");
  }
  assert.equal(progress.draw("en", [])[0].children[0], "No run chosen");
});

test("progress: figures of the last update; those of a run at rest are not its last speed", () => {
  const p = { member: "halo", members: ["baseline", "halo"], epoch: 3, epochs: 10, batch: 17, batches: 51, images_per_s: 31.2, left_s: 80, elapsed_s: 61, memory_gb: 1.21, done: 0.4299, phase: "training", device: "cpu" };
  const figures = (more) => Object.fromEntries(progress.figures("en", run("a", { progress: p, load: { cpu: 96.2, gpu: null }, ...more })));
  assert.deepEqual(figures({}), {
    member: "halo (2/2)", epoch: "3 of 10", batch: "17 of 51", speed: "31 pictures/s", left: "1 min 20 s", elapsed: "1 min 1 s", memory: "1.2 GB", cpu: "96 %",
  });
  assert.equal(figures({ load: { gpu: 71 } }).gpu, "71 %");
  assert.deepEqual({ ...figures({ state: "interrupted" }), member: 0 }, { member: 0, epoch: "3 of 10", batch: "–", speed: "–", left: "–", elapsed: "1 min 1 s", memory: "–", cpu: "–" });
  const note = (more) => progress.note("en", run("a", { progress: p, ...more }));
  assert.deepEqual([note({}), note({ state: "queued", queue: 2 }), note({ state: "stopped", actions: ["resume"] }), note({ state: "stopped" }), note({ state: "stopping" })],
    ["Training · CPU", "Place 2 in the queue", "Can be resumed after its last whole epoch", "", "Ends after this epoch; nothing is lost"]);
  assert.deepEqual([{ progress: { done: 7 } }, { state: "finished" }, { progress: {} }].map((m) => progress.doneOf(run("a", m))), [1, 1, 0.3]);
  const before = progress.spoken("en", [run("a", { progress: p })]);
  assert.equal(progress.spoken("en", [run("a", { progress: { ...p, batch: 18, epoch: 4 } })]), before, "nothing to say of a batch");
  assert.match(progress.spoken("en", [run("a", { state: "failed", error: { message: "No memory.", next: "Smaller." } })]), /Failed\. No memory\. Smaller\./);
});

test("the crosshair reads the very epoch, and moves by keys to the ends and no further", () => {
  const [a, b] = series.seriesOf({ runs: [run("a", { members: [member("x", { epoch: [1, 2, 4], loss: [1, 2, 4], seconds: [60, 60, 120] }), member("y", { epoch: [1, 2, 3], loss: [9, 8, 7], seconds: [30, 30, 30] })] })] }, "en");
  assert.deepEqual(a.minutes, [1, 2, 4]);
  const read = (s, by, x) => [curves.row(s, by, x).epoch, curves.row(s, by, x).values[0]];
  assert.deepEqual([read(a, "epoch", null), read(a, "epoch", 2), read(a, "epoch", 3), read(b, "minutes", 1.4)], [["4", "4.000"], ["2", "2.000"], ["–", "–"], ["3", "7.000"]]);
  const places = series.places([a, b], "epoch");
  assert.deepEqual(places, [1, 2, 3, 4]);
  const keys = (from, ...list) => list.reduce((now, key) => { const to = curves.moved(places, now, key); return to === undefined ? now : to; }, from);
  assert.deepEqual([keys(null, "ArrowLeft"), keys(null, "ArrowRight"), keys(2, "ArrowRight"), keys(4, "ArrowRight"), keys(1, "ArrowLeft"), keys(3, "Home"), keys(1, "End"), keys(2, "Escape"), keys(2, "a")],
    [3, 4, 3, 4, 1, 1, 4, null, 2]);
  assert.equal(curves.moved([], null, "ArrowLeft"), undefined);
  assert.ok(series.timed([a, b]) && !series.timed(series.seriesOf({ runs: [run("b")] }, "en")));
});

test("a chart: lines where the numbers are, read back from the path", () => {
  const all = series.seriesOf({ runs: [run("a")] }, "en");
  for (const log of [false, true]) {
    const { plan, tree } = chart.draw("en", chart.CHARTS[0], all, all, { width: 400, height: 200, by: "epoch", log, cursor: 2 });
    const text = tree.map(file.markup).join("");
    const d = / d="([^"]+)"[^>]*stroke="#d55e00"/.exec(text)[1];
    const points = d.slice(1).split("L").map((p) => p.split(" ").map(Number));
    const { area, xDomain, yDomain } = plan;
    const f = log ? Math.log : (v) => v;
    points.forEach(([x, y], i) => { // the obvious inverse
      const epoch = xDomain[0] + ((x - area.x0) / (area.x1 - area.x0)) * (xDomain[1] - xDomain[0]);
      const share = (area.y1 - y) / (area.y1 - area.y0);
      assert.ok(Math.abs(epoch - [1, 2, 3][i]) < 0.01);
      assert.ok(Math.abs(f(yDomain[0]) + share * (f(yDomain[1]) - f(yDomain[0])) - f([4, 2, 1][i])) < 0.02);
    });
    assert.deepEqual(xDomain, [1, 10], "all epochs that were asked for: the axis does not move as curves grow");
  }
  const gap = chart.draw("en", chart.CHARTS[1], [all[0]], all, { width: 400, height: 200, by: "epoch", log: false, cursor: null }).tree.map(file.markup).join("");
  assert.ok(!/<path/.test(gap) && (gap.match(/<circle/g) ?? []).length === 2, "0.1, nothing, 0.3: two dots, no line over the gap");
  const one = series.seriesOf({ runs: [run("a", { members: [member("halo", { epoch: [1], mAP50: [0.3] }, { epochs: 1 })] })] }, "en");
  const dot = chart.draw("en", chart.CHARTS[1], one, one, { width: 400, height: 200, by: "epoch", log: false, cursor: null });
  assert.match(dot.tree.map(file.markup).join(""), /<circle/);
  assert.deepEqual(dot.plan.xDomain, [0, 2]);
});

test("the CSV has every number, and no formula", () => {
  const value = { runs: [run("=1+1", { title: HOSTILE, members: [member("halo", { epoch: [1, 2], loss: [1 / 3, null], box: [0.25, 0.5], seconds: [30, 30], mAP50: [0.1, 0.2] })] })] };
  const lines = parse(series.csv(series.seriesOf(value, "en")));
  assert.deepEqual(lines, [
    ["run", "title", "member", "epoch", "minutes", "loss", "mAP50", "box", "seconds"],
    ["'=1+1", HOSTILE, "halo", "1", "0.5", "0.333333333", "0.1", "0.25", "30"],
    ["'=1+1", HOSTILE, "halo", "2", "1", "", "0.2", "0.5", "30"],
  ]);
});

test("the SVG stands alone: no class, no script, words escaped, and the page's colours", () => {
  const all = series.seriesOf({ runs: [run("a", { title: HOSTILE }), run("b")] }, "en");
  const text = file.svg("en", all, all, { by: "epoch", log: false, cursor: null });
  assert.ok(!/class=|<img|<script|key=|data-/.test(text));
  assert.ok(text.includes("&lt;img src=x onerror=alert(1)&gt;"));
  for (const name of ["Loss", "mAP50", "mAP50-95", "Learning rate"]) assert.ok(text.includes(`>${name}</text>`), name);
  const css = readFileSync(new URL("run_view.css", FOLDER), "utf8");
  const light = /--hr-0: .*/.exec(css)[0];
  assert.deepEqual([...light.matchAll(/--hr-\d: (#\w{6})/g)].map((m) => m[1]), file.COLOURS);
});

test("the colours stand out from their background, in light and in dark", () => {
  const css = readFileSync(new URL("run_view.css", FOLDER), "utf8");
  const light = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  [...css.matchAll(/--hr-0: .*/g)].forEach(([line], i) => {
    const colours = [...line.matchAll(/#\w{6}/g)].map(([c]) => c);
    assert.equal(colours.length, 8);
    for (const c of colours) for (const back of [["#ffffff"], ["#0d1117", "#27272a"]][i]) assert.ok(ratio(c, back) >= 3, `${c} on ${back}: ${ratio(c, back)}`);
  });
});
