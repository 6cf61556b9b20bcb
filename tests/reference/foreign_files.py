"""Write VGGs with random weights as files of other programs, after the formats, and compute their features."""

import contextlib
import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np
import safetensors.numpy

from tests.reference import numpy_vgg

PLANS = {"VGG19": numpy_vgg.VGG19, "VGG16": numpy_vgg.VGG16}
CAFFE_TAPS = [0.341195, 0.339992, -0.0448442, 0.232159, 0.0897821, -0.303314, -0.0726092, -0.246675, -0.336833]
TORCHVISION_TAPS = [-0.053474, -0.049257, -0.067942, 0.015314, 0.045068, 0.0021444, 0.036226, 0.019999, 0.019864]
TAPS = {"caffe": CAFFE_TAPS, "torchvision": TORCHVISION_TAPS}
CAFFE_BGR = np.array([103.939, 116.779, 123.68])
IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def make_network(architecture="VGG19", seed=0, first_taps=None):
    """Make random convolutions [(kernel HWIO, bias)]; the first filter's taps on the first channel may be given."""
    generator, width, layers = np.random.RandomState(seed), 3, []
    for word in PLANS[architecture].split():
        if word != "M":
            kernel = generator.standard_normal((3, 3, width, int(word))) * (2 / (9 * width)) ** 0.5
            layers.append((kernel.astype(np.float32), (generator.standard_normal(int(word)) * 0.1).astype(np.float32)))
            width = int(word)
    if first_taps is not None:
        layers[0][0][:, :, 0, 0] = np.reshape(first_taps, (3, 3))
    return layers


def names(architecture="VGG19"):
    """List the names conv1_1 ... of an architecture."""
    found, block, index = [], 1, 0
    for word in PLANS[architecture].split():
        block, index = (block + 1, 0) if word == "M" else (block, index + 1)
        if word != "M":
            found.append(f"conv{block}_{index}")
    return found


def positions(architecture="VGG19"):
    """List the numbers of the convolutions in torchvision's `features`."""
    found, position = [], 0
    for word in PLANS[architecture].split():
        if word != "M":
            found.append(position)
        position += 1 if word == "M" else 2
    return found


def feed(image, program):
    """Make from an RGB image in [0, 1] what a program feeds its network."""
    image = np.asarray(image, np.float64)
    if program == "torchvision":
        return (image - IMAGENET[0]) / IMAGENET[1]
    if program == "caffe":
        return image[:, :, ::-1] * 255 - CAFFE_BGR
    return image * 255 - CAFFE_BGR[::-1]


def features(image, program, layers, architecture="VGG19", pooling="max"):
    return numpy_vgg.features(feed(image, program), np.zeros(3), layers, PLANS[architecture], pooling)


def torch_state(layers, architecture="VGG19", naming="features.{}", classifier=True):
    """Make a state dict {"features.0.weight": OIHW, ...}."""
    state = {}
    labels = names(architecture) if naming == "{}" else positions(architecture)
    for label, (kernel, bias) in zip(labels, layers, strict=True):
        state[f"{naming.format(label)}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        state[f"{naming.format(label)}.bias"] = bias
    if classifier:
        state["classifier.0.weight"], state["classifier.0.bias"] = np.ones((10, 7), np.float32), np.ones(10, np.float32)
    return state


class _Storage:
    def __init__(self, key, array):
        self.key, self.array = key, array


class _Reduced:
    def __init__(self, function, *args):
        self.reduced = function, args

    def __reduce__(self):
        return self.reduced


@contextlib.contextmanager
def pretended(**modules):
    """Make modules that have the given functions and classes, so that pickle can name them."""
    before = {name.replace("__", "."): sys.modules.get(name.replace("__", ".")) for name in modules}
    found = []
    for name, members in modules.items():
        module = types.ModuleType(name.replace("__", "."))
        for member in members:
            thing = type(member, (), {}) if member[0].isupper() else lambda *args: None
            thing.__module__, thing.__qualname__, thing.__name__ = module.__name__, member, member
            setattr(module, member, thing)
        sys.modules[module.__name__] = module
        found.append(module)
    yield found
    for name, module in before.items():
        sys.modules.pop(name)
        if module is not None:
            sys.modules[name] = module


class _TorchPickler(pickle.Pickler):
    legacy = False
    torch = None

    def persistent_id(self, obj):
        if isinstance(obj, _Storage):
            more = (None,) if self.legacy else ()
            return ("storage", self.torch.FloatStorage, obj.key, "cpu", obj.array.size, *more)
        return None


def _dump_state(state, legacy):
    file, storages = io.BytesIO(), []
    with pretended(torch=["FloatStorage"], torch___utils=["_rebuild_tensor_v2"]) as (torch, utils):
        tensors = OrderedDict()
        for i, (name, array) in enumerate(state.items()):
            storages.append(_Storage(str(i), array))
            strides = tuple(step // array.itemsize for step in array.strides)
            tensors[name] = _Reduced(
                utils._rebuild_tensor_v2, storages[-1], 0, array.shape, strides, False, OrderedDict()
            )
        tensors._metadata = OrderedDict(version=1)
        pickler = _TorchPickler(file, 2)
        pickler.legacy, pickler.torch = legacy, torch
        pickler.dump(tensors)
    return file.getvalue(), storages


def write_torch(path, state, pickled=None):
    """Write a state dict as torch.save's zip archive; `pickled` replaces its pickle."""
    data, storages = _dump_state(state, legacy=False)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data if pickled is None else pickled)
        archive.writestr("archive/byteorder", "little")
        for storage in storages:
            archive.writestr(f"archive/data/{storage.key}", storage.array.tobytes())
        archive.writestr("archive/version", "3\n")


def write_torch_legacy(path, state, pickled=None):
    """Write a state dict as torch.save did before 1.6."""
    data, storages = _dump_state(state, legacy=True)
    with path.open("wb") as file:
        for thing in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}):
            file.write(pickle.dumps(thing, 2))
        file.write(data if pickled is None else pickled)
        file.write(pickle.dumps([storage.key for storage in storages], 2))
        for storage in storages:
            file.write(struct.pack("<q", storage.array.size) + storage.array.tobytes())


def write_safetensors(path, state):
    safetensors.numpy.save_file(state, path, metadata={"format": "pt"})


def write_keras(path, layers, style, architecture="VGG19"):
    """Write Keras 1's notop file, Keras 2's file with top inside a model, or Keras 3's .weights.h5."""
    import h5py

    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if style == "2" else file
        for i, (name, (kernel, bias)) in enumerate(zip(names(architecture), layers, strict=True)):
            label = f"block{name[4]}_conv{name[6:]}"
            if style == "1":
                group = root.create_group(label)
                leaves = f"{label}_W_1:0", f"{label}_b_1:0"
                group.attrs["weight_names"] = [leaf.encode() for leaf in leaves]
            elif style == "2":
                group, leaves = root.create_group(f"{label}/{label}"), ("kernel:0", "bias:0")
            else:
                group, leaves = root.create_group(f"layers/conv2d{f'_{i}' if i else ''}/vars"), ("0", "1")
            for leaf, array in zip(leaves, (kernel, bias), strict=True):
                group.create_dataset(leaf, data=array)
        if style == "2":
            root.create_dataset("fc1/fc1/kernel:0", data=np.ones((70, 10), np.float32))
            root.create_dataset("fc1/fc1/bias:0", data=np.ones(10, np.float32))
            file.create_dataset("optimizer_weights/m/kernel:0", data=np.ones((3, 3, 3, 64), np.float32))
        elif style == "1":
            root.create_group("block1_pool").attrs["weight_names"] = np.zeros(0, "S1")


def write_matconvnet(path, layers, old, architecture="VGG19"):
    """Write a network of MatConvNet in its present form or in the form of its beta versions."""
    import scipy.io

    mean = CAFFE_BGR[::-1]
    found, remaining = [], iter(zip(names(architecture), layers, strict=True))
    for word in PLANS[architecture].split():
        if word == "M":
            found.append({"type": "pool", "name": "pool", "pool": [2.0, 2.0]})
            continue
        name, (kernel, bias) = next(remaining)
        if old:
            found.append({"type": "conv", "name": name, "filters": kernel, "biases": bias[None]})
        else:
            cell = np.empty((1, 2), object)
            cell[0, 0], cell[0, 1] = kernel, bias[:, None]
            found.append({"type": "conv", "name": name, "weights": cell})
        found.append({"type": "relu", "name": name.replace("conv", "relu")})
    cells = np.empty((1, len(found)), object)
    for i, layer in enumerate(found):
        cells[0, i] = layer
    average = np.broadcast_to(mean, (4, 4, 3)).copy() if old else mean.reshape(1, 1, 3)
    normalization = {"averageImage": average.astype(np.float32), "imageSize": [224.0, 224, 3]}
    extra = {"normalization": normalization} if old else {"meta": {"normalization": normalization}}
    scipy.io.savemat(path, {"layers": cells, **extra}, do_compression=old)


def write_flax(path, layers):
    from flax import serialization

    params = {f"Conv_{i}": {"kernel": kernel, "bias": bias} for i, (kernel, bias) in enumerate(layers)}
    path.write_bytes(serialization.to_bytes({"params": {"VGG_0": params, "Dense_0": {"kernel": np.ones((4, 3))}}}))


def _torch(write, **options):
    return lambda path, layers: write(path, torch_state(layers, **options))


# For each file in the table of weights/README.md: its preprocessing, whose first taps it has, and its writer.
CASES = {
    "torchvision .pth": ("torchvision", "torchvision", _torch(write_torch)),
    "torchvision .pth of before torch 1.6": ("torchvision", "torchvision", _torch(write_torch_legacy)),
    "torchvision .pth, features alone": (
        "torchvision",
        "torchvision",
        _torch(write_torch, naming="{:d}", classifier=False),
    ),
    "torchvision .pth, inside a model": ("torchvision", "torchvision", _torch(write_torch, naming="module.vgg.{:d}")),
    "timm safetensors": ("torchvision", "torchvision", _torch(write_safetensors)),
    "neural-style-pt .pth (Caffe)": ("caffe", "caffe", _torch(write_torch)),
    "neural-style-pt .pth (Caffe) of before torch 1.6": ("caffe", "caffe", _torch(write_torch_legacy)),
    "Gatys' vgg_conv.pth": ("caffe", "caffe", _torch(write_torch, naming="{}", classifier=False)),
    "Keras 1 .h5, notop": ("caffe", "caffe", lambda path, layers: write_keras(path, layers, "1")),
    "Keras 2 .h5, a model with top": ("caffe", "caffe", lambda path, layers: write_keras(path, layers, "2")),
    "Keras 3 .weights.h5": ("caffe", "caffe", lambda path, layers: write_keras(path, layers, "3")),
    "MatConvNet .mat": ("matconvnet", None, lambda path, layers: write_matconvnet(path, layers, old=False)),
    "MatConvNet .mat of its beta": ("matconvnet", None, lambda path, layers: write_matconvnet(path, layers, old=True)),
    "Flax msgpack": ("torchvision", "torchvision", write_flax),
}
