"""Ray jobs: `python -m jobs.<name> --config configs/<environment>.yaml`."""
