"""What every verb shares: options, Ray, settings files, records, progress, interrupts, versions."""
