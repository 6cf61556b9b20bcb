"""Find, check and load weight sets by name, and convert other programs' weights to their form.

The bundled set is called `vgg16-in-vgg19`, because that is what it is: torchvision's ImageNet VGG16, in float16 (29
MB), under VGG19's names, with `conv3_4`, `conv4_4` and `conv5_4` passed by, which are a fifth of VGG19's arithmetic.
The features are exactly VGG16's: within 1e-6 (relative L2) of a float64 VGG16 with the same rounded weights, and within
2e-4 to 6e-4 of one with unrounded weights. `jaxstyle weights fetch vgg19-oxford` brings VGG19's own.

This wing imports `common` and `network`.
"""
