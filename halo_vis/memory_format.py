"""Which memory format a model predicts in, and what to pass to Ultralytics as ``channels_last`` for it.

In channels_last the channels of a cell lie side by side. That is the order in which convolutions are fastest, and the
one in which HaloAttention projects, so that nothing is transposed around it. Ultralytics' predictor works on a fused
copy of the model and puts that copy into the format that ``channels_last`` asks for, whatever the model itself is in;
None is its own choice. So this is an argument of predict and val, and nothing of it stays in a model, a checkpoint, a
training or an export. Converting the picture as well gains nothing: the first convolution writes its output in the
format of its weights.
"""

from __future__ import annotations

import platform

import torch
from torch import nn


def channels_last(device: str | torch.device) -> bool | None:
    """What to pass to predict and val as ``channels_last`` on a device.

    On the CPU None: Ultralytics takes channels_last on x86 under Linux and Windows by itself (since 8.4.190), and
    refuses it where it is not faster. On CUDA, where Ultralytics leaves models contiguous, True wherever
    :func:`suits_cuda` says so. On anything else, MPS included, None.

    Args:
        device: "cpu", "cuda:0", "0", "mps", ...; of several GPUs the first one decides.
    """
    name = str(device)
    index = name.removeprefix("cuda").removeprefix(":").split(",")[0] or "0"
    if not index.isdecimal() or int(index) >= torch.cuda.device_count():
        return None
    return suits_cuda(torch.cuda.get_device_capability(int(index)), platform.system()) or None


def suits_cuda(capability: tuple[int, int], system: str) -> bool:
    """Whether fp32 convolutions of a GPU are made for channels_last.

    They are from Ampere (8.0) on, whose tensor cores multiply fp32 inputs as TF32 and read channels_last; on older ones
    channels_last in fp32 can be several times slower (pytorch/pytorch issue 44943). Not under Windows, whose driver
    makes the launches of what remains to be converted dear (ultralytics/ultralytics pull request 26105).
    """
    return capability >= (8, 0) and system != "Windows"


def is_channels_last(model: nn.Module) -> bool:
    """Whether a model's convolutions hold their weights in channels_last.

    Raises:
        ValueError: the model has no 2-D convolution whose weights would tell.
    """
    for module in model.modules():
        # With one channel, or one cell, both formats are the same.
        if isinstance(module, nn.Conv2d) and min(module.weight.shape[1], max(module.weight.shape[2:])) > 1:
            return module.weight.is_contiguous(memory_format=torch.channels_last)
    raise ValueError(f"{type(model).__name__} has no convolution of several channels and cells. Pass a whole model.")
