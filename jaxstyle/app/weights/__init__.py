"""Fetch weight sets from public hosts, port them from other programs' files, and normalise them.

    jaxstyle weights list                       # names, architectures, sources, licences, hashes, places
    jaxstyle weights fetch vgg19-oxford         # VGG19's original weights, 80 MB; used by default from then on
    jaxstyle weights port vgg19-dcbb9e9d.pth    # a file of torchvision, timm, Keras, Caffe ports, MatConvNet, Flax
    jaxstyle weights normalise bundled photos   # Gatys' normalisation, on 16 photographs or more
    jaxstyle weights verify

`--weights` of the other commands takes any of those names, `random:SEED`, or a safetensors file; every run records
which set it used, with its sha256. A ported set gives the features of the program that it comes from, to 1e-5, and no
code in a pickle ever runs. `normalise` refuses fewer than 16 different images, and divides no filter by less than a
tenth of its layer's mean: what hardly fires on a few photographs would drown the rest. `weights/README.md` in the
repository gives sources, licences, hashes and layout, and the parity measured for each kind of file.

This wing imports `common`, `network`, `pretrained`, and the app's `system` and `pictures`.
"""
