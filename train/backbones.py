"""The backbones that a network can be built on: their names in Keras, and the pixels they were pretrained with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Backbone:
    """A backbone of ``keras.applications``, fully convolutional with a total stride of 32 once its top is off.

    Attributes:
        application: its name there.
        pixels: what its ImageNet weights expect: ``"signed"`` (RGB in [-1, 1]), ``"caffe"`` (BGR minus the means of
            ImageNet) or ``"normalised"`` (RGB minus the means, divided by the deviations).
        options: further arguments of the application.
        has_alpha: it comes in several widths.
        begins_at: the first layer behind those that scale pixels, where the application has such layers.
        is_chain: its convolutions run one after the other, each without a bias and before a batch normalisation.
    """

    application: str
    pixels: str
    options: Mapping[str, Any] = field(default_factory=dict)
    has_alpha: bool = False
    begins_at: str = ""
    is_chain: bool = False


BACKBONES: Mapping[str, Backbone] = {
    "mobilenetv2": Backbone("MobileNetV2", "signed", has_alpha=True, is_chain=True),
    # Without hard-swish and squeeze-and-excitation, which int8 kernels do not accelerate.
    "mobilenetv3small_minimalistic": Backbone(
        "MobileNetV3Small",
        "signed",
        {"minimalistic": True, "include_preprocessing": False},
        has_alpha=True,
        is_chain=True,
    ),
    # Keras scales inside, by one rule with "imagenet" and by another with the same weights from a file.
    "efficientnetb0": Backbone("EfficientNetB0", "normalised", begins_at="stem_conv_pad"),
    "resnet50": Backbone("ResNet50", "caffe"),
    "resnet50v2": Backbone("ResNet50V2", "signed"),
    "vgg16": Backbone("VGG16", "caffe"),
}
