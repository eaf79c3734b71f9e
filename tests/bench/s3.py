"""Requests to S3 for each photo of a run that is disturbed: ``python tests/bench/s3.py [--photos N]``.

moto is the store, 30 ms away; two actors on Ray protect photos of 16 px by signals alone. The store is away for some seconds, the
driver is killed half-way, and the same command ends the run with the rows and bytes of a calm one, or this script with an error.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.ray.test_s3 import from_s3_to_s3


def main() -> None:
    """Run, print."""
    parser = argparse.ArgumentParser(description="Requests to S3 for each photo.")
    parser.add_argument("--photos", type=int, default=2500)
    count = parser.parse_args().photos
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        server = from_s3_to_s3(Path(folder), count)
    print(f"{count} photos, {time.monotonic() - began:.0f} s; {server.away} requests were turned off while the store was away")
    for kind, total in sorted(server.counts().items()):
        photos = server.counts("in/")[kind] + server.counts("out/0")[kind]
        lock = server.counts("out/.disrupt/lock")[kind]
        print(f"{kind:6} {total / count:.3f} a photo: {photos} for photos, {lock} for the lock, {total - photos - lock} others")


if __name__ == "__main__":
    main()
