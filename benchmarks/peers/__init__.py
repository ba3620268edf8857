"""Other ways to find the same cracks: what people write themselves, and the libraries that they would take."""
