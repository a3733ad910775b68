"""The networks of `tfreuse.models` in PyTorch: the same layers under the same names.

    network = torch_networks.build(spec, channels=3, num_classes=5)
    torch_networks.take_values(network, values)  # {"encoder_1_a_conv/kernel": array, ...}

For block order "conv_bn_relu" with biases, without auxiliary head and dropout. Channels are the
second axis, PyTorch's default. `benchmarks.steps` checks that both compute the same.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tfreuse.specs import ModelSpec

_MOMENTUM = 0.01  # 1 - momentum of Keras
_ROLES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


class Network(nn.Module):
    """Creates blocks of layers by name, and calls them by name."""

    epsilon = 1e-3

    def add_block(self, name: str, inputs: int, filters: int, size: int = 3, **conv):
        """Adds convolution and batch normalization; returns `filters`."""
        padding = conv.get("dilation", 1) * (size - 1) // 2
        convolution = nn.Conv2d(inputs, filters, size, padding=padding, **conv)
        self.add_module(f"{name}_conv", convolution)
        norm = nn.BatchNorm2d(filters, eps=self.epsilon, momentum=_MOMENTUM)
        self.add_module(f"{name}_bn", norm)
        return filters

    def block(self, name: str, x: torch.Tensor, relu: bool = True) -> torch.Tensor:
        x = getattr(self, f"{name}_bn")(getattr(self, f"{name}_conv")(x))
        return functional.relu(x, inplace=True) if relu else x


class UNet(Network):
    """See tfreuse.models.unet."""

    def __init__(self, spec: ModelSpec, channels: int, num_classes: int) -> None:
        super().__init__()
        self.depth, x = spec.depth, channels
        for stage in range(1, spec.depth + 1):
            filters = spec.width * 2 ** (stage - 1)
            x = self.add_block(f"encoder_{stage}_a", x, filters)
            x = self.add_block(f"encoder_{stage}_b", x, filters)
        x = self.add_block("bottleneck_a", x, spec.width * 2**spec.depth)
        x = self.add_block("bottleneck_b", x, x)
        for stage in range(spec.depth, 0, -1):
            filters = spec.width * 2 ** (stage - 1)
            up = nn.ConvTranspose2d(x, filters, 2, stride=2)
            self.add_module(f"decoder_{stage}_up_conv", up)
            x = self.add_block(f"decoder_{stage}_a", 2 * filters, filters)
            x = self.add_block(f"decoder_{stage}_b", x, filters)
        self.head_segmentation_conv = nn.Conv2d(x, num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        encoded = {}
        for stage in range(1, self.depth + 1):
            x = self.block(f"encoder_{stage}_a", x)
            x = encoded[stage] = self.block(f"encoder_{stage}_b", x)
            x = functional.max_pool2d(x, 2)
        x = self.block("bottleneck_b", self.block("bottleneck_a", x))
        for stage in range(self.depth, 0, -1):
            x = getattr(self, f"decoder_{stage}_up_conv")(x)
            x = torch.cat([encoded[stage], x], 1)
            x = self.block(f"decoder_{stage}_a", x)
            x = self.block(f"decoder_{stage}_b", x)
        return self.head_segmentation_conv(x)


class PSPNet(Network):
    """See tfreuse.models.pspnet."""

    epsilon = 1.001e-5

    def __init__(self, spec: ModelSpec, channels: int, num_classes: int) -> None:
        super().__init__()
        blocks = {"small": (1, 1, 1, 1), "resnet50": (3, 4, 6, 3)}[spec.encoder]
        width, self.residuals = spec.width, []
        x = self.add_block("conv1", channels, width, 7, stride=2)
        for i, (count, stride, dilation) in enumerate(
            zip(blocks, (1, 2, 1, 1), (1, 1, 2, 4), strict=True)
        ):
            filters = width * 2**i
            for n in range(1, count + 1):
                name, stride = f"conv{i + 2}_block{n}", stride if n == 1 else 1
                self.residuals.append((name, n == 1))
                if n == 1:
                    self.add_block(f"{name}_0", x, 4 * filters, 1, stride=stride)
                x = self.add_block(f"{name}_1", x, filters, 1, stride=stride)
                x = self.add_block(f"{name}_2", x, filters, dilation=dilation)
                x = self.add_block(f"{name}_3", x, 4 * filters, 1)
        for bins in (1, 2, 3, 6):
            self.add_block(f"pyramid_{bins}", x, 8 * width, 1)
        x = self.add_block("fusion_a", x + 4 * 8 * width, 8 * width)
        self.head_segmentation_conv = nn.Conv2d(x, num_classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(self.block("conv1", images), 3, 2, padding=1)
        for name, projects in self.residuals:
            shortcut = self.block(f"{name}_0", x, relu=False) if projects else x
            x = self.block(f"{name}_2", self.block(f"{name}_1", x))
            x = functional.relu(self.block(f"{name}_3", x, relu=False) + shortcut)
        levels = [x]
        for bins in (1, 2, 3, 6):
            level = functional.adaptive_avg_pool2d(x, bins)
            levels.append(_resize(self.block(f"pyramid_{bins}", level), x))
        x = self.block("fusion_a", torch.cat(levels, 1))
        return _resize(self.head_segmentation_conv(x), images)


def build(spec: ModelSpec, channels: int, num_classes: int) -> Network:
    kind = {"unet": UNet, "pspnet": PSPNet}[spec.architecture]
    return kind(spec, channels, num_classes)


def take_values(network: Network, values: dict[str, np.ndarray]) -> None:
    """Copies all values of the Keras model into the network.

    Raises:
        ValueError: a parameter is missing on one side, or has another shape.
    """
    names = {f"{name.split('/')[0]}.{_ROLES[name.split('/')[1]]}" for name in values}
    state = {n: value for n, value in network.state_dict().items() if value.ndim}
    if names != set(state):
        raise ValueError(f"parameters differ: {sorted(names ^ set(state))}")
    for name, value in values.items():
        layer, role = name.split("/")
        if (
            role == "kernel"
        ):  # of both kinds of convolution: [h, w, a, b] -> [b, a, h, w]
            value = value.transpose(3, 2, 0, 1)
        parameter = state[f"{layer}.{_ROLES[role]}"]
        if parameter.shape != value.shape:
            raise ValueError(f"{name}: {value.shape} is not {tuple(parameter.shape)}")
        parameter.copy_(torch.from_numpy(value.copy()))


def kernels_and_others(network: Network) -> tuple[list, list]:
    """Returns parameters with weight decay, and without it (biases, gammas, betas)."""
    parameters = list(network.parameters())
    kernels = [p for p in parameters if p.ndim == 4]
    return kernels, [p for p in parameters if p.ndim != 4]


def _resize(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(
        x, like.shape[2:], mode="bilinear", align_corners=False
    )
