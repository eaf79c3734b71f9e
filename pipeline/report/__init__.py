"""What a run did, for people: numbers from the manifest, a table for the terminal, one self-contained HTML page."""
