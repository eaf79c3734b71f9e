"""Arrays of pixels: levels, blur, how a photo's quality is measured, what a disruption does to a generator's output."""
