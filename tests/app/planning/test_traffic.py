"""Bytes of loops inside of a step."""

import jax
import jax.numpy as jnp
import pytest

from jaxstyle.app.planning.traffic import bytes_of_inner_loops

TPU = """
%body.1 (p: (s32[], f32[8,6,64])) -> (s32[], f32[8,6,64]) {
  %p = (s32[], f32[8,6,64]{2,1,0:T(8,128)}) parameter(0)
  %x = f32[8,6,64]{2,1,0:T(8,128)} get-tuple-element(%p), index=1
  %y = f32[8,6,64]{2,1,0:T(8,128)} negate(%x)
  ROOT %t = (s32[], f32[8,6,64]{2,1,0:T(8,128)}) tuple(%i, %y)
}

%condition.1 (p: (s32[], f32[8,6,64])) -> pred[] {
  %limit = s32[]{:T(128)} constant(5)
  %i.1 = s32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i.1, %limit), direction=LT
}

%steps (q: (s32[], f32[8,6,64])) -> (s32[], f32[8,6,64]) {
  %q = (s32[], f32[8,6,64]{2,1,0:T(8,128)}) parameter(0)
  ROOT %w = (s32[], f32[8,6,64]{2,1,0:T(8,128)}) while(%q), condition=%condition.1, body=%body.1
}

%until (q: (s32[], f32[8,6,64])) -> pred[] {
  ROOT %lt.2 = pred[]{:T(512)} compare(%i.2, %n), direction=LT
}

ENTRY %main (a: f32[8,6,64]) -> f32[8,6,64] {
  ROOT %w.2 = (s32[], f32[8,6,64]{2,1,0:T(8,128)}) while(%a), condition=%until, body=%steps
}
"""


def test_a_loop_of_a_tpus_program_counts_its_runs_and_the_padding():
    padded = 8 * 8 * 128 * 4
    assert bytes_of_inner_loops(TPU, 1) == (5 - 1) * 2 * padded
    assert bytes_of_inner_loops(TPU, 2) == 0  # then it is the loop over groups


@pytest.mark.parametrize("runs", [1, 7])
def test_a_loop_that_was_compiled_here(runs):
    def chunk(x, steps):
        def step(_, x):
            return jax.lax.scan(lambda c, _: (jnp.sin(c) + c.T, None), x, None, length=runs)[0] * 2

        return jax.lax.fori_loop(0, steps, step, x)

    text = jax.jit(chunk).lower(jnp.ones((128, 128)), 3).compile().as_text()
    size = 128 * 128 * 4
    assert 2 * size * (runs - 1) <= bytes_of_inner_loops(text, 1) <= 8 * size * (runs - 1)
