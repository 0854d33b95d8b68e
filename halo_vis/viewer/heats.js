// The heat of one panel: which layer, which map of it, in "times uniform". Plain objects, no DOM, no canvas.
// Maps that take long come from jobs, which are kept with the data and run between frames (scene.work).
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const T = () => HaloVis.tensors;

  /**
   * @typedef {{x: number, y: number, w: number, h: number}} Rect photo pixels
   * @typedef {object} Heat values in "times uniform"; NaN is not drawn
   * @property {Float32Array} values not to be changed
   * @property {number} rows
   * @property {number} cols
   * @property {Rect} rect
   * @property {number} max the value at the end of the colour bar
   * @property {boolean} auto max was taken from this map
   * @property {boolean} log from 1 / max to max, uniform in the middle
   * @property {boolean} diverging from -max to max
   * @typedef {object} Part what a panel shows of a layer
   * @property {string} source "halo" for the right panel, else state.left
   * @property {Layer|GlobalLayer|null} layer
   * @property {string} view
   * @property {number} head
   * @property {string} of
   * @property {number} y
   * @property {number} x the cell
   * @property {[number, number, number, number]|null} cells of the box view: [y0, x0, y1, x1)
   */

  const JOBS = 10; // two panels and a strip of three levels need four; those used last are kept

  /** A rectangle of the whole map. */
  const whole = (data, layer) => T().cellsRect(data.frame, layer, 0, 0, layer.height, layer.width);
  const mapHeat = (data, layer, values) => ({ values, rows: layer.height, cols: layer.width, rect: whole(data, layer) });

  /** Weight x number of keys inside the map; keys outside it are not drawn. */
  function rowHeat(data, { layer, y, x }, weights) {
    if (layer.kind === "global") return mapHeat(data, layer, weights.map((p) => p * weights.length));
    const w = T().windowOf(layer, y, x);
    const values = new Float32Array(weights.length).fill(NaN);
    for (let ky = w.y0; ky < w.y1; ky++) {
      for (let kx = w.x0, n = (ky - w.oy) * w.cols + kx - w.ox; kx < w.x1; kx++, n++) values[n] = weights[n] * w.inside;
    }
    return { values, rows: w.rows, cols: w.cols, rect: T().cellsRect(data.frame, layer, w.oy, w.ox, w.oy + w.rows, w.ox + w.cols) };
  }

  /** A window's heat put on the map's own cells. */
  function onMap(data, { layer, y, x }, heat) {
    if (layer.kind === "global") return heat;
    const w = T().windowOf(layer, y, x);
    const values = new Float32Array(layer.height * layer.width).fill(NaN);
    for (let ky = w.y0; ky < w.y1; ky++)
      for (let kx = w.x0; kx < w.x1; kx++) values[ky * layer.width + kx] = heat.values[(ky - w.oy) * w.cols + kx - w.ox];
    return mapHeat(data, layer, values);
  }

  /** One head of a tensor of (1 + heads, ...) maps that was shipped with the payload; null: it was not. */
  function shipped(layer, name, of, head) {
    const tensor = of === "weight" ? layer.tensors[name] : of === "contribution" ? layer.tensors[`${name}_contribution`] : null;
    if (!tensor) return null;
    const size = tensor.length / (1 + layer.heads);
    return head === -2 ? T().pick(T().slice(tensor, 0, tensor.length), head, size) : T().slice(tensor, (1 + head) * size, size);
  }

  /**
   * Every block's map, squeezed into that block's own square: one regular grid of small cells.
   * @param {Float32Array} all (block rows, block columns, window, window) @param {boolean} padding draw keys outside the map too
   */
  function blocksHeat(data, layer, all, padding) {
    const side = layer.window, size = side * side;
    const tall = Math.ceil(layer.height / layer.block), wide = Math.ceil(layer.width / layer.block);
    const values = new Float32Array(all.length);
    for (let by = 0; by < tall; by++) {
      for (let bx = 0; bx < wide; bx++) {
        const { inside, oy, ox } = T().windowOf(layer, by * layer.block, bx * layer.block);
        const start = (by * wide + bx) * size;
        for (let i = 0; i < side; i++) {
          for (let j = 0; j < side; j++) {
            const there = padding || (oy + i >= 0 && oy + i < layer.height && ox + j >= 0 && ox + j < layer.width);
            values[(by * side + i) * wide * side + bx * side + j] = there ? all[start + i * side + j] * inside : NaN;
          }
        }
      }
    }
    return {
      values, rows: tall * side, cols: wide * side,
      rect: T().cellsRect(data.frame, layer, 0, 0, tall * layer.block, wide * layer.block),
    };
  }

  // ---------------------------------------------------------------- jobs

  /** The job that a part needs; null: it needs none. The same part gets the same job. @param {Part} part @returns {Job|null} */
  function jobOf(data, { layer, view, of, cells }) {
    if (!layer || view === "cell") return null;
    if ((view === "blocks" || view === "received") && shippedTensor(layer, view, of)) return null;
    const kind = view === "to" ? "normalisers" : view;
    const key = [kind, layer.key, of, cells ?? ""].join(" ");
    const jobs = (data.jobs ??= new Map());
    const job = jobs.get(key) ?? HaloVis.sweep.start(layer, kind, { of, ...(cells ? { cells } : {}) });
    jobs.delete(key); // the one used last goes to the end
    jobs.set(key, job);
    while (jobs.size > JOBS) jobs.delete(jobs.keys().next().value);
    return job;
  }

  const shippedTensor = (layer, name, of) =>
    Boolean(of === "weight" ? layer.tensors[name] : of === "contribution" && layer.tensors[`${name}_contribution`]);

  // ---------------------------------------------------------------- heats

  /**
   * The heat of a part, not yet scaled.
   * @param {Part} part @param {Float32Array|null} weights its row, in the cell view
   * @returns {{heat: object|null, pending: boolean}}
   */
  function heatOf(data, part, weights, padding = part.layer.mask === "published") {
    const { layer, view, head, of } = part;
    if (view === "cell") return { heat: rowHeat(data, part, weights), pending: false };
    const job = jobOf(data, part);
    const pending = job !== null && !job.done;
    if (view === "to") {
      const values = T().attendedBy(layer, part.y, part.x, head, of, { times: true, partial: true });
      return { heat: mapHeat(data, layer, values), pending };
    }
    const values = job ? job.result(head) : shipped(layer, view, of, head);
    if (!values) return { heat: null, pending };
    // Keys outside the map: the valid mask leaves them out; under the published one they carry mass, which shows.
    return { heat: view === "blocks" ? blocksHeat(data, layer, values, padding) : mapHeat(data, layer, values), pending };
  }

  /** Can one map be taken from the other, cell by cell? @param {Part} right @param {Part} left */
  function comparable(right, left) {
    const a = right.layer, b = left.layer;
    if (!a || !b || a.kind !== b.kind || a.height !== b.height || a.width !== b.width) return false;
    if (right.view !== left.view || right.head !== left.head || right.of !== left.of) return false;
    if (a.kind === "global") return a.name === b.name;
    return right.view !== "blocks" || (a.block === b.block && a.window === b.window);
  }

  /** Right minus left; where only one of them reaches, the other counts as 0. */
  function differenceOf(data, right, left, weights) {
    const one = (part) => {
      const row = part.view === "cell" ? weights(part) : null;
      const { heat, pending } = heatOf(data, part, row, false);
      return { heat: heat && part.view === "cell" ? onMap(data, part, heat) : heat, pending };
    };
    const a = one(right), b = one(left);
    const pending = a.pending || b.pending;
    if (!a.heat || !b.heat) return { heat: null, pending };
    const values = new Float32Array(a.heat.values.length);
    for (let n = 0; n < values.length; n++) {
      const r = a.heat.values[n], l = b.heat.values[n];
      values[n] = Number.isNaN(r) ? -l : Number.isNaN(l) ? r : r - l; // NaN where neither reaches
    }
    return { heat: { ...a.heat, values, diverging: true }, pending };
  }

  /** @param {number|"auto"} scale @param {boolean} log @returns {Heat|null} */
  function scaled(heat, scale, log) {
    if (!heat) return null;
    const auto = scale === "auto", diverging = Boolean(heat.diverging);
    let max = auto ? 0 : Number(scale);
    if (auto) for (const v of heat.values) { const size = diverging ? Math.abs(v) : v; if (size > max) max = size; }
    log = Boolean(log) && !diverging; // a difference has no logarithm
    if (!(max > 0)) max = 1;
    return { ...heat, auto, log, diverging, max: log ? Math.max(2, max) : max };
  }

  HaloVis.heats = { jobOf, heatOf, comparable, differenceOf, scaled };
})();
