// What the bench measures inside the page. Runs before the viewer's own scripts.
(() => {
  "use strict";
  const real = { ask: requestAnimationFrame.bind(globalThis), drop: cancelAnimationFrame.bind(globalThis) };
  const frame = () => new Promise((done) => real.ask(done));

  // ---------------------------------------------------------------- the main thread

  const tasks = [];
  new PerformanceObserver((list) => { for (const e of list.getEntries()) tasks.push([e.startTime, e.duration]); })
    .observe({ type: "longtask", buffered: true });

  /** Longest task in ms that began in a span of performance.now(); 0: none of 50 ms or more, the browser lists no others. */
  async function longest(from, to) {
    for (let n = 0; n < 5; n++) await frame(); // entries arrive after the task that they tell of
    return tasks.reduce((most, [start, took]) => (start >= from && start <= to ? Math.max(most, took) : most), 0);
  }

  // ---------------------------------------------------------------- one query

  /** Frames that the viewer asked for while `holding`; they are run by hand, so that a clock can stand around them. */
  const held = new Map();
  let holding = false, last = 0;
  globalThis.requestAnimationFrame = (work) => {
    if (!holding) return real.ask(work);
    held.set(--last, work);
    return last;
  };
  globalThis.cancelAnimationFrame = (id) => { if (!held.delete(id)) real.drop(id); };

  const canvas = (side) => document.querySelector(`.halo-explorer canvas[data-side="${side}"]`);

  /** Reads one pixel of both panels: what was drawn has to be painted before the answer can be given. */
  const flush = () => { for (const side of ["baseline", "halo"]) canvas(side).getContext("2d").getImageData(0, 0, 1, 1); };

  /** Whole-photo coverage without a pattern (Roberts' R2 sequence); neighbours in time lie in different cells of any level. */
  const spot = (n) => [(0.5 + n * 0.7548776662466927) % 1, (0.5 + n * 0.5698402909980532) % 1];

  /** A move of the pointer to a place of a panel, ready to be dispatched. @returns {() => void} */
  function moveTo(x, y, side = "halo") {
    const at = canvas(side).getBoundingClientRect();
    const where = { clientX: at.left + x * at.width, clientY: at.top + y * at.height };
    const event = new PointerEvent("pointermove", { ...where, pointerType: "mouse", pointerId: 1, bubbles: true });
    return () => canvas(side).dispatchEvent(event);
  }

  /** Pictures drawn onto the right panel since the last call: whether there was anything to measure. */
  let drawn = 0;
  function count() {
    const ctx = canvas("halo").getContext("2d");
    if (Object.hasOwn(ctx, "drawImage")) return;
    ctx.drawImage = (...what) => { drawn++; CanvasRenderingContext2D.prototype.drawImage.apply(ctx, what); };
  }

  /** Milliseconds from an action to the painted result. @returns {number} NaN: nothing was drawn */
  function clock(action) {
    count();
    drawn = 0;
    holding = true;
    const began = performance.now();
    action();
    const frames = [...held.values()];
    held.clear();
    for (const work of frames) work(performance.now());
    flush();
    const took = performance.now() - began;
    holding = false;
    const rest = [...held.values()]; // work that the viewer put off to a later frame: let it run there
    held.clear();
    for (const work of rest) real.ask(work);
    return drawn ? took : NaN;
  }

  /** What makes the viewer answer the n-th query, by kind; what is prepared here is not measured. */
  const ACTIONS = {
    pointer: (n) => moveTo(...spot(n)),
    async box(n) { // its mean is there already: what is measured is one drawing of it
      globalThis.controller.restore(boxOf(n));
      await idle();
      return () => globalThis.dispatchEvent(new Event("resize"));
    },
    choice: (n) => () => globalThis.controller.restore(boxOf(n)),
  };

  const boxOf = (n) => ({ view: "box", box: { side: "halo", index: n % globalThis.benchMeta.detections.halo.length } });

  /**
   * One query a frame, as a moving pointer makes them.
   * @param {"pointer"|"box"|"choice"} kind of ACTIONS @returns {Promise<number[]>} ms of each
   */
  async function queries(kind, count) {
    const took = [];
    await idle();
    for (let n = 0; n < count; n++) {
      const action = await ACTIONS[kind](n);
      await frame();
      await frame(); // whatever the viewer had put off is through: nothing waits when the clock starts
      took.push(clock(action));
      if (kind !== "pointer") await idle();
    }
    return took;
  }

  /** Until the viewer asks for no more frames. */
  async function idle() {
    let asked = true;
    const before = globalThis.requestAnimationFrame;
    globalThis.requestAnimationFrame = (work) => { asked = true; return before(work); };
    while (asked) { asked = false; await frame(); await frame(); }
    globalThis.requestAnimationFrame = before;
  }

  // ---------------------------------------------------------------- frames

  /** Times between frames while the pointer moves in each of them. @returns {Promise<number[]>} ms */
  async function hover(count) {
    const gaps = [];
    let before = await frame();
    for (let n = 0; n < count; n++) {
      const t = n / 60; // a slow figure of eight over the photo, a few pixels a frame
      moveTo(0.5 + 0.45 * Math.sin(1.3 * t), 0.5 + 0.45 * Math.sin(2.1 * t))();
      const now = await frame();
      gaps.push(now - before);
      before = now;
    }
    return gaps;
  }

  let recording = null;
  function record() {
    const mine = (recording = { gaps: [], moves: 0, before: 0 });
    canvas("halo").addEventListener("pointermove", () => mine.moves++);
    const tick = (now) => {
      if (recording !== mine) return;
      if (mine.before) mine.gaps.push(now - mine.before);
      mine.before = now;
      real.ask(tick);
    };
    real.ask(tick);
  }
  function recorded() {
    const { gaps, moves } = recording;
    recording = null;
    return { gaps, moves };
  }

  // ---------------------------------------------------------------- pictures

  /** The same payload as a new one: every address is another, so that nothing is found in a cache. */
  function again(payload, n) {
    const address = (url) => (typeof url === "string" ? `${url}?${n}` : url);
    const others = Object.fromEntries(Object.entries(payload.others ?? {}).map(([id, url]) => [id, address(url)]));
    return { meta: address(payload.meta), image: address(payload.image), tensors: address(payload.tensors), others };
  }

  /** @returns {Promise<number>} ms from show() to ready, which is when the picture can be explored */
  async function show(payload, n = 0) {
    globalThis.benchMeta = await (await fetch(payload.meta)).json();
    const began = performance.now();
    await globalThis.controller.show(again(payload, n));
    const took = performance.now() - began;
    await idle();
    return took;
  }

  /** Shows pictures number `from` to `to` in turn, the pointer moving over each. */
  async function showMany(payloads, from, to) {
    for (let n = from; n < to; n++) {
      await globalThis.controller.show(again(payloads[n % payloads.length], n));
      moveTo(...spot(n))();
      await frame();
    }
  }

  globalThis.HaloBench = { frame, longest, queries, idle, hover, record, recorded, show, showMany, flush };
})();
