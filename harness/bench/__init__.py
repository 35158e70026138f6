"""What a training step costs, beside a step as it is usually written and beside the bare passes of its net."""
