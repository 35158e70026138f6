"""The published protocols and their ids."""

PUBLISHED = {
    ("digits", "digits"): ("digits-3", "67bc3be6c2c0"),
    ("digits_stability", "digits"): ("digits-stability-1", "7efbbbd09018"),
    ("fashion", "fashion_mnist"): ("fashion-1", "eaecbf29c5be"),
    ("fashion_light", "fashion_mnist"): ("fashion-light-1", "7c3ae1979c4f"),
    ("cifar", "cifar10"): ("cifar-1", "e3d55847e258"),
    ("cifar", "cifar100"): ("cifar-1", "6d472dd20e87"),
    ("imagenet256", "imagenet256"): ("imagenet256-3", "9323067b92e8"),
    ("dat-paper", "cifar10"): ("dat-paper-2", "e8c8532ec926"),
    ("dat-paper", "cifar100"): ("dat-paper-2", "d1f038f9812d"),
    ("dat-paper-imagenet", "imagenet256"): ("dat-paper-imagenet-1", "f6b4b294147e"),
    ("adm", "imagenet256"): ("adm-2", "73a61f3567c7"),
    ("acceptance", "cifar10"): ("acceptance-1", "6a3ecc8e0f46"),
    ("acceptance", "imagenet256"): ("acceptance-1", "f02c6b0d276b"),
    ("search", "digits"): ("search-1", "1bfb51224367"),
    ("search", "cifar10"): ("search-1", "ae1da60a687c"),
    ("quick", "digits"): ("quick-2", "790b39f1cfbd"),
    ("quick", "cifar10"): ("quick-2", "6e30087094a1"),
    ("quick", "imagenet256"): ("quick-3", "86d169c1e84d"),
}
"""(protocol, data) → id and hash. If the test fails, give the changed protocol a new id and add it here."""
