"""State dicts as torch.save writes them, made without torch."""
