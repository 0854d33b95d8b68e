// The inverse view: who attends to a cell. Pure maths, no DOM. Adds to HaloVis.tensors.
// The weight that a query gives to one key needs the sum over all of its keys; these normalisers are computed once per
// query, a block at a time, and kept (sweep.js warms them up between frames).
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const T = () => HaloVis.tensors;

  /** Contributions are made from weights. */
  const kindOf = (layer, of) => (layer.kind === "global" || of === "contribution" ? "weight" : of);

  /** Units in which normalisers are made: blocks of a halo layer, lines of a global one. */
  function unitsOf(layer) {
    const { height, width, block } = layer;
    if (layer.kind === "global") return { tall: height, wide: 1, high: 1, broad: width };
    return { tall: Math.ceil(height / block), wide: Math.ceil(width / block), high: block, broad: block };
  }

  /** Cells of a unit: [y0, y1) x [x0, x1). */
  function cellsOf(layer, units, unit) {
    const y0 = Math.floor(unit / units.wide) * units.high, x0 = (unit % units.wide) * units.broad;
    return { y0, x0, y1: Math.min(layer.height, y0 + units.high), x1: Math.min(layer.width, x0 + units.broad) };
  }

  /** The first and last unit, down and across, whose windows hold a cell. */
  function reaching(layer, units, y, x) {
    if (layer.kind === "global") return { v0: 0, v1: units.tall - 1, h0: 0, h1: 0 };
    const { block, halo } = layer;
    return {
      v0: Math.max(0, Math.floor((y - halo) / block)), v1: Math.min(units.tall - 1, Math.floor((y + halo) / block)),
      h0: Math.max(0, Math.floor((x - halo) / block)), h1: Math.min(units.wide - 1, Math.floor((x + halo) / block)),
    };
  }

  /** @returns {Normalisers} */
  function normalisers(layer, of) {
    const kind = kindOf(layer, of);
    const all = T().cacheOf(layer).normalisers;
    if (!all[kind]) {
      const size = layer.height * layer.width * layer.heads, units = unitsOf(layer);
      all[kind] = {
        kind, units, log: new Float64Array(size), brought: kind === "weight" && layer.tensors.norm ? new Float64Array(size) : null,
        ready: new Uint8Array(units.tall * units.wide), left: units.tall * units.wide,
      };
    }
    return all[kind];
  }

  /** Normalisers of one query. @param {Normalisers} store */
  function normalise(layer, store, y, x) {
    const { heads, width } = layer;
    const w = T().windowOf(layer, y, x);
    const cache = T().cacheOf(layer);
    const size = w.rows * w.cols;
    if (cache.weights.length < heads * size) cache.weights = new Float32Array(heads * size);
    const first = (y * width + x) * heads;
    T().weightsInto(layer, w, y, x, store.kind, cache.weights, 0, store.log, first);
    if (!store.brought) return;
    const { norms } = T().decoded(layer, cache, w);
    for (let h = 0; h < heads; h++) {
      let total = 0;
      for (let n = h * size; n < (h + 1) * size; n++) total += cache.weights[n] * norms[n];
      store.brought[first + h] = total;
    }
  }

  function makeReady(layer, store, unit) {
    if (store.ready[unit]) return;
    const { y0, x0, y1, x1 } = cellsOf(layer, store.units, unit);
    for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) normalise(layer, store, y, x);
    store.ready[unit] = 1;
    store.left--;
  }

  /** Values of all heads of one query at the key (y, x), before the mean or the maximum. @param {Float64Array} out (heads) */
  function towards(layer, cache, store, w, qy, qx, y, x, of, out) {
    const { heads, dim, width } = layer;
    const global = layer.kind === "global";
    const { query: q, relHeight, relWidth } = cache;
    const { keys, norms } = cache.target;
    const first = (qy * width + qx) * heads;
    const published = layer.mask === "published";
    const content = of !== "position", position = !global && of !== "content";
    const down = global ? 0 : (y - w.oy + w.rows - 1 - (qy - w.by)) * dim, across = global ? 0 : (x - w.ox + w.cols - 1 - (qx - w.bx)) * dim;
    for (let h = 0; h < heads; h++) {
      if (published) { out[h] = w.whole ? 1 / (w.rows * w.cols) : 0; } // a cell of the map is masked, or all are alike
      else {
        T().query(layer, qy, qx, h, q);
        let sum = 0;
        if (content) for (let c = 0, k = h * dim; c < dim; c++, k++) sum += q[c] * keys[k];
        if (position) for (let c = 0; c < dim; c++) sum += q[c] * (relHeight[down + c] + relWidth[across + c]);
        out[h] = Math.exp(sum - store.log[first + h]);
      }
      if (of === "contribution") out[h] *= norms[h];
    }
  }

  /** One number of the heads' values. */
  function combine(values, store, first, head, of) {
    const heads = values.length;
    if (of !== "contribution") {
      if (head >= 0) return values[head];
      let out = 0;
      if (head === -2) { for (const v of values) if (v > out) out = v; return out; }
      for (const v of values) out += v;
      return out / heads;
    }
    const { brought } = store;
    const share = (h) => (brought[first + h] > 0 ? values[h] / brought[first + h] : 0);
    if (head >= 0) return share(head);
    let out = 0, all = 0;
    for (let h = 0; h < heads; h++) {
      if (head === -2) out = Math.max(out, share(h));
      else { out += values[h]; all += brought[first + h]; }
    }
    return head === -2 ? out : all > 0 ? out / all : 0;
  }

  /**
   * Weight that each query of the map gives to the cell (y, x); NaN where the cell is not in that query's window.
   * @param {Layer|GlobalLayer} layer @param {number} y @param {number} x @param {number} [head] @param {Of} [of]
   * @param {{times?: boolean, partial?: boolean}} [options] times: multiplied by the keys inside that query's window
   *   (1 = uniform); partial: queries whose normalisers are not there yet stay NaN, nothing is waited for
   * @returns {Float32Array} height * width
   */
  function attendedBy(layer, y, x, head = -1, of = "weight", { times = false, partial = false } = {}) {
    T().check(layer, y, x, head);
    of = T().checkOf(layer, of);
    const { heads, dim, width } = layer;
    const cache = T().cacheOf(layer), store = normalisers(layer, of), { units } = store;
    const { k, norm } = layer.tensors;
    const at = (y * width + x) * heads;
    cache.target = { keys: T().slice(k, at * dim, heads * dim), norms: norm ? T().slice(norm, at, heads) : null };
    const out = new Float32Array(layer.height * width).fill(NaN);
    const { v0, v1, h0, h1 } = reaching(layer, units, y, x);
    for (let v = v0; v <= v1; v++) {
      for (let u = h0; u <= h1; u++) {
        const unit = v * units.wide + u;
        if (!store.ready[unit]) {
          if (partial) continue;
          makeReady(layer, store, unit);
        }
        const cells = cellsOf(layer, units, unit);
        const w = T().windowOf(layer, cells.y0, cells.x0);
        const factor = times ? w.inside : 1;
        for (let qy = cells.y0; qy < cells.y1; qy++) {
          for (let qx = cells.x0; qx < cells.x1; qx++) {
            towards(layer, cache, store, w, qy, qx, y, x, of, cache.totals);
            out[qy * width + qx] = factor * combine(cache.totals, store, (qy * width + qx) * heads, head, of);
          }
        }
      }
    }
    return out;
  }

  /** The part of the map whose queries can see a cell: [y0, y1) x [x0, x1). */
  function seenFrom(layer, y, x) {
    const units = unitsOf(layer);
    const { v0, v1, h0, h1 } = reaching(layer, units, y, x);
    return {
      y0: v0 * units.high, x0: h0 * units.broad,
      y1: Math.min(layer.height, (v1 + 1) * units.high), x1: Math.min(layer.width, (h1 + 1) * units.broad),
    };
  }

  HaloVis.tensors = Object.assign(HaloVis.tensors, { attendedBy, normalisers, normalise, cellsOf, reaching, seenFrom });
})();
