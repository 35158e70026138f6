"""Networks that timm lacks; to add one, add a file here and a yaml in configs/model."""
