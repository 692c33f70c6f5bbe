"""What `genir bench generate` is made of: engines side by side, curves, and costs."""
