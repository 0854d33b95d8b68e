// The files of the scrubber: a member's frames and its picture, fetched again only when their version is another one.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const runs = (HaloVis.runs ??= {});

  /** Address of a file as Gradio gives it, or as it is. @returns {string} */
  const urlOf = (file) => (typeof file === "string" ? file : String(runs.series.object(file).url ?? ""));

  /** What Python says of a run's members: their files and what tells their versions apart. @returns {Array<object>} */
  function entriesOf(value, run) {
    const { object, list, text } = runs.series;
    const all = object(value?.attention), mine = object(all[run.id]);
    const order = list(run.members).map((m) => text(object(m).name));
    const rank = (name) => (order.includes(name) ? order.indexOf(name) : order.length);
    return Object.entries(mine).filter(([, entry]) => entry?.probe && urlOf(entry.frames ?? entry.file ?? entry)).map(([member, entry]) => ({
      member, probe: entry.probe, frames: urlOf(entry.frames ?? entry.file ?? entry), picture: urlOf(entry.picture),
      version: JSON.stringify(entry.version ?? mine.version ?? all.version ?? object(run.attention).version ?? null),
    })).sort((a, b) => rank(a.member) - rank(b.member)).slice(0, 2);
  }

  const pictureOf = (url) => new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("the picture did not load"));
    image.src = url;
  });

  /** One member of one run. */
  class Source {
    /** @param {() => void} changed */
    constructor(changed) {
      Object.assign(this, { changed, frames: new Map(), image: null, error: "", wanted: "", picture: "", stop: null, pending: 0 });
    }

    /** @param {object} entry of entriesOf */
    update(entry) {
      this.probe = entry.probe;
      this.member = entry.member;
      const wanted = entry.version === "null" ? entry.frames : entry.version; // a server may give the same file a new address
      if (wanted !== this.wanted) { this.wanted = wanted; this.load(entry.frames); }
      if (entry.picture && !this.picture) { this.picture = entry.picture; this.show(entry.picture); }
    }

    async load(url) {
      this.stop?.abort();
      const stop = (this.stop = new AbortController());
      this.pending++;
      try {
        const answer = await fetch(url, { signal: stop.signal, cache: "no-store" });
        if (!answer.ok) throw new Error(`${answer.status}`);
        const frames = runs.frames.parse(await answer.text());
        if (stop.signal.aborted) return;
        this.frames = frames;
        this.error = "";
      } catch (error) {
        if (stop.signal.aborted) return;
        this.error = String(error?.message ?? error);
        this.wanted = ""; // the next update tries again
      } finally {
        this.pending--;
        this.changed();
      }
    }

    async show(url) {
      this.pending++;
      try {
        this.image = await pictureOf(url);
      } catch (error) {
        this.error = String(error.message);
        this.picture = "";
      } finally {
        this.pending--;
        this.changed();
      }
    }

    destroy() { this.stop?.abort(); this.changed = () => {}; }
  }

  runs.loading = { Source, entriesOf, urlOf };
})();
