"""The bytes of image files to pixels in sRGB, and back. It imports `system`."""
