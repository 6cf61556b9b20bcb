"""Feed damaged images to the decoder: each must become a picture or one clear line, in bounded time and memory.

    python scripts/fuzz_images.py --count 2000 --seed 0

Mutates small images of nine formats in many modes, in ways that a seed decides, and prints a table. Exits 1 if one
crashed the process, took more than 5 seconds or 1 GB, printed anything, or ended in another error than ours; --keep
FOLDER saves those files. Linux only: memory is the peak that /proc tells.
"""

import argparse
import io
import multiprocessing
import os
import random
import resource
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

SECONDS, MEGABYTES = 5.0, 1000
_SIZE = 64
_ADDRESS_SPACE = 8 * 2**30  # far above the limit: to see what takes too much, yet spare the machine
_INTERESTING = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\0\0",
    b"\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
)


class Result(NamedTuple):
    """What came of one image: picture, line, or how it failed; seconds; megabytes; the line."""

    kind: str
    seconds: float = 0
    megabytes: float = 0
    line: str = ""


def make_seeds() -> dict[str, list[bytes]]:
    """Whole images by format, each in several modes."""
    y, x = np.mgrid[:40, :56]
    noise = np.random.default_rng(0).integers(0, 40, (40, 56, 4))
    pixels = (np.stack([x * 3, y * 5, x + y, 255 - 6 * y], -1) + noise).clip(0, 255).astype(np.uint8)
    rgba, rgb = Image.fromarray(pixels), Image.fromarray(pixels[..., :3])
    gray, bits, palette = rgb.convert("L"), rgb.convert("1"), rgb.quantize(16)
    deep = pixels.astype(np.uint16) * 257
    exif = Image.Exif()
    exif[0x0112], exif[0x8825] = 6, {1: "N", 2: (1.0, 2.0, 3.0)}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tagged = {"exif": exif.tobytes(), "icc_profile": profile}
    said = PngImagePlugin.PngInfo()
    said.add(b"gAMA", struct.pack(">I", 60_000))
    said.add(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
    said.add(b"cICP", bytes((9, 8, 0, 1)))
    frames = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}
    seeds = {
        "JPEG": [
            _save(rgb, "JPEG", **tagged),
            _save(gray, "JPEG", icc_profile=profile),
            _save(rgb, "JPEG", progressive=True, subsampling=2),
            _save(rgb.convert("CMYK"), "JPEG"),
        ],
        "PNG": [
            *(_save(image, "PNG", **tagged) for image in (rgba, rgb, gray, bits, palette, gray.convert("LA"))),
            _save(palette, "PNG", transparency=3),
            _save(Image.fromarray(deep[..., 0]), "PNG"),
            _save(rgb, "PNG", pnginfo=said, transparency=(1, 2, 3)),
            _save(rgb, "PNG", **frames),
        ],
        "WEBP": [_save(rgb, "WEBP", **tagged), _save(rgba, "WEBP", lossless=True), _save(rgb, "WEBP", **frames)],
        "TIFF": [
            *(
                _save(image, "TIFF", compression=name)
                for image in (rgba, rgb, rgb.convert("LAB"), rgb.convert("CMYK"))
                for name in ("raw", "tiff_lzw", "tiff_adobe_deflate")
            ),
            _save(bits, "TIFF", compression="group4"),
            _save(rgb, "TIFF", compression="jpeg"),
            _save(gray.convert("F"), "TIFF"),
            _save(rgb, "TIFF", **frames, **tagged),
            _tiff(deep),
            _tiff(deep[..., :3], compression="zlib", predictor=True),
            _tiff(np.moveaxis(deep[..., :3], -1, 0).copy(), planarconfig="separate"),
            _tiff(pixels[..., :3].astype(np.float32) / 255),
            _tiff(pixels[..., :3].astype(np.float64), compression="zlib", tile=(16, 16)),
            _tiff(deep, extrasamples=["assocalpha"], compression="zlib", rowsperstrip=7),
            *(_save(image, "TIFF", compression=name) for image in (palette, bits) for name in ("packbits", "tiff_lzw")),
            _save(rgb.convert("YCbCr"), "TIFF"),
        ],
        "GIF": [_save(palette, "GIF"), _save(rgb, "GIF", **frames), _save(palette, "GIF", transparency=2, interlace=1)],
        "BMP": [_save(image, "BMP") for image in (rgba, rgb, gray, bits, palette)],
        "PPM": [
            *(_save(image, "PPM") for image in (rgb, gray, bits, Image.fromarray(deep[..., 0]).convert("I"))),
            _save(gray.convert("F"), "PPM"),
            b"P6\n56 40\n999\n" + deep[..., :3].astype(">u2").tobytes(),
            b"PF\n56 40\n-1.0\n" + pixels[..., :3].astype("<f4").tobytes(),
        ],
        "JPEG2000": [_save(image, "JPEG2000") for image in (rgb, rgba, Image.fromarray(deep[..., 0]))],
    }
    Image.init()
    if "AVIF" in Image.SAVE:  # not of every Pillow
        seeds["AVIF"] = [_save(rgb, "AVIF", **tagged), _save(rgba, "AVIF"), _save(rgb, "AVIF", **frames)]
    return seeds


def _save(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _tiff(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, photometric="rgb", metadata=None, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def mutate(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Damage an image in one to four ways; `other` is one to take pieces from."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        near = min(len(out), rng.choice((64, 512, len(out)))) or 1  # headers are where sizes and offsets are
        at = rng.randrange(near)
        way = rng.randrange(7)
        if way == 0:
            for _ in range(rng.choice((1, 8, 64))):
                at = rng.randrange(near)
                out[at : at + 1] = bytes([rng.randrange(256)])
        elif way in (1, 2):
            value = rng.choice(_INTERESTING)
            out[at : at + len(value)] = value if rng.random() < 0.5 else value[::-1]
        elif way == 3:
            del out[rng.randrange(len(out) or 1) :]
        elif way == 4:
            del out[at : at + rng.choice((1, 4, 100))]
        elif way == 5:
            piece = out[at : at + rng.choice((1, 16, 1000))]
            out[at:at] = piece * rng.choice((1, 1, 50))
        else:
            start = rng.randrange(len(other))
            out[at:at] = other[start : start + rng.choice((4, 64, 1000))]
    return _mend_png(bytes(out)) if out[:4] == b"\x89PNG" and rng.random() < 0.7 else bytes(out)


def _mend_png(data: bytes) -> bytes:
    """With right checksums, so that damage comes further than to them."""
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        (length,) = struct.unpack_from(">I", out, at)
        end = at + 8 + length
        if end + 4 > len(out):
            break
        struct.pack_into(">I", out, end, zlib.crc32(out[at + 4 : end]))
        at = end + 4
    return bytes(out)


def make_cases(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Formats in turn, with damaged images of them."""
    rng, seeds = random.Random(seed), make_seeds()
    everything = [data for group in seeds.values() for data in group]
    for i in range(count):
        kind = list(seeds)[i % len(seeds)]
        yield kind, mutate(rng.choice(seeds[kind]), rng.choice(everything), rng)


def work(pipe: Connection) -> None:
    """In a process of its own: decode what comes through the pipe."""
    from jaxstyle.app.image_files.decode import decode
    from jaxstyle.app.system.errors import AppError

    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    with tempfile.TemporaryFile() as noise:
        os.dup2(noise.fileno(), 2)
        pipe.send("ready")
        while True:
            data = pipe.recv()
            Path("/proc/self/clear_refs").write_text("5")  # the peak of memory starts anew
            start, before, line = time.perf_counter(), noise.seek(0, os.SEEK_END), ""
            try:
                image = decode(data, "image", _SIZE).image
                good = image.ndim == 3 and image.shape[2] == 3 and 0 <= image.min() <= image.max() <= 1
                kind = "picture" if good and max(image.shape) <= _SIZE else "bad picture"
            except AppError as error:
                line = str(error)
                kind = "line" if line.isprintable() and len(line) < 300 else "bad line"
            except BaseException as error:
                kind, line = "other error", repr(error)
            seconds = time.perf_counter() - start
            if noise.seek(0, os.SEEK_END) != before:
                kind = "noise"
            pipe.send(Result(kind, seconds, _peak(), line))


def _peak() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


class Worker:
    """A process that decodes."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, there = context.Pipe()
        self.process = context.Process(target=work, args=(there,), daemon=True)
        self.process.start()
        there.close()
        self.pipe.recv()

    def decode(self, data: bytes) -> Result:
        """What came of an image."""
        try:
            self.pipe.send(data)
            if self.pipe.poll(SECONDS + 1):
                result = self.pipe.recv()
                late, large = result.seconds > SECONDS, result.megabytes > MEGABYTES
                return result._replace(kind="hang" if late else "memory" if large else result.kind)
            return Result("hang", SECONDS)
        except (EOFError, OSError):
            return Result("crash")

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def main(argv: list[str] | None = None) -> int:
    """Run, print the table and say whether all was well."""
    parser = argparse.ArgumentParser(description="Feed damaged images to the decoder.")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="save what failed there")
    options = parser.parse_args(argv)
    results: dict[str, list[Result]] = {}
    bad = 0
    worker = Worker()
    for i, (kind, data) in enumerate(make_cases(options.count, options.seed)):
        result = worker.decode(data)
        results.setdefault(kind, []).append(result)
        if result.kind in ("picture", "line"):
            continue
        bad += 1
        print(f"image {i} ({kind}, {len(data)} bytes): {result}", file=sys.stderr)
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            (options.keep / f"{options.seed}-{i}.{kind.lower()}").write_bytes(data)
        worker.stop()
        worker = Worker()
    worker.stop()
    print("| format | images | pictures | one line | failed | slowest, ms | most memory, MB |")
    print("|---|---|---|---|---|---|---|")
    for kind, group in [*results.items(), ("all", [result for every in results.values() for result in every])]:
        pictures, lines = (sum(r.kind == name for r in group) for name in ("picture", "line"))
        slowest, most = max(r.seconds for r in group) * 1000, max(r.megabytes for r in group)
        failed = len(group) - pictures - lines
        print(f"| {kind} | {len(group)} | {pictures} | {lines} | {failed} | {slowest:.0f} | {most:.0f} |")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
