// Pure maths and payload decoding: no DOM, no state.
// Everything is computed from the transported fp16 values, the same ones that halo_vis.maps reads in Python.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});

  /**
   * @typedef {{dtype: "float16"|"float32"|"uint8", shape: number[], offset: number}} TensorMeta
   * @typedef {{data: Uint16Array|Float32Array|Uint8Array, lut: Float32Array|null, shape: number[], length: number}} Tensor
   * @typedef {{block: number, halo: number, padding: number}} Mass
   * @typedef {object} Layer one halo layer
   * @property {"halo"} kind
   * @property {string} name
   * @property {number} height
   * @property {number} width
   * @property {number} stride
   * @property {number} block
   * @property {number} halo
   * @property {number} window
   * @property {number} heads
   * @property {number} dim
   * @property {number} scale
   * @property {"valid"|"published"} mask
   * @property {boolean} addsNothing
   * @property {Object<string, Tensor|null>} tensors
   * @typedef {object} GlobalLayer YOLO26's own attention; kind is "global", one window that is the map
   */

  /** @type {Float32Array|null} */
  let table = null;

  /** All 65536 half-precision numbers. @returns {Float32Array} */
  function halfTable() {
    if (table) return table;
    table = new Float32Array(65536);
    for (let bits = 0; bits < 65536; bits++) {
      const exponent = (bits >> 10) & 31;
      const fraction = bits & 1023;
      let value;
      if (exponent === 0) value = fraction * 2 ** -24; // zero and subnormals
      else if (exponent === 31) value = fraction ? NaN : Infinity;
      else value = (1 + fraction / 1024) * 2 ** (exponent - 15);
      table[bits] = bits & 32768 ? -value : value;
    }
    return table;
  }

  const KINDS = { float16: Uint16Array, float32: Float32Array, uint8: Uint8Array };

  /**
   * A typed view of one tensor; nothing is copied or converted.
   * @param {ArrayBuffer} buffer @param {TensorMeta} meta @param {string} [name] @returns {Tensor}
   */
  function view(buffer, meta, name = "tensor") {
    const Kind = KINDS[meta.dtype];
    if (!Kind) throw new Error(`${name}: unknown dtype ${meta.dtype}`);
    const length = meta.shape.reduce((a, b) => a * b, 1);
    if (meta.offset + length * Kind.BYTES_PER_ELEMENT > buffer.byteLength)
      throw new Error(`${name}: needs bytes up to ${meta.offset + length * Kind.BYTES_PER_ELEMENT}, the file has ${buffer.byteLength}`);
    const lut = meta.dtype === "float16" ? halfTable() : null;
    return { data: new Kind(buffer, meta.offset, length), lut, shape: meta.shape, length };
  }

  /** @param {Tensor} tensor @param {number} start @param {number} count @returns {Float32Array} */
  function slice(tensor, start, count) {
    const out = new Float32Array(count);
    const { data, lut } = tensor;
    for (let i = 0; i < count; i++) out[i] = lut ? lut[data[start + i]] : data[start + i];
    return out;
  }

  /** Views of all tensors of a payload. @param {ArrayBuffer|ArrayBufferView} file @param {object} meta */
  function open(file, meta) {
    if (meta.version !== 1) throw new Error(`this viewer reads payload version 1, the file has version ${meta.version}`);
    const buffer = ArrayBuffer.isView(file)
      ? file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength) : file;
    const views = (name, tensors) => Object.fromEntries(Object.entries(tensors).map(([key, tensor]) =>
      [key, tensor ? view(buffer, tensor, `${name}.${key}`) : null]));
    /** @type {Object<string, Layer>} */
    const levels = {};
    for (const [name, l] of Object.entries(meta.levels ?? {})) {
      levels[name] = {
        kind: "halo", name, height: l.height, width: l.width, stride: l.stride, block: l.block_size, halo: l.halo_size,
        window: l.block_size + 2 * l.halo_size, heads: l.heads, dim: l.dim_head, scale: l.scale, mask: l.mask,
        addsNothing: Boolean(l.adds_nothing), tensors: views(name, l.tensors),
      };
    }
    const models = {};
    for (const [model, layers] of Object.entries(meta.global ?? {})) {
      models[model] = {};
      for (const [name, g] of Object.entries(layers ?? {})) {
        models[model][name] = {
          kind: "global", name, height: g.height, width: g.width, stride: g.stride, heads: g.heads, dim: g.key_dim,
          scale: g.scale, addsNothing: false, tensors: views(`${model}.${name}`, g.tensors),
        };
      }
    }
    return { levels, global: { baseline: models.baseline ?? {}, halo: models.halo ?? {} } };
  }

  // ---------------------------------------------------------------- windows

  /**
   * The window of a query: its first cell, its side, and the part of it that lies inside the map.
   * @param {Layer} layer @param {number} y @param {number} x
   */
  function windowOf(layer, y, x) {
    const { block, halo, window: side, height, width } = layer;
    const by = Math.floor(y / block) * block;
    const bx = Math.floor(x / block) * block;
    const oy = by - halo;
    const ox = bx - halo;
    const y0 = Math.max(0, oy), y1 = Math.min(height, oy + side);
    const x0 = Math.max(0, ox), x1 = Math.min(width, ox + side);
    const inside = (y1 - y0) * (x1 - x0);
    return { by, bx, oy, ox, side, y0, y1, x0, x1, inside, whole: inside === side * side };
  }

  /** Keys that may take part in a row. @param {Layer} layer @param {number} y @param {number} x */
  function validKeys(layer, y, x) {
    if (layer.kind === "global") return layer.height * layer.width;
    const w = windowOf(layer, y, x);
    return layer.mask === "valid" || w.whole ? w.inside : w.side * w.side - w.inside;
  }

  /** Query vector times scale. */
  function query(layer, y, x, head) {
    const { heads, dim, width, scale } = layer;
    const { data, lut } = layer.tensors.q;
    const start = ((y * width + x) * heads + head) * dim;
    const out = new Float64Array(dim);
    for (let c = 0; c < dim; c++) out[c] = (lut ? lut[data[start + c]] : data[start + c]) * scale;
    return out;
  }

  /** Logits of the relative position for offsets first, first + 1, ... */
  function positions(tensor, vector, first, count) {
    const { data, lut } = tensor;
    const dim = vector.length;
    const out = new Float64Array(count);
    for (let i = 0; i < count; i++) {
      const start = (first + i) * dim;
      let sum = 0;
      for (let c = 0; c < dim; c++) sum += vector[c] * (lut ? lut[data[start + c]] : data[start + c]);
      out[i] = sum;
    }
    return out;
  }

  /** In place; entries of -Infinity become 0. @param {Float64Array} logits */
  function softmax(logits) {
    let top = -Infinity;
    for (const v of logits) if (v > top) top = v;
    if (top === -Infinity) return logits.fill(0);
    let sum = 0;
    for (let i = 0; i < logits.length; i++) sum += logits[i] = Math.exp(logits[i] - top);
    for (let i = 0; i < logits.length; i++) logits[i] /= sum;
    return logits;
  }

  /** Weights of one head. @param {Layer} layer @returns {Float64Array} window * window */
  function headRow(layer, y, x, head) {
    const w = windowOf(layer, y, x);
    const { side } = w;
    const out = new Float64Array(side * side);
    const published = layer.mask === "published";
    if (published && w.whole) return out.fill(1 / (side * side));
    const qs = query(layer, y, x, head);
    const rows = positions(layer.tensors.rel_height, qs, side - 1 - (y - w.by), side);
    const cols = positions(layer.tensors.rel_width, qs, side - 1 - (x - w.bx), side);
    const { data, lut } = layer.tensors.k;
    const { heads, dim, width, height } = layer;
    for (let i = 0, n = 0; i < side; i++) {
      const ky = w.oy + i;
      for (let j = 0; j < side; j++, n++) {
        const kx = w.ox + j;
        const inside = ky >= 0 && ky < height && kx >= 0 && kx < width;
        if (inside === published) { out[n] = -Infinity; continue; }
        let sum = rows[i] + cols[j];
        if (inside) {
          const start = ((ky * width + kx) * heads + head) * dim;
          if (lut) for (let c = 0; c < dim; c++) sum += qs[c] * lut[data[start + c]];
          else for (let c = 0; c < dim; c++) sum += qs[c] * data[start + c];
        }
        out[n] = sum;
      }
    }
    return softmax(out);
  }

  /** Turns weights into weight x norm of the value, not normalised, in place. */
  function weigh(layer, y, x, head, row) {
    const w = windowOf(layer, y, x);
    const { data, lut } = layer.tensors.norm;
    const { heads, width, height } = layer;
    for (let i = 0, n = 0; i < w.side; i++) {
      for (let j = 0; j < w.side; j++, n++) {
        const ky = w.oy + i, kx = w.ox + j;
        if (ky < 0 || ky >= height || kx < 0 || kx >= width) { row[n] = 0; continue; }
        const at = (ky * width + kx) * heads + head;
        row[n] *= lut ? lut[data[at]] : data[at];
      }
    }
    return row;
  }

  /** Weights of one head over all cells of a global layer. @param {GlobalLayer} g @returns {Float64Array} */
  function globalHead(g, y, x, head) {
    const { heads, dim, height, width } = g;
    const { data, lut } = g.tensors.k;
    const qs = query(g, y, x, head);
    const out = new Float64Array(height * width);
    for (let n = 0; n < out.length; n++) {
      const start = (n * heads + head) * dim;
      let sum = 0;
      if (lut) for (let c = 0; c < dim; c++) sum += qs[c] * lut[data[start + c]];
      else for (let c = 0; c < dim; c++) sum += qs[c] * data[start + c];
      out[n] = sum;
    }
    return softmax(out);
  }

  /** @param {Layer|GlobalLayer} layer @param {number} y @param {number} x @param {number} head */
  function check(layer, y, x, head) {
    const whole = Number.isInteger(y) && Number.isInteger(x) && Number.isInteger(head);
    if (!whole || y < 0 || x < 0 || y >= layer.height || x >= layer.width)
      throw new RangeError(`${layer.name} is ${layer.height} x ${layer.width} cells, there is no cell (${y}, ${x})`);
    if (head < -1 || head >= layer.heads)
      throw new RangeError(`${layer.name} has heads 0 to ${layer.heads - 1} (-1: their mean), not ${head}`);
  }

  /**
   * One row of attention. Sums to 1 (contributions: or is all zero, where the layer adds nothing).
   * @param {Layer|GlobalLayer} layer @param {number} y @param {number} x @param {number} [head] -1: all heads
   * @param {"weight"|"contribution"} [of]
   * @returns {Float32Array} window * window keys of a halo layer, height * width of a global one
   */
  function row(layer, y, x, head = -1, of = "weight") {
    check(layer, y, x, head);
    const global = layer.kind === "global";
    const contribution = of === "contribution" && !global;
    const first = head < 0 ? 0 : head;
    const last = head < 0 ? layer.heads : head + 1;
    /** @type {Float64Array|null} */
    let total = null;
    for (let h = first; h < last; h++) {
      const part = global ? globalHead(layer, y, x, h) : headRow(layer, y, x, h);
      if (contribution) weigh(layer, y, x, h, part);
      if (!total) total = part;
      else for (let i = 0; i < part.length; i++) total[i] += part[i];
    }
    let norm = last - first;
    if (contribution) { norm = 0; for (const v of total) norm += v; }
    if (norm > 0) for (let i = 0; i < total.length; i++) total[i] /= norm;
    return Float32Array.from(total);
  }

  // ---------------------------------------------------------------- numbers

  /** How a row divides between own block, halo ring and padding. @returns {Mass} */
  function mass(layer, y, x, weights) {
    const w = windowOf(layer, y, x);
    const out = { block: 0, halo: 0, padding: 0 };
    for (let i = 0, n = 0; i < w.side; i++) {
      for (let j = 0; j < w.side; j++, n++) {
        const ky = w.oy + i, kx = w.ox + j;
        if (ky < 0 || ky >= layer.height || kx < 0 || kx >= layer.width) out.padding += weights[n];
        else if (ky >= w.by && ky < w.by + layer.block && kx >= w.bx && kx < w.bx + layer.block) out.block += weights[n];
        else out.halo += weights[n];
      }
    }
    return out;
  }

  /** Entropy as a share of its maximum, 0 to 1. */
  function entropy(layer, y, x, weights) {
    const keys = validKeys(layer, y, x);
    if (keys < 2) return 0;
    let sum = 0;
    for (const p of weights) if (p > 0) sum -= p * Math.log(p);
    return sum / Math.log(keys);
  }

  /** Mean distance of the attended cells in photo pixels; NaN where no cell of the map is attended. */
  function distance(layer, y, x, weights, frame) {
    const w = layer.kind === "global" ? { oy: 0, ox: 0 } : windowOf(layer, y, x);
    const cols = layer.kind === "global" ? layer.width : layer.window;
    const sy = layer.stride / frame.gainY, sx = layer.stride / frame.gainX;
    let total = 0, sum = 0;
    for (let n = 0; n < weights.length; n++) {
      const ky = w.oy + Math.floor(n / cols), kx = w.ox + (n % cols);
      if (ky < 0 || ky >= layer.height || kx < 0 || kx >= layer.width) continue;
      total += weights[n];
      sum += weights[n] * Math.hypot((ky - y) * sy, (kx - x) * sx);
    }
    return total > 0 ? sum / total : NaN;
  }

  // ---------------------------------------------------------------- geometry

  /**
   * The letterbox: photo pixels <-> pixels of the network's input.
   * @param {{width: number, height: number}} picture
   * @param {{left: number, top: number, new_width: number, new_height: number}} input
   */
  function frame(picture, input) {
    return {
      width: picture.width, height: picture.height, left: input.left, top: input.top,
      gainX: input.new_width / picture.width, gainY: input.new_height / picture.height,
    };
  }

  /** @returns {[number, number]} x, y in input pixels */
  const toInput = (f, x, y) => [x * f.gainX + f.left, y * f.gainY + f.top];
  /** @returns {[number, number]} x, y in photo pixels */
  const toPhoto = (f, x, y) => [(x - f.left) / f.gainX, (y - f.top) / f.gainY];

  /** The cell of a map that holds a point of the input, kept inside the map. @returns {[number, number]} y, x */
  const cellAt = (layer, x, y) => [
    Math.min(layer.height - 1, Math.max(0, Math.floor(y / layer.stride))),
    Math.min(layer.width - 1, Math.max(0, Math.floor(x / layer.stride))),
  ];

  /** Centre of a cell in input pixels. @returns {[number, number]} x, y */
  const centreOf = (layer, y, x) => [(x + 0.5) * layer.stride, (y + 0.5) * layer.stride];

  /** The rectangle of cells [y0, y1) x [x0, x1) in photo pixels. */
  function cellsRect(f, layer, y0, x0, y1, x1) {
    const [left, top] = toPhoto(f, x0 * layer.stride, y0 * layer.stride);
    const [right, bottom] = toPhoto(f, x1 * layer.stride, y1 * layer.stride);
    return { x: left, y: top, w: right - left, h: bottom - top };
  }

  HaloVis.tensors = {
    check,
    halfTable, view, slice, open, windowOf, validKeys, row, mass, entropy, distance,
    frame, toInput, toPhoto, cellAt, centreOf, cellsRect,
  };
})();
