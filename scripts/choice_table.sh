#!/usr/bin/env bash
# Asks whether one beta, or one strength, serves all pairs of images, in each convention of the losses.
#
#     scripts/choice_table.sh CONTENTS STYLES OUT     # two folders of images, and one for the runs
#
# Each convention is swept with five betas half a decade apart, and strengths with five places, at 128 pixels.
# gatys is left out, since it is mean with another scale of beta. Then `jaxstyle select` cross-validates the choice by
# the losses and by metrics that were not optimised, with styles and with contents held out. With 6 x 6 images these are
# 720 lanes. A run that is there already is read, and one that was stopped is resumed.
set -eu
contents=$1 styles=$2 out=$3
mkdir -p "$out"

while read -r name convention betas; do
    run=$out/$name
    if [ -e "$run/run.json" ]; then
        jaxstyle resume "$run" --quiet
    else
        jaxstyle sweep "$contents" "$styles" --size 128 --steps 20 --coarse-steps 20 --style-loss gram \
            --convention "$convention" --beta "$betas" --out "$run" --quiet
    fi
    for measures in "content_loss style_loss" "lpips style_distance"; do
        echo "== $name, by $measures"
        # shellcheck disable=SC2086
        jaxstyle select "$run" --measures $measures | sed -n '/^over all pairs/,$p'
    done
done <<'TABLE'
mean mean 0.03:3:5
strength mean auto:5
johnson johnson 3e3:3e5:5
relative relative 0.1:10:5
TABLE
