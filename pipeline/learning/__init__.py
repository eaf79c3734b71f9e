"""The verb ``disrupt universal``: learns universal perturbations on a folder of faces and measures them on others."""
