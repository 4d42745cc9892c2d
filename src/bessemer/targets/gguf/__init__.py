"""GGUF files: weights in ggml's number formats, with everything that llama.cpp needs to run them."""
