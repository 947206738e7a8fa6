"""Names of the layouts of crops, apart from the code that cuts them: command lines need no more."""

from enum import StrEnum


class Crops(StrEnum):
    """Which crops of a picture are taken."""

    CENTER = "center"  # the middle alone, as published
    FIVE = "five"  # the middle and the four corners
    SIXTEEN = "sixteen"  # evenly over the whole picture, at most 4 x 4, and the middle
    GRID = "grid"  # evenly over the whole picture, at most 6 x 6, and the middle
