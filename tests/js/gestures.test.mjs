// What movements of pointers, wheel and keys mean.
import assert from "node:assert/strict";
import { test } from "node:test";
import { HaloVis } from "./viewer.mjs";

const { Tracker, WheelGate, meaning, PAUSE_MS } = HaloVis.gestures;
const at = (x, y, more = {}) => ({ id: 1, kind: "mouse", x, y, w: 400, h: 200, ...more });
const finger = (id, x, y) => at(x, y, { id, kind: "touch" });
const types = (list) => list.map((intent) => intent.type);

test("a mouse hovers, and a click is less than 4 pixels", () => {
  const t = new Tracker(() => false);
  assert.deepEqual(t.move(at(100, 50)), [{ type: "hover", u: 0.25, v: 0.25, kind: "mouse" }]);
  t.press(at(100, 50));
  assert.deepEqual(t.move(at(102, 52)), []);
  assert.deepEqual(t.lift(at(102, 52)), [{ type: "tap", u: 0.255, v: 0.26, kind: "mouse" }]);
  t.press(at(100, 50));
  assert.deepEqual(types(t.move(at(104, 50))), ["hover"], "nothing to pan: the drag hovers");
  assert.deepEqual(types(t.lift(at(104, 50))), ["drop"], "and is no click");
  t.press(at(100, 50));
  assert.deepEqual(types(t.lift(at(100, 50))), ["tap"], "the next click is one again");
});

test("a drag pans what is zoomed in", () => {
  const t = new Tracker(() => true);
  t.press(at(100, 50));
  assert.deepEqual(t.move(at(103, 50)), []);
  assert.deepEqual(t.move(at(140, 50)), [{ type: "grab" }, { type: "pan", du: 37 / 400, dv: 0 }]);
  assert.deepEqual(t.move(at(140, 70)), [{ type: "pan", du: 0, dv: 0.1 }]);
  assert.deepEqual(types(t.lift(at(140, 70))), ["drop"]);
  assert.deepEqual(types(t.move(at(10, 10))), ["hover"]);
});

test("places stay inside the panel", () => {
  const t = new Tracker(() => false);
  const [{ u, v }] = t.move(at(-5, 999));
  assert.ok(u === 0 && v < 1 && v > 0.99);
});

test("a finger: a tap, along a row it explores, up or down it leaves the page to scroll", () => {
  const t = new Tracker(() => false);
  assert.deepEqual(t.move(finger(1, 5, 5)), [], "a finger does not hover");
  t.press(finger(1, 100, 50));
  assert.deepEqual(t.move(finger(1, 105, 55)), [], "a finger is not steady");
  assert.deepEqual(types(t.lift(finger(1, 105, 55))), ["tap"]);
  t.press(finger(1, 100, 50));
  assert.deepEqual(types(t.move(finger(1, 112, 53))), ["explore"]);
  assert.deepEqual(types(t.move(finger(1, 112, 90))), ["explore"], "once begun, in any direction");
  assert.deepEqual(types(t.lift(finger(1, 112, 90))), ["drop"]);
  t.press(finger(1, 100, 50));
  assert.deepEqual(t.move(finger(1, 102, 70)), []);
  assert.deepEqual(types(t.cancel(finger(1, 102, 70))), ["drop"], "the browser took it for scrolling");
  t.press(finger(1, 100, 50));
  t.move(finger(1, 102, 70));
  assert.deepEqual(t.lift(finger(1, 102, 70)), [], "no tap at the end of a swipe");
});

test("zoomed in, a finger explores in every direction", () => {
  const t = new Tracker(() => true);
  t.press(finger(1, 100, 50));
  assert.deepEqual(types(t.move(finger(1, 100, 70))), ["explore"]);
});

test("two fingers pinch; the one that stays behind means nothing", () => {
  const t = new Tracker(() => false);
  t.press(finger(1, 100, 100));
  t.move(finger(1, 102, 130)); // has begun to scroll
  const [leave, begin] = t.press(finger(2, 202, 130));
  assert.equal(leave.type, "leave");
  assert.deepEqual(begin, { type: "pinch", from: { u: 0.38, v: 0.65, apart: 100 }, to: { u: 0.38, v: 0.65, apart: 100 }, first: true });
  const [spread] = t.move(finger(2, 302, 130));
  assert.deepEqual(spread, { type: "pinch", from: begin.from, to: { u: 0.505, v: 0.65, apart: 200 }, first: false });
  assert.deepEqual(t.lift(finger(2, 302, 130)), []);
  assert.deepEqual(t.move(finger(1, 10, 10)), []);
  assert.deepEqual(t.lift(finger(1, 10, 10)), [], "no tap");
  t.press(finger(1, 100, 50));
  assert.deepEqual(types(t.lift(finger(1, 100, 50))), ["tap"], "the next tap is one again");
});

test("the wheel is the page's while the page scrolls, and where there is nothing to zoom out", () => {
  const gate = new WheelGate();
  const wheel = (time, more = {}) => gate.takes({ time, out: false, pinch: false, whole: true, ...more });
  assert.ok(wheel(0), "in, at scale 1");
  assert.ok(!wheel(1000, { out: true }), "out, at scale 1: the page scrolls");
  assert.ok(!wheel(1000 + PAUSE_MS - 1), "and goes on scrolling, back, too");
  assert.ok(!wheel(1000 + 2 * (PAUSE_MS - 1)), "as long as there is no pause");
  assert.ok(wheel(1000 + 4 * PAUSE_MS));
  gate.scrolled(5000); // began outside
  assert.ok(!wheel(5000 + PAUSE_MS - 1));
  assert.ok(wheel(5000 + PAUSE_MS - 1, { pinch: true }), "a pinch is never a scroll");
  assert.ok(wheel(9000, { out: true, whole: false }), "out, zoomed in");
});

test("keys", () => {
  const key = (name, more = {}) => meaning({ key: name, shiftKey: false, altKey: false, ctrlKey: false, metaKey: false, ...more });
  assert.deepEqual(key("ArrowUp"), { type: "step", key: "ArrowUp", far: false });
  assert.deepEqual(key("ArrowLeft", { shiftKey: true }), { type: "step", key: "ArrowLeft", far: true });
  assert.deepEqual(key("Tab", { shiftKey: true }), { type: "walk", back: true });
  assert.deepEqual(key("Escape"), { type: "free" });
  assert.deepEqual(key("c"), { type: "toggle" });
  assert.deepEqual(key("0"), { type: "fit" });
  const [plus, minus] = [key("+"), key("-")];
  assert.ok(plus.factor > 1 && Math.abs(plus.factor * minus.factor - 1) < 1e-9);
  for (const more of [{ ctrlKey: true }, { metaKey: true }, { altKey: true }]) assert.equal(key("c", more), null, "copying is copying");
  assert.equal(key("x"), null);
});
