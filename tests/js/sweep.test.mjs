// Who attends to a cell, and means over many rows, against the slow oracle.
import assert from "node:assert/strict";
import { test } from "node:test";
import { globalRow, mapsOf, same } from "./oracle.mjs";
import { HaloVis, payload } from "./viewer.mjs";

const { tensors: T, sweep } = HaloVis;

const SHAPES = [
  { height: 7, width: 9, block: 4, halo: 2, heads: 3 },
  { height: 5, width: 3, block: 2, halo: 3, heads: 2 },
  { height: 3, width: 3, block: 8, halo: 3, heads: 1 },
  { height: 8, width: 8, block: 4, halo: 0, heads: 2 },
  { height: 1, width: 1, block: 1, halo: 0, heads: 2 },
];

function open(options) {
  const { meta, buffer } = payload(options);
  const pack = T.open(buffer, meta);
  return { meta, files: { tensors: buffer }, level: meta.levels.P4, layer: pack.levels.P4, g: meta.global.halo.layer10, global: pack.global.halo.layer10 };
}

const finished = (layer, kind, options) => {
  const job = sweep.start(layer, kind, options);
  assert.equal(job.run(Infinity), true);
  assert.equal(job.done, true);
  return job;
};

for (const mask of ["valid", "published"]) {
  for (const [n, shape] of SHAPES.entries()) {
    test(`inverse view and means: ${mask}, ${shape.height}x${shape.width}, block ${shape.block}, halo ${shape.halo}`, () => {
      const { files, level, layer } = open({ seed: 30 + n, ...shape, mask });
      const { height, width, heads } = shape;
      const cells = [[0, 0, height, width], [0, 0, 1, 1], [Math.floor(height / 2), Math.floor(width / 3), height, width]];
      for (const of of T.ALL_OF) {
        const jobs = cells.map((c) => [true, false].map((times) => finished(layer, "box", { of, cells: c, times })));
        const received = finished(layer, "received", { of }), blocks = finished(layer, "blocks", { of });
        for (const head of [-2, -1, ...Array(heads).keys()]) {
          const what = `head ${head} ${of}`;
          const maps = mapsOf(files, level, head, of);
          for (let y = 0; y < height; y++)
            for (let x = 0; x < width; x++) {
              same([...T.attendedBy(layer, y, x, head, of)], maps.towards(y, x, false), 1e-6, `towards (${y}, ${x}) ${what}`);
              same([...T.attendedBy(layer, y, x, head, of, { times: true })], maps.towards(y, x, true), 1e-4, `times (${y}, ${x}) ${what}`);
            }
          cells.forEach((c, i) => [true, false].forEach((times, j) =>
            same([...jobs[i][j].result(head)], maps.mean(...c, times), times ? 1e-4 : 1e-6, `box ${c} ${what}`)));
          same([...received.result(head)], maps.received(), 1e-5, `received ${what}`);
          same([...blocks.result(head)], maps.blocks(), 1e-6, `blocks ${what}`);
        }
      }
    });
  }
}

test("a global layer: who attends to a cell, and the mean over cells", () => {
  const { files, g, global } = open({ seed: 4, heads: 2 });
  const area = g.height * g.width;
  const rows = [0, 1].map((h) => Array.from({ length: area }, (_, n) => globalRow(files, g, Math.floor(n / g.width), n % g.width, h)));
  const pick = { 0: (a) => a, 1: (_, b) => b, "-1": (a, b) => (a + b) / 2, "-2": Math.max };
  for (const head of [-2, -1, 0, 1]) {
    const two = pick[head];
    for (let n = 0; n < area; n++) {
      const want = Array.from({ length: area }, (_, q) => two(rows[0][q][n], rows[1][q][n]));
      same([...T.attendedBy(global, Math.floor(n / g.width), n % g.width, head)], want, 1e-6, `towards ${n} head ${head}`);
    }
    const mean = [0, 1].map((h) => Array.from({ length: area }, (_, n) => (rows[h][5][n] + rows[h][6][n]) / 2)); // cells (1, 1) and (1, 2)
    const job = finished(global, "box", { cells: [1, 1, 2, 3], head, times: false });
    same([...job.result()], mean[0].map((v, n) => two(v, mean[1][n])), 1e-6, `mean, head ${head}`);
  }
  assert.throws(() => sweep.start(global, "blocks"), /has no blocks/);
  assert.throws(() => sweep.start(global, "received"), /has no blocks/);
});

test("a job stops when its time is up, shows what it has, and ends at the same result", () => {
  const { layer } = open({ seed: 9, height: 24, width: 24, block: 4, halo: 2, heads: 2 });
  for (const kind of ["box", "received", "blocks"]) {
    const whole = finished(layer, kind, {}).result();
    const job = sweep.start(layer, kind, {});
    assert.equal(job.run(0), false, "one step is always made, and one is not enough");
    const part = job.result();
    if (kind === "box") assert.ok(part.some(Number.isNaN) && !part.every(Number.isNaN), "cells that no window has reached yet");
    let slices = 1;
    while (!job.run(0)) slices++;
    assert.equal(slices, 24 * 24, "a slice of no time is one query");
    assert.deepEqual(job.result(), whole);
    assert.equal(job.result(), job.result(), "a finished map is made once");
    assert.equal(job.run(0), true);
  }
  assert.equal(sweep.start(layer, "box", {}).result(), null);
});

test("normalisers: near the pointer first, partial until they are there, then at once", () => {
  const { layer } = open({ seed: 9, height: 24, width: 24, block: 4, halo: 2, heads: 2 });
  const { layer: fresh } = open({ seed: 9, height: 24, width: 24, block: 4, halo: 2, heads: 2 });
  const want = T.attendedBy(fresh, 21, 2, -1, "contribution");
  const partial = () => T.attendedBy(layer, 21, 2, -1, "contribution", { partial: true });
  assert.ok(partial().every(Number.isNaN));
  const job = sweep.start(layer, "normalisers", { of: "contribution" });
  job.near = [21, 2];
  for (let n = 0; n < 16; n++) job.run(0); // the first block that reaches the cell
  assert.equal(partial().filter((v) => !Number.isNaN(v)).length, 16);
  for (let n = 0; n < 48; n++) job.run(0); // blocks (4, 0), (4, 1), (5, 0), (5, 1) reach it
  assert.deepEqual(partial(), want);
  assert.equal(job.done, false);
  T.attendedBy(layer, 3, 3, -1, "weight"); // makes four blocks ready by itself
  job.run(Infinity);
  assert.equal(sweep.start(layer, "normalisers", { of: "weight" }).done, true, "weights and contributions share them");
  assert.equal(sweep.start(layer, "normalisers", { of: "content" }).done, false);
});

test("what a job cannot be is refused", () => {
  const { layer } = open({});
  for (const cells of [[0, 0, 8, 1], [0, 0, 0, 1], [-1, 0, 1, 1], [0, 0, 1, 10], [0, 0.5, 1, 1], [2, 2, 1, 3]])
    assert.throws(() => sweep.start(layer, "box", { cells }), /there are no cells/);
  assert.throws(() => sweep.start(layer, "box", { head: 2 }), RangeError);
  assert.throws(() => sweep.start(layer, "box", { of: "salience" }), RangeError);
  assert.throws(() => sweep.start(layer, "walk"), /there is no job "walk"/);
});
