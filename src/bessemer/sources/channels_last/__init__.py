"""Layer-like operations of channels-last frameworks, drawn on a `Canvas`: what Keras and TensorFlow share.

Every function takes tensors in the original's axis order and returns the result as one, its shape worked out. `first`
says that the original keeps channels behind the batch (`channels_first`, NCHW), which few models do.
"""
