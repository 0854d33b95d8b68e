// All words of the run view.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const runs = (HaloVis.runs ??= {});

  const en = {
    none: "No run chosen", untitled: "Run {id}",
    state_new: "Not started", state_queued: "Queued", state_running: "Running", state_stopping: "Stopping", state_stopped: "Stopped",
    state_interrupted: "Interrupted", state_failed: "Failed", state_finished: "Finished",
    phase_loading: "Loading the model", phase_data: "Preparing the data", phase_training: "Training",
    phase_validating: "Validating", phase_measuring: "Measuring",
    note_queued: "Place {n} in the queue", note_stopping: "Ends after this epoch; nothing is lost", note_resume: "Can be resumed after its last whole epoch",
    progress: "Progress", progressOf: "Progress of {title}", percent: "{n} %", progressText: "{percent}, {member}, epoch {epoch}",
    member: "member", epoch: "epoch", batch: "batch", speed: "speed", left: "time left", elapsed: "trained for", memory: "memory", cpu: "CPU", gpu: "GPU",
    ofWhole: "{n} of {whole}", pictures: "{n} pictures/s", gigabytes: "{n} GB",
    seconds: "{s} s", minutes: "{m} min {s} s", hours: "{h} h {m} min", days: "{d} d {h} h",
    spoken: "{title}: {state}.", error_memory: "Out of memory", error_disk: "The disk is full", error_data: "The data cannot be used",
    error_time: "The time limit was reached", error_other: "The training failed", smaller: "Suggested batch: {n}",
    warnings: "Warnings ({n})",
    curves: "Curves", by: "Horizontal axis", byEpoch: "epochs", byMinutes: "minutes", byMinutesNone: "This run has no times of its epochs",
    logLoss: "loss on a logarithmic scale", saveSvg: "Save SVG", saveCsv: "Save CSV",
    loss: "Loss", mAP50: "mAP50", "mAP50-95": "mAP50-95", lr: "Learning rate", train: "train", val: "val",
    axisEpoch: "epoch", axisMinutes: "minutes of training", empty: "No epoch yet",
    chartLabel: "{name} over {axis}. Arrow keys read the values", atEpoch: "At epoch {n}", atMinutes: "At {n} min", latest: "Latest epoch of each curve",
    columnSeries: "curve", columnTrain: "train loss", columnVal: "val loss", columnLr: "learning rate",
    toggle: "Show {name}", seriesName: "{member}, {title}", valueOf: "{name} {value}",
    attention: "Attention of one query, epoch by epoch", attentionNone: "The attention of the probe's query appears with the first epoch.",
    attentionLoading: "Loading…", attentionFailed: "The attention could not be shown: {why}", attentionMissing: "{member} has no epoch {n} yet",
    attentionHelp: "Weights of the probe's query as multiples of uniform attention. One scale for all epochs of a layer.",
    layer: "Layer", heads: "Heads", mean: "mean", head: "head {n}", logScale: "logarithmic scale", boxes: "boxes",
    play: "Play", pause: "Pause", epochSlider: "Epoch", beforeTraining: "before training", epochOf: "epoch {n} of {whole}",
    canvas: "Probe picture with the attention of {member}, {layer}, {cell}, {epoch}. {boxes} boxes found.",
    ownBlock: "own block", halo: "halo", padding: "padding", entropy: "entropy", most: "largest × uniform", times: "{n} ×", cell: "query cell",
    layerNumber: "layer {n}", cellName: "{level} ({y}, {x})", miniLabel: "mAP50 of the members over the epochs",
    comparison: "Comparison", captionTest: "Test split", captionVal: "Validation split", captionParts: "{split}, {pictures} pictures, image size {imgsz}, {device}.",
    captionLatency: "Latency: median of one picture at a time.", metric: "metric", difference: "{a} minus {b}",
    perClass: "mAP50 by class", perClassStrict: "mAP50-95 by class", parameters: "parameters", latency: "latency", trained: "trained",
    trained_all: "all weights", trained_halo: "halo layers", "trained_halo+head": "halo layers and head", trained_nothing: "nothing", milliseconds: "{n} ms",
    copyMarkdown: "Copy as Markdown", copied: "Copied", copyYourself: "Copy it from this field", copyField: "The table as Markdown",
    overlay: "Runs side by side", columnRun: "run", columnState: "state", columnEpochs: "epochs", columnLast: "last mAP50", columnLastStrict: "last mAP50-95",
    columnBest: "best mAP50", bestAt: "{value} (epoch {n})", columnTested: "test mAP50", columnTime: "trained for",
    overlayNote: "Last and best are from each run's own validation after its epochs.",
    log: "Log", logEmpty: "Nothing printed yet",
  };

  const zh = {
    none: "未选择训练", untitled: "训练 {id}",
    state_new: "未开始", state_queued: "排队中", state_running: "训练中", state_stopping: "正在停止", state_stopped: "已停止",
    state_interrupted: "已中断", state_failed: "失败", state_finished: "已完成",
    phase_loading: "正在载入模型", phase_data: "正在准备数据", phase_training: "正在训练",
    phase_validating: "正在验证", phase_measuring: "正在测量",
    note_queued: "队列中第 {n} 位", note_stopping: "本轮结束后停止，不丢失任何结果", note_resume: "可从最后一个完整轮次之后继续",
    progress: "进度", progressOf: "{title} 的进度", percent: "{n} %", progressText: "{percent}，{member}，第 {epoch} 轮",
    member: "模型", epoch: "轮次", batch: "批次", speed: "速度", left: "剩余时间", elapsed: "已训练", memory: "内存", cpu: "CPU", gpu: "GPU",
    ofWhole: "{n} / {whole}", pictures: "{n} 张/秒", gigabytes: "{n} GB",
    seconds: "{s} 秒", minutes: "{m} 分 {s} 秒", hours: "{h} 小时 {m} 分", days: "{d} 天 {h} 小时",
    spoken: "{title}：{state}。", error_memory: "内存不足", error_disk: "磁盘已满", error_data: "数据无法使用",
    error_time: "已到时间上限", error_other: "训练失败", smaller: "建议批大小：{n}",
    warnings: "警告（{n}）",
    curves: "曲线", by: "横轴", byEpoch: "轮次", byMinutes: "分钟", byMinutesNone: "此训练没有各轮的用时",
    logLoss: "损失用对数刻度", saveSvg: "保存 SVG", saveCsv: "保存 CSV",
    loss: "损失", mAP50: "mAP50", "mAP50-95": "mAP50-95", lr: "学习率", train: "训练", val: "验证",
    axisEpoch: "轮次", axisMinutes: "训练分钟数", empty: "还没有轮次",
    chartLabel: "{name}，横轴为{axis}。用方向键读数", atEpoch: "第 {n} 轮", atMinutes: "第 {n} 分钟", latest: "各曲线的最新一轮",
    columnSeries: "曲线", columnTrain: "训练损失", columnVal: "验证损失", columnLr: "学习率",
    toggle: "显示 {name}", seriesName: "{member}，{title}", valueOf: "{name} {value}",
    attention: "同一查询的注意力，逐轮变化", attentionNone: "第一轮之后显示探针查询的注意力。",
    attentionLoading: "正在载入…", attentionFailed: "无法显示注意力：{why}", attentionMissing: "{member} 还没有第 {n} 轮",
    attentionHelp: "探针查询的权重，以均匀注意力的倍数表示。同一层的所有轮次使用同一色标。",
    layer: "层", heads: "头", mean: "平均", head: "第 {n} 头", logScale: "对数色标", boxes: "检测框",
    play: "播放", pause: "暂停", epochSlider: "轮次", beforeTraining: "训练前", epochOf: "第 {n} 轮，共 {whole} 轮",
    canvas: "探针图片与 {member} 的注意力：{layer}，{cell}，{epoch}。检测到 {boxes} 个框。",
    ownBlock: "本块", halo: "外围 halo", padding: "填充", entropy: "熵", most: "最大 × 均匀", times: "{n} ×", cell: "查询单元格",
    layerNumber: "第 {n} 层", cellName: "{level} ({y}, {x})", miniLabel: "各模型的 mAP50 随轮次的变化",
    comparison: "比较", captionTest: "测试集", captionVal: "验证集", captionParts: "{split}，{pictures} 张图片，图像尺寸 {imgsz}，{device}。",
    captionLatency: "延迟：逐张推理的中位数。", metric: "指标", difference: "{a} 减 {b}",
    perClass: "各类别 mAP50", perClassStrict: "各类别 mAP50-95", parameters: "参数量", latency: "延迟", trained: "训练部分",
    trained_all: "全部权重", trained_halo: "halo 层", "trained_halo+head": "halo 层与检测头", trained_nothing: "无", milliseconds: "{n} 毫秒",
    copyMarkdown: "复制为 Markdown", copied: "已复制", copyYourself: "请从此处复制", copyField: "Markdown 表格",
    overlay: "训练对照", columnRun: "训练", columnState: "状态", columnEpochs: "轮数", columnLast: "最新 mAP50", columnLastStrict: "最新 mAP50-95",
    columnBest: "最佳 mAP50", bestAt: "{value}（第 {n} 轮）", columnTested: "测试 mAP50", columnTime: "已训练",
    overlayNote: "最新与最佳取自各训练自身每轮后的验证。",
    log: "日志", logEmpty: "还没有输出",
  };

  const texts = { en, "zh-CN": zh };

  /** A text in a language, its {places} filled. @param {string} lang @param {string} key @param {Object<string, string|number>} [values] */
  function say(lang, key, values = {}) {
    const text = texts[HaloVis.language(lang)][key] ?? en[key] ?? key;
    return text.replace(/\{(\w+)\}/g, (place, name) => (Object.hasOwn(values, name) ? String(values[name]) : place));
  }

  Object.assign(runs, { texts, say });
})();
