// Answers questions about a payload with the viewer's own scripts, for tests/test_viewer_agrees.py.
// node answer.mjs FOLDER: reads meta.json, questions.json and NAME.bin, writes answers.json and answers.bin (float32).
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { HaloVis } from "./viewer.mjs";

const folder = process.argv[2];
const read = (name) => readFileSync(join(folder, name));
const meta = JSON.parse(read("meta.json"));
const { questions, files } = JSON.parse(read("questions.json"));
const { tensors: T, scene } = HaloVis;

const buffer = (name) => { const raw = read(`${name}.bin`); return raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength); };
const pack = T.open({ tensors: buffer("tensors") }, meta); // the others come later, as in a page
for (const name of files) if (name !== "tensors") T.addFile(pack, name, buffer(name));
const data = { meta, pack, frame: T.frame(meta.picture, meta.input), colors: { magma: 1, viridis: 1 } };

const arrays = [];
let size = 0;
/** Puts numbers into the binary; returns where they are. */
function keep(values) {
  arrays.push(Float32Array.from(values));
  size += values.length;
  return [size - values.length, values.length];
}

/** Every field that was asked for must have been taken, or the comparison would be with something else. */
function restored(wanted) {
  const state = scene.restore(data, scene.start(), wanted);
  for (const name of ["level", "left", "mode", "view", "head", "of", "log", "box"])
    if (name in wanted && JSON.stringify(state[name]) !== JSON.stringify(wanted[name]))
      throw new Error(`restore made ${name} ${JSON.stringify(state[name])} of ${JSON.stringify(wanted[name])}`);
  return state;
}

const ask = {
  start: () => scene.start(),
  strongest: () => scene.strongest(data),
  warnings: ({ state }) => {
    const now = restored(state);
    return scene.badges(data, now, scene.numbers(data, now)).map((key) => HaloVis.say("en", key));
  },
  row: ({ layer, y, x, head, of }) => keep(T.row(layer, y, x, head, of)),
  attendedBy: ({ layer, y, x, head, of }) => ({
    weights: keep(T.attendedBy(layer, y, x, head, of)), times: keep(T.attendedBy(layer, y, x, head, of, { times: true })),
  }),
  numbers: ({ layer, y, x, head, of, box }) => {
    const p = T.shares(T.row(layer, y, x, head, of), head);
    return {
      top: T.top(layer, y, x, p, 5), outside: T.outside(layer, y, x, p, box, data.frame), entropy: T.entropy(layer, y, x, p),
      answer: T.answer(layer, y, x, p, meta.answers, data.frame), distance: T.distance(layer, y, x, p, data.frame),
      mass: layer.kind === "halo" ? T.mass(layer, y, x, p) : null, cells: T.cellsIn(layer, box, data.frame),
    };
  },
  heat: async ({ state, side }) => {
    const now = restored(state);
    await scene.finish(data, now);
    const { heat, y, x, pending } = scene.plan(data, now, side);
    if (pending) throw new Error("the plan is not finished");
    if (!heat) return null;
    const { values, rows, cols, rect, max, log, diverging } = heat;
    return { values: keep(values), rows, cols, rect, max, log, diverging, y, x };
  },
};

const layers = (name, who) => (who === "baseline" ? pack.global.baseline[name] : who in pack.others ? pack.others[who].levels[name]
  : who === "mask" ? T.flipMask(pack.levels[name]) : scene.layerOf(data, name));
const answers = [];
for (const question of questions) {
  const layer = question.level ? layers(question.level, question.who) : null;
  answers.push(await ask[question.kind]({ ...question, layer }));
}
writeFileSync(join(folder, "answers.json"), JSON.stringify(answers));
const all = new Float32Array(size);
let at = 0;
for (const array of arrays) { all.set(array, at); at += array.length; }
writeFileSync(join(folder, "answers.bin"), Buffer.from(all.buffer));
