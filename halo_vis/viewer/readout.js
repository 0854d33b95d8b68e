// Brings the elements of explorer.html in line with data and state: table, figures, badges, colour bars, controls.
// Keeps no state of its own; text goes in by textContent only.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const VIEW_NAMES = { cell: "viewCellName", blocks: "viewBlocksName", received: "viewReceivedName" };

  /** @param {string} tag @param {string} [name] class @param {string} [text] @returns {HTMLElement} */
  function make(tag, name = "", text = "") {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text) element.textContent = text;
    return element;
  }

  const percent = (v) => `${(100 * v).toFixed(v > 0 && v < 0.0995 ? 1 : 0)} %`;
  const two = (v) => (v === null || v === undefined ? "–" : Number(v).toFixed(2));
  const signed = (v) => (v === null || v === undefined ? "–" : `${v < 0 ? "\u2212" : "+"}${Math.abs(v).toFixed(2)}`);
  const MARK = { gained: "+ ", lost: "\u2212 ", kept: "" };

  /** Figures as texts. @returns {Object<string, string>} */
  function words(lang, figures) {
    const dash = "–";
    if (!figures) return { cell: dash, block: dash, halo: dash, padding: dash, entropy: dash, distance: dash, received: dash };
    const share = (key) => (figures.mass && !figures.empty ? percent(figures.mass[key]) : dash);
    return {
      cell: HaloVis.say(lang, "cellName", { ...figures, level: HaloVis.say(lang, figures.level) }),
      block: share("block"), halo: share("halo"), padding: share("padding"),
      entropy: figures.empty ? dash : figures.entropy.toFixed(2),
      distance: figures.empty || Number.isNaN(figures.distance) ? dash : `${figures.distance.toFixed(figures.distance < 10 ? 1 : 0)} px`,
      received: figures.received === null ? dash : HaloVis.say(lang, "times", { n: figures.received.toFixed(2) }),
    };
  }

  /** Name of a head. */
  const headName = (lang, head) =>
    (head < 0 ? HaloVis.say(lang, "meanOfHeads") : HaloVis.say(lang, "headName", { n: head + 1 }));

  /** @param {HTMLElement} root @param {object|null} figures */
  function showFigures(root, lang, figures) {
    const text = words(lang, figures);
    for (const [key, value] of Object.entries(text)) {
      const slot = root.querySelector(`[data-number="${key}"]`);
      if (slot && slot.textContent !== value) slot.textContent = value;
    }
    root.querySelector('[data-part="received"]').hidden = !figures || figures.received === null;
    for (const part of root.querySelectorAll("[data-split]"))
      part.style.width = figures?.mass ? `${100 * figures.mass[part.dataset.split]}%` : "0";
  }

  /** One sentence for screen readers. */
  function sentence(lang, figures) {
    if (!figures) return "";
    return HaloVis.say(lang, figures.mass ? "spoken" : "spokenGlobal", {
      ...words(lang, figures), head: headName(lang, figures.head),
      of: HaloVis.say(lang, figures.of === "weight" ? "weights" : "contributions"),
    });
  }

  /** @param {HTMLElement} list @param {string[]} keys */
  function showBadges(list, lang, keys) {
    const wanted = keys.join(" ") + lang;
    if (list.dataset.shown === wanted) return;
    list.dataset.shown = wanted;
    list.replaceChildren(...keys.map((key) => Object.assign(make("li", "", HaloVis.say(lang, key)), { title: key })));
    for (const item of list.children) { item.dataset.badge = item.title; item.removeAttribute("title"); }
  }

  /** The table of matches; each row knows the box that it selects. */
  function showTable(root, lang, data) {
    const { matches = [], detections = {}, palette = ["#888888"] } = data.meta;
    const rows = matches.map((m) => {
      const side = m.halo !== null && m.halo !== undefined ? "halo" : "baseline";
      const before = detections.baseline?.[m.baseline], after = detections.halo?.[m.halo];
      const shown = after ?? before;
      const row = make("tr");
      row.tabIndex = 0;
      row.dataset.side = side;
      row.dataset.index = String(m[side]);
      row.dataset.kind = m.kind;
      const chip = make("span", "hx-chip");
      chip.style.background = palette[shown.cls % palette.length];
      const name = make("td", "hx-class", String(shown.name));
      name.prepend(chip);
      row.append(
        make("td", `hx-kind-${m.kind}`, MARK[m.kind] + HaloVis.say(lang, m.kind)), name,
        make("td", "hx-num", two(before?.conf)), make("td", "hx-num", two(after?.conf)),
        make("td", "hx-num", signed(m.delta)), make("td", "hx-num", two(m.iou)));
      return row;
    });
    root.querySelector('[data-part="rows"]').replaceChildren(...rows);
    root.querySelector(".hx-scroll").hidden = rows.length === 0;
    root.querySelector('[data-part="none"]').hidden = rows.length > 0;
    const count = (kind) => matches.filter((m) => m.kind === kind).length;
    root.querySelector('[data-part="counts"]').textContent = rows.length === 0 ? ""
      : HaloVis.say(lang, "counts", { kept: count("kept"), gained: count("gained"), lost: count("lost") });
  }

  /** Marks the rows of the selected box. */
  function markTable(root, data, box) {
    const match = HaloVis.scene.matchOf(data, box);
    for (const row of root.querySelectorAll('[data-part="rows"] tr')) {
      const on = match !== null && match[row.dataset.side] === Number(row.dataset.index) && match.kind === row.dataset.kind;
      if (on) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
  }

  /** Colour bar of one panel: strip, ticks, unit. @param {HTMLElement} bar @param {object|null} heat */
  function showBar(bar, lang, heat, rgb, name) {
    const wanted = heat ? `${lang} ${heat.max} ${heat.auto} ${name}` : "";
    if (bar.dataset.shown === wanted) return;
    bar.dataset.shown = wanted;
    if (!heat) return void bar.replaceChildren();
    const canvas = make("canvas");
    canvas.width = rgb.length / 3;
    canvas.height = 1;
    canvas.setAttribute("aria-hidden", "true");
    HaloVis.paint.strip(canvas.getContext("2d"), rgb, 0, 0, canvas.width, 1);
    const ticks = make("div", "hx-ticks");
    const list = HaloVis.paint.ticks(heat.max, heat.auto);
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
    const unit = HaloVis.say(lang, "barTitle");
    bar.replaceChildren(left, make("div", "hx-unit", `${unit} (${HaloVis.say(lang, heat.auto ? "barAuto" : "barUniform")})`));
  }

  // ---------------------------------------------------------------- controls

  /** @param {HTMLElement} host @param {string} choice @param {string|number} value */
  function press(host, choice, value) {
    for (const button of host.querySelectorAll(`[data-choice="${choice}"] button`))
      button.setAttribute("aria-pressed", String(button.dataset.value === String(value)));
  }

  /** One button for the mean and one for each head. */
  function headButtons(box, lang, count) {
    const wanted = `${count} ${lang}`;
    if (box.dataset.shown === wanted) return;
    box.dataset.shown = wanted;
    box.replaceChildren(...Array.from({ length: count + 1 }, (_, i) => {
      const button = make("button", "", i ? String(i) : HaloVis.say(lang, "mean"));
      const name = headName(lang, i - 1);
      Object.assign(button, { type: "button", title: name });
      button.setAttribute("aria-label", name);
      button.dataset.value = String(i - 1);
      return button;
    }));
  }

  /** Colour maps that the payload brings. */
  function colorMaps(host, names) {
    host.querySelector('[data-set="map"]').replaceChildren(...names.map((name) => new Option(name, name)));
  }

  function showActions(host, any, pinned) {
    host.querySelector('[data-act="follow"]').checked = !pinned;
    host.querySelector('[data-act="save"]').disabled = !any;
  }

  /** What the two canvases are, for those who do not see them. */
  function nameCanvases(host, lang, data, state, view) {
    const say = (key, values) => HaloVis.say(lang, key, values);
    const pair = data.meta.pair ?? {};
    for (const side of ["baseline", "halo"]) {
      const model = pair[side] ?? say(side);
      const count = data.meta.detections?.[side]?.length ?? 0;
      const values = side === "halo"
        ? { model, count, layer: say(state.level), view: say(VIEW_NAMES[view]) } : { model, count, layer: say(state.left) };
      host.querySelector(`canvas[data-side="${side}"]`).setAttribute("aria-label", say(side === "halo" ? "canvasHalo" : "canvasBaseline", values));
      host.querySelector(`[data-part="title-${side}"]`).textContent = model;
    }
  }

  /** Every control as the state has it. @param {HTMLElement} host @param {string} lang @param {object} data @param {object} state */
  function showControls(host, lang, data, state) {
    const { scene } = HaloVis;
    const is = scene.settle(data, state);
    headButtons(host.querySelector('[data-part="heads"]'), lang, is.layer?.heads ?? 0);
    const choices = { view: is.view, head: is.head, of: is.of, level: state.level, left: state.left };
    for (const [choice, value] of Object.entries(choices)) press(host, choice, value);
    for (const button of host.querySelectorAll('[data-choice="level"] button')) button.hidden = !scene.layerOf(data, button.dataset.value);
    for (const button of host.querySelectorAll('[data-choice="left"] button'))
      button.hidden = button.dataset.value !== "off" && !data.pack.global.baseline[button.dataset.value];
    for (const value of ["blocks", "received", "contribution"])
      host.querySelector(`.hx-toolbar button[data-value="${value}"]`).disabled = is.layer?.kind !== "halo";
    host.querySelector('[data-set="scale"]').value = String(state.scales[is.view]);
    host.querySelector('[data-set="opacity"]').value = String(state.opacity);
    host.querySelector('[data-set="map"]').value = state.map;
    for (const box of host.querySelectorAll("[data-show]")) box.checked = state.show[box.dataset.show];
    nameCanvases(host, lang, data, state, is.view);
  }

  /** Puts all fixed words into a language. */
  function translate(host, lang) {
    const say = (key, values) => HaloVis.say(lang, key, values);
    host.lang = lang;
    for (const e of host.querySelectorAll("[data-text]")) if (e.dataset.text) e.textContent = say(e.dataset.text);
    for (const e of host.querySelectorAll("[data-aria]")) e.setAttribute("aria-label", say(e.dataset.aria));
    for (const e of host.querySelectorAll("[data-title]")) e.title = say(e.dataset.title);
    for (const e of host.querySelectorAll('[data-set="scale"] option'))
      e.textContent = e.value === "auto" ? say("scaleAuto") : say("scaleMax", { n: e.value });
    host.querySelector('[data-part="heads"]').dataset.shown = "";
  }

  HaloVis.readout = {
    make, headName, sentence, showFigures, showBadges, showTable, markTable, showBar, showControls, showActions, colorMaps, translate,
  };
})();
