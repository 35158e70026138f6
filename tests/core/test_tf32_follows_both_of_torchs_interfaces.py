"""TF32 is what `precision` says by whichever of torch's two interfaces a program has set it, and is restored."""

import subprocess
import sys

import pytest
import torch

from harness.core.device import computing, full_precision, precision_in_use

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="torch had one interface")


def new():
    cudnn = torch.backends.cudnn
    return [part.fp32_precision for part in (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)]


def old():
    return [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32]


def contexts():
    yield full_precision(), False
    for precision in ("fp32", "tf32", "bf16"):
        yield computing(precision, CPU), precision != "fp32"


def check():
    """Whatever was set before, both interfaces say the same inside, and the new one is as it was afterwards."""
    before = new()
    for context, allowed in contexts():
        with context:
            assert new() == 3 * ["tf32" if allowed else "ieee"] and old() == [allowed, allowed]
            with full_precision():
                assert new() == 3 * ["ieee"] and torch.backends.cudnn.deterministic
            assert new() == 3 * ["tf32" if allowed else "ieee"] and old() == [allowed, allowed]
        assert new() == before
    return "checked"


SETTINGS = {
    "nothing": "",
    "matmul, new": "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    "convolutions, new": "torch.backends.cudnn.conv.fp32_precision = 'ieee'",
    "everything, new": "torch.backends.fp32_precision = 'tf32'",
    "everything off, new": "torch.backends.fp32_precision = 'ieee'",
    "matmul, old": "torch.backends.cuda.matmul.allow_tf32 = True",
    "convolutions, old": "torch.backends.cudnn.allow_tf32 = False",
    "by torch's function": "torch.set_float32_matmul_precision('high')",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_program_that_set_tf32_itself(name, request):
    code = f"import torch\n{SETTINGS[name]}\nimport {__name__} as test\nprint(test.check())"
    folder = str(request.path.parent)
    start = f"import sys; sys.path.insert(0, {folder!r})\n"
    done = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True)
    assert done.returncode == 0 and "checked" in done.stdout, done.stderr


def test_the_old_interface_is_restored_where_it_could_be_read():
    before = old()
    for context, _ in contexts():
        with context:
            pass
        assert old() == before


def test_the_precision_in_use_is_that_of_the_innermost_context():
    for outer, inner in (("tf32", "fp32"), ("fp32", "bf16"), ("bf16", "tf32")):
        with computing(outer, CPU):
            assert precision_in_use(CPU) == outer
            with computing(inner, CPU):
                assert precision_in_use(CPU) == inner
    assert precision_in_use(CPU) == "fp32"


def test_flags_of_cudnn_are_restored_after_an_error():
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark, new()
    with pytest.raises(ZeroDivisionError), full_precision():
        assert cudnn.deterministic and not cudnn.benchmark
        raise ZeroDivisionError
    assert (cudnn.deterministic, cudnn.benchmark, new()) == before
