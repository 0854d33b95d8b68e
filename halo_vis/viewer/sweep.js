// Means over many rows, a slice of time at a time, so that a pointer never waits: the cells of a box, every block's map,
// attention received, and the normalisers of the inverse view. No DOM.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const T = () => HaloVis.tensors;

  /**
   * @typedef {object} Job
   * @property {boolean} done
   * @property {(ms: number) => boolean} run works for about that many milliseconds; returns done
   * @property {(head?: number) => Float32Array|null} result of the queries done so far, not to be changed; null: none yet
   * @property {[number, number]|null} near a cell whose surroundings are wanted first
   */

  /** Queries (y, x) of a rectangle, block after block, so that a window is decoded once. */
  function* queries(layer, [y0, x0, y1, x1]) {
    const high = layer.block ?? layer.height, broad = layer.block ?? layer.width;
    for (let by = Math.floor(y0 / high) * high; by < y1; by += high)
      for (let bx = Math.floor(x0 / broad) * broad; bx < x1; bx += broad)
        for (let y = Math.max(y0, by); y < Math.min(y1, by + high); y++)
          for (let x = Math.max(x0, bx); x < Math.min(x1, bx + broad); x++) yield [y, x];
  }

  /** Of sums laid out as (1 + heads, size): those of one head or the largest, each divided; NaN where the divisor is 0. */
  function means(total, heads, head, size, divisor) {
    const out = new Float32Array(size);
    const first = head === -2 ? 1 : 1 + head;
    for (let n = 0; n < size; n++) {
      let sum = total[first * size + n];
      if (head === -2) for (let h = 1; h < heads; h++) sum = Math.max(sum, total[(1 + h) * size + n]);
      const by = divisor(n);
      out[n] = by > 0 ? sum / by : NaN;
    }
    return out;
  }

  /**
   * A job that runs a generator of steps until time is up.
   * @param {Iterator<void>} steps @param {number} head @param {(head: number) => Float32Array|null} make @returns {Job}
   */
  function slices(steps, head, make, done = false) {
    const job = { done, near: null };
    const finished = new Map(); // by head
    job.result = (wanted = head) => {
      if (!job.done) return make(wanted);
      if (!finished.has(wanted)) finished.set(wanted, make(wanted));
      return finished.get(wanted);
    };
    job.run = (ms) => {
      const end = performance.now() + ms;
      while (!job.done) {
        job.done = Boolean(steps.next().done);
        if (performance.now() >= end) break;
      }
      return job.done;
    };
    return job;
  }

  /** Adds the rows of one query to maps of (1 + heads, height * width). */
  function addTo(maps, layer, w, rows, factor) {
    const size = w.rows * w.cols, area = layer.height * layer.width;
    for (let h = 0; h <= layer.heads; h++) {
      for (let ky = w.y0; ky < w.y1; ky++) {
        let from = h * size + (ky - w.oy) * w.cols + w.x0 - w.ox, to = h * area + ky * layer.width + w.x0;
        for (let kx = w.x0; kx < w.x1; kx++) maps[to++] += factor * rows[from++];
      }
    }
  }

  /** Marks or adds on the part of a window that lies on the map. */
  function markOn(map, layer, w, value) {
    for (let ky = w.y0; ky < w.y1; ky++) for (let kx = w.x0; kx < w.x1; kx++) map[ky * layer.width + kx] += value;
  }

  /**
   * Mean over queries of their rows put on the map; NaN where no window reaches. With `times`, each row is multiplied by
   * the keys inside its window first.
   */
  function box(layer, of, head, cells, times) {
    const area = layer.height * layer.width;
    const total = new Float64Array((1 + layer.heads) * area), reach = new Uint32Array(area);
    let count = 0;
    function* steps() {
      let rows = new Float32Array(0);
      for (const [y, x] of queries(layer, cells)) {
        const w = T().windowOf(layer, y, x), size = (1 + layer.heads) * w.rows * w.cols;
        if (rows.length !== size) rows = new Float32Array(size);
        addTo(total, layer, w, T().rowsInto(layer, y, x, of, rows, w), times ? w.inside : 1);
        markOn(reach, layer, w, 1);
        count++;
        yield;
      }
    }
    return slices(steps(), head, (wanted) => (count ? means(total, layer.heads, wanted, area, (n) => (reach[n] ? count : 0)) : null));
  }

  /** Attention received as a multiple of what an even spread would give. */
  function received(layer, of, head) {
    const area = layer.height * layer.width;
    const total = new Float64Array((1 + layer.heads) * area), even = new Float64Array(area);
    function* steps() {
      const rows = new Float32Array((1 + layer.heads) * layer.window ** 2);
      for (const [y, x] of queries(layer, [0, 0, layer.height, layer.width])) {
        const w = T().windowOf(layer, y, x);
        addTo(total, layer, w, T().rowsInto(layer, y, x, of, rows, w), 1);
        markOn(even, layer, w, 1 / w.inside);
        yield;
      }
    }
    return slices(steps(), head, (wanted) => means(total, layer.heads, wanted, area, (n) => even[n]));
  }

  /** Every block's map, the mean of its queries' rows: (block rows, block columns, window, window). */
  function blocks(layer, of, head) {
    const wide = Math.ceil(layer.width / layer.block), count = Math.ceil(layer.height / layer.block) * wide;
    const size = layer.window ** 2, stretch = count * size;
    const total = new Float64Array((1 + layer.heads) * stretch), seen = new Uint32Array(count);
    function* steps() {
      const rows = new Float32Array((1 + layer.heads) * size);
      for (const [y, x] of queries(layer, [0, 0, layer.height, layer.width])) {
        T().rowsInto(layer, y, x, of, rows);
        const number = Math.floor(y / layer.block) * wide + Math.floor(x / layer.block);
        for (let h = 0; h <= layer.heads; h++)
          for (let n = 0, to = h * stretch + number * size; n < size; n++) total[to + n] += rows[h * size + n];
        seen[number]++;
        yield;
      }
    }
    return slices(steps(), head, (wanted) => means(total, layer.heads, wanted, stretch, (n) => seen[Math.floor(n / size)]));
  }

  /** The unit to make ready next: around the cell that is wanted first, else the first that is missing. */
  function nextUnit(layer, store, near) {
    const { ready, units } = store;
    if (near) {
      const { v0, v1, h0, h1 } = T().reaching(layer, units, ...near);
      for (let v = v0; v <= v1; v++) for (let h = h0; h <= h1; h++) if (!ready[v * units.wide + h]) return v * units.wide + h;
    }
    return ready.indexOf(0);
  }

  /** Normalisers of all queries of a layer; they stay with the layer. */
  function normalisers(layer, of) {
    const store = T().normalisers(layer, of);
    const job = slices(steps(), -1, () => null, store.left === 0);
    function* steps() {
      while (store.left > 0) {
        const unit = nextUnit(layer, store, job.near);
        const { y0, x0, y1, x1 } = T().cellsOf(layer, store.units, unit);
        let missing = (y1 - y0) * (x1 - x0);
        for (let y = y0; y < y1; y++) {
          for (let x = x0; x < x1; x++) {
            T().normalise(layer, store, y, x);
            if (--missing === 0 && !store.ready[unit]) { // attendedBy may have made it ready in between
              store.ready[unit] = 1;
              store.left--;
            }
            yield;
          }
        }
      }
    }
    return job;
  }

  /**
   * @param {Layer|GlobalLayer} layer @param {"box"|"blocks"|"received"|"normalisers"} kind
   * @param {{of?: string, head?: number, cells?: [number, number, number, number], times?: boolean}} [options]
   *   cells: of a box, [y0, x0, y1, x1); head: the default of result(), any head can be asked for
   * @returns {Job}
   */
  function start(layer, kind, { of = "weight", head = -1, cells = [0, 0, layer.height, layer.width], times = true } = {}) {
    T().check(layer, 0, 0, head);
    of = T().checkOf(layer, of);
    const [y0, x0, y1, x1] = cells;
    if (!(cells.every(Number.isInteger) && y0 >= 0 && x0 >= 0 && y0 < y1 && x0 < x1 && y1 <= layer.height && x1 <= layer.width))
      throw new RangeError(`${layer.name} is ${layer.height} x ${layer.width} cells, there are no cells (${cells.join(", ")})`);
    if (kind === "box") return box(layer, of, head, cells, times);
    if (kind === "normalisers") return normalisers(layer, of);
    if (layer.kind === "global") throw new RangeError(`${layer.name} has no blocks`);
    if (kind === "received") return received(layer, of, head);
    if (kind === "blocks") return blocks(layer, of, head);
    throw new RangeError(`there is no job "${kind}"`);
  }

  /** Runs a job to its end, a slice at a time. @param {Job} job @returns {Promise<Job>} */
  async function complete(job) {
    while (!job.run(12)) await new Promise((next) => setTimeout(next, 0));
    return job;
  }

  HaloVis.sweep = { start, complete };
})();
