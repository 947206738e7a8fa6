"""Makes a starter for the package: a trained encoder, a gallery, its calibration and its card."""
