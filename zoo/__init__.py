"""The bundled pair: a tiny Qwen2-VL teacher and student of the easy-VQA world, and how they were made."""
