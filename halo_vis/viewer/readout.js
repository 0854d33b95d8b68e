// What the explorer says beside the pictures: figures, most attended cells, badges, table, colour bars.
// Keeps no view state; text goes in by textContent only, and only where it has changed.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const DASH = "–";

  /** @param {string} tag @param {string} [name] class @param {string} [text] @returns {HTMLElement} */
  function make(tag, name = "", text = "") {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text) element.textContent = text;
    return element;
  }

  /** Sets a text where it is another one. @param {HTMLElement|null} element @param {string} text */
  function put(element, text) {
    if (element && element.textContent !== text) element.textContent = text;
  }

  const there = (v) => v !== null && v !== undefined && !Number.isNaN(v);
  const percent = (v) => (there(v) ? `${(100 * v).toFixed(v > 0 && v < 0.0995 ? 1 : 0)} %` : DASH);
  const two = (v) => (there(v) ? Number(v).toFixed(2) : DASH);
  const signed = (v) => (there(v) ? `${v < 0 ? "\u2212" : "+"}${Math.abs(v).toFixed(2)}` : DASH);
  const times = (v) => v.toFixed(v < 9.95 ? 2 : 1);
  const OF = { weight: "weights", contribution: "contributions", content: "content", position: "position" };
  const VIEWS = { cell: "viewCellName", box: "viewBoxName", to: "viewToName", blocks: "viewBlocksName", received: "viewReceivedName" };
  const KEYS = ["cell", "block", "halo", "padding", "entropy", "distance", "received", "outside", "outside_contribution", "answer"];

  /** Name of a layer: "P4", "layer 10"; larger models have "layer10.1", the second of the blocks that layer 10 repeats. */
  function layerName(lang, name) {
    const [, n, again] = /^layer(\d+)(?:\.(\d+))?$/.exec(name) ?? [];
    if (!n) return name;
    return again ? HaloVis.say(lang, "layerBlock", { n, block: Number(again) + 1 }) : HaloVis.say(lang, "layerNumber", { n });
  }

  /** A head in one word, where it is clear that it is one. @param {string} lang @param {number} head @param {number} heads of the layer */
  const headWord = (lang, head, heads) =>
    heads === 1 ? "1" : { [-1]: HaloVis.say(lang, "mean"), [-2]: HaloVis.say(lang, "max") }[head] ?? String(head + 1);

  /** Name of a head; of a layer with one head, mean and maximum are that head. @param {string} lang @param {number} head @param {number} heads */
  const headName = (lang, head, heads) =>
    HaloVis.say(lang, heads === 1 ? "onlyHead" : { [-1]: "meanOfHeads", [-2]: "maxOfHeads" }[head] ?? "headName", { n: head + 1 });

  /** Name of a cell: "P4 (3, 7)". */
  const cellName = (lang, level, y, x) => HaloVis.say(lang, "cellName", { level: layerName(lang, level), y, x });

  /** What the known answer is called: "on the bee". */
  const answerName = (lang, name) =>
    (`answer_${name}` in HaloVis.texts.en ? HaloVis.say(lang, `answer_${name}`) : HaloVis.say(lang, "answer", { name }));

  /** Figures as texts. @param {object|null} figures from scene.numbers @returns {Object<string, string>} */
  function words(lang, figures) {
    if (!figures) return Object.fromEntries(KEYS.map((key) => [key, DASH]));
    const { mass, empty, outside, answer } = figures;
    const share = (key) => (mass && !empty ? percent(mass[key]) : DASH);
    const n = (v) => (there(v) ? HaloVis.say(lang, "times", { n: times(v) }) : DASH);
    return {
      cell: cellName(lang, figures.level, figures.y, figures.x),
      block: share("block"), halo: share("halo"), padding: share("padding"),
      entropy: empty ? DASH : figures.entropy.toFixed(2),
      distance: empty || !there(figures.distance) ? DASH : `${figures.distance.toFixed(figures.distance < 10 ? 1 : 0)} px`,
      received: n(figures.received),
      outside: empty ? DASH : percent(outside?.weight), outside_contribution: percent(outside?.contribution),
      answer: n(answer?.times),
    };
  }

  /** One or two sentences for screen readers. @param {{name: string, conf: number}|null} [detection] the selected one */
  function sentence(lang, figures, detection = null, heads = 0) {
    if (!figures) return "";
    const text = words(lang, figures);
    const say = (key, values) => HaloVis.say(lang, key, values);
    const parts = [say(figures.mass ? "spoken" : "spokenGlobal", {
      ...text, head: headName(lang, figures.head, heads), of: say(OF[figures.of] ?? figures.of),
    })];
    if (detection) parts.unshift(say("spokenBox", { name: detection.name, conf: two(detection.conf) }));
    if (figures.outside) parts.push(say("spokenOutside", { outside: text.outside, contribution: text.outside_contribution }));
    if (figures.answer) parts.push(say("spokenAnswer", { name: answerName(lang, figures.answer.name), times: text.answer }));
    return parts.join(" ");
  }

  /** The figures' elements, looked up once: they change with every move of the pointer. */
  class Figures {
    /** @param {HTMLElement} host */
    constructor(host) {
      const part = (name) => host.querySelector(`[data-part="${name}"]`);
      this.slots = KEYS.map((key) => [key, host.querySelector(`[data-number="${key}"]`)]);
      this.splits = [...host.querySelectorAll("[data-split]")];
      this.top = [...part("top").querySelectorAll("button")];
      this.received = part("received");
      this.answer = part("answer");
      this.answerName = part("answer-name");
    }

    /** @param {object|null} figures @param {Array<{name: string}>} [answers] that the picture has */
    show(lang, figures, answers = []) {
      const text = words(lang, figures);
      for (const [key, slot] of this.slots) put(slot, text[key]);
      this.received.hidden = !figures || figures.received === null;
      this.answer.hidden = answers.length === 0;
      if (answers.length) put(this.answerName, answerName(lang, figures?.answer?.name ?? answers[0].name));
      for (const part of this.splits) {
        const width = figures?.mass && !figures.empty ? `${(100 * figures.mass[part.dataset.split]).toFixed(2)}%` : "0";
        if (part.style.width !== width) part.style.width = width;
      }
      this.top.forEach((button, i) => this.showTop(lang, button, figures, figures?.top?.[i]));
    }

    showTop(lang, button, figures, cell) {
      const text = cell ? `(${cell.y}, ${cell.x}) ${percent(cell.value)}` : DASH;
      const name = cell ? HaloVis.say(lang, "topCell", {
        place: cellName(lang, figures.level, cell.y, cell.x), value: percent(cell.value), times: times(cell.times),
      }) : DASH;
      if (button.title === name) return; // it says all that is shown
      put(button, text);
      button.disabled = !cell;
      Object.assign(button.dataset, { level: figures?.level ?? "", y: String(cell?.y ?? ""), x: String(cell?.x ?? "") });
      button.setAttribute("aria-label", name);
      button.title = name;
    }
  }

  /** @param {HTMLElement} list @param {string[]} keys */
  function showBadges(list, lang, keys) {
    const wanted = keys.join(" ") + lang;
    if (list.dataset.shown === wanted) return;
    list.dataset.shown = wanted;
    list.replaceChildren(...keys.map((key) => {
      const item = make("li", "", HaloVis.say(lang, key));
      item.dataset.badge = key;
      return item;
    }));
  }

  // ---------------------------------------------------------------- table

  /** The table of matches between what both panels show; each row knows the box that it selects. */
  function showTable(root, lang, data, left) {
    const lists = HaloVis.scene.lists(data, left);
    const { palette = ["#888888"] } = data.meta;
    const rows = lists.matches.map((m) => {
      const side = there(m.halo) ? "halo" : "baseline";
      const before = there(m.baseline) ? lists.baseline[m.baseline] : null;
      const after = there(m.halo) ? lists.halo[m.halo] : null;
      const shown = after ?? before;
      const row = make("tr");
      row.tabIndex = -1;
      Object.assign(row.dataset, { side, index: String(m[side]), kind: m.kind });
      const chip = make("span", "hx-chip");
      chip.style.background = palette[shown.cls % palette.length];
      const name = make("td", "hx-class");
      name.append(chip, Object.assign(make("button", "", String(shown.name)), { type: "button" }));
      row.append(
        make("td", `hx-kind-${m.kind}`, HaloVis.paint.MARK[m.kind] + HaloVis.say(lang, m.kind)), name,
        make("td", "hx-num", two(before?.conf)), make("td", "hx-num", two(after?.conf)),
        make("td", "hx-num", signed(m.delta)), make("td", "hx-num", two(m.iou)));
      return row;
    });
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    part("rows").replaceChildren(...rows);
    root.querySelector(".hx-scroll").hidden = rows.length === 0;
    part("none").hidden = rows.length > 0;
    const own = left === "off" || left in data.pack.global.baseline;
    root.querySelector("th[data-text^=before]").dataset.text = own ? "before" : "beforeLeft";
    put(root.querySelector("th[data-text^=before]"), HaloVis.say(lang, own ? "before" : "beforeLeft"));
    const count = (kind) => lists.matches.filter((m) => m.kind === kind).length;
    put(part("counts"), rows.length === 0 ? ""
      : HaloVis.say(lang, "counts", { kept: count("kept"), gained: count("gained"), lost: count("lost") }));
  }

  /** Marks the rows of the selected box. */
  function markTable(root, data, box, left) {
    const match = HaloVis.scene.matchOf(data, box, left);
    for (const row of root.querySelectorAll('[data-part="rows"] tr')) {
      const on = match !== null && match[row.dataset.side] === Number(row.dataset.index) && match.kind === row.dataset.kind;
      for (const element of [row, row.querySelector("button")]) {
        if (on) element.setAttribute("aria-current", "true");
        else element.removeAttribute("aria-current");
      }
    }
  }

  // ---------------------------------------------------------------- colour bars

  /** The unit of a colour bar and how to read it: "× uniform (1 = uniform)". @param {{auto: boolean, log: boolean, diverging: boolean}} heat */
  function unit(lang, { auto, log, diverging }) {
    const say = (key) => HaloVis.say(lang, key);
    const notes = [say(auto ? "barAuto" : diverging ? "barDifference" : "barUniform"), ...(log && !diverging ? [say("barLog")] : [])];
    return `${say("barTitle")} (${notes.join(", ")})`;
  }

  /** Colour bar of one panel: strip, ticks, unit. @param {HTMLElement} bar @param {object|null} heat @param {string} name of the colour map */
  function showBar(bar, lang, heat, rgb, name) {
    const wanted = heat ? [lang, heat.max, heat.auto, heat.log, heat.diverging, name].join(" ") : "";
    if (bar.dataset.shown === wanted) return;
    bar.dataset.shown = wanted;
    if (!heat) return void bar.replaceChildren();
    const canvas = make("canvas");
    canvas.width = rgb.length / 3;
    canvas.height = 1;
    canvas.setAttribute("aria-hidden", "true");
    HaloVis.paint.strip(canvas.getContext("2d"), rgb, 0, 0, canvas.width, 1);
    const ticks = make("div", "hx-ticks");
    const list = HaloVis.paint.ticks(heat.max, heat.auto, heat);
    list.forEach((tick, i) => {
      const mark = make("span", "hx-tick", tick.text);
      mark.style.left = `${100 * tick.at}%`;
      mark.classList.toggle("hx-uniform", tick.uniform);
      mark.classList.toggle("hx-first", i === 0);
      mark.classList.toggle("hx-last", i === list.length - 1);
      ticks.append(mark);
    });
    const left = make("div");
    left.append(canvas, ticks);
    bar.replaceChildren(left, make("div", "hx-unit", unit(lang, heat)));
  }

  HaloVis.readout = {
    make, put, OF, VIEWS, layerName, headName, headWord, cellName, words, sentence, Figures, showBadges, showTable, markTable, unit, showBar,
  };
})();
