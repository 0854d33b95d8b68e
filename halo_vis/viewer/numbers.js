// What can be said of a row in numbers. Pure maths, no DOM. Adds to HaloVis.tensors.
// `weights` is always a row that sums to 1 (or to 0): the maximum of the heads is divided by its sum first (`shares`).
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const T = () => HaloVis.tensors;

  /**
   * @typedef {{block: number, halo: number, padding: number}} Mass
   * @typedef {[number, number, number, number]} Box x1, y1, x2, y2 in photo pixels, half-open
   */

  /** A row with sum 1, or all zero. @param {Float32Array} weights @returns {Float32Array} the same array where it has that sum */
  function shares(weights, head) {
    if (head !== -2) return weights;
    let total = 0;
    for (const p of weights) total += p;
    return total > 0 ? weights.map((p) => p / total) : weights;
  }

  /** How a row divides between own block, halo ring and padding. @returns {Mass} */
  function mass(layer, y, x, weights) {
    const w = T().windowOf(layer, y, x);
    const out = { block: 0, halo: 0, padding: 0 };
    for (let i = 0, n = 0; i < w.rows; i++) {
      for (let j = 0; j < w.cols; j++, n++) {
        const ky = w.oy + i, kx = w.ox + j;
        if (ky < w.y0 || ky >= w.y1 || kx < w.x0 || kx >= w.x1) out.padding += weights[n];
        else if (ky >= w.by && ky < w.by + layer.block && kx >= w.bx && kx < w.bx + layer.block) out.block += weights[n];
        else out.halo += weights[n];
      }
    }
    return out;
  }

  /** Entropy as a share of its maximum, 0 to 1. */
  function entropy(layer, y, x, weights) {
    const keys = T().validKeys(layer, y, x);
    if (keys < 2) return 0;
    let sum = 0;
    for (const p of weights) if (p > 0) sum -= p * Math.log(p);
    return Math.min(1, Math.max(0, sum / Math.log(keys))); // rounding must not show as more than 1
  }

  /** Mean distance of the attended cells in photo pixels; NaN where no cell of the map is attended. */
  function distance(layer, y, x, weights, frame) {
    const w = T().windowOf(layer, y, x);
    const sy = layer.stride / frame.gainY, sx = layer.stride / frame.gainX;
    let total = 0, sum = 0;
    for (let ky = w.y0; ky < w.y1; ky++) {
      for (let kx = w.x0; kx < w.x1; kx++) {
        const p = weights[(ky - w.oy) * w.cols + kx - w.ox];
        total += p;
        sum += p * Math.hypot((ky - y) * sy, (kx - x) * sx);
      }
    }
    return total > 0 ? sum / total : NaN;
  }

  /** The n cells of the map that get most, largest first, at equal values in reading order. @returns {Array<{y: number, x: number, value: number}>} */
  function top(layer, y, x, weights, n = 5) {
    const w = T().windowOf(layer, y, x);
    const best = [];
    for (let ky = w.y0; ky < w.y1; ky++) {
      for (let kx = w.x0; kx < w.x1; kx++) {
        const value = weights[(ky - w.oy) * w.cols + kx - w.ox];
        if (best.length === n && !(value > best[n - 1].value)) continue;
        let at = best.length;
        while (at > 0 && best[at - 1].value < value) at--;
        best.splice(at, 0, { y: ky, x: kx, value });
        if (best.length > n) best.pop();
      }
    }
    return best;
  }

  /** Does the centre of a cell lie in a box? */
  function centreIn(layer, frame, y, x, [x1, y1, x2, y2]) {
    const [px, py] = T().toPhoto(frame, ...T().centreOf(layer, y, x));
    return px >= x1 && px < x2 && py >= y1 && py < y2;
  }

  /** Share of a row that is not on cells of the map whose centre lies in the box. @param {Box} box */
  function outside(layer, y, x, weights, box, frame) {
    const w = T().windowOf(layer, y, x);
    let sum = 0;
    for (let i = 0, n = 0; i < w.rows; i++) {
      for (let j = 0; j < w.cols; j++, n++) {
        const ky = w.oy + i, kx = w.ox + j;
        const there = ky >= w.y0 && ky < w.y1 && kx >= w.x0 && kx < w.x1;
        if (!there || !centreIn(layer, frame, ky, kx, box)) sum += weights[n];
      }
    }
    return sum;
  }

  /** Cells of a query's window, on the map, that lie on a region: by their centres, else the cell under the region's centre. */
  function cellsOn(layer, w, region, frame) {
    const found = [];
    for (let ky = w.y0; ky < w.y1; ky++)
      for (let kx = w.x0; kx < w.x1; kx++) if (centreIn(layer, frame, ky, kx, region)) found.push([ky, kx]);
    if (found.length) return found;
    const [x1, y1, x2, y2] = region;
    const [cy, cx] = T().cellAt(layer, ...T().toInput(frame, (x1 + x2) / 2, (y1 + y2) / 2));
    return cy >= w.y0 && cy < w.y1 && cx >= w.x0 && cx < w.x1 ? [[cy, cx]] : [];
  }

  /**
   * Attention where the answer is known to lie, as a multiple of an even spread (score.bee_share).
   * @param {Array<{name: string, where: Box, region: Box}>} answers
   * @returns {{name: string, times: number}|null} null: the query asks for nothing, or it lies out of its reach
   */
  function answer(layer, y, x, weights, answers, frame) {
    const w = T().windowOf(layer, y, x);
    for (const { name, where, region } of answers ?? []) {
      if (!centreIn(layer, frame, y, x, where)) continue;
      const cells = cellsOn(layer, w, region, frame);
      if (!cells.length) continue;
      let sum = 0;
      for (const [ky, kx] of cells) sum += weights[(ky - w.oy) * w.cols + kx - w.ox];
      return { name: String(name), times: sum / (cells.length / w.inside) };
    }
    return null;
  }

  /**
   * The cells whose centre lies in a box: [y0, x0, y1, x1), or null where none does.
   * @param {Box} box @returns {[number, number, number, number]|null}
   */
  function cellsIn(layer, box, frame) {
    const [left, top] = T().toInput(frame, box[0], box[1]), [right, bottom] = T().toInput(frame, box[2], box[3]);
    // First cell whose centre is at or beyond a coordinate; then corrected by the very test that counts.
    const first = (v, size) => Math.min(size, Math.max(0, Math.ceil(v / layer.stride - 0.5)));
    let [y0, x0, y1, x1] = [first(top, layer.height), first(left, layer.width), first(bottom, layer.height), first(right, layer.width)];
    const down = (y) => centreIn(layer, frame, y, 0, [-Infinity, box[1], Infinity, box[3]]);
    const across = (x) => centreIn(layer, frame, 0, x, [box[0], -Infinity, box[2], Infinity]);
    if (y0 > 0 && down(y0 - 1)) y0--; else if (y0 < y1 && !down(y0)) y0++;
    if (x0 > 0 && across(x0 - 1)) x0--; else if (x0 < x1 && !across(x0)) x0++;
    if (y1 < layer.height && down(y1)) y1++; else if (y1 > y0 && !down(y1 - 1)) y1--;
    if (x1 < layer.width && across(x1)) x1++; else if (x1 > x0 && !across(x1 - 1)) x1--;
    return y0 < y1 && x0 < x1 ? [y0, x0, y1, x1] : null;
  }

  HaloVis.tensors = Object.assign(HaloVis.tensors, { shares, mass, entropy, distance, top, outside, answer, cellsIn });
})();
