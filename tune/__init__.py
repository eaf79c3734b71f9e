"""The search for the weights of the signals' loss, their number and their budget: ``disrupt tune``."""
