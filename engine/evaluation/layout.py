"""Names of the folder layouts that label images; imports nothing, for commands' options."""

from enum import StrEnum


class Layout(StrEnum):
    """How folders say what is real and what is fake."""

    AUTO = "auto"  # whichever of the following is found
    FOLDERS = "folders"  # real/[source/], fake/[generator/[source/]]
    CNNDETECTION = "cnndetection"  # [generator/[category/]]{0_real,1_fake} (Wang et al. 2020)
    GENIMAGE = "genimage"  # [generator/.../][train|val/]{nature,ai} (Zhu et al. 2023)
    D3 = "d3"  # {augm,no_augm}/{real,gen_0..gen_3}, the test set of CoDE
    CSV = "csv"  # a file of path,label[,generator,source]
