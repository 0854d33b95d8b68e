// Runs once per mount of the component, after the viewer's scripts; Gradio provides element, props and watch.
{
  /** The page's address with everything that rebuilds a view. @param {string} view @param {object} meta */
  const link = (view, meta) => {
    const { provenance: from = {}, others = [] } = meta;
    const settings = from.settings ?? {};
    const beside = others.find((other) => other.kind === "run");
    const parts = {
      picture: from.picture, digest: from.picture_sha256, pair: from.pair, member: from.member,
      beside: beside ? [beside.pair, beside.member].join("/") : "",
      conf: settings.conf, imgsz: settings.imgsz, head: settings.head, iou: settings.iou, view,
    };
    const given = Object.entries(parts).filter(([, value]) => value !== undefined && value !== "");
    return location.href.split("#")[0] + "#" + new URLSearchParams(given.map(([key, value]) => [key, String(value)]));
  };

  const host = element.querySelector(".halo-explorer");
  const controller = HaloVis.mount(host, { lang: document.documentElement.lang, link });
  let runs = 0; // that the visitor waits for
  const running = (change) => {
    runs = Math.max(0, runs + change);
    controller.busy(runs > 0);
  };
  globalThis.haloPage = { controller, running, first: false };
  const show = () => {
    const value = props.value;
    if (!value || !value.image) return;
    globalThis.haloPage.first = Boolean(value.first); // the precomputed picture, which nobody has inspected here
    const others = Object.fromEntries(Object.entries(value.others ?? {}).map(([name, file]) => [name, file.url]));
    controller
      .show({ image: value.image.url, tensors: value.tensors.url, meta: JSON.parse(value.meta), others })
      .then((shown) => { if (shown && value.view) controller.restore(value.view); })
      .catch(() => {});
  };
  watch("value", show);
  show();
}
