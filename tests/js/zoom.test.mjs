// The view of a panel: limits, places, wheel, pinch.
import assert from "node:assert/strict";
import { test } from "node:test";
import { HaloVis, random } from "./viewer.mjs";

const { zoom } = HaloVis;
const SIZE = { width: 810, height: 1080 };
const near = (a, b, what) => assert.ok(Math.abs(a - b) < 1e-6, `${what}: ${a} is not ${b}`);

test("the whole photo is scale 1, and nothing beyond it is ever in view", () => {
  assert.deepEqual(zoom.fit(SIZE), { scale: 1, x: 405, y: 540 });
  assert.deepEqual(zoom.visible(SIZE, zoom.fit(SIZE)), { x: 0, y: 0, w: 810, h: 1080 });
  assert.deepEqual(zoom.limit(SIZE, { scale: 0.3, x: -5, y: 9999 }), zoom.fit(SIZE));
  assert.deepEqual(zoom.limit(SIZE, { scale: NaN, x: NaN, y: undefined }), zoom.fit(SIZE));
  assert.deepEqual(zoom.limit(SIZE, { scale: 2, x: 0, y: 1080 }), { scale: 2, x: 202.5, y: 810 });
  assert.equal(zoom.limit(SIZE, { scale: 50, x: 0, y: 0 }, 8).scale, 8);
  const r = random(5);
  for (let n = 0; n < 200; n++) {
    const view = zoom.limit(SIZE, { scale: 1 + 20 * r.next(), x: 2000 * r.next() - 500, y: 2000 * r.next() - 500 }, 12);
    const part = zoom.visible(SIZE, view);
    assert.ok(part.x >= -1e-9 && part.y >= -1e-9 && part.x + part.w <= 810 + 1e-9 && part.y + part.h <= 1080 + 1e-9);
  }
});

test("places of the panel and pixels of the photo are each other's inverse", () => {
  const view = { scale: 3, x: 300, y: 500 };
  assert.deepEqual(zoom.toPhoto(SIZE, view, 0.5, 0.5), [300, 500]);
  assert.deepEqual(zoom.toPhoto(SIZE, view, 0, 1), [300 - 135, 500 + 180]);
  const r = random(6);
  for (let n = 0; n < 50; n++) {
    const [u, v] = [r.next(), r.next()];
    const back = zoom.toPanel(SIZE, view, ...zoom.toPhoto(SIZE, view, u, v));
    near(back[0], u, "u");
    near(back[1], v, "v");
  }
});

test("zooming keeps what lies under the pointer, and ends at a cell of 64 CSS pixels", () => {
  const view = { scale: 2, x: 400, y: 500 };
  const before = zoom.toPhoto(SIZE, view, 0.3, 0.8);
  const after = zoom.toPhoto(SIZE, zoom.zoomAt(SIZE, view, 1.7, 0.3, 0.8), 0.3, 0.8);
  near(after[0], before[0], "x");
  near(after[1], before[1], "y");
  assert.deepEqual(zoom.zoomAt(SIZE, view, 0.1, 0.3, 0.8), zoom.fit(SIZE), "out to the whole photo");
  const most = zoom.most(18, 560, SIZE); // a cell of P3 is 18 photo pixels
  near((18 * 560 * most) / 810, 64, "CSS pixels of a cell at the deepest zoom");
  const deep = zoom.zoomAt(SIZE, view, 1000, 0.3, 0.8, most);
  near(deep.scale, most, "scale");
  near(zoom.toPhoto(SIZE, deep, 0.3, 0.8)[0], before[0], "held at the deepest zoom, too");
  assert.equal(zoom.most(400, 560, SIZE), 4, "large cells: some zoom all the same");
  assert.equal(zoom.most(18, 0, SIZE), 4, "a panel that is not laid out yet");
});

test("a drag moves the photo with the hand and stops at its border", () => {
  const moved = zoom.pan(SIZE, { scale: 2, x: 400, y: 500 }, 0.1, -0.05);
  near(moved.x, 400 - 40.5, "x");
  near(moved.y, 500 + 27, "y");
  assert.equal(zoom.pan(SIZE, moved, 5, 0).x, 202.5);
  assert.deepEqual(zoom.pan(SIZE, zoom.fit(SIZE), 0.3, 0.3), zoom.fit(SIZE), "nothing to move at scale 1");
});

test("two fingers: the pixel between them stays between them", () => {
  const first = { scale: 1.5, x: 405, y: 540 };
  const from = { u: 0.4, v: 0.5, apart: 80 }, to = { u: 0.45, v: 0.55, apart: 200 };
  const held = zoom.toPhoto(SIZE, first, from.u, from.v);
  const view = zoom.pinch(SIZE, first, from, to);
  near(view.scale, 3.75, "scale");
  const now = zoom.toPhoto(SIZE, view, to.u, to.v);
  near(now[0], held[0], "x");
  near(now[1], held[1], "y");
  assert.equal(zoom.pinch(SIZE, first, { ...from, apart: 0 }, to).scale, 1.5, "fingers on one spot do not divide by zero");
});

test("what is chosen comes into view by the shortest way", () => {
  const view = { scale: 4, x: 400, y: 500 };
  const part = zoom.visible(SIZE, view);
  const inside = { x: part.x + 10, y: part.y + 10, w: 5, h: 5 };
  assert.deepEqual(zoom.reveal(SIZE, view, inside), view);
  const right = zoom.reveal(SIZE, view, { x: part.x + part.w + 20, y: part.y + 10, w: 18, h: 18 });
  near(right.x, view.x + 38, "x");
  near(right.y, view.y, "y");
  const left = zoom.reveal(SIZE, view, { x: part.x - 30, y: part.y - 7, w: 18, h: 18 });
  near(left.x, view.x - 30, "x");
  near(left.y, view.y - 7, "y");
  near(zoom.reveal(SIZE, view, { x: 100, y: 100, w: 400, h: 5 }).x, 300, "what does not fit shows its middle");
});

test("the wheel: in and out by the same factor, a trackpad's pinch, lines, no leaps", () => {
  const { wheelFactor } = zoom;
  assert.ok(wheelFactor({ deltaY: -100 }) > 1.2 && wheelFactor({ deltaY: -100 }) < 1.3);
  near(wheelFactor({ deltaY: 100 }) * wheelFactor({ deltaY: -100 }), 1, "there and back");
  assert.ok(wheelFactor({ deltaY: -5, ctrlKey: true }) > wheelFactor({ deltaY: -5 }), "a pinch counts more per pixel");
  near(wheelFactor({ deltaY: -3, deltaMode: 1 }), wheelFactor({ deltaY: -99 }), "three lines");
  assert.equal(wheelFactor({ deltaY: -1e6 }), 2);
  assert.equal(wheelFactor({ deltaY: 1e6 }), 0.5);
});
