// The view state: from a snapshot, from a link, from a stranger.
import assert from "node:assert/strict";
import { test } from "node:test";
import { det, HaloVis, make, random } from "./viewer.mjs";

const { scene, tensors } = HaloVis;

const flat = (data, state) => {
  const is = scene.settle(data, state);
  const [y, x] = tensors.cellAt(is.layer, ...state.point);
  const { point, ...rest } = state;
  return { ...rest, view: is.view, head: is.head, of: is.of, y, x, scale: state.scales[is.view], pinned: true, lang: "en", photo: [1, 2] };
};

function rich() {
  return make({ others: true, heads: 3 }, (meta) => {
    meta.detections.halo = [det([30, 20, 90, 60], 0.9, { query: { level: "P4", y: 3, x: 4 } }), det([1, 2, 30, 40], 0.8)];
    meta.colormaps = { magma: "", viridis: "" };
  });
}

test("a view survives its snapshot and its link", () => {
  const { data, state } = rich();
  data.colors = { magma: 1, viridis: 1 };
  const r = random(77), any = (list) => list[r.int(0, list.length - 1)];
  for (let n = 0; n < 200; n++) {
    const level = any(["P4", "layer10"]), layer = scene.layerOf(data, level);
    const global = layer.kind === "global";
    const box = any([null, { side: "halo", index: 1 }]);
    const view = any(global ? ["cell", "to"] : ["cell", "to", "blocks", "received", ...(box ? ["box"] : [])]);
    const before = {
      level, left: any(scene.sources(data)), mode: any(scene.CHOICES.mode), strip: any(scene.CHOICES.strip), view, head: r.int(-2, layer.heads - 1),
      of: global ? "weight" : any(scene.CHOICES.of), point: tensors.centreOf(layer, r.int(0, layer.height - 1), r.int(0, layer.width - 1)), box,
      scales: { ...scene.SCALES, [view]: any([2.5, 16, "auto"]) }, log: any([true, false]), opacity: any([0, 0.35, 1]), dim: any([0, 0.8]),
      map: any(["magma", "viridis"]),
      show: { boxes: any([true, false]), labels: any([true, false]), grid: any([true, false]), window: any([true, false]) },
      zoom: any([{ scale: 1, x: 0, y: 0 }, { scale: 3.5, x: 40.25, y: 12 }]), curtain: any([0.5, 0.125]),
    };
    const now = flat(data, before);
    assert.deepEqual(scene.restore(data, state, now), before);
    assert.deepEqual(scene.restore(data, state, JSON.parse(JSON.stringify(now))), before);
    const link = scene.writeView(now, { map: "magma" });
    const wanted = scene.parseView(link);
    assert.deepEqual(scene.restore(data, { ...scene.start(), map: "magma" }, wanted), before, link);
    assert.deepEqual(scene.parseView(`?${link}`), wanted);
    assert.deepEqual(scene.parseView(`#${link}`), wanted);
  }
  assert.equal(scene.writeView(flat(data, scene.start())), "level=P4&y=0&x=0", "what is as at the start is left out");
});

test("restoring takes what is valid here and nothing else", () => {
  const { data, state } = rich();
  data.colors = { magma: 1 };
  const before = structuredClone(state);
  const nonsense = [null, 7, "x", [], true, NaN, Infinity, -1, 1e9, {}, "__proto__", "constructor", "<script>", undefined, () => 0, { scale: "x" }, "toString"];
  const fields = [...Object.keys(state), "y", "x", "scale", "other"].filter((name) => name !== "box");
  for (const name of fields)
    for (const value of nonsense) {
      if (name === "log" ? value === true : name === "head" ? value === -1 : name === "scale" && value === 7) continue; // these are valid
      assert.deepEqual(scene.restore(data, state, { [name]: value }), before, `${name}: ${String(value)}`);
    }
  for (const value of nonsense) assert.deepEqual(scene.restore(data, state, value), before);
  const boxes = [{ side: "halo", index: 9 }, { side: "__proto__", index: 0 }, { side: "halo", index: 0.5 }, { side: "baseline", index: 0 }];
  for (const box of [7, "halo.0", [], ...boxes])
    assert.equal(scene.restore(data, { ...state, box: { side: "halo", index: 0 } }, { box }).box, null);
  const wrong = [
    { scales: { cell: -2, box: "wide", to: 0, more: 4 } }, { show: { boxes: 1, more: true } }, { zoom: { scale: 0.5, x: 1, y: 1 } },
    { zoom: { scale: 2, x: -1, y: 0 } }, { dim: 0.9 }, { y: 7, x: 0 }, { y: 1 },
  ];
  for (const more of wrong)
    assert.deepEqual(scene.restore(data, state, more), before, JSON.stringify(more));
  assert.deepEqual(state, before, "the state itself is not touched");
  const hostile = JSON.parse('{"level": "P4", "__proto__": {"opacity": 0}, "scales": {"__proto__": {"cell": 99}}}');
  assert.deepEqual(scene.restore(data, state, hostile), before);
});

test("restoring a box moves to its query; a cell alone lets go of the box", () => {
  const { data, state } = rich();
  const boxed = scene.restore(data, state, { box: { side: "halo", index: 0 } });
  assert.deepEqual([boxed.box, boxed.point], [{ side: "halo", index: 0 }, tensors.centreOf({ stride: 16 }, 3, 4)]);
  const moved = scene.restore(data, boxed, { y: 1, x: 2 });
  assert.deepEqual([moved.box, moved.point], [null, tensors.centreOf({ stride: 16 }, 1, 2)]);
  assert.deepEqual(scene.restore(data, boxed, { opacity: 0.2 }).box, boxed.box);
  assert.equal(scene.restore(data, boxed, { scale: 16 }).scales.cell, 16);
  assert.deepEqual(scene.restore(data, state, { zoom: { scale: 2, x: null, y: null } }).zoom, { scale: 2, x: 50, y: 40 });
  const left = scene.restore(data, { ...boxed, left: "control", box: { side: "baseline", index: 1 } }, { left: "layer10" });
  assert.equal(left.box, null, "the other panel has no such box");
});

test("a link is read with care", () => {
  const of = (text) => scene.parseView(text);
  assert.deepEqual(of(""), {});
  assert.deepEqual(of("level=P3&y=3&x=7&head=-2&box=halo.4&scales=cell.2.5,to.auto&log=1&show=grid.1,boxes.0&zoom=2,10,20.5&curtain=0.25"), {
    level: "P3", y: 3, x: 7, head: -2, curtain: 0.25, box: { side: "halo", index: 4 }, log: true, scales: { cell: 2.5, to: "auto" },
    show: { grid: true, boxes: false },
    zoom: { scale: 2, x: 10, y: 20.5 },
  });
  for (const text of ["y=1e3", "y=0x10", "y=", "head=one", "box=halo", "box=up.1", "zoom=1,2"]) assert.deepEqual(of(text), {}, text);
  const { data, state } = rich();
  const odd = [
    "%", "level=%E0%A4%A", "scales=,,,&show=.&zoom=,,&map=<script>", "scales=__proto__.4&show=constructor.1&level=__proto__&left=toString", "=&&=",
    "y=NaN&x=Infinity",
  ];
  for (const text of odd)
    assert.deepEqual(scene.restore(data, state, of(text)), state, text);
});
