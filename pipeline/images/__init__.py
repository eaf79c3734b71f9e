"""Arrays of pixels: types, levels, orientation, resizing, blur, a photo's quality, a disruption's effect."""
