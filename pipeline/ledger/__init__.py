"""What of a run is done: the plan of micro-shards, the manifest, atomic commits, resume. No torch, no Ray."""
