// From the events of pointers, wheel and keys to what a person means. `Tracker`, `WheelGate` and `meaning` are pure;
// `attach` feeds them from a canvas.
//
// An intent is {type, ...}; u and v are shares of the panel, 0 to 1.
//   hover {u, v} | leave | tap {u, v, kind} | explore {u, v} | pan {du, dv} | grab | drop
//   pinch {from, to, first} with {u, v, apart} | zoom {factor, u?, v?} | fit | step {key, far} | walk {back} | free | toggle
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});

  const CLICK = 4; // CSS pixels: a mouse that moved less has clicked
  const TOUCH = 9; // a finger is less steady
  const PAUSE_MS = 150; // wheel events closer than this belong to one gesture

  /**
   * Follows the pointers on one panel.
   * A point is {id, kind: "mouse"|"pen"|"touch", x, y, w, h}: CSS pixels in the panel, and the panel's size.
   */
  class Tracker {
    /** @param {() => boolean} zoomed whether there is anything to pan */
    constructor(zoomed) {
      this.zoomed = zoomed;
      /** @type {Map<number, object>} pointers that are down */
      this.down = new Map();
      this.from = null; // where two fingers began
      this.moved = false;
      this.spent = false; // these fingers mean nothing any more: a pinch is over, or the page is about to scroll
    }

    /** A pointer goes down. */
    press(p) {
      if (this.down.size === 0) Object.assign(this, { moved: false, spent: false, from: null });
      this.down.set(p.id, { first: p, last: p });
      if (this.down.size === 2 && p.kind === "touch") {
        Object.assign(this, { moved: true, spent: false });
        this.from = this.spread();
        return [{ type: "leave" }, { type: "pinch", from: this.from, to: this.from, first: true }];
      }
      return [];
    }

    /** A pointer moves, down or not. */
    move(p) {
      const held = this.down.get(p.id);
      if (!held) return p.kind === "touch" ? [] : [this.at("hover", p)];
      const { first, last } = held;
      held.last = p;
      if (this.spent) return [];
      if (this.down.size > 1) return this.from ? [{ type: "pinch", from: this.from, to: this.spread(), first: false }] : [];
      const out = [];
      const dx = p.x - first.x, dy = p.y - first.y;
      if (!this.moved && Math.hypot(dx, dy) >= (p.kind === "touch" ? TOUCH : CLICK)) {
        this.moved = true;
        this.spent = p.kind === "touch" && !this.zoomed() && Math.abs(dy) > Math.abs(dx); // up or down: the page's own gesture
        if (this.spent) return [];
        if (p.kind !== "touch" && this.zoomed()) out.push({ type: "grab" });
      }
      if (!this.moved) return out;
      if (p.kind === "touch") return [this.at("explore", p)];
      if (!this.zoomed()) return [this.at("hover", p)];
      return [...out, { type: "pan", du: (p.x - last.x) / p.w, dv: (p.y - last.y) / p.h }];
    }

    /** A pointer goes up. */
    lift(p) {
      if (!this.down.delete(p.id)) return [];
      if (this.down.size > 0) {
        this.spent = true;
        return [];
      }
      if (this.spent) return [];
      return this.moved ? [{ type: "drop" }] : [this.at("tap", p)];
    }

    /** The browser has taken a pointer for scrolling, or it is lost. */
    cancel(p) {
      this.down.delete(p.id);
      this.spent = this.down.size > 0;
      return [{ type: "drop" }];
    }

    at(type, p) {
      const share = (value, size) => Math.min(1 - 1e-9, Math.max(0, value / size));
      return { type, u: share(p.x, p.w), v: share(p.y, p.h), kind: p.kind };
    }

    /** The middle of the first two fingers and how far they are apart. */
    spread() {
      const [a, b] = [...this.down.values()].map(({ last }) => last);
      return { u: (a.x + b.x) / 2 / a.w, v: (a.y + b.y) / 2 / a.h, apart: Math.hypot(a.x - b.x, a.y - b.y) };
    }
  }

  /** Decides whether a wheel event is the panel's or the page's: a scroll of the page is not caught half way. */
  class WheelGate {
    constructor() { this.page = -Infinity; }

    /** The page was scrolled at this time, ms. */
    scrolled(time) { this.page = time; }

    /** @param {{time: number, out: boolean, pinch: boolean, whole: boolean}} event out: zooms out; whole: nothing left to zoom out */
    takes({ time, out, pinch, whole }) {
      if (pinch) return true;
      if (time - this.page < PAUSE_MS || (whole && out)) { this.page = time; return false; }
      return true;
    }
  }

  /** What a key means. @param {KeyboardEvent} event @returns {object|null} */
  function meaning({ key, shiftKey, altKey, ctrlKey, metaKey }) {
    if (altKey || ctrlKey || metaKey) return null;
    if (key.startsWith("Arrow")) return { type: "step", key, far: shiftKey };
    if (key === "Tab") return { type: "walk", back: shiftKey };
    if (key === "+" || key === "=") return { type: "zoom", factor: HaloVis.zoom.STEP };
    if (key === "-" || key === "_") return { type: "zoom", factor: 1 / HaloVis.zoom.STEP };
    if (key === "0") return { type: "fit" };
    if (key === "Escape") return { type: "free" };
    return key === "c" || key === "C" ? { type: "toggle" } : null;
  }

  /** Keys that mean something wherever the focus is, as long as it is in no field. */
  const ANYWHERE = new Set(["toggle", "free"]);
  const FIELDS = "input:not([type=checkbox]), select, textarea";

  /**
   * @param {HTMLElement} host @param {Object<string, HTMLCanvasElement>} canvases by side
   * @param {{act: (intent: object, side: string) => boolean|void, zoomed: () => boolean, signal: AbortSignal}} options
   *   act returns whether the intent led to something; else a key keeps its meaning for the page
   */
  function attach(host, canvases, { act, zoomed, signal }) {
    const gate = new WheelGate();
    const on = (target, type, handler, more = {}) => target.addEventListener(type, handler, { signal, ...more });
    on(window, "wheel", (event) => {
      if (!Object.values(canvases).includes(event.target)) gate.scrolled(event.timeStamp);
    }, { passive: true, capture: true });
    on(host, "keydown", (event) => {
      const means = meaning(event);
      if (event.defaultPrevented || !means) return;
      const side = event.target.dataset?.side;
      const there = side && canvases[side] === event.target;
      if (!there && (!ANYWHERE.has(means.type) || (means.type !== "free" && event.target.closest?.(FIELDS)))) return;
      if (act(means, side ?? "halo")) event.preventDefault();
    });
    for (const [side, canvas] of Object.entries(canvases)) {
      const tracker = new Tracker(zoomed);
      const place = (event) => {
        const box = canvas.getBoundingClientRect();
        return {
          id: event.pointerId ?? 0, kind: event.pointerType || "mouse", x: event.clientX - box.left, y: event.clientY - box.top,
          w: box.width || 1, h: box.height || 1,
        };
      };
      const tell = (intents) => { for (const intent of intents) act(intent, side); };
      on(canvas, "pointerdown", (event) => {
        if (event.button !== 0) return;
        if (event.isTrusted) canvas.setPointerCapture(event.pointerId); // a scripted event has no pointer to capture
        tell(tracker.press(place(event)));
      });
      on(canvas, "pointermove", (event) => tell(tracker.move(place(event))));
      on(canvas, "pointerup", (event) => tell(tracker.lift(place(event))));
      on(canvas, "pointercancel", (event) => tell(tracker.cancel(place(event))));
      on(canvas, "pointerleave", (event) => { if (event.pointerType !== "touch" && !tracker.down.size) act({ type: "leave" }, side); });
      // Two fingers are ours even where one finger may scroll the page.
      for (const type of ["touchstart", "touchmove"])
        on(canvas, type, (event) => { if (event.touches.length > 1 && event.cancelable) event.preventDefault(); }, { passive: false });
      on(canvas, "wheel", (event) => {
        const { x, y, w, h } = place(event);
        const ours = gate.takes({ time: event.timeStamp, out: event.deltaY > 0, pinch: event.ctrlKey, whole: !zoomed() });
        if (!ours || event.deltaY === 0) return;
        event.preventDefault();
        act({ type: "zoom", factor: HaloVis.zoom.wheelFactor(event), u: x / w, v: y / h }, side);
      }, { passive: false });
    }
  }

  HaloVis.gestures = { Tracker, WheelGate, meaning, attach, CLICK, PAUSE_MS };
})();
