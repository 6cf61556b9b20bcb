"""TIFF files, of which Pillow reads few kinds. It imports `system` and its neighbours in `image_files`."""
