r"""The objective: what a picture is compared with, and how. Losses, statistics of style, regions and targets.

$$\mathrm{total} = \alpha \sum_l a_l\, \mathrm{content}_l + \beta \sum_l w_l\, \mathrm{style}_l
+ \mathrm{tv} \cdot \mathrm{TV}(\mathrm{image})$$

The layer weights $a_l$ and $w_l$ have sum 1 and are equal by default; TV is the mean squared difference of neighbouring
pixels. `losses.CONVENTIONS` gives the terms in each convention, and alpha and beta mean nothing without it.
`statistics.style_statistics.style_statistic` gives what can take the place of Gram matrices.

The content layer is `relu4_2`, and the style layers are `relu1_1`, `relu2_1`, `relu3_1`, `relu4_1` and `relu5_1`, as in
the paper (Gatys, Ecker and Bethge, CVPR 2016). All 16 convolutions of VGG19 can be named, before (`conv4_2`) and after
ReLU (`relu4_2`), and `pool1` to `pool5`.

The library compares Gram matrices by default, and so does the command with `--preset gram-mean`. Without it, the
command makes what looks better. It goes through sizes from coarse to fine, and its style term is a sum of three. The
first is the squared 2-Wasserstein distance, over c, of the Gaussians with the mean and covariance of the features, with
layer weights 0.4, 0.3, 0.15, 0.1 and 0.05: how much there is of each texture. The second, with weight 10, is the same
distance of the pixels: which colours there are, and how dark the darkest is. The third, with weight 3, is the mean
cosine distance of hypercolumns, the features of four layers at one place, to the nearest of the style's: how strokes
look. Unlike the paper, both start from the content image and keep pixels within [0, 1].

NNST (Kolkin et al., arXiv 2203.13215) compares each position with one feature of the style, found in advance:
`style_loss="matched"`, for which `objective.match` puts the matches of an image into the targets, between sizes (see
`optimise.pyramid.run_pyramid`).

`make_objective` gives targets, loss and terms, as pure functions that agree. Its features may be any function (params,
image) -> {layer: (h, w, c)}: another network, or layers that are made of a network's own. It names them in
`content_layers` and `style_layers`. Its `style_loss` is a name, a `StyleStatistic` of your own, or one for each layer;
its `content_loss` is a name or a `ContentStatistic`; and `objective.targets` takes `masks`. `network_nnx.py` and
`custom_style_statistic.py` in `scripts/examples/` show a network and a statistic of one's own, and
`feed_forward_nnx.py` the losses in a training loop.

This wing imports `network` and `common`.
"""
