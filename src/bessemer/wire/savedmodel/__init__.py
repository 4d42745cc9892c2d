"""TensorFlow's files: SavedModel and GraphDef protobufs, tensor bundles. Bounded; knows records and bytes only."""
