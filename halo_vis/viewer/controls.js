// Brings the controls of explorer.html in line with data and state, and puts words into them. Keeps no view state.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const VIEW_HELP = { cell: "viewCellHelp", box: "viewBoxHelp", to: "viewToHelp", blocks: "viewBlocksHelp", received: "viewReceivedHelp" };
  const OF_HELP = { weight: "weightsHelp", contribution: "contributionsHelp", content: "contentHelp", position: "positionHelp" };

  /** @param {HTMLElement} host @param {string} choice @param {string|number} value */
  function press(host, choice, value) {
    for (const button of host.querySelectorAll(`[data-choice="${choice}"] button`))
      button.setAttribute("aria-pressed", String(button.dataset.value === String(value)));
  }

  /** Allows a button, or says by its title why not. @param {HTMLElement} host */
  function allow(host, lang, choice, value, help, reason) {
    const button = host.querySelector(`[data-choice="${choice}"] button[data-value="${value}"]`);
    button.disabled = Boolean(reason);
    button.title = HaloVis.say(lang, reason || help);
  }

  /** Buttons of a choice that differ from picture to picture. @param {Array<{value: string, text: string, name: string}>} list */
  function buttons(box, lang, list) {
    const wanted = [lang, ...list.map((one) => `${one.value}=${one.text}=${one.name}`)].join(" ");
    if (box.dataset.shown === wanted) return;
    box.dataset.shown = wanted;
    const held = box.contains(document.activeElement) ? document.activeElement.dataset.value : null;
    box.replaceChildren(...list.map(({ value, text, name }) => {
      const button = Object.assign(HaloVis.readout.make("button", "", text), { type: "button", title: name });
      if (name !== text) button.setAttribute("aria-label", `${text}: ${name}`);
      button.dataset.value = value;
      return button;
    }));
    if (held !== null) box.querySelector(`[data-value="${held}"]`)?.focus();
  }

  /** One button for the mean, one for the maximum, one for each head. */
  function headList(lang, layer) {
    const { headName, headWord } = HaloVis.readout;
    const words = (head) => ({ text: headWord(lang, head, layer.heads), name: headName(lang, head, layer.heads) });
    return HaloVis.scene.headsOf(layer).map((head) => ({ value: String(head), ...words(head) }));
  }

  /** What the right panel may show: the halo layers, then YOLO26's own. */
  function layerList(lang, { pack: { levels, global } }) {
    return [...Object.keys(levels), ...Object.keys(global.halo)].map((value) => {
      const text = HaloVis.readout.layerName(lang, value);
      return { value, text, name: text };
    });
  }

  /** What the left panel may show. */
  function sourceList(lang, data) {
    const say = (key, values) => HaloVis.say(lang, key, values);
    const sources = HaloVis.scene.sources(data);
    const other = (id) => (Object.hasOwn(data.pack.others, id) ? data.pack.others[id] : null);
    const runs = sources.filter((id) => other(id)?.kind === "run");
    return sources.map((id) => {
      const kind = other(id)?.kind;
      if (kind === "run") {
        const text = say(runs.length > 1 ? "runNumber" : "run", { n: runs.indexOf(id) + 1 });
        return { value: id, text, name: say("runHelp", { title: other(id).title }) };
      }
      if (Object.hasOwn(data.pack.global.baseline, id)) {
        const text = HaloVis.readout.layerName(lang, id);
        return { value: id, text, name: say("layerHelp", { layer: text }) };
      }
      const key = kind ?? id;
      return { value: id, text: say(key), name: say(`${key}Help`) };
    });
  }

  /** Colour maps that the payload brings. */
  function colorMaps(host, names) {
    host.querySelector('[data-set="map"]').replaceChildren(...names.map((name) => new Option(name, name)));
  }

  function showActions(host, any, pinned) {
    host.querySelector('[data-act="follow"]').checked = !pinned;
    host.querySelector('[data-act="save"]').disabled = !any;
  }

  /** What the two canvases are, for those who do not see them. @param {{baseline: object, halo: object}} plans */
  function nameCanvases(host, lang, data, state, plans) {
    const say = (key, values) => HaloVis.say(lang, key, values);
    const lists = HaloVis.scene.lists(data, state.left);
    for (const side of HaloVis.scene.SIDES) {
      const plan = plans[side];
      const model = say(plan.title.key, plan.title.values) || say(side);
      const layer = plan.layer ? HaloVis.readout.layerName(lang, plan.layer.name) : say("noAttention");
      const name = say(side === "halo" ? "canvasHalo" : "canvasBaseline", { model, count: lists[side].length, layer, view: say(HaloVis.readout.VIEWS[plan.view]) });
      const canvas = host.querySelector(`canvas[data-side="${side}"]`);
      if (canvas.getAttribute("aria-label") !== name) canvas.setAttribute("aria-label", name);
      const title = host.querySelector(`[data-part="title-${side}"]`);
      const short = plan.title.key.replace("source", "title"); // where the long form would push the buttons away
      HaloVis.readout.put(title, short in HaloVis.texts.en ? say(short) : model);
      title.title = model;
      title.dataset.text = "";
    }
  }

  /** One sentence below each panel: what stands in for the model on the left, what the values on the right mean. */
  function showNotes(host, lang, plans) {
    const say = (key) => HaloVis.say(lang, key);
    const left = { sourceControl: "controlNote", sourceMaskPublished: "maskNotePublished", sourceMaskValid: "maskNoteValid" }[plans.baseline.title.key];
    const { view, of, layer } = plans.halo;
    const right = layer ? [say(VIEW_HELP[view]), ...(layer.kind === "halo" ? [say(OF_HELP[of])] : [])] : [];
    const end = lang === "zh-CN" ? "。" : ".";
    const put = (name, text) => HaloVis.readout.put(host.querySelector(`[data-part="note-${name}"]`), text);
    put("baseline", left ? say(left) : "");
    put("halo", right.map((text) => text + end).join(lang === "zh-CN" ? "" : " "));
  }

  /** The values that the scale offers, in the words of the scale chosen. */
  function scaleOptions(host, lang, log) {
    for (const option of host.querySelectorAll('[data-set="scale"] option')) {
      const text = option.value === "auto" ? HaloVis.say(lang, "scaleAuto") : HaloVis.say(lang, log ? "scaleLogMax" : "scaleMax", { n: option.value });
      HaloVis.readout.put(option, text);
    }
  }

  /** A scale that a link asks for may be one that the list does not have. */
  function pickScale(host, value) {
    const select = host.querySelector('[data-set="scale"]');
    if (![...select.options].some((option) => option.value === value)) select.add(new Option("", value), select.options.length - 1);
    select.value = value;
  }

  /** Every control as the state has it. @param {HTMLElement} host @param {string} lang @param {object} data @param {object} state */
  function showControls(host, lang, data, state) {
    const { scene } = HaloVis;
    const is = scene.settle(data, state);
    const differs = scene.canDiffer(data, state);
    const mode = state.mode === "difference" && !differs ? "pair" : state.mode;
    buttons(host.querySelector('[data-part="heads"]'), lang, headList(lang, is.layer));
    buttons(host.querySelector('[data-part="sources"]'), lang, sourceList(lang, data));
    buttons(host.querySelector('[data-part="layers"]'), lang, layerList(lang, data));
    const choices = { view: is.view, head: is.layer?.heads === 1 ? -1 : is.head, of: is.of, level: state.level, left: state.left, mode, strip: state.strip };
    for (const [choice, value] of Object.entries(choices)) press(host, choice, value);
    const halo = is.layer?.kind === "halo";
    allow(host, lang, "view", "box", "viewBoxHelp", is.box ? "" : "viewBoxNone");
    for (const view of ["blocks", "received"]) allow(host, lang, "view", view, VIEW_HELP[view], halo ? "" : "onlyHalo");
    for (const of of ["contribution", "content", "position"]) allow(host, lang, "of", of, OF_HELP[of], halo ? "" : "onlyHalo");
    allow(host, lang, "mode", "difference", "modeDifferenceHelp", differs ? "" : "modeDifferenceNone");
    pickScale(host, String(state.scales[is.view]));
    scaleOptions(host, lang, state.log);
    for (const name of ["opacity", "dim", "map"]) host.querySelector(`[data-set="${name}"]`).value = String(state[name]);
    host.querySelector('[data-flag="log"]').checked = state.log;
    for (const box of host.querySelectorAll("[data-show]")) box.checked = state.show[box.dataset.show];
    host.dataset.mode = mode;
  }

  /** How far the panels are zoomed in, and whether there is anything left to zoom. */
  function showZoom(host, lang, scale, top) {
    const n = scale < 9.95 ? Number(scale.toFixed(1)) : Math.round(scale);
    const button = (name) => host.querySelector(`[data-zoom="${name}"]`);
    HaloVis.readout.put(button("fit"), HaloVis.say(lang, "zoomed", { n }));
    button("fit").setAttribute("aria-label", HaloVis.say(lang, "zoomFitNow", { n }));
    button("out").disabled = scale <= 1;
    button("in").disabled = scale >= top - 1e-6;
  }

  /** Keeps the elements of the body in the order in which the style shows them, so that Tab follows the eye on a phone, too. */
  class Order {
    /** @param {HTMLElement} host */
    constructor(host) {
      this.body = host.querySelector(".hx-body");
      this.own = [...this.body.children];
      this.observer = new ResizeObserver(() => this.arrange());
      this.observer.observe(host);
    }

    arrange() {
      const place = new Map(this.own.map((part) => [part, Number(getComputedStyle(part).order)]));
      this.put([...this.own].sort((a, b) => place.get(a) - place.get(b)));
    }

    put(parts) {
      if (parts.every((part, i) => part === this.body.children[i])) return;
      const held = document.activeElement;
      this.body.append(...parts);
      if (this.body.contains(held)) held.focus({ preventScroll: true });
    }

    destroy() {
      this.observer.disconnect();
      this.put(this.own);
    }
  }

  /** Puts all fixed words into a language. */
  function translate(host, lang) {
    const say = (key, values) => HaloVis.say(lang, key, values);
    host.lang = lang;
    for (const e of host.querySelectorAll("[data-text]")) if (e.dataset.text) e.textContent = say(e.dataset.text);
    for (const e of host.querySelectorAll("[data-aria]")) e.setAttribute("aria-label", say(e.dataset.aria));
    for (const e of host.querySelectorAll("[data-title]")) e.title = say(e.dataset.title);
    scaleOptions(host, lang, false);
    for (const name of ["heads", "sources", "layers"]) host.querySelector(`[data-part="${name}"]`).dataset.shown = "";
  }

  /** Folds that hang over the page close when something else is meant. */
  function folds(host, on) {
    for (const fold of host.querySelectorAll("details")) {
      on(fold, "keydown", (event) => {
        if (event.key !== "Escape" || !fold.open) return;
        event.preventDefault();
        fold.open = false;
        fold.querySelector("summary").focus();
      });
    }
    on(document, "pointerdown", (event) => {
      for (const fold of host.querySelectorAll("details[open]"))
        if (!event.composedPath().includes(fold) && getComputedStyle(fold.lastElementChild).position === "absolute") fold.open = false;
    });
  }

  /**
   * From clicks and inputs on the controls to what they ask for.
   * @param {HTMLElement} host @param {object} to handlers, and `on`, which adds a listener for as long as the viewer lives
   */
  function listen(host, { on, ready, ...to }) {
    folds(host, on);
    on(host, "click", ({ target }) => {
      const button = target.closest("button");
      if (!button || !ready()) return;
      const choice = button.closest("[data-choice]")?.dataset.choice;
      if (choice) to.choose(choice, button.dataset.value);
      else if (button.dataset.zoom) to.zoom(button.dataset.zoom);
    });
    on(host, "input", ({ target }) => {
      const { set, show, flag, act } = target.dataset;
      if (!ready()) return;
      if (act === "follow") to.follow(target.checked);
      else if (show) to.show(show, target.checked);
      else if (flag) to.flag(flag, target.checked);
      else if (set) to.set(set, target.value);
    });
    const part = (name) => host.querySelector(`[data-part="${name}"]`);
    const pick = (event) => {
      const line = event.target.closest("tr");
      if (line && ready()) to.pick(line.dataset.side, Number(line.dataset.index));
    };
    on(part("rows"), "click", pick);
    on(part("rows"), "keydown", (event) => { // a row that was clicked has the focus; its button needs no help
      if (event.target.matches("tr") && (event.key === "Enter" || event.key === " ")) { event.preventDefault(); pick(event); }
    });
    on(part("top"), "click", ({ target }) => {
      const { level, y, x } = target.closest("button")?.dataset ?? {};
      if (level && y && ready()) to.jump(level, Number(y), Number(x));
    });
  }

  HaloVis.controls = { Order, press, listen, colorMaps, showActions, showControls, showNotes, showZoom, nameCanvases, translate, headList, layerList, sourceList };
})();
