"""Image files are decoded to pixels in sRGB here, and encoded from them. This wing imports `common` and `system`."""
