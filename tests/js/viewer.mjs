// Loads the viewer's scripts as the page does, and makes small payloads for the tests.
import { readFileSync } from "node:fs";
import { runInThisContext } from "node:vm";

export const FOLDER = new URL("../../halo_vis/viewer/", import.meta.url);
export const SCRIPTS = ["texts", "tensors", "paint", "scene", "readout", "save", "explorer"];

for (const name of SCRIPTS) runInThisContext(readFileSync(new URL(`${name}.js`, FOLDER), "utf8"), { filename: `${name}.js` });
export const HaloVis = globalThis.HaloVis;

/** A small generator with a seed, so that a failure can be repeated. */
export function random(seed) {
  let s = seed >>> 0;
  const next = () => {
    s = (s + 0x6d2b79f5) >>> 0;
    let t = Math.imul(s ^ (s >>> 15), 1 | s);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return {
    next,
    int: (low, high) => low + Math.floor(next() * (high - low + 1)),
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
  };
}

/** Nearest half-precision number: the obvious search over the exponent. */
export function toHalf(value) {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const v = Math.abs(value);
  if (v >= 65520) return sign | 0x7c00;
  const exponent = Math.max(-14, Math.floor(Math.log2(v || 2 ** -30)));
  const steps = Math.round(v / 2 ** (exponent - 10)); // 10 bits of fraction
  return sign | (exponent === -14 ? steps : steps + ((exponent + 14) << 10));
}

/** Collects tensors into one buffer. */
export class Writer {
  constructor() { this.parts = []; this.size = 0; }

  add(values, shape, dtype = "float16") {
    const Kind = { float16: Uint16Array, float32: Float32Array, uint8: Uint8Array }[dtype];
    const array = dtype === "float16" ? Uint16Array.from(values, toHalf) : Kind.from(values);
    const entry = { dtype, shape, offset: this.size };
    this.parts.push({ at: this.size, bytes: new Uint8Array(array.buffer) });
    this.size += Math.ceil(array.byteLength / 8) * 8;
    return entry;
  }

  buffer() {
    const out = new Uint8Array(this.size);
    for (const { at, bytes } of this.parts) out.set(bytes, at);
    return out.buffer;
  }
}

/** A payload with one random halo layer and one global layer. */
export function payload({ seed = 1, height = 7, width = 9, block = 4, halo = 2, heads = 2, dim = 4, mask = "valid", stride = 16, norms = 1, dtype = "float16" } = {}) {
  const r = random(seed);
  const w = new Writer();
  const side = block + 2 * halo;
  const normal = (shape, scale = 1) => w.add(Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => r.normal() * scale), shape, dtype);
  const rows = Math.ceil(height / block), cols = Math.ceil(width / block);
  const q = normal([height, width, heads, dim], 1.5), k = normal([height, width, heads, dim], 1.5);
  const norm = w.add(Array.from({ length: height * width * heads }, () => r.next() * norms), [height, width, heads], dtype);
  const level = {
    height, width, stride, block_size: block, halo_size: halo, heads, dim_head: dim, scale: dim ** -0.5, mask, adds_nothing: norms === 0,
    tensors: {
      q, k, norm, rel_height: normal([2 * side - 1, dim]), rel_width: normal([2 * side - 1, dim]),
      received: normal([heads + 1, height, width]), received_contribution: null,
      blocks: normal([heads + 1, rows, cols, side, side]), blocks_contribution: null,
    },
  };
  const global = { height: 3, width: 4, stride: 32, heads, key_dim: dim, scale: dim ** -0.5,
    tensors: { q: normal([3, 4, heads, dim]), k: normal([3, 4, heads, dim]) } };
  const meta = {
    version: 1, picture: { name: "a.jpg", width: 100, height: 80 },
    pair: { name: "photos", title: "photos", untrained: false, memorised: false, task: "detect", baseline: "B", halo: "H" },
    settings: { conf: 0.25, imgsz: 640, head: "one-to-many", device: "CPU" },
    input: { width: width * stride, height: height * stride, left: 3, top: 5, new_width: 120, new_height: 96 },
    colormaps: {}, palette: ["#0072B2", "#E69F00"], detections: { baseline: [], halo: [] }, matches: [],
    levels: { P4: level }, global: { baseline: { layer10: global }, halo: { layer10: global } },
  };
  return { meta, buffer: w.buffer() };
}
