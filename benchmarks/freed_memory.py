"""What keeping freed memory is worth: input gradients of the small net, in processes that keep it and that do not.

    python benchmarks/freed_memory.py [PAIRS]

Each pair is two processes, one after the other, in turns; one thread each.
"""

import subprocess
import sys
from statistics import median

PASSES = """
import sys, time, torch
from harness.core.device import keep_freed_memory
from harness.models.small import Small

torch.set_num_threads(1)
if sys.argv[1] == "kept":
    keep_freed_memory()
net = Small(10, 1, (28, 28), 16, (1, 2, 1, 2, 1), "batch", "relu").eval().requires_grad_(False)
images = torch.rand(128, 1, 28, 28, requires_grad=True)
for step in range(65):
    if step == 5:
        began = time.perf_counter()
    torch.autograd.grad(net(images).logsumexp(1).sum(), images)
print(60 * 128 / (time.perf_counter() - began))
"""


def rate(how: str) -> float:
    """Input gradients a second of a fresh process."""
    return float(subprocess.run([sys.executable, "-c", PASSES, how], capture_output=True, text=True, check=True).stdout)


def main(pairs: int) -> None:
    """Print the median ratio of both, the lowest and the highest."""
    ratios: list[float] = []
    for pair in range(pairs):
        rates = {how: rate(how) for how in (("kept", "given back") if pair % 2 else ("given back", "kept"))}
        ratios.append(rates["kept"] / rates["given back"])
        print(", ".join(f"{how}: {value:,.0f} a second" for how, value in rates.items()))
    print(f"ratio {median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}], {pairs} pairs")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
