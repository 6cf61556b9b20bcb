"""Read TIFF files, since Pillow reads few kinds of them. This folder imports what `image_files` imports."""
