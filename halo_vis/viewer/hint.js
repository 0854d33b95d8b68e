// The two sentences that a first-time visitor needs; gone for good with the first choice.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const KEY = "halovis-hint";

  /** A frame in a notebook and some settings forbid storage: the hint then comes back with the next page. */
  function storage(use) {
    try {
      return use(globalThis.localStorage);
    } catch {
      return null;
    }
  }

  class Hint {
    /** @param {HTMLElement} box @param {AbortSignal} signal */
    constructor(box, signal) {
      this.box = box;
      this.gone = storage((kept) => kept.getItem(KEY)) === "seen";
      box.querySelector("button").addEventListener("click", () => this.dismiss(), { signal });
    }

    /** @param {boolean} ready there is something to point at */
    show(ready) { this.box.hidden = this.gone || !ready; }

    dismiss() {
      if (this.gone) return;
      this.gone = true;
      this.box.hidden = true;
      storage((kept) => kept.setItem(KEY, "seen"));
    }
  }

  HaloVis.Hint = Hint;
})();
