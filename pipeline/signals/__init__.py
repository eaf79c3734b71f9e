"""A learned set of imperceptible signals, and the detector that tells manipulated photos from untouched ones."""
