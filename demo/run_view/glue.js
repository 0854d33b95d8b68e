// Runs once per mount of the component, after the scripts; Gradio provides element, props and watch. COLOURS is put in by run_view.py.
{
  const host = element.querySelector(".halo-runs");
  const controller = HaloVis.runs.mount(host, { colours: COLOURS });
  const show = () => controller.show(props.value);
  watch("value", show);
  show();
}
