"""The bundled pair: a tiny Qwen2-VL teacher and student for easy-VQA, and their training."""
