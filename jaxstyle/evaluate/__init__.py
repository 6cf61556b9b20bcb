"""Measure pictures by metrics, which had no part in making them, and choose among lanes.

`metrics` has LPIPS (AlexNet), SSIM and edge similarity to the content, the distance of AlexNet's Gram matrices and of
the colours to the style, which the command writes into `lanes.csv`, and more. Each is a pure function:
`js.metrics.lpips(js.load_lpips("alex"), a, b)`.

`jaxstyle select RUN` shows which lanes no other beats in both content and style, and picks the knee of that front.
`--content-weight 0.3` asks for another trade-off, `--measures lpips style_distance` judges by metrics, `--best-to
picked.png` copies the picture, and `--json` is for programs. Over several pairs of images, it says by cross-validation
whether one setting fits all: it leaves out a style image, and then a content image. (A single pair held out shares both
images with pairs that are not, which `--hold-out pair` still does.)

This wing imports `common`, `colour`, `network` and `objective`.
"""
