// From data and view state to what is to be drawn and said: plain objects, no DOM, no canvas.
// The page, the PNG and the tests all read the same plan.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const T = () => HaloVis.tensors;

  /**
   * @typedef {"baseline"|"halo"} Side
   * @typedef {{x: number, y: number, w: number, h: number}} Rect photo pixels
   * @typedef {object} Heat values in "times uniform"; NaN is not drawn
   * @property {Float32Array} values
   * @property {number} rows
   * @property {number} cols
   * @property {Rect} rect
   * @property {number} max the value at the end of the colour bar
   * @property {boolean} auto max was taken from this map
   * @typedef {object} State
   * @property {string} level P3, P4, P5, layer10 or layer22
   * @property {string} left layer10, layer22 or off
   * @property {"cell"|"blocks"|"received"} view
   * @property {number} head -1: mean
   * @property {"weight"|"contribution"} of
   * @property {[number, number]} point x, y in pixels of the network's input
   * @property {{side: Side, index: number}|null} box
   * @property {{cell: number|"auto", blocks: number|"auto", received: number|"auto"}} scales
   * @property {number} opacity
   * @property {string} map
   * @property {{boxes: boolean, labels: boolean, grid: boolean, window: boolean}} show
   */

  const GLOBAL = ["layer10", "layer22"];
  /** Absolute, the same for every layer, head and picture. A row varies more than the mean of many rows. */
  const SCALES = { cell: 8, blocks: 4, received: 2 };

  /** The layer that the right panel shows. */
  const layerOf = (data, level) => data.pack.levels[level] ?? data.pack.global.halo[level] ?? null;

  /** What can be shown of a layer: a global layer has rows of weights only. */
  function settle(data, state) {
    const layer = layerOf(data, state.level);
    const halo = layer?.kind === "halo";
    const view = halo ? state.view : "cell";
    return {
      layer, view,
      of: halo ? state.of : "weight",
      head: layer && state.head < layer.heads ? state.head : -1,
    };
  }

  /** Times uniform: weight x number of keys inside the map; keys outside it are not drawn. */
  function rowHeat(data, layer, y, x, weights) {
    if (layer.kind === "global") {
      return {
        values: weights.map((p) => p * weights.length), rows: layer.height, cols: layer.width,
        rect: T().cellsRect(data.frame, layer, 0, 0, layer.height, layer.width),
      };
    }
    const w = T().windowOf(layer, y, x);
    const values = new Float32Array(weights.length);
    for (let n = 0; n < values.length; n++) {
      const ky = w.oy + Math.floor(n / w.side), kx = w.ox + (n % w.side);
      values[n] = ky >= w.y0 && ky < w.y1 && kx >= w.x0 && kx < w.x1 ? weights[n] * w.inside : NaN;
    }
    return {
      values, rows: w.side, cols: w.side,
      rect: T().cellsRect(data.frame, layer, w.oy, w.ox, w.oy + w.side, w.ox + w.side),
    };
  }

  /** Every block's map, squeezed into that block's own square: one regular grid of small cells. */
  function blocksHeat(data, layer, head, of) {
    const tensor = layer.tensors[of === "contribution" ? "blocks_contribution" : "blocks"];
    if (!tensor) return null;
    const [, tall, wide, side] = tensor.shape;
    const size = side * side;
    const all = T().slice(tensor, (head + 1) * tall * wide * size, tall * wide * size);
    const values = new Float32Array(all.length);
    for (let by = 0; by < tall; by++) {
      for (let bx = 0; bx < wide; bx++) {
        const { inside, oy, ox } = T().windowOf(layer, by * layer.block, bx * layer.block);
        const start = (by * wide + bx) * size;
        for (let i = 0; i < side; i++) {
          for (let j = 0; j < side; j++) {
            // Keys outside the map: the valid mask leaves them out; under the published one they carry mass, which shows.
            const there = layer.mask === "published" || (oy + i >= 0 && oy + i < layer.height && ox + j >= 0 && ox + j < layer.width);
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

  function receivedHeat(data, layer, head, of) {
    const tensor = layer.tensors[of === "contribution" ? "received_contribution" : "received"];
    if (!tensor) return null;
    const size = layer.height * layer.width;
    return {
      values: T().slice(tensor, (head + 1) * size, size), rows: layer.height, cols: layer.width,
      rect: T().cellsRect(data.frame, layer, 0, 0, layer.height, layer.width),
    };
  }

  /** @returns {Heat|null} */
  function scaled(heat, scale) {
    if (!heat) return null;
    const auto = scale === "auto";
    let max = auto ? 0 : Number(scale);
    if (auto) for (const v of heat.values) if (v > max) max = v;
    return { ...heat, auto, max: max > 0 ? max : 1 };
  }

  /** Boxes of one side with their match status; strongest last, the selected one on top of all. */
  function boxesOf(data, state, side) {
    const list = data.meta.detections?.[side] ?? [];
    const status = new Map();
    for (const m of data.meta.matches ?? []) if (m[side] !== null && m[side] !== undefined) status.set(m[side], m);
    const chosen = partner(data, state.box, side);
    const { palette = ["#888888"] } = data.meta;
    return list
      .map((d, index) => ({
        index, xyxy: d.xyxy, conf: d.conf, name: String(d.name), polygon: d.polygon ?? null,
        color: palette[d.cls % palette.length], status: status.get(index)?.kind ?? "kept", selected: index === chosen,
      }))
      .sort((a, b) => a.selected - b.selected || a.conf - b.conf);
  }

  /** The match that a selected box belongs to. */
  function matchOf(data, box) {
    if (!box) return null;
    return (data.meta.matches ?? []).find((m) => m[box.side] === box.index) ?? null;
  }

  /** Index of the selected box on a side: itself, or the box that it was matched with. */
  function partner(data, box, side) {
    if (!box) return -1;
    if (box.side === side) return box.index;
    const match = matchOf(data, box);
    return match && match.kind === "kept" ? match[side] ?? -1 : -1;
  }

  /**
   * What one panel shows.
   * @param {object} data @param {State} state @param {Side} side
   */
  function plan(data, state, side) {
    const { frame } = data;
    const now = settle(data, state);
    const right = side === "halo";
    const layer = right ? now.layer : data.pack.global.baseline[state.left] ?? null;
    const view = right ? now.view : "cell";
    const head = right ? now.head : state.left === state.level && now.head < (layer?.heads ?? 0) ? now.head : -1;
    const of = right ? now.of : "weight";
    const out = {
      side, layer, view, head, of, heat: null, weights: null, y: 0, x: 0, cell: null, block: null, window: null, dim: null,
      lattice: null, boxes: state.show.boxes ? boxesOf(data, state, side) : [], labels: state.show.labels,
      opacity: state.opacity, width: frame.width, height: frame.height,
    };
    const marked = layer ?? now.layer;
    if (marked) {
      const [y, x] = T().cellAt(marked, ...state.point);
      Object.assign(out, { y, x, cell: T().cellsRect(frame, marked, y, x, y + 1, x + 1) });
    }
    if (!layer) return out;
    if (view === "cell") {
      out.weights = T().row(layer, out.y, out.x, head, of);
      out.heat = scaled(rowHeat(data, layer, out.y, out.x, out.weights), state.scales.cell);
    } else {
      const make = view === "blocks" ? blocksHeat : receivedHeat;
      out.heat = scaled(make(data, layer, head, of), state.scales[view]);
    }
    if (layer.kind === "halo") {
      const w = T().windowOf(layer, out.y, out.x);
      const { block, height, width } = layer;
      if (view === "cell") {
        const seen = T().cellsRect(frame, layer, w.y0, w.x0, w.y1, w.x1);
        out.dim = seen;
        if (state.show.window) out.window = seen;
      }
      if (state.show.window && view !== "received")
        out.block = T().cellsRect(frame, layer, w.by, w.bx, Math.min(height, w.by + block), Math.min(width, w.bx + block));
      if (state.show.grid || view === "blocks") out.lattice = lattice(frame, layer, state.show.grid ? 1 : 0);
    } else if (state.show.grid) out.lattice = lattice(frame, layer, 1);
    return out;
  }

  /** Lines between cells (fine) and blocks (coarse), in photo pixels. */
  function lattice(frame, layer, cells) {
    const lines = { fine: { x: [], y: [] }, coarse: { x: [], y: [] } };
    const block = layer.kind === "halo" ? layer.block : Infinity;
    for (const [axis, count] of [["x", layer.width], ["y", layer.height]]) {
      for (let n = 1; n < count; n++) {
        const at = T().toPhoto(frame, n * layer.stride, n * layer.stride)[axis === "x" ? 0 : 1];
        if (n % block === 0) lines.coarse[axis].push(at);
        else if (cells) lines.fine[axis].push(at);
      }
    }
    return lines;
  }

  /** Numbers of the selected cell in the right panel, always of its row. */
  function numbers(data, state, drawn = null) {
    const { layer, head, of } = settle(data, state);
    if (!layer) return null;
    const [y, x] = T().cellAt(layer, ...state.point);
    const weights = drawn ?? T().row(layer, y, x, head, of);
    let total = 0;
    for (const p of weights) total += p;
    const out = {
      level: state.level, y, x, head, of, empty: total === 0,
      mass: layer.kind === "halo" ? T().mass(layer, y, x, weights) : null,
      entropy: T().entropy(layer, y, x, weights),
      distance: T().distance(layer, y, x, weights, data.frame),
      received: null,
    };
    if (state.view === "received" && layer.kind === "halo") {
      const tensor = layer.tensors[of === "contribution" ? "received_contribution" : "received"];
      if (tensor) out.received = T().slice(tensor, ((head + 1) * layer.height + y) * layer.width + x, 1)[0];
    }
    return out;
  }

  /** Keys of the warnings that belong to what is shown. @returns {string[]} */
  function badges(data, state, figures) {
    const { layer, of } = settle(data, state);
    const pair = data.meta.pair ?? {};
    const out = [];
    const halo = layer?.kind === "halo";
    if (pair.memorised) out.push("badgeMemorised");
    if (pair.untrained && halo) out.push("badgeUntrained");
    if (halo && layer.mask === "published") out.push("badgePublished");
    if (halo && layer.addsNothing && of === "contribution") out.push("badgeNothing");
    else if (figures && !figures.empty && figures.entropy > 0.98) out.push("badgeUniform");
    if (figures?.mass && figures.mass.padding > 0.005) out.push("badgePadding");
    return out;
  }

  /** Where a detection's query lies. @returns {{level: string, point: [number, number]}} */
  function queryOf(data, detection) {
    const { frame } = data;
    const [x1, y1, x2, y2] = detection.xyxy;
    const query = detection.query;
    if (!query) return { level: "", point: T().toInput(frame, (x1 + x2) / 2, (y1 + y2) / 2) };
    const stride = data.pack.levels[query.level]?.stride ?? 2 ** Number(query.level.slice(1));
    return { level: query.level, point: T().centreOf({ stride }, query.y, query.x) };
  }

  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

  /**
   * The point that an arrow key leads to: the next cell (far: a block on), kept on cells that show some of the photo.
   * @returns {[number, number]|null} null: not an arrow key
   */
  function step(data, state, key, far) {
    const way = STEPS[key];
    const layer = layerOf(data, state.level);
    if (!way || !layer) return null;
    const { frame } = data;
    const size = far ? layer.block ?? 4 : 1;
    const at = T().cellAt(layer, ...state.point);
    const first = T().cellAt(layer, ...T().toInput(frame, 0, 0));
    const last = T().cellAt(layer, ...T().toInput(frame, frame.width - 1e-6, frame.height - 1e-6));
    const [y, x] = [0, 1].map((i) => Math.min(last[i], Math.max(first[i], at[i] + way[i] * size)));
    return T().centreOf(layer, y, x);
  }

  /** The strongest detection, halo first. @returns {{side: Side, index: number}|null} */
  function strongest(data) {
    for (const side of /** @type {Side[]} */ (["halo", "baseline"])) {
      const list = data.meta.detections?.[side] ?? [];
      let best = -1;
      list.forEach((d, i) => { if (best < 0 || d.conf > list[best].conf) best = i; });
      if (best >= 0) return { side, index: best };
    }
    return null;
  }

  HaloVis.scene = { GLOBAL, SCALES, layerOf, settle, plan, numbers, badges, queryOf, step, strongest, matchOf, partner };
})();
