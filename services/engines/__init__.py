"""The models behind one interface, `model.VisionLanguageModel`: transformers here and now, vLLM and closed teachers alike."""
