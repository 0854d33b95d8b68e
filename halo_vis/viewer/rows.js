// Rows of attention from queries and keys: pure maths, no DOM. Adds to HaloVis.tensors.
// What a pointer needs every frame is kept on the layer: the keys of the last windows as Float32, the last rows of all
// heads, and the normalisers of the queries seen so far. All of it follows from the tensors and may be dropped at any time.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});

  /**
   * @typedef {"weight"|"contribution"|"content"|"position"} Of
   * @typedef {object} Reach the keys of a query: a rectangle of cells that may go beyond the map
   * @property {number} by first cell of the own block @property {number} bx
   * @property {number} oy first key cell @property {number} ox
   * @property {number} rows @property {number} cols keys down and across
   * @property {number} y0 @property {number} x0 @property {number} y1 @property {number} x1 the part inside the map
   * @property {number} inside keys inside the map
   * @property {boolean} whole all of it lies inside the map
   * @typedef {object} Cache
   * @property {Map<number, {keys: Float32Array, norms: Float32Array|null}>} windows decoded, by the cell that begins the block
   * @property {Map<string, Float32Array>} rows of all heads, by query
   * @property {Object<string, Normalisers>} normalisers by what the logits are made of
   * @typedef {object} Normalisers of every query of a layer, one per head: what turns a logit into a weight
   * @property {Float64Array} log (H, W, heads) log of the sum of the exponentials
   * @property {Float64Array} brought (H, W, heads) sum of weight x norm; only for weights
   * @property {Uint8Array} ready by unit: a block of a halo layer, a line of a global one
   * @property {number} left units that are not ready
   */

  const ALL_OF = ["weight", "contribution", "content", "position"];
  const WINDOWS = 4; // a pointer on a corner of blocks touches four of them
  const ROWS = 6;

  /** @type {WeakMap<object, Cache>} */
  const caches = new WeakMap();

  /** @returns {Cache} */
  function cacheOf(layer) {
    let cache = caches.get(layer);
    if (!cache) {
      const decode = (tensor) => (tensor ? HaloVis.tensors.slice(tensor, 0, tensor.length) : null);
      cache = {
        windows: new Map(), rows: new Map(), normalisers: {},
        relHeight: decode(layer.tensors.rel_height), relWidth: decode(layer.tensors.rel_width),
        query: new Float64Array(layer.dim), down: new Float64Array(layer.window ?? 0), across: new Float64Array(layer.window ?? 0),
        logits: new Float64Array(layer.kind === "global" ? layer.height * layer.width : layer.window ** 2),
        weights: new Float32Array(0), totals: new Float64Array(layer.heads), target: null,
      };
      caches.set(layer, cache);
    }
    return cache;
  }

  /** @param {Layer|GlobalLayer} layer @param {number} y @param {number} x @returns {Reach} */
  function windowOf(layer, y, x) {
    const { height, width } = layer;
    if (layer.kind === "global")
      return { by: 0, bx: 0, oy: 0, ox: 0, rows: height, cols: width, y0: 0, x0: 0, y1: height, x1: width, inside: height * width, whole: true };
    const { block, halo, window: side } = layer;
    const by = Math.floor(y / block) * block;
    const bx = Math.floor(x / block) * block;
    const oy = by - halo;
    const ox = bx - halo;
    const y0 = Math.max(0, oy), y1 = Math.min(height, oy + side);
    const x0 = Math.max(0, ox), x1 = Math.min(width, ox + side);
    const inside = (y1 - y0) * (x1 - x0);
    return { by, bx, oy, ox, rows: side, cols: side, y0, y1, x0, x1, inside, whole: inside === side * side };
  }

  /** Keys that may take part in a row. */
  function validKeys(layer, y, x) {
    const w = windowOf(layer, y, x);
    return layer.mask === "valid" || w.whole ? w.inside : w.rows * w.cols - w.inside;
  }

  /** @param {Layer|GlobalLayer} layer @param {number} y @param {number} x @param {number} head */
  function check(layer, y, x, head) {
    const whole = Number.isInteger(y) && Number.isInteger(x) && Number.isInteger(head);
    if (!whole || y < 0 || x < 0 || y >= layer.height || x >= layer.width)
      throw new RangeError(`${layer.name} is ${layer.height} x ${layer.width} cells, there is no cell (${y}, ${x})`);
    if (head < -2 || head >= layer.heads)
      throw new RangeError(`${layer.name} has heads 0 to ${layer.heads - 1} (-1: their mean, -2: their maximum), not ${head}`);
  }

  /** A global layer has weights only. @returns {Of} */
  function checkOf(layer, of) {
    if (!ALL_OF.includes(of)) throw new RangeError(`there is no "${of}", only ${ALL_OF.join(", ")}`);
    return layer.kind === "global" ? "weight" : of;
  }

  /** Takes the oldest entry out of a map that is full, for its arrays to be written again; null: there is room. */
  function oldest(map, most) {
    if (map.size < most) return null;
    const [[key, value]] = map;
    map.delete(key);
    return value;
  }

  /** Keys (heads, window, dim) and norms (heads, window) of a window as Float32; zeros outside the map. @param {Reach} w */
  function decoded(layer, cache, w) {
    const id = w.by * layer.width + w.bx;
    let found = cache.windows.get(id);
    if (found) return found;
    const { heads, dim, width } = layer;
    const size = w.rows * w.cols;
    const { data, lut } = layer.tensors.k;
    const norm = layer.tensors.norm ?? null;
    found = oldest(cache.windows, WINDOWS) ?? { keys: new Float32Array(heads * size * dim), norms: norm && new Float32Array(heads * size) };
    const { keys, norms } = found;
    if (!w.whole) { keys.fill(0); norms?.fill(0); }
    for (let y = w.y0; y < w.y1; y++) {
      for (let x = w.x0; x < w.x1; x++) {
        const n = (y - w.oy) * w.cols + x - w.ox;
        let from = (y * width + x) * heads * dim;
        for (let h = 0; h < heads; h++) {
          const to = (h * size + n) * dim;
          if (lut) for (let c = 0; c < dim; c++) keys[to + c] = lut[data[from++]];
          else for (let c = 0; c < dim; c++) keys[to + c] = data[from++];
          if (norms) {
            const v = norm.data[(y * width + x) * heads + h];
            norms[h * size + n] = norm.lut ? norm.lut[v] : v;
          }
        }
      }
    }
    cache.windows.set(id, found);
    return found;
  }

  /** Query vector times scale, into `out`. */
  function query(layer, y, x, head, out) {
    const { heads, dim, width, scale } = layer;
    const { data, lut } = layer.tensors.q;
    const start = ((y * width + x) * heads + head) * dim;
    for (let c = 0; c < dim; c++) out[c] = (lut ? lut[data[start + c]] : data[start + c]) * scale;
  }

  /** Logits of the relative position for offsets first, first + 1, ..., into `out`. */
  function positions(table, vector, first, out) {
    const dim = vector.length;
    for (let i = 0; i < out.length; i++) {
      const start = (first + i) * dim;
      let sum = 0;
      for (let c = 0; c < dim; c++) sum += vector[c] * table[start + c];
      out[i] = sum;
    }
  }

  /**
   * Weights of one head into out[at ... at + keys of the window).
   * @param {Reach} w @param {Float32Array|null} keys null: the position alone @param {boolean} position with its logits
   * @returns {number} log of the sum of the exponentials
   */
  function softmaxInto(layer, cache, w, y, x, head, keys, position, out, at) {
    const { rows, cols } = w;
    const size = rows * cols;
    const published = layer.mask === "published";
    if (published && w.whole) { out.fill(1 / size, at, at + size); return Math.log(size); } // every key is masked: all logits equal
    const { query: q, down, across, logits } = cache;
    query(layer, y, x, head, q);
    if (position) {
      positions(cache.relHeight, q, rows - 1 - (y - w.by), down);
      positions(cache.relWidth, q, cols - 1 - (x - w.bx), across);
    }
    const y0 = w.y0 - w.oy, y1 = w.y1 - w.oy, x0 = w.x0 - w.ox, x1 = w.x1 - w.ox;
    const dim = q.length;
    let top = -Infinity;
    if (!w.whole) logits.fill(-Infinity);
    for (let i = published ? 0 : y0; i < (published ? rows : y1); i++) {
      for (let j = published ? 0 : x0; j < (published ? cols : x1); j++) {
        if (published && i >= y0 && i < y1 && j >= x0 && j < x1) continue;
        const n = i * cols + j;
        let sum = position ? down[i] + across[j] : 0;
        if (keys && !published) { // what lies outside the map has no content
          let key = (head * size + n) * dim;
          for (let c = 0; c < dim; c++, key++) sum += q[c] * keys[key];
        }
        logits[n] = sum;
        if (sum > top) top = sum;
      }
    }
    let sum = 0;
    for (let n = 0; n < size; n++) sum += logits[n] = Math.exp(logits[n] - top);
    for (let n = 0; n < size; n++) out[at + n] = logits[n] / sum;
    return top + Math.log(sum);
  }

  /** Weights of all heads, (heads, window), into `out` from `at` on. @param {Reach} w @param {Of} of @param {Float64Array|null} [logs] */
  function weightsInto(layer, w, y, x, of, out, at = 0, logs = null, first = 0) {
    const cache = cacheOf(layer);
    const content = of !== "position", position = layer.kind === "halo" && of !== "content";
    const keys = content ? decoded(layer, cache, w).keys : null;
    const size = w.rows * w.cols;
    for (let h = 0; h < layer.heads; h++) {
      const log = softmaxInto(layer, cache, w, y, x, h, keys, position, out, at + h * size);
      if (logs) logs[first + h] = log;
    }
  }

  /**
   * Rows of the mean and of every head, (1 + heads, window), the layout of the tensors that are shipped.
   * Sums are 1 (contributions: or 0, where the layer adds nothing).
   * @param {Layer|GlobalLayer} layer @param {Of} of @param {Float32Array} out @param {Reach} w
   */
  function rowsInto(layer, y, x, of, out, w = windowOf(layer, y, x)) {
    const { heads } = layer;
    const size = w.rows * w.cols;
    weightsInto(layer, w, y, x, of, out, size);
    out.fill(0, 0, size);
    if (of === "contribution") {
      const cache = cacheOf(layer);
      const { norms } = decoded(layer, cache, w);
      let all = 0;
      for (let h = 0; h < heads; h++) {
        const at = (1 + h) * size;
        let total = 0;
        for (let n = 0; n < size; n++) {
          const v = out[at + n] * norms[h * size + n];
          out[at + n] = v;
          out[n] += v;
          total += v;
        }
        all += total;
        if (total > 0) for (let n = 0; n < size; n++) out[at + n] /= total;
      }
      if (all > 0) for (let n = 0; n < size; n++) out[n] /= all;
    } else {
      for (let h = 0; h < heads; h++) for (let n = 0, at = (1 + h) * size; n < size; n++) out[n] += out[at + n];
      for (let n = 0; n < size; n++) out[n] /= heads;
    }
    return out;
  }

  /** Rows of all heads of a query, from the cache if it was there a moment ago; not to be changed. @returns {Float32Array} */
  function rows(layer, y, x, of) {
    const { rows: kept } = cacheOf(layer);
    const id = `${y} ${x} ${of}`;
    const found = kept.get(id);
    if (found) return found;
    const w = windowOf(layer, y, x);
    const out = oldest(kept, ROWS) ?? new Float32Array((1 + layer.heads) * w.rows * w.cols);
    kept.set(id, rowsInto(layer, y, x, of, out, w));
    return out;
  }

  /**
   * Of maps laid out as (1 + heads, size), mean first: the one that `head` names.
   * @param {Float32Array} maps @param {number} head -1: mean, -2: largest of the heads at every place @returns {Float32Array} a copy
   */
  function pick(maps, head, size) {
    if (head !== -2) return maps.slice((1 + head) * size, (2 + head) * size);
    const out = maps.slice(size, 2 * size);
    for (let at = 2 * size; at < maps.length; at += size)
      for (let n = 0; n < size; n++) if (maps[at + n] > out[n]) out[n] = maps[at + n];
    return out;
  }

  /**
   * One row of attention. Sums to 1 (contributions: or is all zero, where the layer adds nothing); the maximum of the
   * heads sums to more.
   * @param {Layer|GlobalLayer} layer @param {number} y @param {number} x @param {number} [head] -1: all heads, -2: their maximum
   * @param {Of} [of] @returns {Float32Array} window * window keys of a halo layer, height * width of a global one
   */
  function row(layer, y, x, head = -1, of = "weight") {
    check(layer, y, x, head);
    const maps = rows(layer, y, x, checkOf(layer, of));
    return pick(maps, head, maps.length / (1 + layer.heads));
  }

  HaloVis.tensors = Object.assign(HaloVis.tensors, {
    ALL_OF, cacheOf, decoded, check, checkOf, windowOf, validKeys, weightsInto, rowsInto, row, pick, query,
  });
})();
