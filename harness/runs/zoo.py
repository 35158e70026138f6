"""Known weights, for init=zoo:NAME: where they are, the data and net that they are of, and whose they are."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """A published weights file.

    address: what `init` would name, https: or hub:. fits: the overrides that choose its data, first, and its net.
    accuracy: its published clean accuracy on the test images, in %. sha256: of the file; empty if nobody has noted it
    here, and then the command says it.
    """

    address: str
    fits: tuple[str, ...]
    accuracy: float
    licence: str
    citation: str
    sha256: str = ""

    def __str__(self) -> str:
        return f"{' '.join(self.fits)}: {self.accuracy:g} % clean. {self.citation}. Licence: {self.licence}"


DM_CIFAR10 = ("data=cifar10", "model=dm_wrn", "model.mean=[0.4914,0.4822,0.4465]", "model.std=[0.2471,0.2435,0.2616]")
DM_WRN_28_10 = (*DM_CIFAR10, "model.depth=28", "model.widen=10")
DM_WRN_70_16 = (*DM_CIFAR10, "model.depth=70", "model.widen=16")

MIT = "MIT of the code; none is stated for the weights"
APACHE = "Apache-2.0 of the code; none is stated for the weights"

WANG = "Wang et al., Better Diffusion Models Further Improve Adversarial Training, ICML 2023, arXiv:2302.04638"
REBUFFI = "Rebuffi et al., Fixing Data Augmentation to Improve Adversarial Robustness, 2021, arXiv:2103.01946"
GOWAL = "Gowal et al., Uncovering the Limits of Adversarial Training, 2020, arXiv:2010.03593"
SALMAN = "Salman et al., Do Adversarially Robust ImageNet Models Transfer Better?, NeurIPS 2020, arXiv:2007.08489"

WANGS = "https://huggingface.co/wzekai99/DM-Improves-AT/resolve/main/checkpoint"
DEEPMINDS = "https://storage.googleapis.com/dm-adversarial-robustness"
MADRYS = "https://huggingface.co/madrylab/robust-imagenet-models/resolve/main"

ZOO = {
    "wang2023-l2-wrn70-16": Known(f"{WANGS}/cifar10_l2_wrn70-16.pt", DM_WRN_70_16, 95.54, MIT, WANG),
    "wang2023-l2-wrn28-10": Known(f"{WANGS}/cifar10_l2_wrn28-10.pt", DM_WRN_28_10, 95.16, MIT, WANG),
    "gowal2020-l2-wrn70-16-extra": Known(
        f"{DEEPMINDS}/cifar10_l2_wrn70-16_with.pt", DM_WRN_70_16, 94.74, APACHE, GOWAL
    ),
    "rebuffi2021-l2-wrn70-16": Known(
        f"{DEEPMINDS}/cifar10_l2_wrn70-16_cutmix_ddpm_v2.pt", DM_WRN_70_16, 92.41, APACHE, REBUFFI
    ),
    "rebuffi2021-l2-wrn28-10": Known(
        f"{DEEPMINDS}/cifar10_l2_wrn28-10_cutmix_ddpm_v2.pt", DM_WRN_28_10, 91.79, APACHE, REBUFFI
    ),
    "salman2020-l2-resnet50": Known(
        f"{MADRYS}/resnet50_l2_eps3.ckpt", ("data=imagenet256", "data.size=224", "model=resnet50"), 62.83, MIT, SALMAN
    ),
    "salman2020-l2-wrn50-4": Known(
        f"{MADRYS}/wide_resnet50_4_l2_eps3.ckpt",
        ("data=imagenet256", "data.size=224", "model=wrn50_4"),
        69.67,
        MIT,
        SALMAN,
    ),
}
"""The weights by name. No sha256 is here that was not taken from the file itself."""
