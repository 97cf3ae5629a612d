"""The teacher service: the large, frozen model that annotates images and answers questions."""
