"""PyTorch's side of training.py: a net, channels last, trained on one batch for each line that is read.

python training_torch.py NET PRECISION THREADS STEPS
"""

from __future__ import annotations

import json
import sys
import time

import torch
from torch import nn

BATCH, SIZE, CLASSES = 64, 32, 10
MOBILENET_BODY = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    *((512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1)),
    (1024, 2),
    (1024, 1),
)


def main() -> None:
    """Prints the number of parameters, then images a second for each line of the standard input."""
    net_name, precision, threads, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    net = NETS[net_name]().to(memory_format=torch.channels_last).train()
    images = torch.rand(BATCH, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % CLASSES
    optimizer = OPTIMIZERS[net_name](net.parameters())

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            scores = net(images)
        loss = nn.functional.cross_entropy(scores.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    for _ in range(3):
        step()
    print(sum(each.numel() for each in net.parameters() if each.requires_grad), flush=True)
    for _ in sys.stdin:
        wall, cpu = time.monotonic(), time.process_time()
        for _ in range(steps):
            step()
        images_done = steps * BATCH
        found = [images_done / (time.monotonic() - wall), images_done / (time.process_time() - cpu)]
        print(json.dumps(found), flush=True)


def mobilenet() -> nn.Module:
    """MobileNet 1.0 with a first convolution of stride 1."""
    layers, channels = [*_norm_relu6(nn.Conv2d(3, 32, 3, padding=1, bias=False))], 32
    for filters, stride in MOBILENET_BODY:
        depthwise = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
        layers += [*_norm_relu6(depthwise), *_norm_relu6(nn.Conv2d(channels, filters, 1, bias=False))]
        channels = filters
    return nn.Sequential(*layers, *_head(channels))


def densenet() -> nn.Module:
    """DenseNet-BC of 40 layers and growth rate 12."""
    growth, channels = 12, 24
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1, bias=False)]
    for block in range(3):
        if block:
            layers += [*_relu_conv(channels, channels // 2, 1), nn.AvgPool2d(2)]
            channels //= 2
        for _ in range(6):
            layers.append(_DenseLayer(channels, growth))
            channels += growth
    return nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU(inplace=True), *_head(channels))


class _DenseLayer(nn.Module):
    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_relu_conv(channels, 4 * growth, 1), *_relu_conv(4 * growth, growth, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.body(x)], 1)


def _norm_relu6(conv: nn.Conv2d) -> tuple[nn.Module, ...]:
    return conv, nn.BatchNorm2d(conv.out_channels, eps=1e-3), nn.ReLU6(inplace=True)


def _relu_conv(channels: int, filters: int, kernel: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(channels, filters, kernel, padding=kernel // 2, bias=False)
    return nn.BatchNorm2d(channels), nn.ReLU(inplace=True), conv


def _head(channels: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)


NETS = {"mobilenet": mobilenet, "densenet": densenet}
OPTIMIZERS = {
    "mobilenet": lambda values: torch.optim.RMSprop(values, 1e-3, alpha=0.9, eps=1.0, momentum=0.9),
    "densenet": lambda values: torch.optim.SGD(values, 1e-3, momentum=0.9, nesterov=True, weight_decay=1e-4),
}

if __name__ == "__main__":
    main()
