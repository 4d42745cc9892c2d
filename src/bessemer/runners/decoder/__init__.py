"""What a `Decoder` computes: wired once over a few operations, which evaluate here and draw in `sources.decoder`."""
