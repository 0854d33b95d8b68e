// How far the runs are: state, bar, figures, what went wrong. Figures are those of the last update: nothing is guessed between.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const runs = (HaloVis.runs ??= {});
  const h = (...parts) => runs.dom.h(...parts);

  const STATES = ["new", "queued", "running", "stopping", "stopped", "interrupted", "failed", "finished"];
  const AT_WORK = ["running", "stopping"];

  const stateOf = (run) => (STATES.includes(run.state) ? run.state : "new");
  const stateWord = (lang, run) => runs.say(lang, `state_${stateOf(run)}`);

  /** Share that is done, 0 to 1. */
  function doneOf(run) {
    if (stateOf(run) === "finished") return 1;
    const { list, object } = runs.series;
    const said = runs.format.number(object(run.progress).done);
    if (said !== null) return Math.min(1, Math.max(0, said));
    // A run without a status still has its epochs.
    const members = list(run.members).map(object);
    const sum = (name) => members.reduce((total, m) => total + Math.max(0, runs.format.number(m[name]) ?? 0), 0);
    return sum("epochs") > 0 ? Math.min(1, sum("epochs_done") / sum("epochs")) : 0;
  }

  /** "3 of 10"; a dash where neither is known. */
  function ofWhole(lang, n, whole) {
    const { isNumber, DASH } = runs.format;
    if (!isNumber(n)) return DASH;
    return isNumber(whole) ? runs.say(lang, "ofWhole", { n, whole }) : String(n);
  }

  /** Figures as [key, text], always the same ones in the same order, so that nothing moves. @returns {Array<[string, string]>} */
  function figures(lang, run) {
    const { object, text, list } = runs.series;
    const { isNumber, DASH, brief, duration } = runs.format;
    const p = object(run.progress), load = object(run.load);
    const live = AT_WORK.includes(stateOf(run));
    const now = (value) => (live ? value : DASH); // of a run at rest, the last speed is no longer true
    const members = list(p.members).length ? list(p.members) : list(run.members).map((m) => object(m).name);
    const n = members.indexOf(p.member);
    const member = text(p.member) && members.length > 1 && n >= 0 ? `${text(p.member)} (${n + 1}/${members.length})` : text(p.member, DASH) || DASH;
    const share = (v) => (live && isNumber(v) ? runs.say(lang, "percent", { n: Math.round(v) }) : DASH);
    const out = [
      ["member", member],
      ["epoch", ofWhole(lang, p.epoch, p.epochs)],
      ["batch", now(ofWhole(lang, p.batch, p.batches))],
      ["speed", now(isNumber(p.images_per_s) ? runs.say(lang, "pictures", { n: brief(p.images_per_s) }) : DASH)],
      ["left", now(duration(lang, p.left_s))],
      ["elapsed", duration(lang, p.elapsed_s)],
      ["memory", now(isNumber(p.memory_gb) ? runs.say(lang, "gigabytes", { n: p.memory_gb.toFixed(1) }) : DASH)],
      ["cpu", share(load.cpu)],
    ];
    if (isNumber(load.gpu)) out.push(["gpu", share(load.gpu)]);
    return out;
  }

  /** One quiet line: what it is doing, or what can be done. */
  function note(lang, run) {
    const { object, list, text } = runs.series;
    const state = stateOf(run);
    if (state === "queued") return runs.format.isNumber(run.queue) ? runs.say(lang, "note_queued", { n: run.queue }) : "";
    if (state === "stopping") return runs.say(lang, "note_stopping");
    if (["stopped", "interrupted"].includes(state)) return list(run.actions).includes("resume") ? runs.say(lang, "note_resume") : "";
    const phase = text(object(run.progress).phase);
    if (state !== "running") return "";
    const device = runs.format.deviceName(text(object(run.progress).device));
    const word = Object.hasOwn(runs.texts.en, `phase_${phase}`) ? runs.say(lang, `phase_${phase}`) : "";
    return [word, device].filter(Boolean).join(" · ");
  }

  const dot = (state) => h("span", { class: "hr-dot", "data-state": state, "aria-hidden": "true" });

  function bar(lang, run, title, attributes = {}) {
    const done = doneOf(run), p = runs.series.object(run.progress);
    const percent = runs.say(lang, "percent", { n: Math.floor(100 * done) }); // not 100 before it is done
    const spoken = runs.series.text(p.member) && runs.format.isNumber(p.epoch)
      ? runs.say(lang, "progressText", { percent, member: p.member, epoch: ofWhole(lang, p.epoch, p.epochs) }) : percent;
    return [
      h("div", {
        class: "hr-bar", role: "progressbar", "aria-label": runs.say(lang, "progressOf", { title }), "aria-valuemin": 0, "aria-valuemax": 100,
        "aria-valuenow": Math.floor(100 * done), "aria-valuetext": spoken, "data-state": stateOf(run), ...attributes,
      }, h("i", { style: `width:${(100 * done).toFixed(2)}%` })),
      h("span", { class: "hr-percent" }, percent),
    ];
  }

  /** What went wrong, and the next step. */
  function trouble(lang, run) {
    const { object, text } = runs.series;
    const error = object(run.error);
    if (!run.error || stateOf(run) === "finished") return null;
    const kind = Object.hasOwn(runs.texts.en, `error_${text(error.kind)}`) ? text(error.kind) : "other";
    const batch = runs.format.isNumber(error.batch) ? runs.say(lang, "smaller", { n: error.batch }) : "";
    return h("div", { class: "hr-error", key: "error" },
      h("p", {}, h("strong", {}, runs.say(lang, `error_${kind}`)), text(error.message) ? ` ${text(error.message)}` : null),
      text(error.next) || batch ? h("p", {}, [text(error.next), batch].filter(Boolean).join(" ")) : null);
  }

  function warnings(lang, run) {
    const all = runs.series.list(run.warnings).map((w) => runs.series.text(w) || runs.series.text(runs.series.object(w).message)).filter(Boolean);
    if (!all.length) return null;
    return h("details", { class: "hr-warnings", key: "warnings" },
      h("summary", {}, h("span", {}, runs.say(lang, "warnings", { n: all.length })), " ", h("span", { class: "hr-quiet-text" }, all.at(-1))),
      h("ul", {}, all.map((w) => h("li", {}, w))));
  }

  /** The other runs, a line each. */
  function others(lang, all, titles) {
    if (all.length < 2) return null;
    return h("ul", { class: "hr-others", key: "others" }, all.slice(1).map((run, i) => h("li", { key: run.id },
      dot(stateOf(run)), h("span", { class: "hr-other-state" }, stateWord(lang, run)),
      h("span", { class: "hr-other-title", title: titles[i + 1] }, titles[i + 1]), bar(lang, run, titles[i + 1]))));
  }

  /** The whole part. @returns {Array<object>} nodes */
  function draw(lang, all) {
    const [run] = all;
    if (!run) return [h("p", { class: "hr-none" }, runs.say(lang, "none"))];
    const titles = runs.series.titlesOf(lang, all);
    const state = stateOf(run);
    return [
      h("div", { class: "hr-headline", key: "headline" },
        h("span", { class: "hr-state", "data-state": state }, dot(state), stateWord(lang, run)),
        h("h2", { title: titles[0] }, titles[0]), h("span", { class: "hr-doing" }, note(lang, run))),
      h("div", { class: "hr-done", key: "done" }, bar(lang, run, titles[0])),
      h("dl", { class: "hr-figures", key: "figures" }, figures(lang, run).map(([key, value]) =>
        h("div", { key, "data-figure": key }, h("dt", {}, runs.say(lang, key)), h("dd", { title: value }, value)))),
      trouble(lang, run), warnings(lang, run), others(lang, all, titles),
    ].filter(Boolean);
  }

  /** What is read out when it changes: states and errors, not batches. */
  function spoken(lang, all) {
    const titles = runs.series.titlesOf(lang, all);
    return all.map((run, i) => {
      const error = runs.series.object(run.error);
      const failed = stateOf(run) === "failed" ? [error.message, error.next].map((t) => runs.series.text(t)).filter(Boolean) : [];
      return [runs.say(lang, "spoken", { title: titles[i], state: stateWord(lang, run) }), ...failed].join(" ");
    }).join(" ");
  }

  runs.progress = { draw, figures, note, doneOf, stateOf, stateWord, spoken };
})();
