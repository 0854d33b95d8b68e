// Runs once per mount of the component, after the viewer's scripts; Gradio provides element, props and watch.
{
  const controller = HaloVis.mount(element.querySelector(".halo-explorer"), { lang: document.documentElement.lang });
  globalThis.haloPage = { controller };
  const show = () => {
    const value = props.value;
    if (value && value.image) {
      controller.show({ image: value.image.url, tensors: value.tensors.url, meta: value.meta.url }).catch(() => {});
    }
  };
  watch("value", show);
  show();
}
