"""Segments: what a night builds of a catalogue and a shard searches."""
