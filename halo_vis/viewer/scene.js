// From data and view state to what is to be drawn and said: plain objects, no DOM, no canvas.
// The page, the exports and the tests all read the same plan.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const T = () => HaloVis.tensors;
  const H = () => HaloVis.heats;

  const SIDES = /** @type {const} */ (["baseline", "halo"]);
  const own = (object, name) => (object && Object.hasOwn(object, name) ? object[name] : null);

  /** The layer that the right panel shows. */
  const layerOf = (data, level) => own(data.pack.levels, level) ?? own(data.pack.global.halo, level);

  /** What the left panel may show, in the order in which it is offered. @returns {string[]} */
  function sources(data) {
    const { global, others, levels } = data.pack;
    const there = Object.values(others).filter((o) => o.levels || own(data.urls, o.id)).map((o) => o.id);
    return [...Object.keys(global.baseline), ...there.filter((id) => others[id].kind === "control"),
      ...(Object.keys(levels).length ? ["mask"] : []), ...there.filter((id) => others[id].kind !== "control"), "off"];
  }

  /** @type {WeakMap<object[], object[]>} */
  const selves = new WeakMap();

  /** Every detection kept; the same array for the same list. */
  function withItself(list) {
    if (!selves.has(list)) selves.set(list, list.map((_, i) => ({ kind: "kept", baseline: i, halo: i, iou: 1, delta: 0 })));
    return selves.get(list);
  }

  /**
   * The detections of both panels, and how they match. With the control or the other mask on the left these are the
   * same detections twice.
   * @param {object} data @param {string} left state.left
   */
  function lists(data, left) {
    const { detections = {}, matches = [] } = data.meta;
    const halo = detections.halo ?? [];
    const other = own(data.pack.others, left);
    if (other?.kind === "run") return { baseline: other.detections ?? [], halo, matches: other.matches ?? [] };
    if (other || left === "mask") return { baseline: halo, halo, matches: withItself(halo) };
    return { baseline: detections.baseline ?? [], halo, matches };
  }

  /** The selected detection, or null. */
  const chosen = (data, { box, left }) => (box ? lists(data, left)[box.side]?.[box.index] ?? null : null);

  /** What there is to choose of a layer's heads: the mean, the maximum, each; of one head, that head alone. */
  const headsOf = (layer) => (layer?.heads > 1 ? [-1, -2, ...Array(layer.heads).keys()] : layer ? [-1] : []);

  /** What can be shown of the right panel's layer: a global one has weights only, a box view needs a box. */
  function settle(data, state) {
    const layer = layerOf(data, state.level);
    const box = chosen(data, state) ? state.box : null;
    return {
      layer, box, view: viewOf(layer, box || state.view !== "box" ? state.view : "cell"),
      of: layer?.kind === "halo" ? state.of : "weight",
      head: layer && state.head >= -2 && state.head < layer.heads ? state.head : -1,
    };
  }

  const viewOf = (layer, view) => (layer?.kind === "halo" || ["cell", "box", "to"].includes(view) ? view : "cell");

  /** The layer of the left panel. */
  function leftLayer(data, state, right) {
    if (state.left === "mask") return right?.kind === "halo" ? T().flipMask(right) : null;
    const other = own(data.pack.others, state.left);
    return other ? own(other.levels, state.level) : own(data.pack.global.baseline, state.left);
  }

  /** @param {object} data @param {State} state @param {Side} side @returns {Part} */
  function partOf(data, state, side) {
    const now = settle(data, state);
    const right = side === "halo";
    const layer = right ? now.layer : leftLayer(data, state, now.layer);
    const same = layer && (layer.kind === "halo" || layer.name === state.level); // heads of other layers have nothing in common
    const part = {
      side, source: right ? "halo" : state.left, layer, view: viewOf(layer, now.view), of: layer?.kind === "halo" ? now.of : "weight",
      head: now.head < 0 || (same && now.head < layer.heads) ? now.head : -1, y: 0, x: 0, cells: null,
    };
    const marked = layer ?? now.layer;
    if (marked) [part.y, part.x] = T().cellAt(marked, ...state.point);
    if (layer && part.view === "box") part.cells = boxCells(data, layer, chosen(data, state));
    return part;
  }

  /** Cells of a detection: those whose centre lies in its box, else its query. @returns {[number, number, number, number]} */
  function boxCells(data, layer, detection) {
    const found = T().cellsIn(layer, detection.xyxy, data.frame);
    if (found) return found;
    const [y, x] = T().cellAt(layer, ...queryOf(data, detection).point);
    return [y, x, y + 1, x + 1];
  }

  /** Words for what a panel shows: a key of the texts and its values. */
  function titleOf(data, { side, source, layer }, differs) {
    const pair = data.meta.pair ?? {};
    const other = own(data.pack.others, source);
    if (side === "halo") return differs ? { key: "sourceDifference", values: {} } : { key: "sourceModel", values: { model: String(pair.halo ?? "") } };
    if (source === "mask") return { key: layer?.mask === "valid" ? "sourceMaskValid" : "sourceMaskPublished", values: {} };
    if (other?.kind === "control") return { key: "sourceControl", values: {} };
    if (other) return { key: "sourceRun", values: { title: other.title } };
    return { key: "sourceModel", values: { model: String(pair.baseline ?? "") } };
  }

  /** Where a detection's query lies. @returns {{level: string, point: [number, number]}} */
  function queryOf(data, detection) {
    const { frame } = data;
    const [x1, y1, x2, y2] = detection.xyxy;
    const query = detection.query;
    if (!query) return { level: "", point: T().toInput(frame, (x1 + x2) / 2, (y1 + y2) / 2) };
    const stride = own(data.pack.levels, query.level)?.stride ?? 2 ** Number(query.level.slice(1));
    return { level: query.level, point: T().centreOf({ stride }, query.y, query.x) };
  }

  // ---------------------------------------------------------------- boxes

  /** Boxes of one side with their match status; strongest last, the selected one on top of all. */
  function boxesOf(data, state, side) {
    const { [side]: list, matches } = lists(data, state.left);
    const status = new Map();
    for (const m of matches) if (m[side] !== null && m[side] !== undefined) status.set(m[side], m);
    const selected = partner(data, state.box, side, state.left);
    const { palette = ["#888888"] } = data.meta;
    return list
      .map((d, index) => ({
        index, xyxy: d.xyxy, conf: d.conf, name: String(d.name), polygon: d.polygon ?? null,
        color: palette[d.cls % palette.length], status: status.get(index)?.kind ?? "kept", selected: index === selected,
      }))
      .sort((a, b) => a.selected - b.selected || a.conf - b.conf);
  }

  /** The match that a selected box belongs to. @param {string} [left] state.left */
  function matchOf(data, box, left = "") {
    if (!box) return null;
    return lists(data, left).matches.find((m) => m[box.side] === box.index) ?? null;
  }

  /** Index of the selected box on a side: itself, or the box that it was matched with. */
  function partner(data, box, side, left = "") {
    if (!box) return -1;
    if (box.side === side) return box.index;
    const match = matchOf(data, box, left);
    return match && match.kind === "kept" ? match[side] ?? -1 : -1;
  }

  // ---------------------------------------------------------------- plans

  /** Cells that a part's attention can reach, or that can reach its cell: [y0, y1) x [x0, x1). */
  function reachOf({ layer, view, y, x, cells }) {
    if (view === "to") return T().seenFrom(layer, y, x);
    if (!cells) return T().windowOf(layer, y, x);
    const first = T().windowOf(layer, cells[0], cells[1]), last = T().windowOf(layer, cells[2] - 1, cells[3] - 1);
    return { y0: first.y0, x0: first.x0, y1: last.y1, x1: last.x1 };
  }

  /**
   * What one panel shows.
   * @param {object} data @param {State} state @param {Side} side
   */
  function plan(data, state, side) {
    const { frame } = data;
    const part = partOf(data, state, side);
    const { layer, view, head, of, y, x } = part;
    const differs = side === "halo" && state.mode === "difference" && canDiffer(data, state);
    const out = {
      side, source: part.source, title: titleOf(data, part, differs), layer, view, head, of, heat: null, weights: null, y, x, cell: null,
      area: null, block: null, window: null, dim: null, lattice: null, boxes: state.show.boxes ? boxesOf(data, state, side) : [],
      labels: state.show.labels, opacity: state.opacity, dimPhoto: state.dim, width: frame.width, height: frame.height, pending: false,
    };
    const rect = (l, c) => T().cellsRect(frame, l, c.y0, c.x0, c.y1, c.x1);
    const marked = layer ?? layerOf(data, state.level);
    if (marked) out.cell = rect(marked, { y0: y, x0: x, y1: y + 1, x1: x + 1 });
    if (!layer) return out;
    const weights = (p) => T().row(p.layer, p.y, p.x, p.head, p.of);
    if (view === "cell") out.weights = weights(part);
    const made = differs ? H().differenceOf(data, part, partOf(data, state, "baseline"), weights) : H().heatOf(data, part, out.weights);
    out.heat = H().scaled(made.heat, state.scales[view], state.log);
    out.pending = made.pending;
    if (view === "box") { const [y0, x0, y1, x1] = part.cells; out.area = rect(layer, { y0, x0, y1, x1 }); }
    if (layer.kind === "halo") {
      if (["cell", "box", "to"].includes(view)) {
        out.dim = rect(layer, reachOf(part));
        if (state.show.window) out.window = out.dim;
      }
      if (state.show.window && view !== "received" && view !== "box") {
        const { by, bx } = T().windowOf(layer, y, x);
        out.block = rect(layer, { y0: by, x0: bx, y1: Math.min(layer.height, by + layer.block), x1: Math.min(layer.width, bx + layer.block) });
      }
    }
    if (state.show.grid || view === "blocks") out.lattice = lattice(frame, layer, state.show.grid);
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

  /** Can the right panel show the difference to the left one? */
  const canDiffer = (data, state) => H().comparable(partOf(data, state, "halo"), partOf(data, state, "baseline"));

  /** The states whose right panels are the small views of the strip: maps as they are, without boxes, also beside a difference. */
  function variants(data, state) {
    const quiet = { ...state, mode: "pair", show: { boxes: false, labels: false, grid: false, window: state.show.window } };
    if (state.strip === "levels")
      return Object.keys(data.pack.levels).map((level) => ({ key: level, label: { level, head: state.head }, state: { ...quiet, level } }));
    if (state.strip !== "heads") return [];
    return headsOf(layerOf(data, state.level)).map((head) => ({ key: `head${head}`, label: { level: state.level, head }, state: { ...quiet, head } }));
  }

  /**
   * The small views: P3, P4, P5 of the same point, or all heads of the layer.
   * @returns {Array<{key: string, label: {level: string, head: number}, plan: object, crop: Rect, chosen: boolean}>}
   */
  function thumbs(data, state) {
    const now = settle(data, state);
    return variants(data, state).map(({ key, label, state: one }) => {
      const made = plan(data, one, "halo");
      let crop = { x: 0, y: 0, w: made.width, h: made.height };
      if (state.strip === "heads" && made.view === "cell" && made.layer.kind === "halo") {
        const w = T().windowOf(made.layer, made.y, made.x); // all of it, so that every crop has the same shape
        crop = T().cellsRect(data.frame, made.layer, w.oy, w.ox, w.oy + w.rows, w.ox + w.cols);
      }
      return { key, label, plan: made, crop, chosen: label.level === state.level && (state.strip === "levels" || label.head === now.head || made.layer.heads === 1) };
    });
  }

  // ---------------------------------------------------------------- work between frames

  /** Jobs that what is shown waits for: the panels', the right one's first, then those of the small views. */
  function waiting(data, state) {
    const small = state.strip === "levels" ? variants(data, state).map((one) => partOf(data, one.state, "halo")) : []; // heads share a job
    const parts = [partOf(data, state, "halo"), partOf(data, state, "baseline"), ...small];
    return parts.map((part) => ({ part, job: H().jobOf(data, part) })).filter(({ job }) => job && !job.done);
  }

  /**
   * Works on what is shown but not complete yet.
   * @param {number} ms for about so long @returns {boolean} true: something was done, draw again; false: nothing was left to do
   */
  function work(data, state, ms) {
    const end = performance.now() + ms;
    let did = false;
    for (const { part, job } of waiting(data, state)) {
      if (did && performance.now() >= end) break;
      job.near = [part.y, part.x];
      job.run(end - performance.now());
      did = true;
    }
    return did;
  }

  /** Completes what is shown, a slice at a time: for what leaves the viewer. */
  async function finish(data, state) {
    for (let [first] = waiting(data, state); first; [first] = waiting(data, state)) await HaloVis.sweep.complete(first.job);
  }

  HaloVis.scene = Object.assign(HaloVis.scene ?? {}, {
    SIDES, layerOf, headsOf, sources, lists, chosen, settle, partOf, plan, canDiffer, thumbs, work, finish, queryOf, matchOf, partner,
  });
})();
