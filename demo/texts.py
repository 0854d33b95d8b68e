"""Every word of the page, in English and Simplified Chinese.

The Fine-tune tab's are in texts_train.py; the explorer has its own in halo_vis/viewer/texts.js, the run view in
run_view/texts.js.
"""

from __future__ import annotations

from demo import texts_train

LANGUAGES = {"en": "English", "zh-CN": "中文"}

TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "tagline": "See what YOLO26 with HaloAttention looks at",
        "inspect": "Inspect",
        "picture": "Picture",
        "examples": "Examples",
        "pair": "Models",
        "member": "Halo model",
        "member_halo": "residual",
        "member_article": "article's form",
        "member_share": "{n} % of the heads",
        "member_heads": "heads: {n}",
        "conf": "Least confidence",
        "imgsz": "Image size",
        "imgsz_info": "longer side of the model's input, pixels",
        "more": "More",
        "head": "Detection head",
        "head_info": "one-to-many with NMS is Ultralytics' default; the halo layers learn through it",
        "one-to-many": "one-to-many, NMS",
        "NMS-free": "NMS-free",
        "iou": "NMS threshold (IoU)",
        "device": "Device",
        "auto": "automatic",
        "fetch": "Download official weights if they are not here",
        "own_baseline": "Baseline (.safetensors, or .pt on this machine)",
        "own_halo": "Halo model (left out: the baseline is transplanted)",
        "own_pair": "own weights",
        "run": "Run",
        "beside": "Another halo model beside it",
        "own_beside": "Another halo model, to compare (choose it under Another halo model)",
        "own_beside_missing": "Own weights are chosen for comparison, but no file was uploaded. Upload one under More.",
        "take_zip": "All files (zip)",
        "take_figure": "This view (PDF)",
        "take_sheet": "Figure sheet (PDF)",
        "take_gif": "Cursor path (GIF)",
        "take_page": "Interactive page (HTML)",
        "result_gone": "This result is no longer here. Run again.",
        "view_broken": "What the explorer shows did not arrive. Reload the page, then try again.",
        "link_gone": "The picture of this link is no longer here. Upload it, then Run.",
        "link_own": "This link was made with someone's own weights. Choose them and the picture, then Run.",
        "link_pair": "This link names models that are not here. Choose a pair, then Run.",
        "link_broken": "This link is damaged. Choose a picture, then Run.",
        "card": "About these models",
        "ready": "First picture: precomputed. Choose an example or a picture of your own, then Run.",
        "loading": "Loading the models; the first run takes a few seconds.",
        "running": "Running both models.",
        "done": "{name}: baseline {baseline} boxes in {baseline_ms} ms, with HaloAttention {halo} in {halo_ms} ms, on "
        "{device} at {imgsz}.",
        "no_picture": "There is no picture. Drop one, or choose an example.",
        "foreign_path": "This picture was not uploaded here. Upload it.",
        "own_missing": "Own weights are chosen, but there is no baseline file. Upload one under More.",
        "pt_hosted": "On a public host only .safetensors are taken: .pt files can run code. Export yours with HaloVis.",
        "failed": "That did not work: {error}",
        "unexpected": "Something went wrong here, not with what you sent. The server's log has the details.",
        "packing": "Writing the files.",
        "memorised": "Memorised: both models learned these ten pictures by heart. No general detector.",
        "trained_on": "{member}: {data}; recipe {recipe}, {epochs} epochs at {imgsz} px, {minutes} min; "
        "mAP50 {map50}, mAP50-95 {map}, {where}; {parameters} M parameters",
        "held_out": "on held-out pictures",
        "on_training": "on the training pictures",
        "coco_card": "Official YOLO26 weights (COCO). The halo layers are transplanted and untrained: detections equal "
        "the baseline's, attention shows feature similarity.",
        "own_card": "Your own weights. Without a halo file the baseline is transplanted.",
        "run_pair": "run: {title}",
        "run_gone": "This run is no longer here. Choose another pair.",
        "run_start": "Only the halo model was trained; the baseline is the one that it started from.",
        "run_without_halo": "Only the halo model was trained; the baseline is the same weights with the halo layers "
        "taken out.",
        "run_untrained": "Only the baseline was trained; the halo layers are transplanted and untrained: detections "
        "equal the baseline's, attention shows feature similarity.",
    },
    "zh-CN": {
        "tagline": "看看带 HaloAttention 的 YOLO26 在看哪里",
        "inspect": "查看",
        "picture": "图片",
        "examples": "示例",
        "pair": "模型",
        "member": "Halo 模型",
        "member_halo": "残差形式",
        "member_article": "论文原版",
        "member_share": "{n} % 的注意力头",
        "member_heads": "注意力头：{n}",
        "conf": "最低置信度",
        "imgsz": "图像尺寸",
        "imgsz_info": "模型输入的长边，像素",
        "more": "更多",
        "head": "检测头",
        "head_info": "一对多加 NMS 是 Ultralytics 的默认方式，halo 层也经由它学习",
        "one-to-many": "一对多，NMS",
        "NMS-free": "无 NMS",
        "iou": "NMS 阈值（IoU）",
        "device": "设备",
        "auto": "自动",
        "fetch": "本机没有官方权重时下载",
        "own_baseline": "基线（.safetensors；本机运行时也可用 .pt）",
        "own_halo": "Halo 模型（留空：由基线移植）",
        "own_pair": "自己的权重",
        "run": "运行",
        "beside": "用于对比的另一个 Halo 模型",
        "own_beside": "用于对比的自己的 Halo 权重（在“用于对比的另一个 Halo 模型”中选择）",
        "own_beside_missing": "要并排显示自己的权重，但没有相应文件。请在“更多”中上传。",
        "take_zip": "全部文件（zip）",
        "take_figure": "当前视图（PDF）",
        "take_sheet": "论文图版（PDF）",
        "take_gif": "指针轨迹（GIF）",
        "take_page": "交互式网页（HTML）",
        "result_gone": "此结果已失效，请重新运行。",
        "view_broken": "没有收到当前视图。请刷新页面后重试。",
        "link_gone": "此链接的图片已不在这里。请上传后运行。",
        "link_own": "此链接使用了他人自己的权重。请选择权重和图片后运行。",
        "link_pair": "此链接指定的模型不在这里。请选择模型后运行。",
        "link_broken": "此链接已损坏。请选择图片后运行。",
        "card": "关于这些模型",
        "ready": "第一张图已预先计算。请选择示例或自己的图片，然后运行。",
        "loading": "正在加载模型，第一次运行需要几秒钟。",
        "running": "正在运行两个模型。",
        "done": "{name}：基线 {baseline} 个框，{baseline_ms} 毫秒；带 HaloAttention {halo} 个框，{halo_ms} 毫秒；"
        "设备 {device}，尺寸 {imgsz}。",
        "no_picture": "没有图片。请拖入一张，或选择示例。",
        "foreign_path": "这张图片不是在这里上传的。请上传。",
        "own_missing": "已选择自己的权重，但没有基线文件。请在“更多”中上传。",
        "pt_hosted": "公共主机只接受 .safetensors：.pt 文件可能执行代码。请用 HaloVis 导出。",
        "failed": "操作失败：{error}",
        "unexpected": "服务器端出错，与您提交的内容无关。详情见服务器日志。",
        "packing": "正在生成文件。",
        "memorised": "死记硬背：两个模型都背下了这十张图片，不是通用检测器。",
        "trained_on": "{member}：{data}；训练配置 {recipe}，{epochs} 轮，{imgsz} 像素，{minutes} 分钟；"
        "mAP50 {map50}，mAP50-95 {map}，{where}；{parameters} M 参数",
        "held_out": "在留出图片上",
        "on_training": "在训练图片上",
        "coco_card": "官方 YOLO26 权重（COCO）。halo 层为移植且未训练：检测结果与基线相同，注意力显示特征相似度。",
        "own_card": "您自己的权重。没有 halo 文件时由基线移植。",
        "run_pair": "训练：{title}",
        "run_gone": "此训练已不在这里。请选择其他模型。",
        "run_start": "只训练了 Halo 模型；基线是它训练之前的起点。",
        "run_without_halo": "只训练了 Halo 模型；基线是去掉 halo 层后的同一组权重。",
        "run_untrained": "只训练了基线；halo 层为移植且未训练：检测结果与基线相同，注意力显示特征相似度。",
    },
}

TEXTS["en"] |= texts_train.EN
TEXTS["zh-CN"] |= texts_train.ZH


def language(lang: object) -> str:
    """A language that the page speaks: the wanted one; English for every other value that a request may send."""
    return lang if isinstance(lang, str) and lang in TEXTS else "en"


def text(lang: object, key: str, **values: object) -> str:
    """The words of a key; English where a language is unknown."""
    return TEXTS[language(lang)][key].format(**values)
