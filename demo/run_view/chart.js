// One line chart as a tree of SVG elements: the same for the page and for a file. Pure, no DOM.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const runs = (HaloVis.runs ??= {});
  const h = (...parts) => runs.dom.h(...parts);

  /** The four charts: which columns of a series they draw, and how. */
  const CHARTS = [
    { name: "loss", columns: [["loss", "train", false], ["val_loss", "val", true]], axis: {}, write: "loss" },
    { name: "mAP50", columns: [["mAP50", "val", false]], axis: { zero: true, most: 1 }, write: "metric" },
    { name: "mAP50-95", columns: [["mAP50-95", "val", false]], axis: { zero: true, most: 1 }, write: "metric" },
    { name: "lr", columns: [["lr", "train", false]], axis: { zero: true }, write: "rate" },
  ];
  const MARGIN = { left: 58, right: 12, top: 28, bottom: 36 };

  const at = (v) => Number(v.toFixed(2));

  /** A mark at a point, in the shape of its series. @param {number} slot @param {number} size half its width */
  function mark(slot, x, y, size, attributes = {}) {
    const shape = runs.series.SHAPES[slot % 4];
    const all = { class: `hr-mark hr-s${slot}${slot > 3 ? " hr-hollow" : ""}`, ...attributes };
    if (shape === "circle") return h("circle", { cx: at(x), cy: at(y), r: size, ...all });
    const points = { // of about the same area as the circle
      square: [[-0.88, -0.88], [0.88, -0.88], [0.88, 0.88], [-0.88, 0.88]],
      triangle: [[0, -1.2], [1.12, 0.8], [-1.12, 0.8]],
      diamond: [[0, -1.28], [1.28, 0], [0, 1.28], [-1.28, 0]],
    }[shape];
    return h("polygon", { points: points.map(([dx, dy]) => `${at(x + dx * size)},${at(y + dy * size)}`).join(" "), ...all });
  }

  /** The range of the horizontal axis: all epochs that were asked for, so that it stays as the curves grow. */
  function across(series, by) {
    if (by === "minutes") {
      const most = Math.max(0, ...series.map((s) => s.minutes?.at(-1) ?? 0));
      return most > 0 ? [0, most] : [0, 1];
    }
    const most = Math.max(0, ...series.map((s) => s.epochs));
    return most > 1 ? [1, most] : [0, 2];
  }

  /** Values of a chart that are drawn. */
  const valuesOf = (chart, series) => chart.columns.flatMap(([column]) => series.flatMap((s) => (s.columns[column] ?? []).filter((v) => v !== null)));

  /**
   * Where everything lies.
   * @param {object} chart one of CHARTS @param {Array<object>} shown series @param {Array<object>} all series, hidden ones too: they keep
   *   the horizontal axis as it is @param {{width: number, height: number, by: "epoch"|"minutes", log: boolean}} view
   */
  function layout(chart, shown, all, { width, height, by, log }) {
    const logged = log && chart.name === "loss";
    const area = { x0: MARGIN.left, x1: Math.max(MARGIN.left + 10, width - MARGIN.right), y0: MARGIN.top, y1: Math.max(MARGIN.top + 10, height - MARGIN.bottom) };
    const count = Math.max(2, Math.floor((area.y1 - area.y0) / 28));
    const xDomain = across(all, by), yDomain = runs.scale.domain(valuesOf(chart, shown), { ...chart.axis, log: logged, count });
    const places = Math.max(2, Math.floor((area.x1 - area.x0) / 52));
    return {
      chart, area, width, height, by, xDomain, yDomain,
      x: runs.scale.linear(xDomain, [area.x0, area.x1]), y: runs.scale.linear(yDomain, [area.y1, area.y0], logged),
      xTicks: epochTicks(xDomain, places, by), yTicks: logged ? runs.scale.logTicks(...yDomain, count) : runs.scale.ticks(...yDomain, count),
    };
  }

  /** Round numbers, and the first and the last epoch as far as they do not touch their neighbours. */
  function epochTicks([low, high], count, by) {
    const round = runs.scale.ticks(low, high, count, by === "epoch" ? 1 : 0);
    if (by === "minutes" || high <= 2) return round.filter((v) => v > 0 || by === "minutes");
    const room = ((high - low) / count) * 0.7;
    return [low, ...round.filter((v) => v - low >= room && high - v >= room), high];
  }

  function lines(series, plan) {
    const { chart, x, y, by } = plan;
    return chart.columns.map(([column, , dashed]) => {
      const points = runs.series.xs(series, by).map((place, i) => {
        const v = series.columns[column]?.[i] ?? null;
        return v === null ? null : [x(place), y(v)];
      });
      const { d, alone } = runs.scale.path(points);
      const end = dashed ? undefined : points.findLast((p) => p && Number.isFinite(p[1])); // where it is now, and its shape
      const dots = end && !alone.includes(end) ? [...alone, end] : alone;
      return [
        d ? h("path", { d, class: `hr-line hr-s${series.slot}${dashed ? " hr-dashed" : ""}${series.focus ? " hr-focus" : ""}` }) : null,
        dots.map(([px, py]) => mark(series.slot, px, py, 2.75)),
      ];
    });
  }

  /** The line under the pointer and the points that it reads. */
  function crosshair(shown, plan, cursor) {
    const x = plan.x(cursor);
    const marks = shown.flatMap((s) => {
      const i = runs.series.nearest(s, plan.by, cursor);
      if (i < 0) return [];
      return plan.chart.columns.map(([column]) => {
        const v = s.columns[column]?.[i] ?? null, y = v === null ? NaN : plan.y(v);
        return Number.isFinite(y) ? mark(s.slot, plan.x(runs.series.xs(s, plan.by)[i]), y, 4) : null;
      });
    });
    return h("g", { class: "hr-crosshair" }, h("line", { x1: at(x), x2: at(x), y1: plan.area.y0, y2: plan.area.y1, class: "hr-rule" }), marks);
  }

  /** Name of the chart, and for the loss what solid and dashed mean. */
  function heading(lang, { chart, area, width }) {
    const say = (key) => runs.say(lang, key);
    const name = h("text", { x: 0, y: 15, class: "hr-chart-name" }, say(chart.name));
    if (chart.name !== "loss") return name;
    let right = width - MARGIN.right;
    const sample = (key, dashed) => {
      const words = say(key), wide = [...words].reduce((sum, c) => sum + (c > "\u2e80" ? 12 : 6), 0), end = right - wide - 5;
      right = end - 24 - 16;
      return [
        h("line", { x1: end - 24, x2: end, y1: 11, y2: 11, class: `hr-sample${dashed ? " hr-dashed" : ""}` }),
        h("text", { x: end + 5, y: 15, class: "hr-quiet" }, words),
      ];
    };
    return area.x1 - area.x0 > 160 ? [name, sample("val", true), sample("train", false)] : name;
  }

  /**
   * The chart's content, for an <svg> of the view's size.
   * @param {string} lang @param {Array<object>} shown @param {Array<object>} all @param {object} view as in `layout`, and cursor: number|null
   */
  function draw(lang, chart, shown, all, view) {
    const plan = layout(chart, shown, all, view);
    const { area, x, y, xTicks, yTicks } = plan;
    const centre = (area.x0 + area.x1) / 2;
    const empty = valuesOf(chart, shown).length === 0;
    const tree = [
      heading(lang, plan),
      h("g", { class: "hr-axes" },
        yTicks.map((v) => [
          h("line", { x1: area.x0, x2: area.x1, y1: at(y(v)), y2: at(y(v)), class: "hr-grid" }),
          empty ? null : h("text", { x: area.x0 - 6, y: at(y(v) + 4), class: "hr-quiet hr-end" }, runs.scale.label(v, yTicks)),
        ]),
        h("line", { x1: area.x0, x2: area.x1, y1: area.y1, y2: area.y1, class: "hr-axis" }),
        xTicks.map((v) => [
          h("line", { x1: at(x(v)), x2: at(x(v)), y1: area.y1, y2: area.y1 + 4, class: "hr-axis" }),
          h("text", { x: at(x(v)), y: area.y1 + 16, class: "hr-quiet hr-middle" }, runs.scale.label(v, xTicks)),
        ]),
        h("text", { x: at(centre), y: area.y1 + 31, class: "hr-quiet hr-middle" }, runs.say(lang, view.by === "minutes" ? "axisMinutes" : "axisEpoch"))),
      empty ? h("text", { x: at(centre), y: at((area.y0 + area.y1) / 2 + 4), class: "hr-quiet hr-middle" }, runs.say(lang, "empty")) : null,
      [...shown].reverse().map((s) => h("g", { "data-series": s.key }, lines(s, plan))), // the first one lies on top
      view.cursor === null || view.cursor === undefined || empty ? null : crosshair(shown, plan, view.cursor),
    ];
    return { plan, tree: h("g", {}, tree).children };
  }

  runs.chart = { CHARTS, MARGIN, mark, across, layout, draw, valuesOf };
})();
