// The charts as an SVG file: the trees that the page shows, with the styles written out, on white.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const runs = (HaloVis.runs ??= {});

  /** As run_view.css has them on a light page; a test compares the two. */
  const COLOURS = ["#0072b2", "#d55e00", "#00875f", "#b0568c", "#4d5560", "#8f6a00", "#3f7fb5", "#7a4a2b"];
  const TEXT = "#1f2328", QUIET = "#59636e", LINE = "#d1d9e0";
  const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Noto Sans SC', sans-serif";
  const COLUMNS = 2, WIDTH = 440, HEIGHT = 230, GAP = 28, EDGE = 20;

  const STYLES = {
    "hr-line": { fill: "none", "stroke-width": 1.5, "stroke-linejoin": "round", "stroke-linecap": "round" },
    "hr-focus": { "stroke-width": 2 },
    "hr-dashed": { "stroke-dasharray": "5 4" },
    "hr-sample": { stroke: QUIET, "stroke-width": 1.75 },
    "hr-grid": { stroke: LINE, "stroke-width": 1 },
    "hr-axis": { stroke: QUIET, "stroke-width": 1 },
    "hr-chart-name": { fill: TEXT, "font-size": 14, "font-weight": 600 },
    "hr-quiet": { fill: QUIET, "font-size": 12 },
    "hr-end": { "text-anchor": "end" },
    "hr-middle": { "text-anchor": "middle" },
    "hr-name": { fill: TEXT, "font-size": 12 },
    "hr-title": { fill: TEXT, "font-size": 16, "font-weight": 600 },
  };

  /** Attributes of an element's classes. */
  function dressed(classes) {
    const out = {};
    for (const name of classes) Object.assign(out, STYLES[name]);
    const slot = classes.map((name) => /^hr-s(\d)$/.exec(name)?.[1]).find((v) => v !== undefined);
    if (slot !== undefined) {
      const colour = COLOURS[Number(slot)];
      if (classes.includes("hr-mark")) Object.assign(out, { stroke: colour, "stroke-width": 1.25, fill: classes.includes("hr-hollow") ? "#ffffff" : colour });
      else out.stroke = colour;
    }
    return out;
  }

  /** A tree as markup, every text escaped. */
  function markup(node) {
    if (typeof node === "string") return HaloVis.svg.escape(node);
    const { class: classes = "", key: _, ...rest } = node.attributes;
    const kept = Object.fromEntries(Object.entries(rest).filter(([name]) => !/^(data|aria)-/.test(name)));
    return HaloVis.svg.tag(node.tag, { ...kept, ...dressed(classes.split(" ")) }, node.children.map(markup).join(""));
  }

  /** Members and their marks, in rows below the title. @returns {{nodes: object[], height: number}} */
  function legend(lang, shown, all, width) {
    const { h } = runs.dom;
    const nodes = [];
    let x = 0, y = 0;
    for (const s of shown) {
      const name = [...runs.series.nameOf(lang, s, all)].slice(0, 60).join("");
      const wide = 42 + [...name].reduce((sum, c) => sum + (c.codePointAt(0) > 0x2e80 ? 12 : 6.6), 0) + 22; // no ruler here: a generous guess
      if (x > 0 && x + wide > width) { x = 0; y += 20; }
      nodes.push(h("g", { transform: `translate(${x} ${y})` },
        h("line", { x1: 0, x2: 30, y1: 0, y2: 0, class: `hr-line hr-focus hr-s${s.slot}` }), runs.chart.mark(s.slot, 15, 0, 3.5),
        h("text", { x: 38, y: 4, class: "hr-name" }, name)));
      x += wide;
    }
    return { nodes, height: y + 20 };
  }

  /**
   * @param {string} lang @param {Array<object>} all series @param {Array<object>} shown those that are drawn @param {object} view as of chart.draw
   * @returns {string} a whole SVG file
   */
  function svg(lang, all, shown, view) {
    const { h } = runs.dom;
    const width = 2 * EDGE + COLUMNS * WIDTH + (COLUMNS - 1) * GAP;
    const titles = [...new Set(all.map((s) => s.title))];
    const words = legend(lang, shown, all, width - 2 * EDGE);
    const top = EDGE + 26 + words.height + 8;
    const rows = Math.ceil(runs.chart.CHARTS.length / COLUMNS);
    const height = top + rows * HEIGHT + (rows - 1) * GAP + EDGE;
    const charts = runs.chart.CHARTS.map((chart, i) => {
      const { tree } = runs.chart.draw(lang, chart, shown, all, { ...view, width: WIDTH, height: HEIGHT });
      const at = [EDGE + (i % COLUMNS) * (WIDTH + GAP), top + Math.floor(i / COLUMNS) * (HEIGHT + GAP)];
      return h("g", { transform: `translate(${at.join(" ")})` }, tree);
    });
    const title = titles.join(", ");
    const body = [
      h("title", {}, title || "HaloVis"), h("rect", { width, height, fill: "#ffffff" }),
      h("g", { "font-family": FONT }, h("text", { x: EDGE, y: EDGE + 12, class: "hr-title" }, [...title].slice(0, 110).join("")),
        h("g", { transform: `translate(${EDGE} ${EDGE + 34})` }, words.nodes), charts),
    ];
    return `<?xml version="1.0" encoding="UTF-8"?>\n${HaloVis.svg.tag("svg", {
      xmlns: "http://www.w3.org/2000/svg", version: "1.1", width, height, viewBox: `0 0 ${width} ${height}`,
    }, body.map(markup).join("\n"))}\n`;
  }

  runs.file = { svg, markup, COLOURS };
})();
