"""Readers of layers, by family: `@layer("ClassName")` functions (canvas, layer, inputs) -> outputs."""
