// The numbers of what is shown as CSV (RFC 4180): where they come from in "# key: value" lines, then one line per cell.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const T = () => HaloVis.tensors;

  const COLUMNS = [
    "side", "source", "layer", "view", "head", "of", "block_y", "block_x", "query_y", "query_x", "key_y", "key_x",
    "x1", "y1", "x2", "y2", "weight", "contribution", "times_uniform", "part",
  ];
  const END = "\r\n";

  /**
   * One field. A text that a spreadsheet would take for a formula gets an apostrophe in front.
   * @param {string|number|null|undefined} value numbers with all digits of a Float32
   */
  function field(value) {
    if (value === null || value === undefined || Number.isNaN(value)) return "";
    if (typeof value === "number") return String(Number(value.toPrecision(9)));
    const text = /^[\s\u0000]*[=+\-@]|^[\t\r]/.test(value) ? `'${value}` : String(value); // eslint-disable-line no-control-regex
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  const escaped = (text) => [...Array(text.length).keys()].map((i) => `\\u${text.charCodeAt(i).toString(16).padStart(4, "0")}`).join("");
  /** JSON on one line and in one cell: what separates lines and cells is written as \u002c and the like. */
  const quiet = (value) => JSON.stringify(value).replace(/[,;\p{Cc}\p{Zl}\p{Zp}]/gu, escaped);
  const plain = (key) => key.replace(/[^\p{L}\p{N}_-]/gu, escaped);

  /** Nested values as lines "# a.b.0: value", each value JSON. @returns {string[]} */
  function notes(value, name = "") {
    if (value === undefined) return [];
    const nested = typeof value === "object" && value !== null;
    if (!nested) return [`# ${name}: ${quiet(value)}`]; // NaN is null in JSON
    return Object.entries(value).flatMap(([key, v]) => notes(v, [name, plain(key)].filter(Boolean).join(".")));
  }

  /**
   * Weights and contributions of a map's values, where the view has them: (H * W), or the window of a halo layer's row.
   * @param {object} plan @param {[number, number, number, number]|null} cells of the box view
   * @returns {Promise<{weight: Float32Array|null, contribution: Float32Array|null}>}
   */
  async function sharesOf({ layer, view, y, x, head, heat }, cells) {
    const { sweep } = HaloVis;
    const out = { weight: null, contribution: null };
    if (heat.diverging) return out; // a difference is no share
    for (const of of layer.kind === "halo" ? ["weight", "contribution"] : ["weight"]) {
      if (view === "cell") out[of] = T().row(layer, y, x, head, of);
      else if (view === "to") out[of] = T().attendedBy(layer, y, x, head, of);
      else if (view === "box") out[of] = (await sweep.complete(sweep.start(layer, "box", { of, head, cells, times: false }))).result();
    }
    return out;
  }

  /** The cell at the first corner of a map's rectangle. @returns {[number, number]} y, x; may lie outside the map */
  function cornerOf({ frame }, layer, rect) {
    const [x, y] = T().toInput(frame, rect.x, rect.y);
    return [Math.round(y / layer.stride), Math.round(x / layer.stride)];
  }

  /** Where a key lies, seen from its query. */
  function placeOf(layer, query, [y, x]) {
    if (y < 0 || x < 0 || y >= layer.height || x >= layer.width) return "padding";
    const of = (v) => Math.floor(v / layer.block);
    return of(query[0]) === of(y) && of(query[1]) === of(x) ? "block" : "halo";
  }

  /** One panel, cell by cell. @returns {Array<Array<string|number|null>>} values of COLUMNS */
  function rows(data, plan, shares) {
    const { side, source, layer, view, head, of, heat } = plan;
    const halo = layer.kind === "halo";
    const names = [side, heat.diverging ? "difference" : source, layer.name, view, { [-1]: "mean", [-2]: "max" }[head] ?? head, of];
    const corner = cornerOf(data, layer, heat.rect);
    const out = [];
    heat.values.forEach((times, n) => {
      if (Number.isNaN(times)) return;
      let cell = [corner[0] + Math.floor(n / heat.cols), corner[1] + (n % heat.cols)];
      let query = null, key = cell, block = null, weight = shares.weight?.[n], contribution = shares.contribution?.[n];
      if (view === "cell") query = [plan.y, plan.x];
      else if (view === "to") { query = cell; key = [plan.y, plan.x]; }
      else if (view === "blocks") { // its grid holds every block's window in that block's square
        const [row, col] = [Math.floor(n / heat.cols), n % heat.cols];
        block = [Math.floor(row / layer.window), Math.floor(col / layer.window)];
        const w = T().windowOf(layer, block[0] * layer.block, block[1] * layer.block);
        key = cell = [w.oy + (row % layer.window), w.ox + (col % layer.window)];
        if (!heat.diverging && of === "weight") weight = times / w.inside;
        if (!heat.diverging && of === "contribution") contribution = times / w.inside;
      }
      if (halo && query) block = query.map((v) => Math.floor(v / layer.block));
      const from = query ?? (block ? block.map((v) => v * layer.block) : null);
      const { x, y, w, h } = T().cellsRect(data.frame, layer, cell[0], cell[1], cell[0] + 1, cell[1] + 1);
      const place = [x, y, x + w, y + h].map((v) => Math.round(v * 1000) / 1000);
      out.push([...names, ...(block ?? [null, null]), ...(query ?? [null, null]), ...key, ...place, weight, contribution, times,
        halo && from ? placeOf(layer, from, key) : null]);
    });
    return out;
  }

  /**
   * The whole file. Rows of the left panel, then of the right one; x1 to y2 is the place of the key's cell in photo
   * pixels, of the query's cell in the view "to".
   * @returns {Promise<Blob>} as HaloVis.save.png
   */
  async function make(data, state) {
    const { scene, provenance } = HaloVis;
    await scene.finish(data, state);
    const plans = scene.SIDES.map((side) => scene.plan(data, state, side));
    const about = { ...provenance.of(data, state, plans), numbers: scene.numbers(data, state) };
    const lines = [...notes(about), COLUMNS.join(",")];
    for (const plan of plans) {
      if (!plan.heat) continue;
      const shares = await sharesOf(plan, scene.partOf(data, state, plan.side).cells);
      for (const row of rows(data, plan, shares)) lines.push(row.map(field).join(","));
    }
    return new Blob([lines.join(END) + END], { type: "text/csv;charset=utf-8" });
  }

  HaloVis.csv = { make, field, notes, rows, COLUMNS };
})();
