// Loads the run view's scripts after the viewer's, as the page does, and makes small runs for the tests.
import { readFileSync } from "node:fs";
import { runInThisContext } from "node:vm";
import { HaloVis, toHalf } from "./viewer.mjs";

export const FOLDER = new URL("../../demo/run_view/", import.meta.url);
export const SCRIPTS = JSON.parse(readFileSync(new URL("order.json", FOLDER), "utf8"));
for (const name of SCRIPTS) runInThisContext(readFileSync(new URL(name, FOLDER), "utf8"), { filename: name });
export const runs = HaloVis.runs;
export { HaloVis, toHalf };

/** A member with curves; a column may have holes. */
export const member = (name, columns = {}, more = {}) => {
  const epoch = columns.epoch ?? [1, 2, 3];
  return { name, form: "residual", epochs: 10, epochs_done: epoch.length, curves: { epoch, ...columns }, ...more };
};
/** A run of two members. */
export const run = (id, more = {}) => ({
  id, title: `run ${id}`, state: "running", progress: {}, load: {}, warnings: [], actions: [], error: null, log: "", comparison: null,
  members: [member("baseline", { loss: [3, 2, 1.5], mAP50: [0.1, null, 0.3] }), member("halo", { loss: [4, 2, 1], mAP50: [0.2, 0.4, 0.5] })], ...more,
});

/** RFC 4180, letter by letter. */
export function parse(text) {
  const lines = [];
  let line = [], value = "", quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted) {
      if (c !== '"') value += c;
      else if (text[i + 1] === '"') { value += '"'; i++; }
      else quoted = false;
    } else if (c === '"' && value === "") quoted = true;
    else if (c === ",") { line.push(value); value = ""; }
    else if (c === "\r" && text[i + 1] === "\n") { line.push(value); lines.push(line); line = []; value = ""; i++; }
    else value += c;
  }
  return lines;
}

export const HOSTILE = "</script><img src=x onerror=alert(1)>${alert(2)} {{3}} | `x` \u2028 图片";
