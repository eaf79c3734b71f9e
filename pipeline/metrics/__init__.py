"""Numbers: what a disruption does to a generator's output, how a protected photo looks, and sums that merge across shards."""
