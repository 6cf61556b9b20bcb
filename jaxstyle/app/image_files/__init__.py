"""Decode image files to pixels in sRGB, and encode pixels as files.

JPEG, PNG, WebP, TIFF, AVIF, GIF, BMP, PPM, PFM and JPEG 2000 are read as a person sees them. They are turned by EXIF,
their colours are converted to sRGB from ICC profiles and from what else a file says of them, what is transparent lies
over `--background`, and 16 bits a channel of PNG, PPM and TIFF are kept. Floats are values of sRGB in [0, 1], or in [0,
255] or [0, 65535] if most of them are; what lies outside is clipped. A line says what was guessed, clipped or ignored,
and a kind that can't be read is refused. Images of more than 67 million pixels are refused unless `--max-pixels` allows
them.

`jaxstyle transfer -o` writes PNG, JPEG (`--quality`), WebP or 16-bit TIFF. `--keep-profile` converts the picture back
to the content's profile, and its metadata is copied only with `--keep-metadata`.

This wing imports `common` and `system`.
"""
