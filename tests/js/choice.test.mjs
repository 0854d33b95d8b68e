// What choosing does to the view state: cells, boxes, the pointer, Tab, zoom, restoring.
import assert from "node:assert/strict";
import { resolveObjectURL } from "node:buffer";
import { test } from "node:test";
import { HaloVis, det, make } from "./viewer.mjs";

const { Choice, scene, tensors, zoom, load } = HaloVis;

/** A choice on data with three boxes of the halo model and one of the baseline's. */
function begin(change = () => {}, options = {}) {
  const { data } = make({ others: true, ...options }, (meta) => {
    meta.detections.halo = [det([10, 10, 30, 30], 0.6), det([40, 40, 60, 60], 0.9, { query: { level: "P4", y: 4, x: 5 } }), det([5, 50, 25, 70], 0.7)];
    meta.detections.baseline = [det([41, 41, 61, 61], 0.5)];
    meta.matches = [
      { kind: "kept", baseline: 0, halo: 1, iou: 0.9, delta: 0.4 }, { kind: "gained", baseline: null, halo: 0, iou: null, delta: null },
      { kind: "gained", baseline: null, halo: 2, iou: null, delta: null },
    ];
    change(meta);
  });
  let told = 0, zoomed = 0;
  const choice = new Choice({ changed: () => told++, zoomed: () => zoomed++, most: () => 8 });
  choice.begin(data);
  return { data, choice, told: () => told, zoomed: () => zoomed };
}

const cell = (choice) => [choice.snapshot().y, choice.snapshot().x];

test("it begins at the strongest detection, unpinned; without any in the middle", () => {
  const { choice } = begin();
  assert.deepEqual(choice.state.box, { side: "halo", index: 1 });
  assert.deepEqual(cell(choice), [4, 5]);
  assert.equal(choice.pinned, false);
  assert.deepEqual(choice.state.zoom, { scale: 1, x: 50, y: 40 });
  const bare = begin((meta) => { meta.detections = { baseline: [], halo: [] }; meta.matches = []; }).choice;
  assert.equal(bare.state.box, null);
  assert.deepEqual(bare.snapshot().photo, [50, 40]);
});

test("what was chosen survives the next picture, where it still makes sense", () => {
  const { data, choice } = begin();
  choice.choose("left", "run1");
  choice.choose("of", "content");
  choice.set("scale", "16");
  choice.look({ scale: 3, x: 30, y: 30 });
  choice.begin(data);
  const { left, of, scale, zoom: view } = choice.snapshot();
  assert.deepEqual([left, of, scale, view.scale], ["run1", "content", 16, 1]);
  choice.begin(make({}).data); // no other models there
  assert.equal(choice.snapshot().left, "layer10");
});

test("the pointer leads until something is pinned, and in views that follow it", () => {
  const { choice } = begin();
  choice.hover = tensors.centreOf({ stride: 16 }, 1, 2);
  assert.deepEqual(cell(choice), [1, 2]);
  assert.equal(choice.snapshot().box, null);
  choice.choose("view", "received");
  assert.deepEqual(cell(choice), [4, 5], "a map of all cells does not follow");
  choice.choose("view", "to");
  assert.deepEqual(cell(choice), [1, 2]);
  choice.choose("view", "box");
  assert.deepEqual(cell(choice), [4, 5], "the selected box stays");
  choice.cell("P4", 3, 3);
  assert.deepEqual([cell(choice), choice.pinned, choice.hover], [[3, 3], true, null]);
  choice.hover = tensors.centreOf({ stride: 16 }, 1, 2);
  assert.deepEqual(cell(choice), [3, 3], "pinned");
  choice.release();
  assert.deepEqual([choice.pinned, choice.state.box], [false, null]);
});

test("a cell or layer that is not there is refused", () => {
  const { choice } = begin();
  assert.throws(() => choice.cell("P4", 99, 0), RangeError);
  assert.throws(() => choice.cell("P9", 0, 0), /P9/);
  assert.deepEqual(cell(choice), [4, 5]);
});

test("Tab walks through a panel's boxes from the most certain, then leaves; Escape leaves at once", () => {
  const { choice } = begin();
  const indices = [];
  choice.enter(false);
  while (choice.next("halo", false)) indices.push(choice.state.box.index);
  assert.deepEqual(indices, [1, 2, 0]);
  choice.enter(true);
  assert.ok(choice.next("halo", true));
  assert.equal(choice.state.box.index, 0, "from below: the last first");
  assert.ok(choice.next("halo", true) && choice.next("halo", true) && !choice.next("halo", true));
  choice.enter(false);
  assert.ok(!choice.next("halo", true), "backwards from the first place leaves");
  choice.enter(false);
  assert.ok(choice.next("baseline", false) && !choice.next("baseline", false));
  choice.enter(false);
  choice.release();
  assert.ok(!choice.next("halo", false));
});

test("a box of the left panel does not outlive the list that it counts in", () => {
  const { choice } = begin();
  choice.box("baseline", 0);
  choice.choose("left", "off");
  assert.deepEqual(choice.state.box, { side: "baseline", index: 0 }, "the same model's boxes");
  choice.choose("left", "mask");
  assert.equal(choice.state.box, null, "the halo model's boxes are on the left now");
  choice.box("halo", 2);
  choice.choose("left", "run1");
  assert.deepEqual(choice.state.box, { side: "halo", index: 2 });
});

test("weights and contributions, one key apart; a global layer has weights only", () => {
  const { choice, told } = begin();
  const before = told();
  assert.ok(choice.toggle());
  assert.equal(choice.state.of, "contribution");
  assert.ok(choice.toggle());
  assert.equal(choice.state.of, "weight");
  assert.equal(told(), before + 2);
  choice.choose("level", "layer10");
  assert.equal(choice.toggle(), false);
});

test("zoom holds the chosen cell, keeps it in view, and stays within its limits", () => {
  const { data, choice, zoomed } = begin();
  const place = () => zoom.toPanel(data.frame, choice.state.zoom, ...choice.snapshot().photo);
  choice.cell("P4", 3, 4);
  const before = place();
  choice.zoomBy(2);
  assert.ok(place().every((share, i) => Math.abs(share - before[i]) < 1e-9), "no pointer: around the cell");
  choice.zoomBy(1000, 0.1, 0.1);
  assert.equal(choice.state.zoom.scale, 8);
  assert.equal(zoomed(), 2);
  choice.cell("P4", 4, 6);
  assert.ok(place().every((share) => share > 0 && share < 1), "moved along");
  choice.look({ scale: 0.1, x: 0, y: 0 });
  assert.deepEqual(choice.state.zoom, { scale: 1, x: 50, y: 40 });
  choice.pinch({ from: { u: 0.5, v: 0.5, apart: 10 }, to: { u: 0.5, v: 0.5, apart: 20 }, first: true });
  choice.pinch({ from: { u: 0.5, v: 0.5, apart: 10 }, to: { u: 0.5, v: 0.5, apart: 30 }, first: false });
  assert.equal(choice.state.zoom.scale, 3, "counted from where the fingers began");
});

test("a view goes out as a link and comes back the same", () => {
  const { data, choice } = begin();
  choice.cell("P4", 2, 7);
  choice.choose("left", "control");
  choice.choose("mode", "difference");
  choice.choose("head", "1");
  choice.set("dim", "0.4");
  choice.look({ scale: 2, x: 40, y: 30 });
  const link = scene.writeView(choice.snapshot());
  const other = new Choice({ changed: () => {}, zoomed: () => {}, most: () => 8 });
  other.begin(data);
  other.restore(link);
  const [a, b] = [choice, other].map((c) => ({ ...c.snapshot(), pinned: null }));
  assert.deepEqual(b, a);
  other.restore({ level: "P9", y: -1, head: "x", opacity: 7, zoom: { scale: 1e9, x: 0, y: 0 }, pinned: "yes" });
  assert.deepEqual({ ...other.snapshot(), pinned: null }, a, "nonsense changes nothing");
  assert.equal(other.pinned, false);
});

test("a link rebuilds the view, whatever was there before; an object changes what it names", () => {
  const { data, choice, told } = begin();
  data.colors = { magma: 1, viridis: 1 };
  const fresh = (view) => {
    const other = new Choice({ changed: () => {}, zoomed: () => {}, most: () => 8 });
    other.begin(data);
    other.restore(view);
    return other.snapshot();
  };
  const links = ["level=P4&y=2&x=7", "#level=P4&y=1&x=1&left=mask&head=1&zoom=2,40,30", "level=layer10&y=1&x=2&show=grid.1&scales=cell.2", "box=halo.0", "level=P9&head=x", ""];
  for (const link of links) {
    choice.restore({
      level: "layer10", left: "run1", mode: "slider", strip: "heads", view: "to", head: 1, of: "content", y: 0, x: 0, scales: { cell: 2, to: "auto" }, log: true,
      opacity: 0.1, dim: 0.5, map: "viridis", show: { boxes: false, grid: true }, zoom: { scale: 3, x: 30, y: 30 }, curtain: 0.2, pinned: true,
    });
    choice.restore(link);
    assert.deepEqual(choice.snapshot(), fresh(link), link);
  }
  assert.deepEqual([choice.state.map, choice.state.left, choice.pinned], ["magma", "layer10", false]);
  const before = told();
  choice.set("map", "viridis");
  choice.choose("left", "off");
  choice.restore({ y: 3, x: 3 });
  assert.deepEqual([cell(choice), choice.state.map, choice.state.left, told() - before], [[3, 3], "viridis", "off", 3]);
  const link = scene.writeView(choice.snapshot(), { map: "magma" });
  assert.deepEqual(fresh(link), choice.snapshot());
});

test("a view that is kept comes back whole, unless the picture has changed", () => {
  const { data, choice } = begin();
  choice.box("halo", 2);
  choice.look({ scale: 2, x: 40, y: 30 });
  choice.remember({ level: "P4", y: 1, x: 1 });
  for (const pinned of [true, false]) {
    choice.pinned = pinned;
    choice.hover = pinned ? null : tensors.centreOf({ stride: 16 }, 1, 2);
    const [before, trail] = [choice.snapshot(), choice.trail];
    const back = choice.keep();
    choice.cell("P4", 5, 5);
    choice.cell("layer10", 1, 1);
    choice.remember({ level: "layer10", y: 1, x: 1 });
    back();
    assert.deepEqual([choice.snapshot(), choice.trail], [before, trail]);
  }
  const back = choice.keep();
  choice.begin(make({}).data);
  const now = choice.snapshot();
  back();
  assert.deepEqual(choice.snapshot(), now);
  assert.notEqual(choice.data, data);
});

test("a global layer of any name stays when a box is chosen", () => {
  const { choice } = begin((meta) => { meta.global.halo["layer10.1"] = meta.global.halo.layer10; });
  for (const level of ["layer10.1", "layer10"]) {
    choice.choose("level", level);
    choice.box("halo", 1);
    assert.equal(choice.snapshot().level, level);
  }
});

test("the trail holds each cell once in a row, the last sixty", () => {
  const { choice } = begin();
  for (let n = 0; n < 100; n++) {
    choice.remember({ level: "P4", y: n, x: 0, entropy: 1 });
    choice.remember({ level: "P4", y: n, x: 0, entropy: 1 });
  }
  choice.remember(null);
  assert.equal(choice.trail.length, 60);
  assert.deepEqual(choice.trail.at(-1), { level: "P4", y: 99, x: 0 });
  assert.deepEqual(choice.trail[0], { level: "P4", y: 40, x: 0 });
});

test("a load that fails gives its photo back", async () => {
  const addresses = [];
  globalThis.Image = class { // an element that has its size at once; the rest is Node's own
    constructor() { this.complete = true; this.naturalWidth = 1; }
    set src(address) { addresses.push(address); }
    async decode() { await new Promise((next) => setTimeout(next, 20)); }
  };
  const image = "data:image/png;base64,AAAA";
  const bad = {
    "meta cannot be fetched": { meta: "nowhere:meta.json", tensors: null }, "tensors cannot be fetched": { meta: make({}).data.meta, tensors: "nowhere:tensors.bin" },
    "tensors are too short": { meta: make({}).data.meta, tensors: new ArrayBuffer(8) },
  };
  try {
    for (const [why, payload] of Object.entries(bad)) {
      await assert.rejects(load.load({ image, ...payload }, new AbortController().signal), why);
      for (let n = 0; n < 100 && (!addresses.length || resolveObjectURL(addresses.at(-1))); n++) await new Promise((next) => setTimeout(next, 5));
      assert.equal(resolveObjectURL(addresses.pop()), undefined, why);
    }
  } finally {
    delete globalThis.Image;
  }
});

test("a data URL becomes bytes without a fetch", async () => {
  const bytes = Uint8Array.from({ length: 700_001 }, (_, i) => (i * 31) & 255); // several slices, and a padded end
  const blob = await load.unpack(`data:image/png;base64,${Buffer.from(bytes).toString("base64")}`);
  assert.equal(blob.type, "image/png");
  assert.deepEqual(new Uint8Array(await blob.arrayBuffer()), bytes);
  assert.equal(await (await load.unpack("data:image/svg+xml,%3Csvg%2F%3E")).text(), "<svg/>");
});
