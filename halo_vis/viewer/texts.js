// All words of the viewer.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});

  const en = {
    baseline: "Baseline", halo: "With HaloAttention",
    toolbar: "What the panels show", layer: "Layer", leftLayer: "Baseline's own attention", off: "off",
    layer10: "layer 10", layer22: "layer 22",
    view: "View", viewCell: "cell", viewBlocks: "blocks", viewReceived: "received",
    viewCellHelp: "Where one cell looks: its row of attention",
    viewBlocksHelp: "Every block's map, drawn in that block's own square",
    viewReceivedHelp: "How much attention each cell receives",
    head: "Heads", mean: "mean", headName: "head {n}", meanOfHeads: "mean of heads",
    of: "Values", weights: "weights", contributions: "contributions",
    weightsHelp: "Softmax weights: how much of each cell is taken",
    contributionsHelp: "Weight times the norm of the value that the cell brings",
    opacity: "Opacity", scale: "Scale", scaleMax: "0 to {n} ×", scaleAuto: "auto (this map): not comparable",
    colors: "Colours", more: "More", boxes: "boxes", labels: "labels", grid: "cell grid", outlines: "block and window",
    follow: "follow pointer", followHelp: "On: attention follows the pointer. A click pins a cell, Escape frees it",
    save: "Save PNG", saving: "Saving…",
    barTitle: "× uniform", barUniform: "1 = uniform", barAuto: "per-map scale, not comparable",
    numbers: "Numbers of the selected cell", ownBlock: "own block", haloRing: "halo", padding: "padding",
    entropy: "entropy", distance: "mean distance", cell: "cell", received: "received", times: "{n} ×",
    cellName: "{level} ({y}, {x})",
    spoken: "{cell}, {head}, {of}: own block {block}, halo {halo}, padding {padding}, entropy {entropy}, mean distance {distance}.",
    spokenGlobal: "{cell}, {head}: entropy {entropy}, mean distance {distance}.",
    badgeMemorised: "memorised pair: it has learnt these pictures by heart",
    badgeUntrained: "untrained: feature similarity",
    badgeNothing: "this layer adds nothing yet",
    badgePublished: "published mask: interior cells attend uniformly, border cells to padding",
    badgeUniform: "attention near uniform", badgePadding: "attention on padding",
    matches: "Detections of both models", status: "status", class: "class", before: "baseline", after: "halo",
    change: "change", iou: "IoU", kept: "kept", gained: "gained", lost: "lost",
    counts: "kept {kept}, gained {gained}, lost {lost}", noDetections: "No detections at this confidence",
    empty: "No picture yet", loading: "Loading…", failed: "This result could not be shown: {why}",
    canvasBaseline: "Photo with the detections of {model}. {count} boxes. Attention of {layer}.",
    canvasHalo: "Photo with the detections of {model}. {count} boxes. {view} of {layer}. Arrow keys move the cell, with Shift by a block; Escape frees it.",
    noAttention: "no attention shown", viewCellName: "row of cell", viewBlocksName: "maps of all blocks", viewReceivedName: "attention received",
    hint: "Move over a photo to see where that cell looks. Click to pin a cell or a box; Escape frees it.",
    hintTouch: "Tap a photo to see where that cell looks. Tap the border or the label of a box for the cell that produced it.",
    scaleTo: "scale 0 to {n} × uniform", scaleAutoTo: "scale 0 to {n} × uniform (per map, not comparable)",
    caption: "{model}: {what}", imgsz: "imgsz {n}", conf: "conf {n}", reduced: "picture reduced to {n} % of its size",
    noMarkup: "HaloVis.mount: the element does not contain the markup of explorer.html",
  };

  const zh = {
    baseline: "基线", halo: "加入 HaloAttention",
    toolbar: "面板显示内容", layer: "层", leftLayer: "基线自身的注意力", off: "关闭",
    layer10: "第 10 层", layer22: "第 22 层",
    view: "视图", viewCell: "单元", viewBlocks: "分块", viewReceived: "接收",
    viewCellHelp: "一个单元看向哪里：它那一行注意力",
    viewBlocksHelp: "每个块的注意力图，画在该块自己的方格里",
    viewReceivedHelp: "每个单元接收到多少注意力",
    head: "注意力头", mean: "平均", headName: "第 {n} 头", meanOfHeads: "各头平均",
    of: "数值", weights: "权重", contributions: "贡献",
    weightsHelp: "Softmax 权重：从每个单元取多少",
    contributionsHelp: "权重乘以该单元带来的值的范数",
    opacity: "不透明度", scale: "标尺", scaleMax: "0 至 {n} ×", scaleAuto: "自动（仅本图）：不可比较",
    colors: "配色", more: "更多", boxes: "检测框", labels: "标签", grid: "单元网格", outlines: "块与窗口",
    follow: "跟随指针", followHelp: "开启时注意力跟随指针。点击固定单元，Esc 释放",
    save: "保存 PNG", saving: "正在保存…",
    barTitle: "× 均匀", barUniform: "1 = 均匀", barAuto: "按本图定标，不可比较",
    numbers: "所选单元的数值", ownBlock: "本块", haloRing: "光环", padding: "填充",
    entropy: "熵", distance: "平均距离", cell: "单元", received: "接收", times: "{n} ×",
    cellName: "{level} ({y}, {x})",
    spoken: "{cell}，{head}，{of}：本块 {block}，光环 {halo}，填充 {padding}，熵 {entropy}，平均距离 {distance}。",
    spokenGlobal: "{cell}，{head}：熵 {entropy}，平均距离 {distance}。",
    badgeMemorised: "记忆模型：它背下了这些图片",
    badgeUntrained: "未训练：特征相似度",
    badgeNothing: "该层暂时不增加任何内容",
    badgePublished: "原文掩码：内部单元均匀注意，边缘单元只注意填充",
    badgeUniform: "注意力接近均匀", badgePadding: "有注意力落在填充上",
    matches: "两个模型的检测结果", status: "状态", class: "类别", before: "基线", after: "Halo",
    change: "变化", iou: "IoU", kept: "保留", gained: "新增", lost: "丢失",
    counts: "保留 {kept}，新增 {gained}，丢失 {lost}", noDetections: "在此置信度下没有检测结果",
    empty: "还没有图片", loading: "正在加载…", failed: "无法显示此结果：{why}",
    canvasBaseline: "{model} 的检测结果照片，{count} 个检测框。{layer} 的注意力。",
    canvasHalo: "{model} 的检测结果照片，{count} 个检测框。{layer} 的{view}。方向键移动单元，按住 Shift 移动一块；Esc 释放。",
    noAttention: "未显示注意力", viewCellName: "单元的注意力行", viewBlocksName: "所有块的注意力图", viewReceivedName: "接收到的注意力",
    hint: "在照片上移动可查看该单元看向哪里。点击固定单元或检测框，Esc 释放。",
    hintTouch: "点按照片可查看该单元看向哪里。点按检测框的边或标签可查看产生它的单元。",
    scaleTo: "标尺 0 至 {n} × 均匀", scaleAutoTo: "标尺 0 至 {n} × 均匀（按本图，不可比较）",
    caption: "{model}：{what}", imgsz: "imgsz {n}", conf: "conf {n}", reduced: "图片缩小至 {n} %",
    noMarkup: "HaloVis.mount：该元素不包含 explorer.html 的内容",
  };

  const texts = { en, "zh-CN": zh };

  /** @param {string|undefined} lang any language tag @returns {"en"|"zh-CN"} */
  const language = (lang) => (/^zh/i.test(lang ?? "") ? "zh-CN" : "en");

  /**
   * @param {string} lang @param {string} key @param {Object<string, string|number>} [values] for the {places} of the text
   * @returns {string}
   */
  function say(lang, key, values = {}) {
    const text = texts[language(lang)][key] ?? en[key] ?? key;
    return text.replace(/\{(\w+)\}/g, (place, name) => (name in values ? String(values[name]) : place));
  }

  HaloVis.texts = texts;
  HaloVis.language = language;
  HaloVis.say = say;
})();
