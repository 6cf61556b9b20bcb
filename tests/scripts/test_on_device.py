"""The command for a fresh accelerator, in its short form on a CPU."""

import json
import subprocess
import sys

import pytest

from tests.processes import ROOT, environment

TEXT = """
  %a = bf16[8,64,64,64]{3,2,1,0} convolution(%x, %k), window={size=3x3}
  %b = (f32[8,64,64,64]{3,2,1,0}, u8[0]{0}) custom-call(f32[8,64,64,64] %x, f32[3,3] %k), custom_call_target="__cudnn$convForward"
  %c = (bf16[8,64,64,64]{3,2,1,0}, u8[0]{0}) custom-call(%x, %k), custom_call_target="__cudnn$convForward"
  %t = bf16[64,8,64,64]{3,2,1,0} transpose(%c), dimensions={3,0,1,2}
  %s = bf16[8,64]{1,0} transpose(%m), dimensions={1,0}
"""  # noqa: E501


def test_faults_of_a_compiled_program_are_counted(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import on_device

    assert on_device.count_faults(TEXT) == {"convolutions": 3, "widened": 1, "transposes": 1}


def on_device(tmp_path, *arguments):
    file = tmp_path / "found.json"
    command = ["bash", "scripts/on_device.sh", "--short", "--json", str(file), *arguments]

    variables = environment(JAXSTYLE_PYTHON=sys.executable, JAXSTYLE_CACHE=str(tmp_path))
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    return done, json.loads(file.read_text()) if file.exists() else None


@pytest.mark.slow
def test_its_short_form_on_a_cpu(tmp_path):
    done, found = on_device(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(found) == ["environment", "compiled_text", "plan", "sweep", "readme", "tests", "benchmark"]
    assert found["environment"]["platform"] == "cpu"
    assert found["compiled_text"]["convolutions"] >= 3 + 3
    assert found["benchmark"]["2 x 32 px, bfloat16"] > 0
    assert found["plan"]["peak"] > 0
    assert found["sweep"]["lanes"] == 2
    assert "skipped" in found["tests"]["pytest"]
    assert "plan           peak" in done.stdout


def test_a_part_without_time_is_named_and_the_status_is_1(tmp_path):
    done, found = on_device(tmp_path, "--parts", "environment", "--seconds", "-5")
    assert done.returncode == 1
    assert "timed out" in found["environment"]["failed"]


def test_wheels_that_are_not_there(tmp_path):
    done, _ = on_device(tmp_path, "--wheels", str(tmp_path / "none"))
    assert (done.returncode, done.stderr) == (2, "on_device.sh: --wheels needs a folder of wheels\n")
