#!/usr/bin/env python3
"""Train the network of `fewbits demo` and write its two embedded assets.

What it writes, into crates/fewbits/assets/ (or --out DIR):

    digits.npz       image u8 [1797,1,8,8] (0..16), labels u8 [1797] (0..9),
                     test u8 [1797] (1 = held out, 0 = trained on)
    digits_cnn.onnx  opset 17; `image` float32 [N,1,8,8], raw 0..16 values,
                     -> `logits` float32 [N,10]

How to run it (about a minute on one core):

    python3 -m venv /tmp/venv-digits
    /tmp/venv-digits/bin/pip install -r tools/interop/requirements.txt scikit-learn==1.9.1
    /tmp/venv-digits/bin/python tools/train_digits.py

scikit-learn is only the carrier of the data: its packaged digits.csv.gz is read, and nothing of it
is imported. The training is plain numpy: forward and backward passes are written out below. Every
random number comes from one seed and BLAS is held to one thread, so the same machine and the same
package versions give the same bytes; another CPU's BLAS rounds differently and gives other weights
of about the same accuracy. The split does not depend on the CPU.

Data: "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, UCI Machine Learning
Repository, 1998, CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/),
https://doi.org/10.24432/C50P49. The values are unchanged; the file format is ours.
"""

import os

# Must precede the numpy import: a threaded GEMM splits its sums by core count, which would make the
# weights depend on the machine's number of cores.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import argparse
import gzip
import importlib.util
import io
import time
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SEED = 20261123
TEST_COUNT = 500
EPOCHS = 60
BATCH = 64
PEAK_LEARNING_RATE = 0.1
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
BN_EPSILON = 1e-3
BN_MOMENTUM = 0.05
PIXEL_MAX = 16.0
CLASSES = 10
WIDTHS = (24, 48, 144)
ASSETS = Path(__file__).resolve().parent.parent / "crates" / "fewbits" / "assets"

CREDIT = (
    "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, "
    "UCI Machine Learning Repository, CC BY 4.0, https://doi.org/10.24432/C50P49"
)


# ---------------------------------------------------------------------------------------------
# Data


def load_digits():
    """(images u8 [1797,1,8,8], labels u8 [1797]), read from the installed scikit-learn."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None:
        raise SystemExit("scikit-learn is not installed: pip install scikit-learn")
    path = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path, "rt") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    if table.shape != (1797, 65) or table[:, :64].max() != PIXEL_MAX or table[:, 64].max() != 9:
        raise SystemExit(f"{path} is not the digits table this script knows")
    return table[:, :64].reshape(-1, 1, 8, 8), table[:, 64]


def held_out(count):
    """u8 [count], 1 for the TEST_COUNT samples that training never sees."""
    mask = np.zeros(count, np.uint8)
    mask[np.random.default_rng(SEED).permutation(count)[:TEST_COUNT]] = 1
    return mask


def write_npz(path, arrays):
    """A deflated .npz whose bytes carry no clock: np.savez_compressed would stamp the time."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            npy = io.BytesIO()
            np.lib.format.write_array(npy, np.ascontiguousarray(array), version=(1, 0))
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, npy.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)


def shifted(images, rng):
    """Each NHWC image moved by -1, 0 or +1 pixel along both axes, zeros entering at the border."""
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    offsets = rng.integers(0, 3, size=(count, 2))
    moved = [
        image[top : top + height, left : left + width]
        for image, (top, left) in zip(padded, offsets)
    ]
    return np.stack(moved)


# ---------------------------------------------------------------------------------------------
# Layers. Activations are float32 NHWC: a 1x1 convolution is then one matrix product.
# `forward(x, training)` keeps what `backward(gradient)` needs; `parameters()` yields
# (array, gradient, decays) and the optimiser updates the arrays in place.


class Windows:
    """The k x k window geometry that both kinds of convolution share.

    Padding is TFLite's SAME (the odd row or column goes to the bottom or right), so an export to
    TFLite needs no separate Pad operator.
    """

    def __init__(self, size, kernel, stride):
        self.size, self.kernel, self.stride = size, kernel, stride
        self.out = -(-size // stride)
        total = max((self.out - 1) * stride + kernel - size, 0)
        self.before, self.after = total // 2, total - total // 2

    def pad(self, x):
        sides = (self.before, self.after)
        return np.pad(x, ((0, 0), sides, sides, (0, 0)))

    def unpad(self, x):
        return x[:, self.before : self.before + self.size, self.before : self.before + self.size]

    def taps(self, padded):
        """For each kernel position, the view of `padded` that it multiplies."""
        reach = (self.out - 1) * self.stride + 1
        for row in range(self.kernel):
            for column in range(self.kernel):
                yield padded[
                    :,
                    row : row + reach : self.stride,
                    column : column + reach : self.stride,
                ]


class Conv:
    """Dense convolution without bias; `weight` is [k*k*in, out], rows ordered (row, column, in)."""

    groups = 1

    def __init__(self, rng, size, kernel, inputs, outputs):
        self.windows = Windows(size, kernel, stride=1)
        self.inputs, self.outputs = inputs, outputs
        fan_in = kernel * kernel * inputs
        self.weight = he_normal(rng, fan_in, (fan_in, outputs))
        self.gradient = np.zeros_like(self.weight)

    def forward(self, x, training):
        out = self.windows.out
        columns = np.concatenate(list(self.windows.taps(self.windows.pad(x))), axis=-1)
        self.columns = columns.reshape(-1, self.weight.shape[0]) if training else None
        product = columns.reshape(-1, self.weight.shape[0]) @ self.weight
        return product.reshape(-1, out, out, self.outputs)

    def backward(self, gradient):
        flat = gradient.reshape(-1, self.outputs)
        np.matmul(self.columns.T, flat, out=self.gradient)
        columns = (flat @ self.weight.T).reshape(*gradient.shape[:3], -1, self.inputs)
        size = self.windows.size
        padded = self.windows.pad(np.zeros((len(gradient), size, size, self.inputs), np.float32))
        for tap, view in enumerate(self.windows.taps(padded)):
            view += columns[:, :, :, tap]
        return self.windows.unpad(padded)

    def parameters(self):
        yield self.weight, self.gradient, True

    def onnx_weight(self):
        """[out, in, k, k]."""
        k = self.windows.kernel
        return self.weight.reshape(k, k, self.inputs, self.outputs).transpose(3, 2, 0, 1)


class DepthwiseConv:
    """3x3 convolution of each channel by itself, without bias; `weight` is [9, channels]."""

    def __init__(self, rng, size, channels, stride):
        self.windows = Windows(size, 3, stride)
        self.groups = channels
        self.weight = he_normal(rng, 9, (9, channels))
        self.gradient = np.zeros_like(self.weight)

    def forward(self, x, training):
        self.padded = self.windows.pad(x)
        return sum(view * tap for view, tap in zip(self.windows.taps(self.padded), self.weight))

    def backward(self, gradient):
        padded = np.zeros_like(self.padded)
        taps = zip(self.windows.taps(self.padded), self.windows.taps(padded))
        for tap, (view, out) in enumerate(taps):
            self.gradient[tap] = np.einsum("nhwc,nhwc->c", view, gradient)
            out += gradient * self.weight[tap]
        return self.windows.unpad(padded)

    def parameters(self):
        # Not decayed: with nine weights a channel, decay only trades against the BN scale.
        yield self.weight, self.gradient, False

    def onnx_weight(self):
        """[channels, 1, 3, 3]."""
        return self.weight.T.reshape(self.groups, 1, 3, 3)


class BatchNorm:
    """Batch normalisation (Ioffe and Szegedy, 2015), per channel, with running statistics."""

    def __init__(self, channels):
        self.gamma = np.ones(channels, np.float32)
        self.beta = np.zeros(channels, np.float32)
        self.mean = np.zeros(channels, np.float32)
        self.variance = np.ones(channels, np.float32)
        self.gamma_gradient = np.zeros_like(self.gamma)
        self.beta_gradient = np.zeros_like(self.beta)

    def forward(self, x, training):
        mean, variance = self.mean, self.variance
        if training:
            mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
            self.mean += BN_MOMENTUM * (mean - self.mean)
            self.variance += BN_MOMENTUM * (variance - self.variance)
        self.inverse = 1.0 / np.sqrt(variance + np.float32(BN_EPSILON))
        self.normal = (x - mean) * self.inverse
        return self.normal * self.gamma + self.beta

    def backward(self, gradient):
        count = gradient.size // gradient.shape[-1]
        self.beta_gradient[:] = gradient.sum(axis=(0, 1, 2))
        self.gamma_gradient[:] = np.einsum("nhwc,nhwc->c", gradient, self.normal)
        centred = gradient - (self.beta_gradient + self.normal * self.gamma_gradient) / count
        return centred * (self.gamma * self.inverse)

    def parameters(self):
        yield self.gamma, self.gamma_gradient, False
        yield self.beta, self.beta_gradient, False


class Relu6:
    """min(max(x, 0), 6)."""

    def forward(self, x, training):
        self.inside = (x > 0) & (x < 6)
        return np.clip(x, 0, 6)

    def backward(self, gradient):
        return gradient * self.inside

    def parameters(self):
        return iter(())


class Residual:
    """x + body(x), where `body` is a list of (name, layer)."""

    def __init__(self, body):
        self.body = body

    def forward(self, x, training):
        return x + forward(self.body, x, training)

    def backward(self, gradient):
        return gradient + backward(self.body, gradient)

    def parameters(self):
        for _, layer in self.body:
            yield from layer.parameters()


class GlobalAveragePool:
    """[n,h,w,c] -> [n,c]."""

    def forward(self, x, training):
        self.shape = x.shape
        return x.mean(axis=(1, 2))

    def backward(self, gradient):
        _, height, width, _ = self.shape
        return np.broadcast_to(gradient[:, None, None] / np.float32(height * width), self.shape)

    def parameters(self):
        return iter(())


class Dense:
    """x @ weight + bias; `weight` is [in, out]."""

    def __init__(self, rng, inputs, outputs):
        self.weight = he_normal(rng, inputs, (inputs, outputs))
        self.bias = np.zeros(outputs, np.float32)
        self.weight_gradient = np.zeros_like(self.weight)
        self.bias_gradient = np.zeros_like(self.bias)

    def forward(self, x, training):
        self.x = x
        return x @ self.weight + self.bias

    def backward(self, gradient):
        np.matmul(self.x.T, gradient, out=self.weight_gradient)
        self.bias_gradient[:] = gradient.sum(axis=0)
        return gradient @ self.weight.T

    def parameters(self):
        yield self.weight, self.weight_gradient, True
        yield self.bias, self.bias_gradient, False


def he_normal(rng, fan_in, shape):
    """Initial weights of a layer that a rectifier follows (He et al., 2015)."""
    return (rng.standard_normal(shape) * np.sqrt(2.0 / fan_in)).astype(np.float32)


# ---------------------------------------------------------------------------------------------
# The network


def build(rng):
    """A mobile network in miniature, as a list of (name, layer).

    A stem, two depthwise-separable blocks of which the second halves the size (MobileNet v1), and a
    residual block around a dense 3x3 convolution (ResNet). The dense block holds 94 % of the
    weights on purpose: a quantized file carries a scale and a bias per channel and two nodes per
    edge, which would hide what int8 saves on a small model of thin layers.
    """

    def conv(name, size, kernel, inputs, outputs, activated=True):
        return unit(name, Conv(rng, size, kernel, inputs, outputs), outputs, activated)

    def depthwise(name, size, channels, stride):
        return unit(name, DepthwiseConv(rng, size, channels, stride), channels, True)

    def unit(name, layer, channels, activated):
        layers = [(f"{name}/conv", layer), (f"{name}/bn", BatchNorm(channels))]
        return layers + ([(f"{name}/relu6", Relu6())] if activated else [])

    narrow, middle, wide = WIDTHS
    return [
        *conv("stem", 8, 3, 1, narrow),
        *depthwise("block1/dw", 8, narrow, stride=1),
        *conv("block1/pw", 8, 1, narrow, middle),
        *depthwise("block2/dw", 8, middle, stride=2),
        *conv("block2/pw", 4, 1, middle, wide),
        ("block3/add", Residual(conv("block3", 4, 3, wide, wide, activated=False))),
        ("block3/relu6", Relu6()),
        ("head/pool", GlobalAveragePool()),
        ("head/fc", Dense(rng, wide, CLASSES)),
    ]


def forward(layers, x, training=False):
    for _, layer in layers:
        x = layer.forward(x, training)
    return x


def backward(layers, gradient):
    for _, layer in reversed(layers):
        gradient = layer.backward(gradient)
    return gradient


# ---------------------------------------------------------------------------------------------
# Training


def cross_entropy(logits, labels):
    """Mean loss over the batch and its gradient with respect to `logits`."""
    stable = logits - logits.max(axis=1, keepdims=True)
    log_probability = stable - np.log(np.exp(stable).sum(axis=1, keepdims=True))
    rows = np.arange(len(labels))
    gradient = np.exp(log_probability)
    gradient[rows, labels] -= 1
    return -log_probability[rows, labels].mean(), gradient / np.float32(len(labels))


def train(layers, images, labels, rng):
    """Stochastic gradient descent with Nesterov momentum and a one-cosine learning rate.

    The number of epochs is fixed beforehand; the held-out samples choose nothing.
    """
    parameters = [entry for _, layer in layers for entry in layer.parameters()]
    velocities = [np.zeros_like(array) for array, _, _ in parameters]
    # Whole batches only: a last batch of a few samples would feed poor statistics to batch norm.
    batches = len(images) // BATCH
    for epoch in range(EPOCHS):
        started, losses = time.monotonic(), []
        order = rng.permutation(len(images))
        for batch in range(batches):
            progress = (epoch * batches + batch) / (EPOCHS * batches)
            rate = np.float32(PEAK_LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * progress)))
            chosen = order[batch * BATCH : (batch + 1) * BATCH]
            logits = forward(layers, shifted(images[chosen], rng), training=True)
            loss, gradient = cross_entropy(logits, labels[chosen])
            backward(layers, gradient)
            for (array, slope, decays), velocity in zip(parameters, velocities):
                slope = slope + np.float32(WEIGHT_DECAY) * array if decays else slope
                velocity *= np.float32(MOMENTUM)
                velocity += slope
                array -= rate * (slope + np.float32(MOMENTUM) * velocity)
            losses.append(loss)
        seconds = time.monotonic() - started
        print(f"epoch {epoch + 1:2}/{EPOCHS}  loss {np.mean(losses):.4f}  {seconds:.1f} s")


# ---------------------------------------------------------------------------------------------
# Export


class OnnxGraph:
    """Nodes and initializers under construction; every node is named after its layer."""

    def __init__(self):
        self.nodes, self.initializers = [], []

    def constant(self, name, array):
        array = np.ascontiguousarray(array, dtype=np.float32)
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op, name, inputs, output=None, **attributes):
        output = output or f"{name}_out"
        self.nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def add(self, name, layer, x):
        """Appends `layer` reading value `x`; returns the name of the value that it writes."""
        if isinstance(layer, (Conv, DepthwiseConv)):
            return self.convolution(name, layer, x)
        if isinstance(layer, BatchNorm):
            parts = ("gamma", "beta", "mean", "variance")
            inputs = [self.constant(f"{name}.{part}", getattr(layer, part)) for part in parts]
            return self.node("BatchNormalization", name, [x, *inputs], epsilon=BN_EPSILON)
        if isinstance(layer, Relu6):
            return self.node("Clip", name, [x, "relu6.min", "relu6.max"])
        if isinstance(layer, Residual):
            body = x
            for inner_name, inner in layer.body:
                body = self.add(inner_name, inner, body)
            return self.node("Add", name, [body, x])
        if isinstance(layer, GlobalAveragePool):
            pooled = self.node("GlobalAveragePool", name, [x])
            return self.node("Flatten", "head/flatten", [pooled], axis=1)
        weight = self.constant(f"{name}.weight", layer.weight.T)
        bias = self.constant(f"{name}.bias", layer.bias)
        return self.node("Gemm", name, [x, weight, bias], output="logits", transB=1)

    def convolution(self, name, layer, x):
        weight = layer.onnx_weight()
        if x == "image":
            # The model takes raw 0..16 pixels. A power of two, so folding it rounds nothing.
            weight = weight / np.float32(PIXEL_MAX)
        windows = layer.windows
        return self.node(
            "Conv",
            name,
            [x, self.constant(f"{name}.weight", weight)],
            kernel_shape=[windows.kernel] * 2,
            strides=[windows.stride] * 2,
            pads=[windows.before] * 2 + [windows.after] * 2,
            dilations=[1, 1],
            group=layer.groups,
        )


def to_onnx(layers):
    """The trained network in evaluation mode, batch normalisation kept as nodes of its own."""
    graph = OnnxGraph()
    graph.constant("relu6.min", np.float32(0))
    graph.constant("relu6.max", np.float32(6))
    value = "image"
    for name, layer in layers:
        value = graph.add(name, layer, value)
    doc = "Handwritten digits, 8x8 pixels of raw value 0..16. Trained by the fewbits project."
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "digits_cnn",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
            graph.initializers,
            doc_string=doc,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="fewbits tools/train_digits.py",
        doc_string=doc,
    )
    helper.set_model_props(model, {"author": "the fewbits project", "training_data": CREDIT})
    onnx.checker.check_model(model, full_check=True)
    return model


def runtime_logits(path, images):
    """What ONNX Runtime answers for raw u8 NCHW images, reading the file that was written."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"image": images.astype(np.float32)})[0]


def accuracy(logits, labels):
    return float((logits.argmax(axis=1) == labels).mean())


def main():
    parser = argparse.ArgumentParser(description="Train and export the demo's digit network.")
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder for the two files")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    images, labels = load_digits()
    test = held_out(len(images))
    write_npz(out / "digits.npz", {"image": images, "labels": labels, "test": test})

    # One channel: NCHW and NHWC hold the same bytes in the same order.
    pixels = images.reshape(-1, 8, 8, 1).astype(np.float32) / np.float32(PIXEL_MAX)
    rng = np.random.default_rng(SEED + 1)
    layers = build(rng)
    train(layers, pixels[test == 0], labels[test == 0], rng)
    path = out / "digits_cnn.onnx"
    onnx.save(to_onnx(layers), path)

    ours, theirs = forward(layers, pixels), runtime_logits(path, images)
    parameters = sum(array.size for _, layer in layers for array, _, _ in layer.parameters())
    print(f"{parameters} trained parameters")
    for name, part in (("train", test == 0), ("test", test == 1)):
        print(
            f"{name}: {part.sum()} samples, accuracy {accuracy(ours[part], labels[part]):.4f}, "
            f"in ONNX Runtime {accuracy(theirs[part], labels[part]):.4f}"
        )
    print(f"largest difference of a logit: {np.abs(ours - theirs).max():.1e}")
    for file in (out / "digits.npz", path):
        print(f"{file}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
