"""The shared models, and samples for each: real images and sentences where there are any."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from fewbits import ROOT
from wordpiece import encode, sentences

SHARED = ROOT.parent / "shared"
MODELS = SHARED / "models"
DATA = SHARED / "data"

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)

Samples = dict[str, np.ndarray]


def available() -> bool:
    """Whether the shared models and data are there."""
    return MODELS.is_dir() and DATA.is_dir()


@dataclass(frozen=True)
class Shared:
    """A shared model and how samples of its inputs are made: `samples(count, offset)`."""

    file: str
    samples: Callable[[int, int], Samples]
    # Classifiers are compared by their largest output; the others by values.
    classifier: bool = True
    # Whether its shapes must be fixed for TFLite, which cannot compute with two free ones.
    fix_for_tflite: bool = False
    # Samples of one comparison: what fits into the suites' time.
    count: int = 200

    @property
    def path(self) -> Path:
        """Where the model is."""
        return MODELS / self.file


def imagenet(count: int, offset: int = 0) -> np.ndarray:
    """Centre crops of 224/256 of the short side, resized to 224 with Pillow's bicubic filter: uint8
    NHWC. Samples are spread over the classes."""
    with (DATA / "imagenet_500" / "labels.csv").open(newline="") as file:
        names = [row[0] for row in csv.reader(file)]
    names = [name for name in names if name.endswith(".jpg")]
    step = max(1, len(names) // (count + offset))
    return np.stack([_crop(name) for name in names[offset * step :: step][:count]])


@cache
def _crop(name: str) -> np.ndarray:
    image = Image.open(DATA / "imagenet_500" / name).convert("RGB")
    width, height = image.size
    side = min(width, height) * 224 / 256
    left, top = (width - side) / 2, (height - side) / 2
    box = (round(left), round(top), round(left + side), round(top + side))
    return np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC, box))


def cifar(count: int, offset: int = 0) -> np.ndarray:
    """Test images of CIFAR-10: uint8 NHWC."""
    images = np.load(DATA / "cifar10_jpegq75" / "test5000_x_u8_nhwc.npy", mmap_mode="r")
    return np.asarray(images[offset : offset + count])


def channels_first(images: np.ndarray) -> np.ndarray:
    """NHWC bytes as NCHW floats."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2).astype(np.float32))


def _efficientnet(count: int, offset: int) -> Samples:
    return {"input": (channels_first(imagenet(count, offset)) - 127.0) / 128.0}


def _mobilenet_v1(count: int, offset: int) -> Samples:
    return {"input": (channels_first(imagenet(count, offset)) - 127.5) / 127.5}


def _mobilenet_v2(count: int, offset: int) -> Samples:
    return {"input": imagenet(count, offset)}


def _resnet20(count: int, offset: int) -> Samples:
    images = cifar(count, offset).astype(np.float32) / 255.0
    return {"input": channels_first((images - IMAGENET_MEAN) / IMAGENET_STD)}


def _resnet8(count: int, offset: int) -> Samples:
    return {"input_1": cifar(count, offset).astype(np.float32)}


def _resnet8_int8(count: int, offset: int) -> Samples:
    # Scale 1, zero point -128: the quantized pixel is the pixel moved by 128.
    return {"input_1_int8": (cifar(count, offset).astype(np.int16) - 128).astype(np.int8)}


def _vww(count: int, offset: int) -> Samples:
    """Photographs, shrunk: the model was trained on photographs in 0…1."""
    return {"input_1": _shrunk(count, offset).astype(np.float32) / 255.0}


def _vww_int8(count: int, offset: int) -> Samples:
    return {"input_1_int8": (_shrunk(count, offset).astype(np.int16) - 128).astype(np.int8)}


def _shrunk(count: int, offset: int) -> np.ndarray:
    images = [Image.fromarray(image).resize((96, 96)) for image in imagenet(count, offset)]
    return np.stack([np.asarray(image) for image in images])


def _minilm(count: int, offset: int) -> Samples:
    texts = sentences(DATA / "stsb" / "sts-dev.csv", offset + count)[offset:]
    return encode(texts, MODELS / "vocab.txt", 32)


def _noise(name: str, shape: tuple[int, ...], low: float, high: float) -> Callable[[int, int], Samples]:
    """Noise over a range like that of real inputs, smooth or rough, faint or strong by sample, so
    that the models' answers differ."""

    def samples(count: int, offset: int) -> Samples:
        generator = np.random.default_rng([count, offset])
        each = (count, *[1] * len(shape))
        rough = generator.standard_normal((count, *shape))
        smooth = rough
        for axis in range(1, rough.ndim):
            for _ in range(3 if shape[axis - 1] > 4 else 0):
                smooth = (smooth + np.roll(smooth, 1, axis)) / 1.3
        mixed = smooth + generator.uniform(0.0, 0.5, each) * rough
        share = generator.uniform(0.15, 0.85, each) + generator.uniform(0.02, 0.3, each) * mixed
        return {name: np.clip(low + (high - low) * share, low, high).astype(np.float32)}

    return samples


def _int8_noise(name: str, shape: tuple[int, ...]) -> Callable[[int, int], Samples]:
    floats = _noise(name, shape, -128.0, 127.0)
    return lambda count, offset: {k: np.rint(v).astype(np.int8) for k, v in floats(count, offset).items()}


# Ranges of inputs without data: those of the int8 twins' input quantization.
_KWS = _noise("input_1", (49, 10, 1), -123.0, 25.0)
_ANOMALY = _noise("input_1", (640,), -84.0, 14.0)
_SINE = _noise("serving_default_dense_input:0", (1,), 0.0, 6.28)

FLOAT_MODELS = (
    Shared("efficientnet_lite0_dyn.onnx", _efficientnet, count=60),
    Shared("mobilenet_v1_025_224_dyn.onnx", _mobilenet_v1, count=100),
    Shared("resnet20_cifar10_dyn.onnx", _resnet20),
    Shared("resnet20_cifar10_jpegft_dyn.onnx", _resnet20),
    Shared("minilm_l6_dyn.onnx", _minilm, classifier=False, fix_for_tflite=True, count=40),
    Shared("resnet8_cifar10_float.tflite", _resnet8),
    Shared("vww_96_float.tflite", _vww, count=100),
    Shared("ad01_float.tflite", _ANOMALY, classifier=False),
    Shared("hello_world_float.tflite", _SINE, classifier=False),
)

HYBRID = Shared("kws_dscnn_float.tflite", _KWS)
"""Float by its name and its edges; its weights are int8 (TensorFlow's dynamic range mode)."""

PUBLISHED_INT8 = (
    Shared("resnet8_cifar10_int8.tflite", _resnet8_int8, count=600),
    Shared("tf2_mobilenet_v2_1.0_224_ptq.tflite", _mobilenet_v2, count=80),
    Shared("kws_dscnn_int8.tflite", _int8_noise("input_1", (49, 10, 1)), count=400),
    Shared("vww_96_int8.tflite", _vww_int8, count=200),
    Shared("str_ww_int8.tflite", _int8_noise("serving_default_input_1:0", (30, 1, 40)), count=400),
    Shared("ad01_int8.tflite", _int8_noise("input_1", (640,)), classifier=False, count=400),
    Shared("hello_world_int8.tflite", _int8_noise("serving_default_dense_input:0", (1,)), classifier=False, count=256),
)
