#!/usr/bin/env bash
# Asks whether one beta, or one strength, serves all pairs of images, in each convention of the losses.
#
#     scripts/choice_table.sh CONTENTS STYLES OUT     # two folders of images, and one for the runs
#
# Each convention is swept with seven betas over four decades and with seven strengths, at 128 pixels. Then
# `jaxstyle select` cross-validates both by the losses and by metrics that were not optimised, with styles and with
# contents held out. With 6 x 6 images these are 2016 lanes. A run that is there already is
# read, and one that was stopped is resumed.
set -eu
contents=$1 styles=$2 out=$3
mkdir -p "$out"

# sweep NAME OPTION...: runs, resumes or leaves the run NAME.
sweep() {
    local run=$out/$1
    shift
    if [ -e "$run/run.json" ]; then
        jaxstyle resume "$run" --quiet
    else
        jaxstyle sweep "$contents" "$styles" --size 128 --style-loss gram "$@" --out "$run" --quiet
    fi
}

while read -r convention betas; do
    sweep "$convention-beta" --convention "$convention" --beta "$betas"
    sweep "$convention-strength" --convention "$convention" --beta auto:7
    for run in "$out/$convention-beta" "$out/$convention-strength"; do
        for measures in "content_loss style_loss" "lpips style_distance"; do
            echo "== $(basename "$run"), by $measures"
            # shellcheck disable=SC2086
            jaxstyle select "$run" --measures $measures | sed -n '/^over all pairs/,$p'
        done
    done
done <<'TABLE'
mean 0.01:100:7
relative 0.01:100:7
gatys 3e3:3e7:7
johnson 1e3:1e7:7
TABLE
