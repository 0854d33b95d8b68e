// What is drawn and said: plans, scales, sources, boxes, numbers, badges.
import assert from "node:assert/strict";
import { test } from "node:test";
import { mapsOf, near, rowOf, same } from "./oracle.mjs";
import { det, HaloVis, make } from "./viewer.mjs";

const { scene, tensors } = HaloVis;

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

test("received view: the map of the chosen head, as it was shipped", () => {
  const { data, state } = make({});
  const plan = scene.plan(data, { ...state, view: "received", head: 0 }, "halo");
  assert.deepEqual([...plan.heat.values], [...tensors.slice(data.pack.levels.P4.tensors.received, 63, 63)]);
  assert.deepEqual([plan.heat.max, plan.pending], [2, false]);
  const max = scene.plan(data, { ...state, view: "received", head: -2 }, "halo").heat.values;
  const [one, two] = [1, 2].map((n) => tensors.slice(data.pack.levels.P4.tensors.received, n * 63, 63));
  assert.deepEqual([...max], [...one.map((v, n) => Math.max(v, two[n]))]);
  const figures = scene.numbers(data, { ...state, view: "received", head: 0 });
  assert.equal(figures.received, plan.heat.values[2 * 9 + 3]);
  assert.equal(scene.numbers(data, state).received, null);
});

test("maps that were not shipped come from jobs: pending, then equal to the oracle", async () => {
  for (const left of ["off", "control", "mask"]) {
    const { data, state, level, buffer, files } = make({ others: true, shipped: false, height: 9, width: 6 });
    const layer = { control: data.meta.others[0].levels.P4, mask: { ...level, mask: "published" } }[left] ?? level;
    const side = left === "off" ? "halo" : "baseline";
    const all = { tensors: buffer, ...files };
    for (const of of ["weight", "contribution", "position"]) {
      for (const view of ["received", "blocks"]) {
        const now = { ...state, left, view, of, head: -2 };
        assert.equal(scene.plan(data, now, side).pending, true);
        await scene.finish(data, now);
        const plan = scene.plan(data, now, side);
        assert.equal(plan.pending, false);
        assert.equal(scene.work(data, now, 5), false);
        const maps = mapsOf(all, layer, -2, of);
        if (view === "received") same([...plan.heat.values], maps.received(), 1e-5, `${left} ${of}`);
        else {
          const want = maps.blocks(), size = 64, wide = 2;
          for (let n = 0; n < plan.heat.values.length; n++) {
            const y = Math.floor(n / 16), x = n % 16, [by, bx, i, j] = [Math.floor(y / 8), Math.floor(x / 8), y % 8, x % 8];
            const w = tensors.windowOf(data.pack.levels.P4, by * 4, bx * 4);
            const inside = w.oy + i >= w.y0 && w.oy + i < w.y1 && w.ox + j >= w.x0 && w.ox + j < w.x1;
            if (!inside && layer.mask === "valid") assert.ok(Number.isNaN(plan.heat.values[n]));
            else near(plan.heat.values[n], want[(by * wide + bx) * size + i * 8 + j] * w.inside, 1e-4, `${left} ${of} ${n}`);
          }
        }
      }
    }
    assert.ok(data.jobs.size <= 10);
  }
});

test("box view: the mean over the cells inside the box, or over its query", async () => {
  const { data, state, level, buffer } = make({ height: 12, width: 12 }, (meta) => {
    const at = (y, x) => ({ query: { level: "P4", y, x } });
    meta.detections.halo = [det([30, 20, 90, 60], 0.9, at(3, 4)), det([50, 40, 51, 41], 0.8, at(5, 6))];
  });
  const files = { tensors: buffer };
  assert.equal(scene.plan(data, { ...state, view: "box" }, "halo").view, "cell", "without a box there is only the cell");
  for (const [index, of, head] of [[0, "weight", -1], [0, "contribution", -2], [1, "content", 1]]) {
    const now = { ...state, view: "box", box: { side: "halo", index }, of, head, point: scene.queryOf(data, data.meta.detections.halo[index]).point };
    const first = scene.plan(data, now, "halo");
    assert.deepEqual([first.view, first.pending], ["box", true]);
    await scene.finish(data, now);
    const plan = scene.plan(data, now, "halo");
    const cells = tensors.cellsIn(data.pack.levels.P4, data.meta.detections.halo[index].xyxy, data.frame) ?? [5, 6, 6, 7];
    assert.equal(cells[2] - cells[0] > 1, index === 0);
    same([...plan.heat.values], mapsOf(files, level, head, of).mean(...cells, true), 1e-4, `box ${index}`);
    assert.deepEqual([plan.heat.rows, plan.heat.cols, plan.heat.max, plan.pending, plan.weights], [12, 12, 4, false, null]);
    assert.deepEqual(plan.area, tensors.cellsRect(data.frame, plan.layer, ...cells));
    const reached = [...plan.heat.values.keys()].filter((n) => !Number.isNaN(plan.heat.values[n]));
    const ys = reached.map((n) => Math.floor(n / 12)), xs = reached.map((n) => n % 12);
    assert.deepEqual(plan.window, tensors.cellsRect(data.frame, plan.layer, Math.min(...ys), Math.min(...xs), Math.max(...ys) + 1, Math.max(...xs) + 1));
    const left = scene.plan(data, now, "baseline");
    assert.deepEqual([left.view, left.of, left.layer.name, left.pending], ["box", "weight", "layer10", false], "the global layer has the same view");
    if (head !== -2) near([...left.heat.values].reduce((a, b) => a + b, 0), 12, 1e-4, "times uniform of 12 cells");
  }
});

test("who attends to the cell: warms up between frames, nearest first, and ends equal to the oracle", () => {
  const { data, state, level, buffer } = make({ height: 16, width: 16 });
  const now = { ...state, view: "to", left: "off", of: "contribution" };
  const count = () => [...scene.plan(data, now, "halo").heat.values].filter((v) => !Number.isNaN(v)).length;
  assert.equal(scene.plan(data, now, "halo").pending, true);
  assert.equal(count(), 0);
  while (count() === 0) assert.equal(scene.work(data, now, 0), true);
  assert.equal(count(), 16, "one block that reaches the cell");
  while (scene.work(data, now, 1));
  const plan = scene.plan(data, now, "halo");
  same([...plan.heat.values], mapsOf({ tensors: buffer }, level, -1, "contribution").towards(2, 3, true), 1e-4, "towards");
  assert.deepEqual([plan.pending, plan.heat.max], [false, 8]);
  assert.deepEqual(plan.window, tensors.cellsRect(data.frame, plan.layer, 0, 0, 8, 8), "the blocks whose windows hold (2, 3)");
  const other = scene.plan(data, { ...now, head: -2, of: "weight", point: tensors.centreOf(plan.layer, 9, 9) }, "halo");
  assert.equal(other.pending, false, "weights share the normalisers, for every head and cell");
});

test("what the left panel may show", () => {
  const { data, state } = make({ others: true });
  assert.deepEqual(scene.sources(data), ["layer10", "control", "mask", "run1", "off"]);
  const bare = make({});
  assert.deepEqual(scene.sources(bare.data), ["layer10", "mask", "off"]);
  bare.data.meta.others = data.meta.others;
  bare.data.pack = tensors.open({ tensors: bare.buffer }, bare.data.meta);
  bare.data.urls = { run1: "somewhere" };
  assert.deepEqual(scene.sources(bare.data), ["layer10", "mask", "run1", "off"], "what can be fetched is offered, what cannot is not");
  assert.equal(scene.plan(bare.data, { ...state, left: "run1" }, "baseline").heat, null, "not there yet");
});

test("left sources: the control, the other mask and a run show the same level, view, head and cell", () => {
  const { data, state, level, buffer, files } = make({ others: true, runBlock: 5 });
  const all = { tensors: buffer, ...files };
  const [control, run] = data.meta.others.map((o) => o.levels.P4);
  const levels = { control, run1: run, mask: { ...level, mask: "published" } };
  for (const [left, want] of Object.entries(levels)) {
    for (const [head, of] of [[-1, "weight"], [1, "contribution"], [-2, "position"]]) {
      const plan = scene.plan(data, { ...state, left, head, of }, "baseline");
      same([...plan.weights], rowOf(all, want, 2, 3, head, of), 1e-6, left);
      assert.deepEqual([plan.source, plan.head, plan.of, plan.view, plan.y, plan.x], [left, head, of, "cell", 2, 3]);
    }
    assert.equal(scene.plan(data, { ...state, left, level: "layer10" }, "baseline").heat, null, "nothing to set beside a global layer");
  }
  const title = (left, more) => scene.plan(data, { ...state, left, ...more }, "baseline").title;
  assert.deepEqual(["layer10", "off", "control", "mask", "run1"].map((left) => title(left).key),
    ["sourceModel", "sourceModel", "sourceControl", "sourceMaskPublished", "sourceRun"]);
  assert.equal(HaloVis.say("en", "{title}", title("run1").values), "<b>run one</b>");
  const titles = ["Model", "Control", "MaskPublished", "MaskValid", "Run", "Difference"].map((name) => `source${name}`);
  for (const key of [...titles, "badgeControl", "badgeMaskPublished", "badgeMaskValid"])
    assert.ok(key in HaloVis.texts.en, key);
});

test("difference: right minus left, on the map's cells, only where the two can be compared", async () => {
  const { data, state, level, buffer, files } = make({ others: true, runBlock: 3, mask: "valid" });
  const all = { tensors: buffer, ...files };
  const run = data.meta.others[1].levels.P4;
  const onMap = (l) => { // the row of (2, 3) on the cells of the map, times uniform
    const row = rowOf(all, l, 2, 3, -1, "weight"), b = l.block_size, side = b + 4, out = new Array(63).fill(NaN);
    const [oy, ox] = [Math.floor(2 / b) * b - 2, Math.floor(3 / b) * b - 2];
    const cells = row.map((p, n) => [oy + Math.floor(n / side), ox + (n % side), p]).filter(([y, x]) => y >= 0 && y < 7 && x >= 0 && x < 9);
    for (const [y, x, p] of cells) out[y * 9 + x] = p * cells.length;
    return out;
  };
  const now = { ...state, left: "run1", mode: "difference", log: true };
  assert.equal(scene.canDiffer(data, now), true);
  const plan = scene.plan(data, now, "halo");
  const [r, l] = [onMap(level), onMap(run)];
  same([...plan.heat.values], r.map((v, n) => (Number.isNaN(v) && Number.isNaN(l[n]) ? NaN : (v || 0) - (l[n] || 0))), 1e-5, "difference");
  const alone = (a, b) => a.some((v, n) => Number.isNaN(v) && !Number.isNaN(b[n]));
  assert.ok(alone(r, l) && alone(l, r), "windows of different blocks");
  assert.deepEqual([plan.heat.diverging, plan.heat.log, plan.heat.max, plan.title.key], [true, false, 8, "sourceDifference"]);
  const auto = scene.plan(data, { ...now, scales: { ...now.scales, cell: "auto" } }, "halo").heat;
  assert.equal(auto.max, Math.max(...[...auto.values].filter((v) => !Number.isNaN(v)).map(Math.abs)));
  assert.equal(scene.plan(data, now, "baseline").heat.diverging, false);

  const no = (more) => assert.equal(scene.canDiffer(data, { ...now, ...more }), false, JSON.stringify(more));
  no({ left: "off" });
  no({ left: "layer10" });
  no({ view: "blocks" });
  no({ left: "mask", level: "layer10" });
  assert.equal(scene.plan(data, { ...now, left: "layer10" }, "halo").heat.diverging, false, "then the right panel shows its own");
  for (const left of ["control", "mask"]) assert.equal(scene.canDiffer(data, { ...now, left, view: "blocks" }), true);
  const global = { ...now, level: "layer10", left: "layer10" };
  assert.equal(scene.canDiffer(data, global), true);
  assert.ok(scene.plan(data, global, "halo").heat.values.every((v) => v === 0), "the same layer on both sides");

  const received = { ...now, left: "mask", view: "received", of: "content" };
  assert.equal(scene.plan(data, received, "halo").pending, true);
  await scene.finish(data, received);
  const [a, b] = [level, { ...level, mask: "published" }].map((x) => mapsOf(all, x, -1, "content").received());
  same([...scene.plan(data, received, "halo").heat.values], a.map((v, n) => v - b[n]), 1e-5, "received");
  const blocks = scene.plan(data, { ...now, left: "mask", view: "blocks", of: "weight" }, "halo").heat.values;
  assert.ok(Number.isNaN(blocks[0]), "padding has no place in a difference");
});

test("strip: the levels of one point, or all heads of a layer", () => {
  const { data, state } = make({ heads: 3 }, (meta) => { meta.levels.P3 = { ...meta.levels.P4, stride: 8 }; });
  assert.deepEqual(scene.thumbs(data, state), []);
  const levels = scene.thumbs(data, { ...state, strip: "levels", head: 1 });
  assert.deepEqual(levels.map((t) => [t.key, t.label, t.chosen]), [["P4", { level: "P4", head: 1 }, true], ["P3", { level: "P3", head: 1 }, false]]);
  for (const { key, plan, crop } of levels) {
    assert.deepEqual([plan.layer.name, plan.boxes, plan.labels], [key, [], false]);
    assert.deepEqual(plan.heat, scene.plan(data, { ...state, level: key, head: 1 }, "halo").heat);
    assert.deepEqual(crop, { x: 0, y: 0, w: 100, h: 80 });
  }
  const heads = scene.thumbs(data, { ...state, strip: "heads", head: -2 });
  assert.deepEqual(heads.map((t) => [t.key, t.label.head]), [["head-1", -1], ["head-2", -2], ["head0", 0], ["head1", 1], ["head2", 2]]);
  assert.deepEqual(heads.map((t) => t.chosen), [false, true, false, false, false]);
  for (const { label, plan, crop } of heads) {
    assert.deepEqual([...plan.weights], [...tensors.row(data.pack.levels.P4, 2, 3, label.head)]);
    assert.deepEqual(crop, plan.heat.rect, "the window, whole");
  }
  const beside = { ...state, strip: "heads", left: "mask", mode: "difference" };
  assert.ok(scene.plan(data, beside, "halo").heat.diverging);
  const plain = scene.thumbs(data, { ...beside, mode: "pair" });
  assert.deepEqual(scene.thumbs(data, beside), plain, "small views beside a difference are the maps themselves");
  const wide = scene.thumbs(data, { ...state, strip: "heads", view: "received" });
  assert.deepEqual(wide[0].crop, { x: 0, y: 0, w: 100, h: 80 });
  assert.equal(scene.thumbs(data, { ...state, strip: "heads", level: "layer10" }).length, 5);
  const to = { ...state, strip: "levels", view: "to", left: "off" };
  while (scene.work(data, to, 5));
  for (const t of scene.thumbs(data, to)) assert.equal(t.plan.pending, false, "the strip's own jobs run too");
});

test("logarithmic scale: the end is at least 2; dim and opacity pass through", () => {
  const { data, state } = make({});
  const of = (more) => scene.plan(data, { ...state, ...more }, "halo");
  assert.deepEqual([of({ log: true }).heat.log, of({ log: true }).heat.max], [true, 8]);
  assert.equal(of({ log: true, scales: { ...state.scales, cell: 1 } }).heat.max, 2);
  const { heat } = of({ log: true, view: "received", scales: { ...state.scales, received: "auto" } });
  assert.ok(heat.auto && heat.max >= 2);
  assert.deepEqual([of({ dim: 0.4, opacity: 0.3 }).dimPhoto, of({ dim: 0.4, opacity: 0.3 }).opacity], [0.4, 0.3]);
});

test("numbers: top cells, attention outside the box, and on the known answer", () => {
  const { data, state } = make({}, (meta) => {
    meta.detections.halo = [det([20, 10, 60, 50], 0.9)];
    meta.answers = [{ name: "bee", where: [0, 0, 100, 80], region: [40, 30, 60, 50] }];
  });
  const layer = data.pack.levels.P4;
  for (const [head, of] of [[-1, "weight"], [-2, "contribution"]]) {
    const figures = scene.numbers(data, { ...state, head, of, box: { side: "halo", index: 0 } });
    const row = tensors.row(layer, 2, 3, head, of), total = row.reduce((a, b) => a + b, 0), shares = row.map((v) => v / total);
    const { inside } = tensors.windowOf(layer, 2, 3);
    assert.equal(figures.top.length, 5);
    near(figures.top[0].value, Math.max(...shares), 1e-6, "the largest share");
    for (const t of figures.top) near(t.times, t.value * inside, 1e-9, "times uniform");
    for (const key of ["weight", "contribution"]) {
      const other = tensors.row(layer, 2, 3, head, key), sum = other.reduce((a, b) => a + b, 0);
      near(figures.outside[key], tensors.outside(layer, 2, 3, other.map((v) => v / sum), [20, 10, 60, 50], data.frame), 1e-6, key);
    }
    assert.deepEqual(figures.answer, tensors.answer(layer, 2, 3, head === -2 ? shares : row, data.meta.answers, data.frame));
    near(figures.mass.block + figures.mass.halo, 1, 1e-5, "also the maximum of the heads is divided by its sum");
  }
  const free = scene.numbers(data, state);
  assert.deepEqual([free.outside, free.answer.name], [null, "bee"]);
  assert.equal(scene.numbers(data, { ...state, level: "layer10", box: { side: "halo", index: 0 } }).outside.contribution, null);
  const nothing = make({ norms: 0 }, (meta) => { meta.answers = [{ name: "bee", where: [0, 0, 100, 80], region: [40, 30, 60, 50] }]; });
  const empty = scene.numbers(nothing.data, { ...nothing.state, of: "contribution" });
  assert.deepEqual([empty.empty, empty.top, empty.answer], [true, [], null]);
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
  assert.equal(scene.settle(data, { ...state, level: "layer10", view: "to", head: -2 }).view, "to");
});

test("no halo layers, no detections: nothing breaks", () => {
  const { data, state } = make({}, (meta) => { meta.levels = {}; meta.global = {}; });
  for (const side of ["baseline", "halo"]) assert.equal(scene.plan(data, state, side).heat, null);
  assert.equal(scene.numbers(data, state), null);
  assert.deepEqual(scene.badges(data, { ...state, head: -2 }, null), []);
  assert.equal(scene.strongest(data), null);
});

test("boxes: status, partner, the selected one on top, the query cell of a detection", () => {
  const { data, state } = make({}, (meta) => {
    meta.detections = {
      baseline: [det([0, 0, 10, 10], 0.9), det([30, 30, 60, 60], 0.4)],
      halo: [det([1, 0, 10, 10], 0.8), det([50, 5, 90, 40], 0.95, { query: { level: "P5", y: 0, x: 1 } })],
    };
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

test("boxes of the left panel are those of the model that it shows", () => {
  const { data, state } = make({ others: true }, (meta) => {
    meta.detections = { baseline: [det([0, 0, 10, 10], 0.9)], halo: [det([1, 0, 10, 10], 0.8), det([50, 5, 90, 40], 0.7)] };
    meta.matches = [{ kind: "kept", baseline: 0, halo: 0, iou: 0.9, delta: -0.1 }, { kind: "gained", baseline: null, halo: 1, iou: null, delta: null }];
    meta.others[1].detections = [det([2, 2, 9, 9], 0.5), det([50, 5, 91, 40], 0.6), det([70, 70, 75, 75], 0.3)];
    meta.others[1].matches = [
      { kind: "kept", baseline: 1, halo: 1, iou: 0.9, delta: 0.1 }, { kind: "lost", baseline: 0, halo: null, iou: null, delta: null },
      { kind: "lost", baseline: 2, halo: null, iou: null, delta: null }, { kind: "gained", baseline: null, halo: 0, iou: null, delta: null },
    ];
  });
  const box = { side: "halo", index: 1 };
  const shown = (left, side) => scene.plan(data, { ...state, left, box }, side).boxes.map((b) => [b.index, b.status, b.selected]);
  assert.deepEqual(shown("layer10", "baseline"), [[0, "kept", false]]);
  assert.deepEqual(shown("run1", "baseline"), [[2, "lost", false], [0, "lost", false], [1, "kept", true]]);
  assert.deepEqual(shown("run1", "halo"), [[0, "gained", false], [1, "kept", true]]);
  for (const left of ["control", "mask"]) assert.deepEqual(shown(left, "baseline"), [[0, "kept", false], [1, "kept", true]]);
  assert.equal(scene.chosen(data, { left: "run1", box: { side: "baseline", index: 2 } }).conf, 0.3);
  assert.equal(scene.chosen(data, { left: "layer10", box: { side: "baseline", index: 2 } }), null);
  assert.equal(scene.matchOf(data, { side: "baseline", index: 1 }, "run1").halo, 1);
  assert.equal(scene.matchOf(data, null), null);
  const matches = (left) => scene.lists(data, left).matches;
  for (const left of ["layer10", "run1", "control", "mask"]) assert.equal(matches(left), matches(left), "one table, made once");
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
  assert.deepEqual(keys({ others: true }, () => {}, { left: "control" }), ["badgeControl"]);
  for (const level of ["P4", "layer10"]) assert.deepEqual(keys({}, () => {}, { head: -2, level }), ["badgeMax"]);
  assert.deepEqual(keys({ others: true }, () => {}, { head: -2, left: "control" }), ["badgeMax", "badgeControl"]);
  assert.deepEqual(keys({}, () => {}, { left: "mask" }), ["badgeMaskPublished"]);
  assert.ok(keys({ mask: "published" }, () => {}, { left: "mask" }).includes("badgeMaskValid"));
  assert.deepEqual(keys({}, () => {}, { left: "mask", level: "layer10" }), [], "no such panel, no such badge");
  const interior = keys({ mask: "published", height: 12, width: 12 }, () => {}, { point: [16 * 5 + 8, 16 * 5 + 8] });
  assert.deepEqual(interior, ["badgePublished", "badgeUniform"]);
});
