"""The nightly run: catalogue to snapshot, step by step, each step resumable."""
