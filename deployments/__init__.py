"""Ray Serve adapters: thin classes around the library's stages, wired by `deployments.graph`."""
