"""Read the pictures that arguments name, pair them, and bring them to the shapes that a job computes.

CONTENT and STYLE are each one of these, and nothing is downloaded:

- an image file;
- `sample:NAME`, with `portrait`, `temple`, `cat`, `coffee`, `swirls`, `mosaic` and `woodcut`;
- `-`, standard input, which a `jaxstyle resume` of the run needs again;
- a folder, or a slice of one (`photos[:8]`); what can't be read in it is skipped and named;
- a split of TensorFlow Datasets that is on disk (`tfds:oxford_flowers102/train[:8]`), with the extra `tfds`.

Every content goes with every style, or with `--pair zip` the first with the first and so on. Images of nearly one shape
are cropped, by 5 % of their area at most, to share a compiled program.

This wing imports `common`, `colour`, `network`, `objective`, `optimise`, and the app's `image_files`, `settings` and
`system`.
"""
