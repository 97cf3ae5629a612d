"""The teacher service: the large model, frozen, that annotates images and answers questions blind."""
