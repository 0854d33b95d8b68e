// The run view: brings the parts together. `HaloVis.runs.mount` is the only entry.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const runs = (HaloVis.runs ??= {});
  /** Mounted views by element: mounting again replaces. */
  const mounted = new WeakMap();
  const BOTTOM = 4; // CSS pixels from the end of the log that still are its end

  /** The tail of the log; follows its end only for a reader who is there. */
  function drawLog(box, lang, run) {
    const log = box.querySelector("pre");
    const text = runs.series.text(run?.log) || runs.say(lang, "logEmpty");
    HaloVis.readout.put(box.querySelector("summary"), runs.say(lang, "log"));
    log.setAttribute("aria-label", runs.say(lang, "log"));
    if (log.textContent === text) return;
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight <= BOTTOM;
    // A text node that only grows keeps a selection inside it.
    const node = log.firstChild;
    if (node && text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
    else log.textContent = text;
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  /**
   * @param {HTMLElement} host an empty element of class "halo-runs"
   * @param {{lang?: string, colours: {map: string, palette: string[]}}} options map: 256 colours as hexadecimal digits
   */
  function mount(host, options) {
    mounted.get(host)?.destroy();
    if (window.haloRuns?.host.isConnected === false) window.haloRuns.destroy(); // the page has thrown its element away
    const stop = new AbortController();
    const { signal } = stop;
    const colours = { rgb: HaloVis.paint.colors(options.colours.map), palette: options.colours.palette };
    let value = { runs: [] }, waiting = 0, lang = HaloVis.language(options.lang ?? document.documentElement.lang);

    const part = (tag, name) => host.appendChild(Object.assign(document.createElement(tag), { className: name }));
    host.replaceChildren();
    const progress = part("section", "hr-progress");
    const spoken = part("p", "hr-spoken");
    spoken.setAttribute("aria-live", "polite");
    const redraw = () => { waiting ||= requestAnimationFrame(paint); };
    const curves = new runs.curves.Curves(part("section", "hr-curves"), redraw, signal);
    const scrubber = new runs.scrubber.Scrubber(part("section", "hr-attention"), redraw, colours, signal);
    const compare = new runs.compare.Compare(part("section", "hr-compare"), signal);
    const log = part("details", "hr-log");
    log.append(document.createElement("summary"), Object.assign(document.createElement("pre"), { tabIndex: 0 }));
    log.querySelector("pre").setAttribute("role", "region");
    log.addEventListener("toggle", () => { const pre = log.querySelector("pre"); pre.scrollTop = pre.scrollHeight; }, { signal });

    /** Again with the same value: a choice was made, or a file has come. */
    function paint() {
      cancelAnimationFrame(waiting);
      waiting = 0;
      if (signal.aborted) return;
      curves.paint();
      scrubber.paint();
      scrubber.box.hidden = !scrubber.wanted;
    }

    /** @param {object|null} next {"runs": [snapshot, ...], "lang": ..., "attention": ...} */
    function show(next) {
      if (signal.aborted) return;
      value = runs.series.object(next);
      lang = HaloVis.language(value.lang ?? options.lang ?? document.documentElement.lang);
      host.lang = lang;
      const all = runs.series.runsOf(value);
      runs.dom.patch(progress, runs.progress.draw(lang, all));
      const words = runs.progress.spoken(lang, all);
      HaloVis.readout.put(spoken, words);
      for (const box of [curves.box, log]) box.hidden = all.length === 0;
      curves.draw(lang, value);
      scrubber.draw(lang, value, curves.all);
      scrubber.box.hidden = !scrubber.wanted;
      compare.draw(lang, all, curves.all);
      compare.box.hidden = !compare.wanted;
      drawLog(log, lang, all[0]);
      host.dataset.shown = String(Number(host.dataset.shown ?? 0) + 1);
    }

    function destroy() {
      stop.abort();
      cancelAnimationFrame(waiting);
      curves.destroy();
      scrubber.destroy();
      host.replaceChildren();
      if (mounted.get(host) === controller) mounted.delete(host);
      if (window.haloRuns === handle) delete window.haloRuns;
    }

    /** What one member shows at the epoch of the slider, for scripts and tests. */
    function memberOf(name) {
      const panel = scrubber.panels.get(name);
      if (!panel) return null;
      const { level, head, data, numbers, end } = panel.at(scrubber.now);
      return {
        member: name, epoch: scrubber.now, level, head, levels: panel.levels, epochs: [...panel.frames.keys()], end,
        weights: data ? [...(runs.frames.rowOf(data, head) ?? [])] : null, numbers,
      };
    }

    const each = (member, act) => {
      for (const [name, panel] of scrubber.panels) if (member === undefined || member === name) act(panel);
      paint();
    };
    const handle = {
      host,
      get ready() { return Number(host.dataset.shown ?? 0) > 0 && scrubber.ready && !waiting; },
      value: () => value,
      epoch(n) { if (n !== undefined) { scrubber.go(n); paint(); } return scrubber.now; },
      level: (name, member) => each(member, (panel) => { if (panel.levels.includes(name)) panel.level = name; }),
      head: (n, member) => each(member, (panel) => { panel.head = n; }),
      member: memberOf,
      series: () => curves.all.map((s) => ({ ...s, hidden: curves.hidden.has(s.key) })),
      svg: () => curves.svg(),
      csv: () => runs.series.csv(curves.all),
      destroy,
    };
    const controller = { show, destroy, handle };
    mounted.set(host, controller);
    window.haloRuns = handle; // not globalThis: the scripts have a private one, see run_view.py
    return controller;
  }

  runs.mount = mount;
})();
