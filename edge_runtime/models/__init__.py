"""Model files: the shipped ones, what a file says of itself, the proof inside it, and the interpreter that runs it."""
