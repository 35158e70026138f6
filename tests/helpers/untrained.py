"""Methods that train nothing: they judge what is given."""

UNTRAINED = {"pretrained", "samples"}
