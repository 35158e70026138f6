"""What a training step costs, beside a step as it is usually written and beside the bare passes of its net."""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # torch's profiler, which counts memory, else tells when it begins,
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # and of each block that it did not see made
