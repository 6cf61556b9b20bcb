"""Choices among the lanes of a run of several pairs, some of which failed, and the cross-validation over these."""

import json

import pytest

from tests.command import fails, jaxstyle
from tests.run_folders import make_run

STYLES = ("swirls", "mosaic", "woodcut")
# What these tests make has no history of interest, and small pictures.
SMALL = {"size": 16, "steps": 1}


def select(capsys, run, *arguments):
    """What `jaxstyle select --json` prints, and the lines on stderr."""
    assert jaxstyle("select", run, "--json", *arguments) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err.splitlines()


def test_pairs_on_which_all_failed_are_left_out_of_cross_validation(tmp_path, capsys):
    whole = make_run(tmp_path / "whole", betas=(0.1, 1, 10), styles=STYLES, **SMALL)
    run = make_run(tmp_path / "run", betas=(0.1, 1, 10), styles=STYLES, failed=(0, 1, 2), **SMALL)
    found, err = select(capsys, run, "--best-to", tmp_path / "best")
    assert err == ["note: cross-validation leaves out 1 of 3 pairs of images, on which every lane failed"]
    assert [pair["lane"] is None for pair in found["pairs"]] == [True, False, False]
    assert len(list((tmp_path / "best").iterdir())) == 2
    validation, wanted = found["cross_validation"], select(capsys, whole)[0]["cross_validation"]
    assert validation["best_by_pair"] == [None, *wanted["best_by_pair"][1:]]
    assert validation["settings"] == ["beta 0.1", "beta 1", "beta 10"]
    assert len(validation["held_out"]["style"]["chosen_by_fold"]) == 2
    assert jaxstyle("select", run) == 0
    out = capsys.readouterr().out
    assert "picked: none, every lane failed" in out
    assert "one setting for all: beta" in out
    short = "by style: it takes 3 style images with a lane that is done, and there are 2; give fewer --folds or another"
    fails(capsys, 2, f"no cross-validation {short} --hold-out$", "select", run, "--folds", "3")


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"failed": (0, 3)}, "no setting worked on all pairs of images"),
        ({"failed": (0, 1)}, "every lane failed on all pairs of images but one"),
        ({"betas": (1,)}, "all lanes of a pair of images have the same settings"),
    ],
)
def test_a_run_that_allows_no_cross_validation_is_shown_with_a_note(tmp_path, capsys, how, reason):
    run = make_run(tmp_path / "run", **{"betas": (0.1, 10), "styles": STYLES[:2], **SMALL, **how})
    found, err = select(capsys, run, "--best-to", tmp_path / "best")
    assert (found["cross_validation"], err) == (None, [f"note: there is no cross-validation, as {reason}"])
    assert len(list((tmp_path / "best").iterdir())) == sum(pair["lane"] is not None for pair in found["pairs"])
    for option in (["--folds", "2"], ["--hold-out", "pair"]):
        line = f"no cross-validation is possible, as {reason}; leave out --folds and --hold-out$"
        fails(capsys, 2, line, "select", run, *option)


def test_one_pair_has_no_cross_validation(tmp_path, capsys):
    run = make_run(tmp_path / "run", **SMALL)
    found, err = select(capsys, run)
    assert (found["cross_validation"], err) == (None, [])
    line = "no cross-validation is possible, as the run has one pair of images; leave out --folds and --hold-out$"
    fails(capsys, 2, line, "select", run, "--folds", "3", "--hold-out", "pair")


def test_folds_are_of_the_kinds_that_have_as_many(tmp_path, capsys):
    run = make_run(tmp_path / "run", betas=(0.1, 10), contents=("cat", "coffee"), styles=STYLES, **SMALL)
    found, err = select(capsys, run, "--folds", "3")
    short = "no cross-validation by content: it takes 3 content images with a lane that is done, and there are 2"
    assert err == [f"note: {short}"]
    assert list(found["cross_validation"]["held_out"]) == ["style"]
    assert list(select(capsys, run)[0]["cross_validation"]["held_out"]) == ["style", "content"]
    by_pair = ["--folds", "4", "--hold-out", "pair"]
    assert len(select(capsys, run, *by_pair)[0]["cross_validation"]["held_out"]["pair"]["chosen_by_fold"]) == 4
    fails(capsys, 2, f"{short}; give fewer --folds or another", "select", run, "--folds", "3", "--hold-out", "content")
    neither = "by style: it takes 4 style .* 3; no cross-validation by content: .* or another --hold-out$"
    fails(capsys, 2, neither, "select", run, "--folds", "4")
    fails(capsys, 2, "argument --folds: '1' is not a whole number from 2", "select", run, "--folds", "1")


def test_one_content_cannot_be_held_out(tmp_path, capsys):
    run = make_run(tmp_path / "run", betas=(0.1, 10), styles=STYLES, **SMALL)
    assert select(capsys, run)[1] == []
    line = "it takes 2 content images with a lane that is done, and there is 1; give another --hold-out$"
    fails(capsys, 2, line, "select", run, "--hold-out", "content")
