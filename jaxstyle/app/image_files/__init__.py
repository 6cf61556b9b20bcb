"""Decode image files to pixels in sRGB, and encode pixels as files. This wing imports `common` and `system`."""
