"""The stages of the flow: lists of photos in, lists of photos out; no Ray here."""
