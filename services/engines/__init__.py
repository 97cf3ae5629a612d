"""All models behind one interface, `model.VisionLanguageModel`: transformers, vLLM, providers."""
