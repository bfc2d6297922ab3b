"""The engine of bridges: from one broker into a queue on disk, and out of it to the other."""
