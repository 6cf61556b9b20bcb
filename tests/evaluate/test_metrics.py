import io
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image, ImageFilter

import jaxstyle as js
from jaxstyle.app.image_files.encode import to_image
from jaxstyle.app.pictures.read_image import read_image
from jaxstyle.evaluate import metrics
from jaxstyle.evaluate.lpips import VGG16_LAYERS
from jaxstyle.evaluate.metric_names import HIGHER_IS_BETTER, METRIC_NAMES
from jaxstyle.evaluate.metrics import Metrics
from jaxstyle.evaluate.similarity import cielab, gaussian_distance
from jaxstyle.network.alexnet import CHANNELS, LAYERS, alexnet_features, max_pool3x3
from jaxstyle.pretrained.weight_files import bundled_path
from jaxstyle.pretrained.weight_sets import REGISTRY
from tests.conftest import relative_error, widen
from tests.reference import numpy_metrics

PAIRWISE = ["ssim", "edge_similarity", "colour_distance"]


@pytest.fixture(scope="module")
def alex():
    return js.load_lpips("alex")


def load(name):
    return safetensors.numpy.load_file(bundled_path(REGISTRY[name].file))


@pytest.fixture(scope="module")
def reference():
    """Read {network: (features, heads)} from the bundled files without jaxstyle's help."""
    tensors = load("lpips-alex")
    heads = {
        "alex": [tensors[f"heads/relu{i}"] for i in range(1, 6)],
        "vgg16": [load("lpips-vgg16")[f"heads/relu{i}"] for i in ("1_2", "2_2", "3_3", "4_3", "5_3")],
    }
    files = {"alex": tensors, "vgg16": load("vgg16-in-vgg19")}
    return {name: (numpy_metrics.lpips_features(files[name], name), heads[name]) for name in files}


@pytest.fixture(scope="module")
def pictures():
    names = ("cat", "coffee", "mosaic", "swirls", "woodcut")
    return {name: read_image(f"sample:{name}", 110)[:66, :70] for name in names}


@pytest.fixture(scope="module")
def pairs(pictures):
    """Make ten pairs of real images: pictures with their distortions, and different pictures."""

    def jpeg(array):
        buffer = io.BytesIO()
        to_image(array).save(buffer, "JPEG", quality=10)
        return np.asarray(Image.open(buffer), np.float32) / 255

    def blurred(array):
        return np.asarray(to_image(array).filter(ImageFilter.GaussianBlur(1.5)), np.float32) / 255

    cat, coffee, mosaic, swirls, woodcut = pictures.values()
    noise = np.random.default_rng(5).normal(0, 0.05, cat.shape)
    return [
        *((x, jpeg(x)) for x in (cat, mosaic)),
        *((x, blurred(x)) for x in (coffee, woodcut)),
        (cat, np.clip(cat + noise, 0, 1).astype(np.float32)),
        (swirls, swirls[:, ::-1]),
        (cat, coffee),
        (cat, mosaic),
        (coffee, swirls),
        (mosaic, woodcut),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("network", ["alex", "vgg16"])
def test_lpips_equals_float64_numpy(network, pairs, reference):
    params = js.load_lpips(network)
    features, heads = reference[network]
    if network == "vgg16":  # in NumPy it takes long
        pairs = [(a[:32, 16:51], b[:32, 16:51]) for a, b in pairs]
    found = [float(js.metrics.lpips(params, a, b)) for a, b in pairs]
    wanted = [numpy_metrics.lpips(features, heads, a, b) for a, b in pairs]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    assert min(wanted) > 0.02
    assert max(wanted) > 0.4


@pytest.mark.parametrize("shape", [(32, 32), (37, 51), (64, 45), (34, 39), (41, 48)])
def test_alexnet_equals_float64_numpy_on_every_remainder_of_the_stride(alex, reference, shape, rng):
    image = rng.uniform(size=(*shape, 3)).astype(np.float32)
    found = alexnet_features(alex, image)
    assert tuple(found) == LAYERS
    for layer, wanted in zip(LAYERS, reference["alex"][0](image), strict=True):
        assert found[layer].shape == wanted.shape
        assert relative_error(found[layer], wanted) < 1e-5, layer


def test_the_commands_that_need_no_jax_know_the_names():
    assert Metrics._fields == METRIC_NAMES
    assert set(HIGHER_IS_BETTER) < set(METRIC_NAMES)


def test_max_pool_equals_windows(rng):
    for shape in ((7, 7, 2), (8, 9, 2), (10, 3, 2)):
        x = rng.normal(size=shape).astype(np.float32)
        np.testing.assert_array_equal(max_pool3x3(jnp.asarray(x)), numpy_metrics.pool(x))


def test_gram_distance_equals_float64_numpy(alex, reference, pictures):
    image, style, small = pictures["cat"], pictures["swirls"][:64, :68], pictures["mosaic"][:40, :66]
    features = reference["alex"][0]
    halves = [numpy_metrics.halve(np.float64(x)) for x in (image, style)]
    wanted = numpy_metrics.gram_distance(features, [image, halves[0]], [style, halves[1]])
    assert float(js.metrics.gram_distance(alex, image, style)) == pytest.approx(wanted, rel=1e-5)
    wanted = numpy_metrics.gram_distance(features, [image], [small])  # full size only
    assert float(js.metrics.gram_distance(alex, image, small)) == pytest.approx(wanted, rel=1e-5)


def test_sliced_distance_equals_float64_numpy(alex, reference):
    features = reference["alex"][0]
    directions = [np.asarray(jax.random.normal(jax.random.key(0), (f, 64))) for f in CHANNELS]
    image, style = (read_image(f"sample:{name}", 210) for name in ("cat", "swirls"))
    image, style = image[:128, :132], style[:132, :128]  # each half has even sides
    for height, scales in ((40, 1), (64, 2), (128, 3)):
        images, styles = ([np.float64(x[:height])] for x in (image, style))
        for sizes in (images, styles):
            for _ in range(scales - 1):
                sizes.append(numpy_metrics.halve(sizes[-1]))
        wanted = numpy_metrics.sliced_distance(features, images, styles, directions)
        found = js.metrics.sliced_distance(alex, image[:height], style[:height])
        assert float(found) == pytest.approx(wanted, rel=1e-4), scales


@pytest.mark.usefixtures("x64")
def test_sliced_distance_is_the_same_in_float64(alex, pictures):
    image, style = (pictures[n][:64, :64] for n in ("cat", "swirls"))
    found = js.metrics.sliced_distance(widen(alex), *(jnp.asarray(x, jnp.float64) for x in (image, style)))
    assert found.dtype == jnp.float64
    assert float(js.metrics.sliced_distance(alex, image, style)) == pytest.approx(float(found), rel=1e-5)


def test_sliced_distance_ignores_where_the_texture_is(alex, pictures):
    """A texture that is shifted stays nearer to itself than another texture is."""
    style = pictures["swirls"]
    shifted = float(metrics.sliced_distance(alex, np.roll(style, 16, 1), style))
    assert shifted < float(metrics.sliced_distance(alex, pictures["mosaic"], style))


@pytest.mark.parametrize("name", ["ssim", "edge_similarity"])
def test_similarities_equal_float64_numpy(name, pairs):
    for a, b in pairs:
        wanted = getattr(numpy_metrics, name)(a, b)
        assert float(getattr(metrics, name)(a, b)) == pytest.approx(wanted, abs=2e-5)


def test_colour_distance_equals_float64_numpy(pairs):
    for a, b in pairs:
        wanted = numpy_metrics.frechet(*(numpy_metrics.cielab(x).reshape(-1, 3) for x in (a, b))) ** 0.5
        assert float(metrics.colour_distance(a, b[:50])) != pytest.approx(wanted, rel=1e-3)
        assert float(metrics.colour_distance(a, b)) == pytest.approx(wanted, rel=1e-4, abs=1e-3)


def test_colour_distance_of_constant_images_is_that_of_their_colours():
    a, b = (jnp.broadcast_to(jnp.asarray(c), (6, 5, 3)) for c in ((1.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    # The published CIELAB of sRGB's red is 53.24, 80.09, 67.20, and that of white is 100, 0, 0.
    assert float(metrics.colour_distance(a, b)) == pytest.approx(
        np.hypot(100 - 53.24, np.hypot(80.09, 67.20)), rel=1e-3
    )
    np.testing.assert_allclose(cielab(jnp.asarray([0.0, 0.0, 1.0])), [32.30, 79.19, -107.86], atol=0.03)


def test_colour_distance_ignores_where_the_colours_are(pictures, rng):
    image = pictures["coffee"]
    shuffled = rng.permutation(image.reshape(-1, 3)).reshape(image.shape)
    assert float(metrics.colour_distance(image, shuffled)) < 1e-3


def test_gaussian_distance_of_flat_samples(rng):
    """For samples in a plane and on a line, the textbook takes the root of a singular matrix."""
    plane = rng.normal(size=(50, 3)) * [5, 2, 0]
    line = rng.normal(size=(40, 1)) * [1, 2, 3] + 1
    wanted = numpy_metrics.frechet(plane, line)
    found = gaussian_distance(*(jnp.asarray(x, jnp.float32) for x in (plane, line)))
    assert float(found) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("layers", [LAYERS, VGG16_LAYERS])
def test_heads_are_not_negative(layers):
    heads = js.load_lpips("alex" if layers == LAYERS else "vgg16")["heads"]
    assert set(heads) == set(layers)
    assert all((head >= 0).all() and (head > 0).any() for head in heads.values())


def all_metrics(alex):
    """Return {name: function of two images}, where the second image is the reference."""
    by_network = {name: partial(getattr(metrics, name), alex) for name in ("lpips", "gram_distance", "sliced_distance")}
    return by_network | {name: getattr(metrics, name) for name in PAIRWISE}


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_gradients_equal_finite_differences_in_float64(alex, pictures, rng):
    image, reference = (jnp.asarray(pictures[n][:64, :64], jnp.float64) for n in ("cat", "mosaic"))
    direction = jnp.asarray(rng.normal(size=image.shape))
    for name, metric in all_metrics(widen(alex)).items():
        value, gradients = jax.jit(jax.value_and_grad(metric, (0, 1)))(image, reference)
        step = 1e-6 * direction
        slopes = [
            (metric(image + step, reference) - metric(image - step, reference)) / 2e-6,
            (metric(image, reference + step) - metric(image, reference - step)) / 2e-6,
        ]
        for gradient, slope in zip(gradients, slopes, strict=True):
            assert value.dtype == gradient.dtype == jnp.float64
            # Within the step, a few of the values that sliced_distance sorts change places.
            tolerance = 1e-4 if name == "sliced_distance" else 1e-5
            assert float(jnp.vdot(gradient, direction)) == pytest.approx(float(slope), rel=tolerance), name


@pytest.mark.slow
def test_lpips_on_vgg16_has_a_finite_gradient(pictures):
    a, b = (jnp.asarray(pictures[n][:32, :32]) for n in ("cat", "mosaic"))
    gradient = jax.grad(metrics.lpips, 1)(js.load_lpips("vgg16"), a, b)
    assert jnp.isfinite(gradient).all()
    assert (gradient != 0).any()


def test_distortion_is_told_in_order(alex, pictures, rng):
    image = pictures["cat"]
    noise = rng.normal(size=image.shape)
    for name, metric in all_metrics(alex).items():
        values = [float(metric(np.clip(image + s * noise, 0, 1).astype(np.float32), image)) for s in (0.02, 0.1, 0.4)]
        assert values == sorted(values, reverse=name in HIGHER_IS_BETTER), name


@pytest.mark.slow
def test_measure_is_each_metric_alone_and_vmaps_over_lanes(alex, pictures):
    content, style = jnp.asarray(pictures["cat"]), jnp.asarray(pictures["swirls"][:64])
    lanes = jnp.stack([content, 1 - content, jnp.asarray(pictures["coffee"])])
    measure = jax.jit(jax.vmap(metrics.measure, (None, 0, None, None)))
    found = measure(alex, lanes, content, style)
    assert Metrics._fields == tuple(found._asdict())
    for i, image in enumerate(lanes):
        wanted = Metrics(
            lpips=metrics.lpips(alex, image, content),
            ssim=metrics.ssim(image, content),
            edge_similarity=metrics.edge_similarity(image, content),
            style_distance=metrics.gram_distance(alex, image, style),
            colour_distance=metrics.colour_distance(image, style),
            total_variation=metrics.total_variation(image),
        )
        for name, value in wanted._asdict().items():
            assert value.shape == ()
            assert float(getattr(found, name)[i]) == pytest.approx(float(value), rel=1e-4, abs=1e-5), name
    # A failed lane has no numbers, and the others keep theirs.
    failed = measure(alex, lanes.at[1, 2, 3].set(jnp.nan), content, style)
    for name, values in failed._asdict().items():
        assert jnp.isnan(values[1]), name
        np.testing.assert_array_equal(values[::2], getattr(found, name)[::2])


def test_what_all_lanes_share_is_computed_once(alex):
    image, style = jnp.zeros((64, 64, 3)), jnp.zeros((70, 66, 3))
    lanes = jnp.zeros((7, *image.shape))
    measure = jax.vmap(metrics.measure, (None, 0, None, None))
    text = jax.jit(measure).lower(alex, lanes, image, style).as_text()
    batches = [
        int(line.split("(tensor<")[1].split("x")[0]) for line in text.splitlines() if "stablehlo.convolution" in line
    ]
    # Five convolutions each are for the lanes at two sizes, the content at one, and the style at two.
    assert sorted(batches) == [1] * 15 + [7] * 10


def test_one_compilation_for_equal_shapes(alex, pictures):
    metrics.lpips(alex, pictures["cat"], pictures["coffee"])
    before = metrics.lpips.__wrapped__._cache_size()
    metrics.lpips(alex, pictures["coffee"], pictures["mosaic"])
    assert metrics.lpips.__wrapped__._cache_size() == before


@pytest.mark.slow
def test_half_precision_is_widened(alex, pictures):
    a, b = (jnp.asarray(pictures[n], jnp.bfloat16) for n in ("cat", "mosaic"))
    for name, metric in all_metrics(alex).items():
        found = metric(a, b)
        assert found.dtype == jnp.float32, name
        assert float(found) == pytest.approx(float(metric(a.astype(jnp.float32), b.astype(jnp.float32))), rel=1e-5)


def test_wrong_images_are_refused(alex):
    good = np.zeros((40, 48, 3), np.float32)
    for name, metric in all_metrics(alex).items():
        for wrong in (np.zeros((40, 48), np.float32), good[None], good[..., :2]):
            with pytest.raises(ValueError, match=r"image must have shape \(h, w, 3\), got"):
                metric(wrong, wrong)
        with pytest.raises(ValueError, match="floating-point"):
            metric(np.zeros((40, 48, 3), np.uint8), good)
        least = {"ssim": 11, "edge_similarity": 6, "colour_distance": 2}.get(name, 32)
        metric(good[:least, :], good[:least, :])
        small = good[: least - 1]
        with pytest.raises(ValueError, match=f"{least - 1}x48 pixels is too small: .* at least {least}"):
            metric(small, small)
        if name in ("lpips", "ssim", "edge_similarity"):
            with pytest.raises(ValueError, match=r"same shape, got \(40, 48, 3\) and \(40, 40, 3\)"):
                metric(good, good[:, :40])


def test_wrong_parameters_are_refused(alex, params):
    image = np.zeros((40, 48, 3), np.float32)
    with pytest.raises(ValueError, match="no heads of LPIPS"):
        metrics.lpips(params, image, image)
    for metric in (metrics.gram_distance, metrics.sliced_distance):
        with pytest.raises(ValueError, match="needs the weights of AlexNet"):
            metric(params, image, image)
    with pytest.raises(ValueError, match="needs the weights of AlexNet"):
        metrics.measure(params, image, image, image)
    with pytest.raises(ValueError, match="31x48 pixels is too small"):
        metrics.measure(alex, image, image, image[:31])


@pytest.fixture(scope="module")
def image_sets(pictures):
    """Make 70 crops of two pictures, and 66 crops of other pictures."""

    def crops(names, count):
        corners = np.random.default_rng(count).integers(0, 30, (count, 2))
        return np.stack([pictures[names[k % 2]][i : i + 32, j : j + 32] for k, (i, j) in enumerate(corners)])

    return crops(("cat", "coffee"), 70), crops(("mosaic", "swirls"), 66)


@pytest.mark.slow
def test_frechet_distance_equals_float64_numpy(alex, reference, image_sets):
    features = reference["alex"][0]
    a, b = ([features(image)[0].mean((0, 1)) for image in images] for images in image_sets)
    wanted = numpy_metrics.frechet(np.array(a), np.array(b))
    found = metrics.frechet_distance(alex, *image_sets)
    assert float(found) == pytest.approx(wanted, rel=1e-4)
    assert float(metrics.frechet_distance(alex, image_sets[0], image_sets[0])) == pytest.approx(0, abs=1e-6 * wanted)


@pytest.mark.slow
def test_lpips_frechet_is_the_product(alex, image_sets):
    contents, styles = image_sets
    images = contents[:, ::-1]
    distances = [float(metrics.lpips(alex, a, b)) for a, b in zip(images, contents, strict=True)]
    wanted = (1 + np.mean(distances)) * (1 + float(metrics.frechet_distance(alex, images, styles)))
    assert float(metrics.lpips_frechet(alex, images, contents, styles)) == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(ValueError, match=r"images have shape \(70, 32, 32, 3\), contents \(66"):
        metrics.lpips_frechet(alex, images, styles, styles)


def test_sets_too_small_are_refused(alex, image_sets):
    images, references = image_sets
    with pytest.raises(ValueError, match="images are 64 images, too few for a covariance: give at least 65"):
        metrics.frechet_distance(alex, images[:64], references)
    with pytest.raises(ValueError, match="references are 64 images, too few"):
        metrics.frechet_distance(alex, images, references[:64])
    with pytest.raises(ValueError, match=r"images must have shape \(n, h, w, 3\)"):
        metrics.frechet_distance(alex, images[0], references)
