"""Universal disruptions: one perturbation, or a set, that breaks a network's outputs on any photo. The maths, without Ray."""
