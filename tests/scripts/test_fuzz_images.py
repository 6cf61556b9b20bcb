import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory by /proc")
def test_damaged_images_are_pictures_or_one_line():
    command = [sys.executable, "scripts/fuzz_images.py", "--count", "200", "--seed", "1"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=None)
    assert (found.returncode, found.stderr) == (0, ""), found.stdout
    row = re.search(r"^\| all \| (\d+) \| (\d+) \| (\d+) \| 0 \|", found.stdout, re.MULTILINE)
    images, pictures, lines = map(int, row.groups())
    assert images == pictures + lines == 200
    assert min(pictures, lines) > 30
