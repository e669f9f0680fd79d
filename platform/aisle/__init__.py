"""aisle: product search from a catalogue in object storage to calibrated answers."""

__version__ = "0.1.0"
