"""What a Holdfast hub and an edge agent say to each other, and the few doors both need."""

VERSION = "0.1.0"
