"""From a training checkpoint to shippable weights: the averaged generator in half precision, with its classes and size.

``python -m pipeline.training.export STATE OUT --size 64``
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pipeline.generators.checkpoint import read_state_dict, save_weights
from pipeline.generators.stargan import stargan_from_state
from pipeline.training.attributes import ATTRIBUTES, class_conditions


def main() -> None:
    """Read STATE, write OUT."""
    parser = argparse.ArgumentParser(description="Write the averaged generator of a training checkpoint as safetensors.")
    parser.add_argument("state", type=Path, help="state.pt of the training loop")
    parser.add_argument("out", type=Path, help="safetensors file to write")
    parser.add_argument("--size", type=int, required=True, help="native side of the generator in pixels")
    a = parser.parse_args()
    net = stargan_from_state(read_state_dict(a.state, part="G_ema"), source=str(a.state))
    metadata = {"system": "stargan", "size": str(a.size)}
    metadata |= {"attributes": json.dumps(ATTRIBUTES), "classes": json.dumps(class_conditions())}
    save_weights(net, a.out, metadata=metadata, half=True)
    print(f"{a.out}: {a.out.stat().st_size / 1e6:.1f} MB, {sum(p.numel() for p in net.parameters()):,} parameters")


if __name__ == "__main__":
    main()
