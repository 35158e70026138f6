"""Cost of a training step, compared with the usual code for it and with the bare passes of its net."""

import os

# Silence torch's profiler, which measures memory: its start, and each block that it did not see allocated.
os.environ.setdefault("KINETO_LOG_LEVEL", "6")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
