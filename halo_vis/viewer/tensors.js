// Payload decoding and geometry: no DOM, no state.
// Everything is computed from the transported fp16 values, the same ones that halo_vis.maps reads in Python.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});

  /**
   * @typedef {{dtype: "float16"|"float32"|"uint8", shape: number[], offset: number, file?: string}} TensorMeta
   * @typedef {{data: Uint16Array|Float32Array|Uint8Array, lut: Float32Array|null, shape: number[], length: number}} Tensor
   * @typedef {object} Layer one halo layer
   * @property {"halo"} kind
   * @property {string} name
   * @property {string} key unique among all layers of a payload
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
   * @typedef {object} Other the control, or another model's run on the same picture
   * @property {string} id
   * @property {"control"|"run"} kind
   * @property {string} title
   * @property {object[]|null} detections
   * @property {object[]|null} matches
   * @property {Object<string, Layer>|null} levels null until its file is there
   * @typedef {{levels: Object<string, Layer>, global: {baseline: object, halo: object}, others: Object<string, Other>}} Pack
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

  const bytes = (file) => (ArrayBuffer.isView(file) ? file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength) : file);

  /** Views of a layer's tensors. @param {Object<string, ArrayBuffer>} files */
  function views(files, name, tensors) {
    const one = ([key, tensor]) => {
      if (!tensor) return [key, null];
      const file = files[tensor.file ?? "tensors"];
      if (!file) throw new Error(`${name}.${key}: the file "${tensor.file}" is not there`);
      return [key, view(file, tensor, `${name}.${key}`)];
    };
    return Object.fromEntries(Object.entries(tensors).map(one));
  }

  /** @param {string} owner whose layers these are @returns {Object<string, Layer>} */
  function haloLayers(files, owner, levels) {
    return Object.fromEntries(Object.entries(levels ?? {}).map(([name, l]) => [name, {
      kind: "halo", name, key: `${owner}:${name}`, height: l.height, width: l.width, stride: l.stride, block: l.block_size,
      halo: l.halo_size, window: l.block_size + 2 * l.halo_size, heads: l.heads, dim: l.dim_head, scale: l.scale, mask: l.mask,
      addsNothing: Boolean(l.adds_nothing), tensors: views(files, name, l.tensors),
    }]));
  }

  /** @param {string} owner @returns {Object<string, GlobalLayer>} */
  function globalLayers(files, owner, layers) {
    return Object.fromEntries(Object.entries(layers ?? {}).map(([name, g]) => [name, {
      kind: "global", name, key: `${owner}:${name}`, height: g.height, width: g.width, stride: g.stride, heads: g.heads,
      dim: g.key_dim, scale: g.scale, mask: "valid", addsNothing: false, tensors: views(files, `${owner}.${name}`, g.tensors),
    }]));
  }

  /** What a pack was made of, for files that come later. @type {WeakMap<Pack, {meta: object, files: object}>} */
  const origins = new WeakMap();

  /**
   * Views of all tensors of a payload.
   * @param {ArrayBuffer|ArrayBufferView|Object<string, ArrayBuffer>} buffers the main file, or files by name (main: "tensors")
   * @param {object} meta @returns {Pack}
   */
  function open(buffers, meta) {
    if (meta.version !== 2) throw new Error(`this viewer reads payload version 2, the file has version ${meta.version}`);
    const main = buffers instanceof ArrayBuffer || ArrayBuffer.isView(buffers);
    const files = Object.fromEntries(Object.entries(main ? { tensors: buffers } : buffers).map(([name, file]) => [name, bytes(file)]));
    const pack = {
      levels: haloLayers(files, "halo", meta.levels),
      global: {
        baseline: globalLayers(files, "baseline", meta.global?.baseline), halo: globalLayers(files, "halo", meta.global?.halo),
      },
      others: Object.fromEntries((meta.others ?? []).map((o) => [o.id, {
        id: o.id, kind: o.kind, title: String(o.title ?? ""), seed: o.seed ?? null, detections: o.detections ?? null,
        matches: o.matches ?? null, levels: null,
      }])),
    };
    origins.set(pack, { meta, files });
    fill(pack);
    return pack;
  }

  /** Gives their layers to the others whose files are all there. @param {Pack} pack */
  function fill(pack) {
    const { meta, files } = origins.get(pack);
    for (const o of meta.others ?? []) {
      const needed = Object.values(o.levels ?? {}).flatMap((l) => Object.values(l.tensors).map((t) => t?.file ?? "tensors"));
      if (!pack.others[o.id].levels && needed.every((name) => Object.hasOwn(files, name)))
        pack.others[o.id].levels = haloLayers(files, o.id, o.levels);
    }
  }

  /** A file that came later. @param {Pack} pack @param {string} name @param {ArrayBuffer|ArrayBufferView} buffer */
  function addFile(pack, name, buffer) {
    origins.get(pack).files[name] = bytes(buffer);
    fill(pack);
  }

  /** @type {WeakMap<Layer, Layer>} */
  const twins = new WeakMap();

  /** The same layer under the other mask: what it would look at with the same weights. @param {Layer} layer @returns {Layer} */
  function flipMask(layer) {
    if (!twins.has(layer)) {
      const mask = layer.mask === "valid" ? "published" : "valid";
      const { q, k, norm, rel_height, rel_width } = layer.tensors; // received and blocks were made under the old mask
      const twin = { ...layer, mask, key: `${layer.key}:${mask}`, tensors: { q, k, norm, rel_height, rel_width } };
      twins.set(layer, twin).set(twin, layer);
    }
    return twins.get(layer);
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
      newWidth: input.new_width, newHeight: input.new_height,
      gainX: input.new_width / picture.width, gainY: input.new_height / picture.height,
    };
  }

  // Multiplied before it is divided, as in geometry.py: then a cell's centre on the photo's edge lies exactly on it.
  /** @returns {[number, number]} x, y in input pixels */
  const toInput = (f, x, y) => [(x * f.newWidth) / f.width + f.left, (y * f.newHeight) / f.height + f.top];
  /** @returns {[number, number]} x, y in photo pixels */
  const toPhoto = (f, x, y) => [((x - f.left) * f.width) / f.newWidth, ((y - f.top) * f.height) / f.newHeight];

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
    halfTable, view, slice, open, addFile, flipMask, frame, toInput, toPhoto, cellAt, centreOf, cellsRect,
  };
})();
