"""TensorFlow graphs: SavedModels, frozen GraphDefs and checkpoints, read without TensorFlow."""
