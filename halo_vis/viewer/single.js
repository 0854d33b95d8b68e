// The explorer in a file of its own: all data stand in this document, in script elements that no browser runs.
// Not part of order.json: the page mounts the explorer itself.
(() => {
  "use strict";
  const { HaloVis } = globalThis;

  const element = (name) => document.querySelector(`script[data-file="${name}"]`);

  /** The text of an inert element, which is removed: its megabytes are needed once. @param {string} name */
  function take(name) {
    const found = element(name);
    const text = found.textContent;
    found.remove();
    return text;
  }

  /** @param {string} name @returns {Promise<ArrayBuffer>} */
  const binary = async (name) => (await HaloVis.load.decode(take(name))).arrayBuffer();

  async function start() {
    const page = JSON.parse(take("page"));
    document.documentElement.lang = page.lang ?? HaloVis.language(navigator.language);
    const host = document.querySelector(".halo-explorer");
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const theme = () => { host.dataset.theme = dark.matches ? "dark" : "light"; };
    dark.addEventListener("change", theme);
    theme();
    const controller = HaloVis.mount(host, { lang: document.documentElement.lang });
    const others = {};
    for (const name of page.others) others[name] = await binary(name);
    await controller.show({ image: take("picture"), meta: JSON.parse(take("meta")), tensors: await binary("tensors"), others });
    if (page.view) controller.restore(page.view);
    const linked = () => { if (location.hash.length > 1) controller.restore(location.hash); };
    addEventListener("hashchange", linked);
    linked();
  }

  start().catch((error) => console.error(error)); // the explorer has already said what it could not show
})();
