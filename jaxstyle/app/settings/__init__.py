"""What a job and its lanes may be set to, and how settings are read.

## Lanes

`jaxstyle sweep` makes a lane for each combination of `--alpha`, `--beta`, `--tv`, `--learning-rate`, `--seed`,
`--style-scale`, `--style-mix`, `--style-layer-weights` and `--content-layer-weights`. Each of them takes values (`1 10
30`). All but the seed and the lists of weights also take a logarithmic range (`1:100:8` is eight values). `--grid FILE`
takes lanes from a TOML or CSV file, which `grid_files` describes; lists given beside it multiply them. Only the ratios
alpha : beta : tv matter to the optimisers, so a note names the lanes of a grid that repeat each other.

## Strengths

What a beta does depends on the style image, the size, the loss and the network. A strength does not: 0 is nearly the
photograph, at 1 the style has saturated, and equal steps between them are equal steps of LPIPS, the perceptual distance
to the photograph. `jaxstyle sweep PHOTOS STYLES` makes five lanes at even strengths for each pair of images, with
`--beta auto:8` eight; `--strength 0.2 0.5 0.8` names them, also for `jaxstyle transfer`. Two short runs of small
pictures find the beta of each strength, for each pair and each of the other settings by itself. Where the finished
lanes are uneven, one lane in five is run again with another beta, except in a sweep by shards. `run.json` and
`lanes.csv` hold the betas. Where there are no levels (alpha is 0, the style is the photograph itself, pictures have
less than 32 pixels a side), a line says so, and the betas are evenly spaced by ratios instead. Where `--alpha` or a
grid file names weights, as some presets do, beta has five fixed values unless it is given. `jaxstyle select`
cross-validates strengths where a run has them.

## What a picture is made of

- `--optimizer lbfgs` (default), `adam`: L-BFGS keeps pixels within their bounds and takes one evaluation a step; adam
  keeps 3 images a lane instead of 15.
- `--average 0.95` makes the mean of the last images the picture, for adam, whose steps are noisy.
- `--min-size 60 --coarse-steps 30` (default) starts with a picture of that size and about doubles it, so that strokes
  cover the whole picture, and keep their share of it from 160 to 1024 pixels; `--min-size` of `--size` leaves one size.
- `--style-loss wasserstein+nearest` (default) compares mean and covariance in the layers of the network, which spreads
  the style more evenly than Gram matrices, and of the pixels, which makes the colours the style's; and in hypercolumns
  each position with its nearest in the style, which makes strokes whole. `gram` and the others that
  `jaxstyle.objective.statistics.style_statistics` lists compare layers alone.
- `--content-loss self_similarity` keeps how places of the photograph resemble each other, and not their features;
  `jaxstyle.objective.statistics.content_statistics` explains it.
- `--preset gram-mean` uses the library's defaults: Gram matrices, at one size.
- `--preset gatys`, `johnson`, `crowson`, `strotss`, `nnst`, `tutorial` uses layers, weights and scalings of those
  programs; `jaxstyle.optimise.presets` says what differs. Under `nnst`, alpha goes from 0 to 1: it is the content's
  share of what the style is matched with at each size. `--preset nnst --alpha 1 --content-layers relu4_2
  --content-layer-weights 0.003` keeps more of the photograph.
- `--style-scale 0.5 1 2` goes from finer to larger strokes: the style image at half of `--size`, at all of it and at
  twice; the run folder shows the largest one, and metrics compare with it.
- `--content-layers relu3_1 relu4_2 --content-layer-weights 1,0 0.5,0.5 0,1` goes from the photograph's detail to its
  larger shapes.
- `--blend b.jpg --style-mix 1,0 0.5,0.5 0,1` makes a row of pictures from one style to another; metrics compare with
  STYLE alone.
- `--colour mapped` paints in the style image's colours, but so that each object of the photograph keeps one: its own,
  mapped by matched statistics.
- `--colour match`, `content` paints in the photograph's colours, by matched statistics or by a transfer of luminance
  alone.
- `--content-mask sky.png ground.png --blend b.jpg` gives each region of the photograph its own style; `--style-mask`
  restricts what is taken.
- `--init noise`, `gray`, `statistics`, `style`, FILE starts from something else than the photograph.
- `--network alexnet`, `MODULE:FUNCTION` compares features of another network than VGG19: the bundled AlexNet, or a
  function of yours, in the working folder or installed, that returns `(features, params)`; name its layers with
  `--content-layers` and `--style-layers`, and give `--network` again to `jaxstyle resume`.
- `--padding replicate` (default), `zero` decides what convolutions see outside of the picture: the nearest pixel, or
  0, as VGG was trained, which leaves a dark or coloured frame, and on a CPU takes 5 to 8 % less time a step.
- `--dtype auto` (default) computes the network in bfloat16 on TPUs and on GPUs that have it, and in float32 elsewhere;
  `run.json` names which. `float32`, `tensorfloat32`, `bfloat16` and `bfloat16_3x` choose one (see `jaxstyle.network`).

`jaxstyle transfer` and `jaxstyle texture` take the same options, with one value each.

`--preset gatys` wants normalised weights (`jaxstyle weights normalise`) for the alpha/beta of its paper to mean what
they meant there. With them it gives a styled picture at alpha/beta 1e-6 to 1e-7 (`--alpha 1 --beta 1e6` to `1e7`; cat
and The Scream, 192x128 pixels, 250 steps, the bundled set normalised on 19 photographs), and at larger sizes at less,
by the area. The paper's 1e-3 and 1e-4 give the photograph, hardly styled.

This wing imports the library and `system`.
"""
