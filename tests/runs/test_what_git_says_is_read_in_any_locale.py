"""The code's state is read from git in any locale: changes may have letters that the locale lacks."""

import os
import subprocess
import sys

import pytest

from harness.runs import origin

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.skipif(not origin._is_checkout(), reason="without a checkout, git is not asked")
def test_letters_beyond_ascii_are_read():
    code = "from harness.runs import origin; print(ascii(origin._git('log', '-1', '--format=%xCE%xB5')))"
    told = subprocess.run([sys.executable, "-c", code], env=os.environ | ASCII, capture_output=True, text=True)
    assert told.stdout.strip() == ascii("ε"), told.stderr
